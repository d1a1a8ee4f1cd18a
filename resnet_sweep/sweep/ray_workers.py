"""hydra/launcher=ray: a sweep's workers as tasks of a Ray cluster.

The settings are hydra-ray-launcher's: ``ray.init`` says which cluster, ``ray.remote`` what a
worker asks for. Its own ``launch`` waits for all tasks and raises for the first whose process
has died, and nobody can be told to stop; here each worker stands for itself: one that dies is
started again, under a name of its own, and a signal reaches all of them. Ray's own retries are
off: which trial is tried again is the study's to say.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from resnet_sweep.faults import ConfigError, Fault, UserError
from resnet_sweep.sweep.worker import SLOT_VARIABLE, Worker

if TYPE_CHECKING:
    from ray import ObjectRef

log = logging.getLogger(__name__)

_INIT = "hydra.launcher.ray.init"
_REMOTE = "hydra.launcher.ray.remote"
# A worker whose process dies so often in a row without a trial is not started again.
_MAX_RESTARTS = 2
_POLL_S = 1.0
# Workers that are told to stop may take so long; then they are killed.
_PATIENCE_S = 15.0


@dataclass(frozen=True)
class _Job:
    """What a node needs to know to run a worker."""

    context: HydraContext
    config: DictConfig
    worker: Worker
    singletons: Any


@dataclass
class _Seat:
    """One of the workers that the sweep wants, through all its lives.

    Attributes:
        num: The newest life's number.
        num_deaths: In a row, without a trial in between.
        progress: What the study had seen of this number when it was started.
    """

    num: int
    num_deaths: int = 0
    progress: int = 0


def num_slots(config: DictConfig) -> int | None:
    """Workers that run at a time on the cluster; None where the user has said how many.

    Raises:
        ConfigError: There is no such cluster, or no node of it has what a worker asks for.
    """
    if OmegaConf.select(config, "hydra.sweeper.n_jobs") is not None:
        return None
    _connect(config)
    return _room(config)


def run_on_ray(
    worker: Worker,
    context: HydraContext,
    config: DictConfig,
    overrides_of: Callable[[int], Sequence[str]],
    count: int,
) -> list[JobReturn]:
    """Runs so many workers on the cluster until all have ended.

    Args:
        worker: The task function.
        context: Of the workers' jobs.
        config: The sweep's.
        overrides_of: Composes the job of a worker of that number.
        count: Workers.

    Returns:
        What those have returned that came to their end.

    Raises:
        ConfigError: See num_slots.
        Interrupted: A signal came; all workers have ended.
    """
    setup_globals()
    if _connect(config):
        # Else that was done when the workers were counted.
        _room(config)
    crew = _Crew(worker, context, config, overrides_of)
    try:
        return crew.run(count)
    except BaseException:
        crew.stop()
        raise


class _Crew:
    """The workers of one launch."""

    def __init__(
        self,
        worker: Worker,
        context: HydraContext,
        config: DictConfig,
        overrides_of: Callable[[int], Sequence[str]],
    ) -> None:
        import ray

        self._worker, self._context, self._config = worker, context, config
        self._overrides_of = overrides_of
        remote = _options(config, "remote")
        # The process of a worker is no other worker's: what it holds of a GPU goes with it.
        self._remote = ray.remote(**{"max_calls": 1, **remote, "max_retries": 0})(_work)
        self._next = 0
        self._running: dict[ObjectRef[JobReturn], _Seat] = {}

    def run(self, count: int) -> list[JobReturn]:
        import ray

        log.info("Ray: %d workers, output in %s", count, self._folder)
        for _ in range(count):
            self._start(_Seat(0))
        returned: list[JobReturn] = []
        failure: Exception | None = None
        while self._running:
            # In parts, so that a signal is seen between them.
            done, _ = ray.wait(list(self._running), timeout=_POLL_S)
            for one in done:
                seat = self._running.pop(one)
                try:
                    returned.append(ray.get(one))
                    self._withdraw_waiting()
                except ray.exceptions.RayTaskError as error:
                    # Nothing that a new process would change.
                    failure = error.cause if isinstance(error.cause, Exception) else error
                    if isinstance(failure, UserError):
                        raise failure from error
                    log.error("worker %d: %s: %s", seat.num, type(failure).__name__, failure)
                except ray.exceptions.RayError as error:
                    self._start_again(seat, error)
        if failure is not None and not returned:
            raise failure
        return returned

    def stop(self) -> None:
        """Tells all workers to end, waits for it, and kills those that do not."""
        import ray

        if not self._running or not ray.is_initialized():
            return
        waiting = list(self._running)
        for one in waiting:
            ray.cancel(one)
        _, late = ray.wait(waiting, num_returns=len(waiting), timeout=_PATIENCE_S)
        for one in late:
            ray.cancel(one, force=True)
        ray.wait(waiting, num_returns=len(waiting), timeout=_PATIENCE_S)

    @property
    def _folder(self) -> Path:
        return Path(str(self._config.hydra.sweep.dir)) / "workers"

    def _start(self, seat: _Seat) -> None:
        seat.num, self._next = self._next, self._next + 1
        seat.progress = self._worker.progress(seat.num)
        config = self._context.config_loader.load_sweep_config(
            self._config, list(self._overrides_of(seat.num))
        )
        with open_dict(config):
            config.hydra.job.id = str(seat.num)
            config.hydra.job.num = seat.num
        job = _Job(self._context, config, self._worker, Singleton.get_state())
        self._running[self._remote.remote(job)] = seat

    def _start_again(self, seat: _Seat, error: Exception) -> None:
        """A worker whose process or node is gone."""
        reason = str(error).strip().partition("\n")[0]
        got_on = self._worker.progress(seat.num) > seat.progress
        seat.num_deaths = 1 if got_on else seat.num_deaths + 1
        if seat.num_deaths > _MAX_RESTARTS:
            log.error(
                "worker %d has died %d times without a trial and is not started again: %s",
                seat.num,
                seat.num_deaths,
                reason,
            )
            return
        log.warning("worker %d has died and is started again: %s", seat.num, reason)
        self._start(seat)

    def _withdraw_waiting(self) -> None:
        """A worker has found nothing more to do: those that wait for room would not either."""
        import ray

        spec = self._worker.spec
        for one, seat in list(self._running.items()):
            if not (spec.folder / "workers" / f"{spec.session}-{seat.num}.lock").exists():
                del self._running[one]
                ray.cancel(one, force=True)


def _work(job: _Job) -> JobReturn:
    """Runs a worker; in a process of the cluster."""
    setup_globals()
    Singleton.set_state(job.singletons)
    HydraConfig.instance().set_config(job.config)
    spec, num = job.worker.spec, job.config.hydra.job.num
    here = socket.gethostname()
    if not spec.folder.is_dir():
        rule = f"is not there on node {here}: all nodes must share the study's folder"
        raise ConfigError([Fault("hydra.sweep.dir", spec.folder, rule)])
    # What is relative is so to where the user is.
    os.chdir(job.config.hydra.runtime.cwd)
    os.environ[SLOT_VARIABLE] = _slot(here, num)
    workers = spec.folder / "workers"
    workers.mkdir(exist_ok=True)
    with _output_to(workers / f"{spec.session}-{num}.log"):
        return run_job(
            hydra_context=job.context,
            task_function=job.worker,
            config=job.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def _slot(host: str, num: int) -> str:
    """The node and the GPU, which may be shared; without one, the node and the worker."""
    import ray

    gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return f"{host}-gpu{'+'.join(gpus)}" if gpus else f"{host}-{num}"


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Sends what the process prints to a file; Ray would mix it into the sweep's own output."""
    kept = [os.dup(number) for number in (1, 2)]
    try:
        with path.open("ab") as file:
            _flush()
            for number in (1, 2):
                os.dup2(file.fileno(), number)
        yield
    finally:
        _flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _ask_for_token() -> None:
    """Lets a cluster of our own refuse all who do not know a token that only its processes have.

    Ray listens on every address of a machine, and who reaches it runs what he likes. It reads
    the token when it is imported.
    """
    is_told = os.environ.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    if "ray" not in sys.modules and not is_told:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _connect(config: DictConfig) -> bool:
    """Connects to the cluster, or starts one on this machine; False where that was done before."""
    init = _options(config, "init")
    address = init.get("address") or os.environ.get("RAY_ADDRESS")
    is_own = address in (None, "local")
    if is_own:
        _ask_for_token()
    import ray

    if ray.is_initialized():
        return False
    if is_own:
        # What would listen on a port of its own, and what would report to Ray's makers.
        init = {"include_dashboard": False, **init}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # By null Ray would also mean a cluster that a file in /tmp names, anybody's.
        init["address"] = "local"
    try:
        with _kept_handlers():
            ray.init(**{"log_to_driver": False, **init})
    except ConnectionError as error:
        rule = f"cannot be reached: {' '.join(str(error).split())}"
        fix = "start it with `ray start --head`; null starts one on this machine"
        raise ConfigError([Fault(f"{_INIT}.address", address, rule, fix=fix)]) from error
    except (TypeError, ValueError, RuntimeError) as error:
        rule = f"is refused by Ray: {' '.join(str(error).split())}"
        raise ConfigError([Fault(_INIT, init, rule)]) from error
    return True


@contextlib.contextmanager
def _kept_handlers() -> Iterator[None]:
    """Ray takes SIGTERM for itself, in the process of whoever connects."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _room(config: DictConfig) -> int:
    """Workers for which the living nodes have room together.

    Raises:
        ConfigError: No node has room for one.
    """
    import ray

    remote = _options(config, "remote")
    wanted: dict[str, float] = {
        "CPU": remote.get("num_cpus", 1),
        "GPU": remote.get("num_gpus", 0),
        "memory": remote.get("memory", 0),
        **remote.get("resources", {}),
    }
    wanted = {name: amount for name, amount in wanted.items() if amount}
    listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node["Resources"] for node in listed if node["Alive"]]
    room = sum(_fits(wanted, node) for node in nodes)
    if not room:
        asked = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
        there = "; ".join(
            ", ".join(f"{node.get(name, 0):g} {name}" for name in wanted) for node in nodes
        )
        rule = f"a worker asks for {asked}, and no node has that; nodes have: {there}"
        raise ConfigError([Fault(_REMOTE, remote, rule)])
    if "GPU" not in wanted and any(node.get("GPU") for node in nodes):
        log.warning("nodes have GPUs, and no worker asks for one: +%s.num_gpus=1", _REMOTE)
    return room


def _fits(wanted: dict[str, float], node: dict[str, float]) -> int:
    # Ray counts ten thousandths: ten tenths are a whole.
    parts = [
        math.floor(round(1e4 * node.get(name, 0)) / max(1, round(1e4 * amount)))
        for name, amount in wanted.items()
    ]
    # A worker that asks for nothing finds room for as many as there are CPUs.
    return min(parts) if parts else math.floor(node.get("CPU", 0))


def _options(config: DictConfig, part: str) -> dict[str, Any]:
    found = OmegaConf.to_container(config.hydra.launcher.ray[part], resolve=True)
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items()}
