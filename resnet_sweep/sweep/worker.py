"""A worker: takes one trial after another from a study until nothing is left for it."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from resnet_sweep.faults import StorageError
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.sessions import is_current
from resnet_sweep.sweep.launcher_config import SLOT_VARIABLE
from resnet_sweep.sweep.plan import Plan
from resnet_sweep.sweep.stopping import StopFlag
from resnet_sweep.sweep.task import find_hook, task_factory

if TYPE_CHECKING:
    from resnet_sweep.study.queue import Budget, Queue
    from resnet_sweep.sweep.samplers import SamplerFactory
    from resnet_sweep.sweep.task import Task

log = logging.getLogger(__name__)

# How often a cluster has started this worker again, if it has.
LIFE_VARIABLE = "RESNET_SWEEP_LIFE"


@dataclass(frozen=True)
class Spec:
    """What all workers of a sweep are told. Nothing else passes between them but the study.

    Attributes:
        folder: The study's.
        storage: URL, or None for the journal in the folder.
        study_name: In the storage.
        session: The sweep's id; worker names begin with it.
        plan: Tickets and space.
        budget: Counts and rules.
        samplers: Makes the sampler of each trial.
        pruner: Configuration of the pruner.
        task: Dotted path of the Task, if the application has one.
        custom_search_space: Dotted path of a function that suggests more, if it has one.
        num_objectives: Numbers that a trial returns.
        repeats: Runs of a trial.
        seed_key: What repeats count up.
        reuse_duplicates: A configuration that has ended is not run again.
        timeout_s: A run may take so long; None as long as it likes.
        timeout_grace_s: So long it may take to end when its time is up.
        keep_checkpoints: So many of the best trials keep what is large; None all.
        in_this_process: The worker is the sweep's own process.
        takes_infinity: An infinite objective is a value like others.
    """

    folder: Path
    storage: str | None
    study_name: str
    session: str
    plan: Plan
    budget: Budget
    samplers: SamplerFactory
    pruner: Any
    task: str | None
    custom_search_space: str | None
    num_objectives: int
    repeats: int
    seed_key: str
    reuse_duplicates: bool
    timeout_s: float | None
    timeout_grace_s: float
    keep_checkpoints: int | None
    in_this_process: bool
    takes_infinity: bool


class Worker:
    """The task function that the launcher is given, once for each slot.

    It runs the trials with Hydra's run_job, so that each has Hydra's configuration, callbacks,
    logging and folder, as if the launcher had run it.
    """

    # The local launcher sends what its children print to files.
    quiet_workers = True

    def __init__(
        self, spec: Spec, context: HydraContext, function: TaskFunction, master: DictConfig
    ) -> None:
        """Keeps what is the same for all trials; everything is picklable.

        Args:
            spec: The sweep.
            context: With the application's callbacks, which are called for each trial.
            function: The application's own task function.
            master: The sweep's configuration.
        """
        self.spec = spec
        self.context = context
        self.master = master
        # Found here: in another process __main__ is another module.
        self.make_task = task_factory(spec.task, function)
        self.hook = find_hook(spec.custom_search_space)

    def __call__(self, cfg: DictConfig) -> int | StorageError:
        """Works until nothing is left; the launcher's job.

        Args:
            cfg: Composed for this worker; its values mean nothing.

        Returns:
            How many trials it has run; or why it cannot go on. That is told by the sweep, and
            not as a failure of the job by the launcher.

        Raises:
            Interrupted: A signal came.
        """
        try:
            return self.work(str(HydraConfig.get().job.num))
        except StorageError as error:
            log.error("%s", error)
            return error

    def progress(self, num: int) -> int:
        """Trials that a worker has begun or ended; called by the launcher.

        Args:
            num: The number of its job.
        """
        from resnet_sweep.study.events import num_events

        return num_events(StudyFolder(self.spec.folder), worker_name(self.spec.session, str(num)))

    def died(self, num: int, end: str) -> None:
        """Keeps how a worker's process has ended, for its trial; called by the launcher.

        Args:
            num: The number of its job.
            end: "killed by SIGKILL", for instance.
        """
        name = worker_name(self.spec.session, str(num))
        try:
            StudyFolder(self.spec.folder).worker_end(name).write_text(end)
        except OSError as error:
            log.warning("how worker %s has ended cannot be kept: %s", name, error)

    def work(self, index: str) -> int:
        """Takes and runs trials as the worker of that index; see ``__call__``."""
        name = worker_name(self.spec.session, index)
        folder = StudyFolder(self.spec.folder)
        slot = os.environ.get(SLOT_VARIABLE, index)
        worker_config = cast(DictConfig | None, HydraConfig.instance().cfg)
        with FileLock(folder.worker_lock(name)), StopFlag() as stop, _stopped_first(stop):
            job = _Loop(self, name, slot, folder, stop)
            try:
                with _spared_collector():
                    return job.run()
            finally:
                job.close()
                if worker_config is not None:
                    self._restore_logging(worker_config)

    def _restore_logging(self, config: DictConfig) -> None:
        key = "hydra_logging" if self.spec.in_this_process else "job_logging"
        configure_log(
            config.hydra[key],
            config.hydra.verbose,
            execution_whitelist=self.context.execution_whitelist,
        )


def worker_name(session: str, index: str) -> str:
    """The name of a worker of this process: of its session, its life and its number.

    The process of an earlier life may not be quite dead, on a node that nobody reaches.
    """
    life = os.environ.get(LIFE_VARIABLE)
    return f"{session}.{life}-{index}" if life else f"{session}-{index}"


class _Loop:
    """One life of a worker."""

    def __init__(
        self, worker: Worker, name: str, slot: str, folder: StudyFolder, stop: StopFlag
    ) -> None:
        from resnet_sweep.sweep.runner import Runner

        self.spec = worker.spec
        self.name, self.slot, self.folder, self.stop = name, slot, folder, stop
        self.task: Task = worker.make_task()
        self.queue = open_queue(self.spec)
        self.runner = Runner(worker, self.task, self.queue, folder, name, stop)

    def run(self) -> int:
        self.queue.reap_own(self.name)
        self.task.prepare()
        num_trials = 0
        while not self.stop.is_set and self._is_current():
            claim = self.queue.claim(self.name, self.slot)
            if claim is None:
                break
            num_trials += 1
            self.runner.run(claim)
        self._say_why()
        self.stop.raise_if_set()
        return num_trials

    def close(self) -> None:
        from resnet_sweep.study.storage import close_storage

        self.task.close()
        close_storage(self.queue.study._storage)

    def _is_current(self) -> bool:
        """Whether the sweep that this worker belongs to still wants trials to be run."""
        if is_current(self.folder, self.spec.session):
            return True
        # A sweep that begins ends the workers of those that are dead.
        log.warning("%s: its sweep is over; this worker ends", self.spec.study_name)
        return False

    def _say_why(self) -> None:
        if self.queue.refused_for is not None:
            text = "%s: the next trial would fail with it, too; this worker takes no more"
            log.error(text, self.queue.refused_for)
        if self.queue.is_closed(self.name, self.slot):
            log.error(
                "slot %s is closed: its last %d trials failed at once, while others work on",
                self.slot,
                self.spec.budget.close_slot_after,
            )


@contextmanager
def _stopped_first(stop: StopFlag) -> Iterator[None]:
    """Whoever was asked to stop, and could not tell the storage, was stopped all the same."""
    try:
        yield
    except StorageError:
        stop.raise_if_set()
        raise


@contextmanager
def _spared_collector() -> Iterator[None]:
    """Leaves out of Python's garbage collections what is there before the first trial.

    Modules outlive all trials, and with torch there are a million objects of them, which every
    full collection would look at again; configurations, full of cycles, cause many of these.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def open_queue(spec: Spec) -> Queue:
    """The study of a sweep, as a queue."""
    import optuna

    from resnet_sweep.study.queue import Queue
    from resnet_sweep.study.storage import claim_lock, open_storage
    from resnet_sweep.sweep.pruners import make_pruner

    folder = StudyFolder(spec.folder)
    storage = open_storage(spec.storage, folder, waits=True)
    study = optuna.load_study(
        study_name=spec.study_name, storage=storage, pruner=make_pruner(spec.pruner)
    )
    lock = claim_lock(storage, spec.storage, folder, spec.study_name)
    return Queue(study, spec.budget, folder, lock, spec.samplers.make)
