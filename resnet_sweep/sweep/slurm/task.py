"""In a job of Slurm: runs its part of the sweep in processes, and comes back when it must go."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Self

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.sweep.interrupt import CountedSignals, Interrupted
from resnet_sweep.sweep.launcher_config import SLOT_VARIABLE
from resnet_sweep.sweep.local.gpus import Gpu, installed_uuids, visible_gpus
from resnet_sweep.sweep.local.mps import running_mps
from resnet_sweep.sweep.local.pool import Pool, RestartRule
from resnet_sweep.sweep.local.serve import JobRequest, pack_return
from resnet_sweep.sweep.local.slots import Slot, count_cores, make_slots
from resnet_sweep.sweep.slurm import cluster
from resnet_sweep.sweep.worker import LIFE_VARIABLE, worker_name

log = logging.getLogger(__name__)

PAYLOAD = "payload.pkl"
# Slurm sends it signal_delay_s before the time is up. NCCL has a use of its own for SIGUSR1.
TIME_IS_UP = signal.SIGUSR2


@dataclass(frozen=True)
class Order:
    """What a job of Slurm has to do.

    Attributes:
        folder: Of the launch.
        requests: Its jobs of the sweep.
        num_slots: How many of them run at a time.
        max_restarts: How often in a row a process that died is started again.
        restart_window_s: See RestartRule.
        logs: Where what the processes print goes; None for the log of the job.
        study: The folder of the study whose workers these are, if they are.
        session: And the part of the workers' names that is common to all.
    """

    folder: Path
    requests: tuple[JobRequest, ...]
    num_slots: int
    max_restarts: int
    restart_window_s: float | None = None
    logs: Path | None = None
    study: Path | None = None
    session: str = ""


class JobSignals(CountedSignals):
    """Counts what asks a job to stop, and only once.

    Slurm sends SIGTERM more than once: to all processes of a job, and again before it kills
    them. That is no second Ctrl-C; who wants the job gone at once sends SIGKILL.
    """

    def __init__(self, note_stop: Callable[[], None]) -> None:
        """Counts nothing yet.

        Args:
            note_stop: Called at the first one.
        """
        super().__init__()
        self._note_stop = note_stop

    def __enter__(self) -> Self:
        super().__enter__()
        self._previous[TIME_IS_UP] = signal.signal(TIME_IS_UP, self._note)
        return self

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if not self.count:
            super()._note(signum, frame)
            self._note_stop()


def run_jobs(order: Order) -> list[bytes]:
    """Runs jobs of the sweep until all have ended; what submitit calls.

    Returns:
        Their returns, pickled.

    Raises:
        SystemExit: Slurm wants its nodes back, or the sweep is being stopped.
    """
    logging.basicConfig(format="[%(asctime)s] %(message)s", level=logging.INFO, force=True)
    # It prints for itself.
    logging.getLogger("submitit").propagate = False
    # For this process and those of its slots.
    os.environ[LIFE_VARIABLE] = os.environ.get("SLURM_RESTART_COUNT", "")
    workers = _Workers(order)
    rule = RestartRule(order.max_restarts, order.restart_window_s, workers.progress)
    with (
        JobSignals(workers.note_stop) as signals,
        (order.folder / PAYLOAD).open("rb") as payload,
        _shared_slots(order.num_slots) as (slots, env),
    ):
        try:
            returns = Pool(slots, payload, rule, env, order.logs).run(order.requests, signals)
        except Interrupted as stopped:
            _come_back(stopped.signum)
            raise SystemExit(128 + stopped.signum) from None
    return [pack_return(one) for one in returns]


class _Workers:
    """The workers of a study that this job runs, by the numbers of their jobs of the sweep."""

    def __init__(self, order: Order) -> None:
        self._folder = StudyFolder(order.study) if order.study is not None else None
        self._session = order.session
        self._numbers = [request.num for request in order.requests]
        for file in self._told():
            # Of a worker that had this name before.
            file.unlink(missing_ok=True)

    def note_stop(self) -> None:
        """Lets their trials be taken up again however often it happens."""
        for file in self._told():
            file.parent.mkdir(exist_ok=True)
            file.touch()

    def progress(self, num: int) -> int:
        """How many trials a worker has begun or ended."""
        # Loads what reads studies, and is needed only when a process has died.
        from resnet_sweep.study.events import num_events

        return 0 if self._folder is None else num_events(self._folder, self._name(num))

    def _told(self) -> list[Path]:
        if self._folder is None:
            return []
        return [self._folder.worker_told(self._name(num)) for num in self._numbers]

    def _name(self, num: int) -> str:
        return worker_name(self._session, str(num))


def _come_back(signum: int) -> None:
    """Has Slurm start this job again, unless that is not wanted or done already."""
    if signum == signal.SIGINT:
        # The sweep itself is being stopped.
        return
    own = cluster.own_job(os.environ)
    try:
        # What scancel ends, or Slurm has put back into the queue, does not run any more. A time
        # limit is not reached yet, and nor is the end of the grace before a preemption.
        state = cluster.states([own]).get(own)
        if state is None or state.state != cluster.RUNNING:
            log.info("ends as Slurm wants it to")
            return
        cluster.requeue(own)
        log.info("has put itself back into the queue")
    except cluster.SlurmError as error:
        log.error("cannot put itself back into the queue: %s", error)


@contextmanager
def _shared_slots(num_slots: int) -> Iterator[tuple[list[Slot], Mapping[str, str]]]:
    """The slots of this job, and what their environments have beside their own; MPS, if shared."""
    gpus = visible_gpus(installed_uuids(), os.environ)
    slots = job_slots(gpus, num_slots, os.environ)
    if len(slots) <= len(gpus) or not gpus:
        yield slots, {}
        return
    with running_mps([gpu.uuid for gpu in gpus]) as env:
        yield slots, env


def job_slots(gpus: Sequence[Gpu], num_slots: int, environment: Mapping[str, str]) -> list[Slot]:
    """What a job has, shared between its processes; their names tell the node."""
    # Each GPU gets its first process before one gets its second.
    per_gpu = -(-num_slots // len(gpus)) if gpus else 1
    slots = make_slots(gpus, num_slots, per_gpu, _num_cores(environment), environment)
    base = slot_base(environment)
    names = [base if num_slots == 1 else f"{base}-{slot.name}" for slot in slots]
    return [
        replace(slot, name=name, env={**slot.env, SLOT_VARIABLE: name})
        for slot, name in zip(slots, names, strict=True)
    ]


def slot_base(environment: Mapping[str, str]) -> str:
    """Names a job's share of its node: by its GPUs, or by its place in the array."""
    node = environment.get("SLURMD_NODENAME") or socket.gethostname().partition(".")[0]
    # As the node counts them, so that a broken GPU has the same name in whichever job.
    gpus = environment.get("SLURM_JOB_GPUS", "").replace(",", "+")
    share = f"gpu{gpus}" if gpus else f"task{environment.get('SLURM_ARRAY_TASK_ID', 0)}"
    return f"{node}-{share}"


def _num_cores(environment: Mapping[str, str]) -> int:
    """Cores of this job; not all sites keep a job from using others."""
    told = environment.get("SLURM_CPUS_ON_NODE", "")
    return min(int(told), count_cores()) if told.isdecimal() else count_cores()
