"""What the processes of benchmarks.claims do: take trials of one study and end them."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.queue import Budget, Queue
from resnet_sweep.study.storage import claim_lock, close_storage, open_storage

STUDY = "claims"
TICKET = "ticket"
SESSION = "benchmark"
# Optuna imports what it needs of databases when the first is opened: once, before the forks.
RDBStorage("sqlite://").engine.dispose()
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Case:
    """One study and those who work on it.

    Attributes:
        storage: journal, sqlite or postgresql.
        url: Of the database; None for a journal.
        folder: Of the study.
        num_workers: Processes.
        num_tickets: Trials that are to be run, once each.
        limit_s: Nobody claims after so many seconds.
    """

    storage: str
    url: str | None
    folder: Path
    num_workers: int
    num_tickets: int
    limit_s: float


@dataclass
class Claimed:
    """What one process has claimed.

    Attributes:
        began_s: When it asked first, on the machine's clock.
        tickets: None for a trial that nobody has planned.
        took_s: From the question for a trial until it was there, one for each ticket.
        ended_s: When its last trial had ended.
        error: What ended the process before its time.
    """

    began_s: float
    tickets: list[int | None] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    ended_s: float = 0.0
    error: str = ""


def run_ours(case: Case) -> list[Claimed]:
    """Our queue, as a worker of a sweep uses it."""
    storage = open_storage(case.url, StudyFolder(case.folder))
    optuna.create_study(study_name=STUDY, storage=storage)
    close_storage(storage)
    return _in_processes(case, _work_ours)


def run_optuna(case: Case) -> list[Claimed]:
    """Optuna's own queue: enqueue_trial and ask, on a storage as its documentation opens it."""
    storage = _open_stock(case)
    study = optuna.create_study(study_name=STUDY, storage=storage)
    for ticket in range(case.num_tickets):
        study.enqueue_trial({"x": ticket / case.num_tickets}, user_attrs={TICKET: ticket})
    close_storage(storage)
    return _in_processes(case, _work_optuna)


def _work_ours(case: Case, worker: int, start: Callable[[], float]) -> Claimed:
    files = StudyFolder(case.folder)
    storage = open_storage(case.url, files)
    study = optuna.load_study(study_name=STUDY, storage=storage, sampler=_sampler(worker))
    planned = tuple({"x": ticket / case.num_tickets} for ticket in range(case.num_tickets))
    budget = Budget(planned, case.num_tickets, num_workers=case.num_workers)
    queue = Queue(study, budget, files, claim_lock(storage, case.url, files, STUDY))
    name = f"{SESSION}-{worker}"

    def take() -> tuple[optuna.Trial, int] | None:
        claim = queue.claim(name, str(worker))
        return None if claim is None else (claim.trial, claim.ticket)

    with FileLock(files.worker_lock(name)), _closing(storage):
        return _work(study, take, start, case.limit_s)


def _work_optuna(case: Case, worker: int, start: Callable[[], float]) -> Claimed:
    storage = _open_stock(case)
    study = optuna.load_study(study_name=STUDY, storage=storage, sampler=_sampler(worker))

    def take() -> tuple[optuna.Trial, int | None] | None:
        # Without a look first each process would make one trial more than was planned.
        if not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return None
        trial = study.ask()
        return trial, trial.user_attrs.get(TICKET)

    with _closing(storage):
        return _work(study, take, start, case.limit_s)


def _work(
    study: optuna.Study,
    take: Callable[[], tuple[optuna.Trial, int | None] | None],
    start: Callable[[], float],
    limit_s: float,
) -> Claimed:
    """Takes trials and ends them at once, until there are none or the time is up."""
    done = Claimed(start())
    try:
        while (asked_s := time.monotonic()) < done.began_s + limit_s:
            taken = take()
            if taken is None:
                break
            trial, ticket = taken
            done.took_s.append(time.monotonic() - asked_s)
            done.tickets.append(ticket)
            study.tell(trial.number, trial.suggest_float("x", 0, 1))
            done.ended_s = time.monotonic()
    except Exception as error:
        # What would have ended the worker of a sweep is counted, whatever it is.
        done.error = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return done


def _sampler(worker: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=worker)


def _open_stock(case: Case) -> BaseStorage:
    if case.url is None:
        return JournalStorage(JournalFileBackend(str(StudyFolder(case.folder).journal)))
    return RDBStorage(case.url)


@contextmanager
def _closing(storage: BaseStorage) -> Iterator[None]:
    try:
        yield
    finally:
        close_storage(storage)


_together: threading.Barrier | None = None


def _set_together(barrier: threading.Barrier) -> None:
    global _together
    _together = barrier


class _Start:
    """Called when a process has opened the study: waits for all, and returns the time."""

    def __init__(self) -> None:
        self.is_over = False

    def __call__(self) -> float:
        assert _together is not None
        self.is_over = True
        _together.wait()
        return time.monotonic()


def _call(work: Callable[..., Claimed], case: Case, worker: int) -> Claimed:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    start = _Start()
    try:
        return work(case, worker, start)
    except Exception as error:
        # It could not even open the study, and the others wait for it.
        began_s = time.monotonic() if start.is_over else start()
        return Claimed(began_s, error=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _in_processes(case: Case, work: Callable[..., Claimed]) -> list[Claimed]:
    barrier: Any = _PROCESSES.Barrier(case.num_workers)
    with ProcessPoolExecutor(
        case.num_workers, _PROCESSES, initializer=_set_together, initargs=(barrier,)
    ) as pool:
        futures = [pool.submit(_call, work, case, worker) for worker in range(case.num_workers)]
        return [future.result() for future in futures]
