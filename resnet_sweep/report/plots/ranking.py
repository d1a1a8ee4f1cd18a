"""How sure the best runs are: accuracies with their intervals, and the optimistic objective."""

from __future__ import annotations

import math

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
)
from resnet_sweep.report.plots.values import (
    best_order,
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
_LANE_PX = 30


def chance_of(runs: pd.DataFrame) -> float:
    """The chance level that all runs share; NaN where it is unknown or differs."""
    chances = np.unique(floats(runs, "chance_accuracy"))
    chances = chances[np.isfinite(chances)]
    return float(chances[0]) if chances.size == 1 else math.nan


def ranking(runs: pd.DataFrame) -> Figure | NoFigure:
    """The best runs one below the other, each with its intervals.

    Args:
        runs: A row a run.
    """
    order = best_order(runs)[:_MOST]
    low = floats(runs, "last_val_accuracy_low")
    test = floats(runs, "test_accuracy_low")
    if len(objective_names(runs)) != 1 or not order:
        return NoFigure()
    if not (np.isfinite(low[order]).any() or np.isfinite(test[order]).any()):
        return NoFigure()
    y = [float(len(order) - 1 - i) for i in range(len(order))]
    marks: list[Mark] = []
    legend: list[LegendEntry] = []
    best = objective_title(runs, "objective")
    if set(texts(runs, "metric")) & {"best_val_accuracy"}:
        marks.append(_points(runs, order, y, "objective", palette.FAINT, "diamond"))
        legend.append(LegendEntry(f"{best}: optimistic", palette.FAINT, "diamond"))
    for name, colour, lift, title in (
        ("last_val_accuracy", palette.BLUE, 0.0, "last epoch, 95% interval"),
        ("test_accuracy", palette.GREEN, -0.26, "test split, 95% interval"),
    ):
        if np.isfinite(floats(runs, name)[order]).any():
            marks.append(_points(runs, order, [value + lift for value in y], name, colour, "dot"))
            legend.append(LegendEntry(title, colour))
    chance = chance_of(runs)
    rules = (Rule(chance, "chance", "x"),) if math.isfinite(chance) else ()
    panel = Panel(
        x=Axis("accuracy"),
        y=Axis(ticks=_lanes(runs, order, y), limits=(-0.7, len(order) - 0.3), has_grid=False),
        marks=tuple(marks),
        rules=rules,
        height_px=70 + _LANE_PX * len(order),
    )
    return Figure((panel,), tuple(legend), _caption(len(order), len(best_order(runs))))


def _caption(num_shown: int, num_all: int) -> str:
    shown = f"The {num_shown} best of {num_all} completed runs. " if num_all > num_shown else ""
    return (
        f"{shown}An interval holds the true accuracy in 95 of 100 cases; a run whose last epoch's "
        "interval lies above chance has learned."
    )


def _lanes(runs: pd.DataFrame, order: list[int], y: list[float]) -> tuple[tuple[float, str], ...]:
    names, settings = names_of(runs), settings_of(runs, order)
    return tuple((at, lane_text(names[i], settings[i])) for at, i in zip(y, order, strict=True))


def _points(
    runs: pd.DataFrame, order: list[int], y: list[float], name: str, colour: str, symbol: str
) -> Points:
    values = floats(runs, name)[order]
    low, high = floats(runs, f"{name}_low")[order], floats(runs, f"{name}_high")[order]
    title = objective_title(runs, name) if name == "objective" else name
    names = names_of(runs)
    labels = [
        f"{names[i]}\n{title} {number(value)}"
        + (f" ({number(a)} to {number(b)})" if math.isfinite(a) else "")
        for i, value, a, b in zip(order, values, low, high, strict=True)
    ]
    has_intervals = bool(np.isfinite(low).any())
    return Points(
        x=plain(values),
        y=tuple(y),
        colour=colour,
        labels=tuple(labels),
        keys=tuple(order),
        symbol="diamond" if symbol == "diamond" else "dot",
        size=8,
        intervals=tuple(zip(plain(low), plain(high), strict=True)) if has_intervals else (),
    )
