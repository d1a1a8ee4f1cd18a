"""Means over repeats: of each trial its runs, their mean and how far seeds can carry it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import Axis, Figure, LegendEntry, NoFigure, Panel, Points
from resnet_sweep.report.plots.parts import figure_of_parts, parts_of
from resnet_sweep.report.plots.trials import Trial, means_of, trials_of
from resnet_sweep.report.plots.values import (
    floats,
    lane_text,
    names_of,
    objective_names,
    objective_title,
    plain,
    settings_of,
)
from resnet_sweep.report.text import number

MOST_TRIALS = 30
_LANE_PX = 32


def means(runs: pd.DataFrame) -> Figure | NoFigure:
    """A row a trial, the best first; a panel an objective. Nothing without repeats.

    Args:
        runs: A row a run.
    """
    return figure_of_parts(parts_of(runs), _computed)


def _computed(runs: pd.DataFrame) -> Figure | NoFigure:
    trials = [trial for trial in trials_of(runs) if trial.num_runs > 1]
    if not trials:
        return NoFigure()
    shown = trials[:MOST_TRIALS]
    found = means_of(runs, shown)
    objectives = objective_names(runs)
    panels = tuple(
        _panel(runs, shown, found, name, name if len(objectives) > 1 else "") for name in objectives
    )
    legend = (
        LegendEntry("mean and 95% t interval", palette.BLUE, "diamond"),
        LegendEntry("a run", palette.SKY, "ring"),
    )
    more = f"The {len(shown)} best of {len(trials)} trials. " if len(trials) > len(shown) else ""
    caption = f"{more}The interval is that of the mean over seeds"
    has_few = any(len(trial.rows) == 2 for trial in shown)
    caption += "; two seeds tell little about it." if has_few else "."
    if not all(trial.is_whole for trial in shown):
        caption += " Trials with a run that has no objective come last."
    return Figure(panels, legend, caption, choice_name="objective")


def _panel(
    runs: pd.DataFrame, trials: list[Trial], found: list[dict[str, Any]], name: str, choice: str
) -> Panel:
    rows = [trial.rows[0] for trial in trials]
    heights = [float(len(trials) - 1 - i) for i in range(len(trials))]
    names, settings = names_of(runs, by_trial=True), settings_of(runs, rows)
    title = objective_title(runs, name)
    ticks = tuple(
        (y, lane_text(trial.named(names[trial.rows[0]]), settings[trial.rows[0]]))
        for y, trial in zip(heights, trials, strict=True)
    )
    return Panel(
        x=Axis(title),
        y=Axis(ticks=ticks, limits=(-0.7, len(trials) - 0.3), has_grid=False),
        marks=(
            _means(found, heights, [f"{names[row]}\nmean {title}" for row in rows], name),
            _runs(runs, trials, heights, name),
        ),
        height_px=80 + _LANE_PX * len(trials),
        choice=choice,
    )


def _means(
    found: list[dict[str, Any]], heights: list[float], titles: list[str], name: str
) -> Points:
    value, low, high = (
        [float(one[f"{name}_{part}"]) for one in found] for part in ("mean", "low", "high")
    )
    labels = [
        f"{title} {number(mean)}" + (f" ({number(a)} to {number(b)})" if math.isfinite(a) else "")
        for title, mean, a, b in zip(titles, value, low, high, strict=True)
    ]
    return Points(
        x=plain(value),
        y=tuple(heights),
        colour=palette.BLUE,
        labels=tuple(labels),
        symbol="diamond",
        size=9,
        intervals=tuple(zip(plain(low), plain(high), strict=True)),
    )


def _runs(runs: pd.DataFrame, trials: list[Trial], heights: list[float], name: str) -> Points:
    placed = [(row, y) for trial, y in zip(trials, heights, strict=True) for row in trial.rows]
    values, names = floats(runs, name), names_of(runs)
    title = objective_title(runs, name)
    return Points(
        x=plain(values[row] for row, _ in placed),
        y=tuple(y for _, y in placed),
        colour=palette.SKY,
        labels=tuple(f"{names[row]}\n{title} {number(values[row])}" for row, _ in placed),
        keys=tuple(row for row, _ in placed),
        symbol="ring",
        size=8,
    )
