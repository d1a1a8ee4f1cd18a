"""What worker processes do in the tests of a study, and how they are started."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

import benchmarks.claiming
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.storage import claim_lock, close_storage, open_storage

# Forked from one process that has imported Optuna: eight imports at once take seconds. There is
# one for all tests, so it has what the benchmark's processes need, too: it has opened a database.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([benchmarks.claiming.__name__, __name__])

STUDY = "a study"


_together: Any = None


def _set_together(barrier: Any) -> None:
    global _together
    _together = barrier


def _start_together(function: Callable[..., Any], worker: int, *arguments: Any) -> Any:
    _together.wait()
    return function(worker, *arguments)


def in_processes(num: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Runs ``function(worker, *arguments)`` in ``num`` processes at once; their results."""
    with ProcessPoolExecutor(
        num, PROCESSES, initializer=_set_together, initargs=(PROCESSES.Barrier(num),)
    ) as pool:
        futures = [
            pool.submit(_start_together, function, worker, *arguments) for worker in range(num)
        ]
        return [future.result() for future in futures]


def in_threads(num: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """As in_processes, in this process: for a storage that others cannot see."""
    with ThreadPoolExecutor(num) as pool:
        futures = [pool.submit(function, worker, *arguments) for worker in range(num)]
        return [future.result() for future in futures]


def claim_all(worker: int, url: str | None, folder: Path, budget: int) -> list[tuple[int, int]]:
    """Claims tickets until there are none; (number, ticket) of each."""
    storage = open_storage(url, StudyFolder(folder))
    lock = claim_lock(storage, url, StudyFolder(folder), STUDY)
    sampler = optuna.samplers.RandomSampler(seed=worker)
    study = optuna.load_study(study_name=STUDY, storage=storage, sampler=sampler)
    claimed = []
    while True:
        with lock:
            trials = study.get_trials(deepcopy=False)
            waiting = any(trial.state == TrialState.WAITING for trial in trials)
            if len(trials) >= budget and not waiting:
                break
            trial = study.ask()
            if "ticket" not in trial.user_attrs:
                trial.set_user_attr("ticket", trial.number)
        claimed.append((trial.number, trial.user_attrs["ticket"]))
        study.tell(trial, trial.suggest_float("x", 0, 1))
    close_storage(storage)
    return claimed


def open_and_create(worker: int, url: str | None, folder: Path) -> list[str]:
    """Opens a storage that nobody has opened before and makes a study in it."""
    storage = open_storage(url, StudyFolder(folder))
    optuna.create_study(study_name=STUDY, storage=storage, load_if_exists=True)
    names = [summary.study_name for summary in optuna.get_all_study_summaries(storage)]
    close_storage(storage)
    return names


def search(worker: int, url: str | None, folder: Path, num_trials: int) -> int:
    """Runs trials of a few epochs with TPE and successive halving; how many were pruned."""
    storage = open_storage(url, StudyFolder(folder))
    study = optuna.load_study(
        study_name=STUDY,
        storage=storage,
        sampler=optuna.samplers.TPESampler(seed=worker, n_startup_trials=4),
        pruner=optuna.pruners.SuccessiveHalvingPruner(),
    )
    num_pruned = 0
    for _ in range(num_trials):
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        state = TrialState.COMPLETE
        for step in range(1, 5):
            trial.report(value, step)
            if trial.should_prune():
                state, num_pruned = TrialState.PRUNED, num_pruned + 1
                break
        study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
    close_storage(storage)
    return num_pruned


def read_back(worker: int, url: str | None, folder: Path) -> dict[str, Any]:
    """What another process sees of the study's first trial."""
    storage = open_storage(url, StudyFolder(folder))
    study = optuna.load_study(study_name=STUDY, storage=storage)
    trial = study.get_trials()[0]
    close_storage(storage)
    return {
        "plan": study.user_attrs["plan"],
        "attrs": trial.user_attrs,
        "params": trial.params,
        "value": trial.value,
        "steps": trial.intermediate_values,
        "direction": study.direction.name,
    }


def die_holding_claim(worker: int, url: str | None, folder: Path) -> None:
    """Takes the claim lock and is killed with it."""
    storage = open_storage(url, StudyFolder(folder))
    claim_lock(storage, url, StudyFolder(folder), STUDY).__enter__()
    os.kill(os.getpid(), signal.SIGKILL)


def write_until_killed(worker: int, url: str | None, folder: Path, done: Path) -> None:
    """Sets an attribute to ever greater numbers, and notes each that the storage has taken."""
    storage = open_storage(url, StudyFolder(folder))
    study = optuna.load_study(study_name=STUDY, storage=storage)
    number = study.user_attrs.get("number", 0)
    while True:
        number += 1
        study.set_user_attr("number", number)
        done.write_text(str(number))
