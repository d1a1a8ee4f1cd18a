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
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from resnet_sweep.faults import ConfigError, Fault, StorageError, UserError
from resnet_sweep.sweep.launcher_config import SLOT_VARIABLE
from resnet_sweep.sweep.ray_cluster import connect, options, room
from resnet_sweep.sweep.worker import Worker, open_queue
from resnet_sweep.wording import counted

if TYPE_CHECKING:
    from ray import ObjectRef

    from resnet_sweep.study.queue import Queue

log = logging.getLogger(__name__)

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
    connect(config)
    return room(config)


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
    if connect(config):
        # Else that was done when the workers were counted.
        room(config)
    crew = _Crew(worker, context, config, overrides_of)
    try:
        return crew.run(count)
    except BaseException:
        crew.stop()
        raise
    finally:
        crew.close()


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
        remote = options(config, "remote")
        # The process of a worker is no other worker's: what it holds of a GPU goes with it.
        self._remote = ray.remote(**{"max_calls": 1, **remote, "max_retries": 0})(_work)
        self._next = 0
        self._queue: Queue | None = None
        self._running: dict[ObjectRef[JobReturn], _Seat] = {}

    def run(self, count: int) -> list[JobReturn]:
        import ray

        log.info("Ray: %s, output in %s", counted(count, "worker"), self._folder)
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

    def close(self) -> None:
        """Closes the study, where it was looked at."""
        if self._queue is not None:
            from resnet_sweep.study.storage import close_storage

            close_storage(self._queue.study._storage)

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
        """Takes workers that wait for room out of Ray's queue, if they would find nothing to do.

        A worker returns also when its slot is closed, or when its node or the study's storage
        fails it: then those that wait are the ones that go on.
        """
        import ray

        spec = self._worker.spec
        waiting = [
            one
            for one, seat in self._running.items()
            if not (spec.folder / "workers" / f"{spec.session}-{seat.num}.lock").exists()
        ]
        if waiting and self._has_nothing_to_take():
            for one in waiting:
                del self._running[one]
                ray.cancel(one, force=True)

    def _has_nothing_to_take(self) -> bool:
        """Whether a worker that began now would find nothing to do."""
        try:
            if self._queue is None:
                self._queue = open_queue(self._worker.spec)
            self._queue.refresh()
            return self._queue.num_open() <= len(self._queue.ledger.running)
        except StorageError as error:
            log.warning("%s; workers that wait are left to see for themselves", error)
            return False


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
