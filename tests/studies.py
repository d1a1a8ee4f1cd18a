"""Studies as a sweep leaves them, made with Optuna directly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.storage import close_storage, open_storage

START = datetime(2026, 11, 24, 7, 0, 0)


class StudyOnDisk:
    """A folder with a study that can be written into.

    Args:
        path: The sweep's folder.
        planned: Values of the planned tickets.
        n_trials: Tickets in all; None for the planned ones.
        directions: Of the objectives.
        storage: As hydra.sweeper.storage.
        name: The study's.
        attrs: More of the study's own attributes.
    """

    def __init__(
        self,
        path: Path,
        planned: Sequence[Mapping[str, Any]] = (),
        n_trials: int | None = None,
        directions: Sequence[str] = ("maximize",),
        storage: str | None = None,
        name: str = "lr_trials",
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.folder = StudyFolder(path)
        path.mkdir(parents=True, exist_ok=True)
        hydra = {"sweeper": {"study_name": name, "storage": storage}}
        OmegaConf.save(OmegaConf.create({"hydra": hydra}), self.folder.multirun_yaml)
        self.storage = open_storage(storage, self.folder)
        self.study = optuna.create_study(
            storage=self.storage, study_name=name, directions=list(directions)
        )
        plan = {"tickets": [dict(values) for values in planned], "n_trials": n_trials}
        for key, value in {"plan": plan, **(attrs or {})}.items():
            self.study.set_user_attr(key, value)
        self.locks: list[FileLock] = []

    def begin(
        self,
        ticket: int,
        params: Mapping[str, Any],
        *,
        attempt: int = 0,
        worker: str | None = "s-0",
        slot: str = "cpu0",
        started_s: float = 0.0,
        state: TrialState = TrialState.RUNNING,
        **attrs: Any,
    ) -> int:
        """Starts a trial so many seconds after START; returns its number."""
        number = len(self.study.get_trials(deepcopy=False))
        facts = {"ticket": ticket, "attempt": attempt, "slot": slot, "folder": f"trials/{number}"}
        trial = create_trial(
            state=state,
            params=dict(params),
            distributions={key: _distribution(value) for key, value in params.items()},
            user_attrs=facts | ({} if worker is None else {"worker": worker}) | attrs,
        )
        trial.datetime_start = START + timedelta(seconds=started_s)
        if state == TrialState.WAITING:
            trial.datetime_start = None
        self.storage.create_new_trial(self.study._study_id, trial)
        return number

    def report(self, number: int, **values: float) -> None:
        """Reports values by step: ``step1=0.5``."""
        for step, value in values.items():
            trial_id = self._trial(number)._trial_id
            self.storage.set_trial_intermediate_value(trial_id, int(step[4:]), value)

    def end(
        self,
        number: int,
        state: str = "COMPLETE",
        values: float | Sequence[float] = (),
        **attrs: Any,
    ) -> int:
        """Ends a trial; its end is now, its seconds are an attribute."""
        trial_id = self._trial(number)._trial_id
        for key, value in attrs.items():
            self.storage.set_trial_user_attr(trial_id, key, value)
        found = [values] if isinstance(values, int | float) else list(values)
        self.storage.set_trial_state_values(trial_id, TrialState[state], found or None)
        return number

    def add(
        self,
        ticket: int,
        params: Mapping[str, Any],
        state: str = "COMPLETE",
        values: float | Sequence[float] = (),
        *,
        seconds: float = 10.0,
        **more: Any,
    ) -> int:
        """A trial that has ended."""
        begin = ("attempt", "worker", "slot", "started_s")
        number = self.begin(ticket, params, **{key: more.pop(key) for key in begin if key in more})
        return self.end(number, state, values, seconds=seconds, **more)

    def worker_lives(self, worker: str = "s-0") -> FileLock:
        """Holds the lock of a worker until ``close`` or until it is released."""
        return self._hold(self.folder.worker_lock(worker))

    def sweep_lives(self) -> FileLock:
        """Holds the lock of a sweep at work."""
        return self._hold(self.folder.session("s"))

    def close(self) -> None:
        """Everybody dies, and the storage is closed."""
        for lock in self.locks:
            lock.release()
        close_storage(self.storage)

    def _hold(self, path: Path) -> FileLock:
        lock = FileLock(path)
        assert lock.try_acquire()
        self.locks.append(lock)
        return lock

    def _trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]


def _distribution(value: Any) -> BaseDistribution:
    if isinstance(value, float):
        return FloatDistribution(min(value, 0.0), max(value, 1.0))
    return CategoricalDistribution([value])


# What a value may hold that a table, a line or a terminal could trip over.
HOSTILE = (
    "a,b",
    'say "x"',
    "two\nlines",
    "\x1b[31mred",
    "[bold]markup[/]",
    "名前",
    "é" * 200,
    "",
    "nan",
    "null",
)


def study_of_every_kind(path: Path) -> StudyOnDisk:
    """Six planned tickets and four to be drawn, in every state there is."""
    planned = [{"lr": 0.1 / 10**i, "model": model} for i in range(3) for model in ("res", "plain")]
    made = StudyOnDisk(path, planned, n_trials=10)
    made.worker_lives("s-0")
    made.worker_lives("s-1")
    made.sweep_lives()
    made.add(0, planned[0], "COMPLETE", 0.5, seconds=20.0, best_epoch=3)
    made.add(1, planned[1], "PRUNED", 0.2, seconds=10.0)
    made.add(2, planned[2], "FAIL", failure="non_finite", error="NonFinite: the loss is nan")
    first = made.add(3, planned[3], "FAIL", failure="lost", error="lost: its worker is gone")
    again = made.begin(3, planned[3], attempt=1, worker="s-1", slot="gpu1", retry_of=first)
    made.report(again, step1=0.3, step2=0.6)
    made.add(4, planned[4], "FAIL", failure="interrupted", error="interrupted: stopped")
    made.begin(6, {"lr": 0.25, "model": "res"}, worker="dead-0", started_s=5.0)
    made.add(7, {"lr": 0.1, "model": "res"}, values=0.5, seconds=0.0, duplicate_of=0)
    return made
