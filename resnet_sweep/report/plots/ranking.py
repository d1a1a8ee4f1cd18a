"""How sure the best runs are: accuracies with their intervals, and the optimistic objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import (
    Axis,
    Figure,
    LegendEntry,
    Mark,
    NoFigure,
    Panel,
    Points,
    Rule,
    Symbol,
)
from resnet_sweep.report.plots.parts import figure_of_parts, parts_of
from resnet_sweep.report.plots.trials import Estimate, Trial, estimates_of, means_of, trials_of
from resnet_sweep.report.plots.values import (
    floats,
    lane_text,
    names_of,
    objective_names,
    objective_title,
    plain,
    settings_of,
    texts,
)
from resnet_sweep.report.text import number

_MOST = 20
# Room for the axis below and the name of a rule above, whatever lies between.
_LANE_PX, _FRAME_PX = 30, 96
_LAST, _TEST = "last_val_accuracy", "test_accuracy"


def chance_of(runs: pd.DataFrame) -> float:
    """The chance level that all runs share; NaN where it is unknown or differs."""
    chances = np.unique(floats(runs, "chance_accuracy"))
    chances = chances[np.isfinite(chances)]
    return float(chances[0]) if chances.size == 1 else math.nan


def ranking(runs: pd.DataFrame) -> Figure | NoFigure:
    """The best runs one below the other, each with its intervals; of repeats their means.

    Args:
        runs: A row a run.
    """
    return figure_of_parts(parts_of(runs), _computed)


def _computed(runs: pd.DataFrame) -> Figure | NoFigure:
    trials = trials_of(runs)
    shown = _Shown(runs, trials[:_MOST])
    if len(objective_names(runs)) != 1 or not (shown.is_known(_LAST) or shown.is_known(_TEST)):
        return NoFigure()
    marks: list[Mark] = []
    legend: list[LegendEntry] = []
    if set(texts(runs, "metric")) & {"best_val_accuracy"}:
        marks.append(shown.points("objective", palette.FAINT, "diamond"))
        best = objective_title(runs, "objective")
        legend.append(LegendEntry(f"{best}: optimistic", palette.FAINT, "diamond"))
    of = {
        "runs": "95% interval",
        "means": "mean over seeds",
        "both": "95% interval of a run, t interval of a mean over seeds",
    }[shown.kind]
    for name, colour, lift, title in (
        (_LAST, palette.BLUE, 0.0, f"last epoch, {of}"),
        (_TEST, palette.GREEN, -0.26, f"test split, {of}"),
    ):
        if shown.has(name):
            marks.append(shown.points(name, colour, "dot", lift))
            legend.append(LegendEntry(title, colour))
    chance = chance_of(runs)
    num = len(shown.trials)
    panel = Panel(
        x=Axis("accuracy"),
        y=Axis(ticks=shown.lanes(), limits=(-0.7, num - 0.3), has_grid=False),
        marks=tuple(marks),
        rules=(Rule(chance, "chance", "x"),) if math.isfinite(chance) else (),
        height_px=_FRAME_PX + _LANE_PX * num,
    )
    return Figure((panel,), tuple(legend), _caption(shown, len(trials)))


def _caption(shown: _Shown, num_all: int) -> str:
    num = len(shown.trials)
    what = "completed runs" if shown.kind == "runs" else "trials"
    sentences = [f"The {num} best of {num_all} {what}."] if num_all > num else []
    if shown.kind != "runs":
        sentences.append(
            "A trial of several seeds stands where their mean is, with its 95% t interval: it "
            "holds the mean over all seeds in 95 of 100 cases."
        )
    if shown.kind != "means":
        which = "A single run's" if shown.kind == "both" else "An"
        sentences.append(
            f"{which} interval holds the true accuracy in 95 of 100 cases; a run whose last "
            "epoch's interval lies above chance has learned."
        )
    return " ".join(sentences)


class _Shown:
    """The trials that are drawn, from top to bottom."""

    def __init__(self, runs: pd.DataFrame, trials: Sequence[Trial]) -> None:
        self.runs, self.trials = runs, trials
        self.means = means_of(runs, trials)
        kinds = {bool(mean) for mean in self.means}
        self.kind: Literal["runs", "means", "both"] = (
            "both" if len(kinds) > 1 else "means" if True in kinds else "runs"
        )
        self.rows = [trial.rows[0] for trial in trials]
        self.names = names_of(runs, by_trial=True)

    def _estimates(self, name: str) -> list[Estimate]:
        return estimates_of(self.runs, self.trials, self.means, name)

    def has(self, name: str) -> bool:
        """Whether any has a number."""
        return any(math.isfinite(one.value) for one in self._estimates(name))

    def is_known(self, name: str) -> bool:
        """Whether any has an interval; of means the number is enough."""
        found = zip(self._estimates(name), self.means, strict=True)
        return any(
            one.has_interval or (bool(mean) and math.isfinite(one.value)) for one, mean in found
        )

    def lanes(self) -> tuple[tuple[float, str], ...]:
        """Height and name of each."""
        settings = settings_of(self.runs, self.rows)
        told = [
            lane_text(trial.named(self.names[row]), settings[row])
            for trial, row in zip(self.trials, self.rows, strict=True)
        ]
        return tuple(zip(self._heights(), told, strict=True))

    def _heights(self) -> list[float]:
        return [float(len(self.rows) - 1 - i) for i in range(len(self.rows))]

    def points(self, name: str, colour: str, symbol: Symbol, lift: float = 0.0) -> Points:
        """A mark a trial; the objective carries no interval, for it is optimistic."""
        found = self._estimates(name)
        if name == "objective":
            found = [Estimate(trial.mean, math.nan, math.nan) for trial in self.trials]
        title = objective_title(self.runs, name) if name == "objective" else name
        labels = [
            f"{self.names[row]}\n{'mean ' if mean else ''}{title} {number(one.value)}"
            + (f" ({number(one.low)} to {number(one.high)})" if one.has_interval else "")
            for row, one, mean in zip(self.rows, found, self.means, strict=True)
        ]
        ends = (plain(one.low for one in found), plain(one.high for one in found))
        has_intervals = any(one.has_interval for one in found)
        return Points(
            x=plain(one.value for one in found),
            y=tuple(y + lift for y in self._heights()),
            colour=colour,
            labels=tuple(labels),
            keys=tuple(self.rows),
            symbol=symbol,
            size=8,
            intervals=tuple(zip(*ends, strict=True)) if has_intervals else (),
        )
