"""The table of means over repeats, as texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from resnet_sweep.report.plots.means import MOST_TRIALS
from resnet_sweep.report.plots.parts import parts_of
from resnet_sweep.report.plots.trials import Trial, means_of, trials_of
from resnet_sweep.report.plots.values import (
    names_of,
    objective_names,
    objective_title,
    settings_of,
)
from resnet_sweep.report.text import number


@dataclass(frozen=True)
class MeansRow:
    """A trial of several runs.

    Attributes:
        name: With the study where there are several.
        num_runs: ``3``, or ``2 of 3`` where a run has no objective.
        cells: Title and text of each number.
    """

    name: str
    setting: str
    num_runs: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MeansTable:
    """Trials that can be compared, best first.

    Attributes:
        study: Where studies cannot be compared; else empty.
    """

    study: str
    rows: tuple[MeansRow, ...]


def means_tables(runs: pd.DataFrame) -> list[MeansTable]:
    """A table; of studies that cannot be compared one each. None without repeats.

    Args:
        runs: A row a run.
    """
    tables = []
    for part in parts_of(runs):
        trials = [trial for trial in trials_of(part.table) if trial.num_runs > 1]
        if trials:
            rows = _rows(part.table, trials[:MOST_TRIALS])
            tables.append(MeansTable(part.name, tuple(rows)))
    return tables


def _rows(runs: pd.DataFrame, trials: Sequence[Trial]) -> list[MeansRow]:
    names = names_of(runs, by_trial=True)
    settings = settings_of(runs, [trial.rows[0] for trial in trials])
    return [
        MeansRow(
            names[trial.rows[0]],
            settings[trial.rows[0]],
            f"{len(trial.rows)}" + ("" if trial.is_whole else f" of {trial.num_runs}"),
            tuple(_cells(runs, mean)),
        )
        for trial, mean in zip(trials, means_of(runs, trials), strict=True)
    ]


def _cells(runs: pd.DataFrame, mean: dict[str, Any]) -> list[tuple[str, str]]:
    cells = []
    for name in objective_names(runs):
        title = objective_title(runs, name)
        worst, best = mean[f"{name}_worst"], mean[f"{name}_best"]
        cells.append((f"mean {title}", _with_interval(mean, name)))
        cells.append(("worst to best", f"{number(worst)} to {number(best)}"))
    for name, title in (
        ("last_val_accuracy", "mean last accuracy"),
        ("test_accuracy", "mean test accuracy"),
    ):
        if f"{name}_mean" in mean:
            cells.append((title, _with_interval(mean, name)))
    share = mean.get("share_learned", math.nan)
    if math.isfinite(share):
        cells.append(("learned", f"{share:.0%}"))
    return cells


def _with_interval(mean: dict[str, Any], name: str) -> str:
    value, low, high = (float(mean[f"{name}_{part}"]) for part in ("mean", "low", "high"))
    if not math.isfinite(value):
        return "-"
    ends = f" ({number(low)} to {number(high)})" if math.isfinite(low) else ""
    return f"{number(value)}{ends}"
