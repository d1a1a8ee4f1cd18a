"""The same trials as ``sweep_app.py`` without Hydra: Optuna's own loop.

python -m benchmarks.optuna_app memory|journal SAMPLER N_TRIALS
"""

from __future__ import annotations

import sys
import time

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.records import note


def objective(trial: optuna.Trial) -> float:
    """Four parameters, and nothing to do with them."""
    begin_s = time.monotonic()
    value = sum(trial.suggest_float(name, 0.0, 1.0) ** 2 for name in "abcd")
    note(trial.number, begin_s)
    return value


def main(kind: str, sampler: str, num_trials: int) -> None:
    """Runs a study; the journal is a file in the current folder."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage: BaseStorage = InMemoryStorage()
    if kind == "journal":
        storage = JournalStorage(JournalFileBackend("study.journal"))
    made = {
        "random": optuna.samplers.RandomSampler(seed=1),
        # As hydra-optuna-sweeper's group has it.
        "tpe": optuna.samplers.TPESampler(seed=1, multivariate=False, constant_liar=False),
    }[sampler]
    study = optuna.create_study(storage=storage, sampler=made)
    study.optimize(objective, n_trials=num_trials)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
