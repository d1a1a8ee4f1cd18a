"""Runs by their trial: with several seeds it is the mean that says which trial is the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.aggregate import aggregate
from resnet_sweep.report.plots.parts import parts_of
from resnet_sweep.report.plots.values import floats, maximizes, objective_names, texts

COMPLETE = ("COMPLETE",)


@dataclass(frozen=True)
class Trial:
    """A trial with at least one run that has an objective.

    Attributes:
        rows: Positions of these runs, best first.
        mean: Of their first objective.
        num_runs: Its runs, also those that have failed or are not over.
    """

    rows: tuple[int, ...]
    mean: float
    num_runs: int

    def named(self, name: str) -> str:
        """Its name, with how many of its runs it stands for where that is not all."""
        return name if self.is_whole else f"{name} ({len(self.rows)} of {self.num_runs} runs)"

    @property
    def is_whole(self) -> bool:
        """Whether all its runs have an objective."""
        return len(self.rows) == self.num_runs


def trials_of(runs: pd.DataFrame, states: Sequence[str] = COMPLETE) -> list[Trial]:
    """The trials, best mean first; behind them those of which a run has no objective.

    Args:
        runs: A row a run, of one objective.
        states: Runs in others count as without an objective.
    """
    if runs.empty:
        return []
    values = floats(runs, objective_names(runs)[0])
    usable = np.isin(np.array(texts(runs, "state")), states) & np.isfinite(values)
    sign = -1.0 if maximizes(runs)[0] else 1.0
    trials = []
    for rows in _grouped(runs):
        known = [i for i in rows if usable[i]]
        if known:
            known.sort(key=lambda i: sign * values[i])
            # The sum of large values may not be finite.
            mean = float(values[known[0]]) if len(known) == 1 else _mean(values[known])
            trials.append(Trial(tuple(known), mean, len(rows)))
    return sorted(trials, key=lambda trial: (not trial.is_whole, sign * trial.mean))


def _mean(values: np.ndarray) -> float:
    return float(np.sum(values / len(values)))


def _grouped(runs: pd.DataFrame) -> list[list[int]]:
    """Positions of the runs of each trial; what is no trial's stands alone."""
    groups: dict[tuple[str, str] | int, list[int]] = {}
    keys = zip(texts(runs, "study"), texts(runs, "ticket"), strict=True)
    for i, (study, ticket) in enumerate(keys):
        groups.setdefault((study, ticket) if ticket else i, []).append(i)
    return list(groups.values())


def has_repeats(runs: pd.DataFrame) -> bool:
    """Whether any trial has several runs."""
    return any(len(rows) > 1 for rows in _grouped(runs))


def best_order(runs: pd.DataFrame, states: Sequence[str] = COMPLETE) -> list[int]:
    """Positions of runs with a finite first objective: those of the best trial first.

    Of studies that cannot be compared the best of each come first, then the second ones.

    Args:
        runs: A row a run.
        states: Of the runs.
    """
    orders = [
        [int(part.rows[i]) for trial in trials_of(part.table, states) for i in trial.rows]
        for part in parts_of(runs)
    ]
    return [i for ranks in zip_longest(*orders) for i in ranks if i is not None]


def best_rows(runs: pd.DataFrame) -> set[int]:
    """Positions of the runs of the best trial; of studies that cannot be compared, of each."""
    parts = [(part, trials_of(part.table)) for part in parts_of(runs)]
    return {int(part.rows[i]) for part, trials in parts if trials for i in trials[0].rows}


def means_of(runs: pd.DataFrame, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """For each trial of several runs its means, as ``aggregate`` gives them; {} of single runs.

    Args:
        runs: A row a run.
        trials: Of the runs.
    """
    studies, tickets = texts(runs, "study"), texts(runs, "ticket")
    keys = [(studies[trial.rows[0]], tickets[trial.rows[0]]) for trial in trials]
    several = {key for key, trial in zip(keys, trials, strict=True) if trial.num_runs > 1}
    if not several:
        return [{} for _ in trials]
    is_in = [key in several for key in zip(studies, tickets, strict=True)]
    found = aggregate(runs[is_in], ["study", "ticket"])
    rows = zip(texts(found, "study"), texts(found, "ticket"), strict=True)
    records = [
        {str(name): value for name, value in row.items()} for row in found.to_dict("records")
    ]
    by_key = dict(zip(rows, records, strict=True))
    return [by_key[key] if key in several else {} for key in keys]


@dataclass(frozen=True)
class Estimate:
    """An accuracy with its interval: of one run Wilson's, of several Student's over seeds."""

    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def estimates_of(
    runs: pd.DataFrame, trials: Sequence[Trial], means: Sequence[dict[str, Any]], name: str
) -> list[Estimate]:
    """One number of each trial.

    Args:
        runs: A row a run.
        trials: Of the runs.
        means: Of the trials.
        name: Of the number's column.
    """
    single = [floats(runs, f"{name}{end}") for end in ("", "_low", "_high")]
    found = []
    for trial, mean in zip(trials, means, strict=True):
        if mean:
            ends = [float(mean.get(f"{name}_{end}", math.nan)) for end in ("mean", "low", "high")]
        else:
            ends = [float(column[trial.rows[0]]) for column in single]
        found.append(Estimate(*ends))
    return found


def why_no_interval(runs: pd.DataFrame, trial: Trial, name: str) -> str:
    """In words why the mean of a trial's runs carries no interval.

    Args:
        runs: A row a run.
        trial: Of the runs.
        name: Of the number's column.
    """
    values = floats(runs, name)[list(trial.rows)]
    values = values[np.isfinite(values)]
    if values.size < 2:
        return "no interval: one run only"
    return f"no interval{': all seeds the same' if np.ptp(values) == 0 else ''}"
