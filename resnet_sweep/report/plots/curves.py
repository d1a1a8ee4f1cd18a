"""Learning curves: a line a run, a panel a metric."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.categories import category_colours
from resnet_sweep.report.plots.figure import (
    Axis,
    Figure,
    LegendEntry,
    Line,
    NoFigure,
    Panel,
    Rule,
)
from resnet_sweep.report.plots.parts import parts_of
from resnet_sweep.report.plots.ranking import chance_of
from resnet_sweep.report.plots.trials import best_order, best_rows, has_repeats
from resnet_sweep.report.plots.values import (
    floats,
    plain,
    rows_of,
    titles_of,
    value_text,
)

_MOST_RUNS = 200
_MOST_EPOCHS = 250
_METRICS = ("val_accuracy", "train_accuracy", "val_loss", "train_loss", "lr")
_NOT_METRICS = frozenset(
    (
        *("study", "ticket", "number", "repeat", "attempt", "epoch", "folder", "reported"),
        *("seconds", "val_seconds", "images_per_s"),
    )
)


def curves(runs: pd.DataFrame, history: pd.DataFrame) -> Figure | NoFigure:
    """A panel a metric, in each the curves of the best runs and of those not yet complete.

    Args:
        runs: A row a run.
        history: A row a run and epoch.
    """
    names = [name for name in history if str(name) not in _NOT_METRICS]
    numbers = {str(name): floats(history, str(name)) for name in names}
    metrics = [name for name in numbers if np.isfinite(numbers[name]).any()]
    metrics.sort(key=lambda name: _METRICS.index(name) if name in _METRICS else len(_METRICS))
    shown, num_all = _shown(runs, history)
    if not metrics or not shown:
        return NoFigure("No learning curves: no run has kept a history of its epochs.")
    epochs, owners = floats(history, "epoch"), rows_of(history, runs)
    spans = {run: np.flatnonzero(owners == run) for run in shown}
    style = _Style(runs, shown)
    panels = []
    for metric in metrics:
        lines = tuple(
            style.line(run, epochs[spans[run]], numbers[metric][spans[run]])
            for run in reversed(shown)
        )
        panels.append(_panel(metric, lines, chance_of(runs)))
    caption = _caption(runs, len(shown), num_all, style.parameter)
    return Figure(tuple(panels), style.legend, caption, choice_name="metric")


def _caption(runs: pd.DataFrame, num_shown: int, num_all: int, parameter: str) -> str:
    sentences = [f"The {num_shown} best of {num_all} runs."] if num_all > num_shown else []
    sentences += [f"Coloured by {value_text(parameter)}."] if parameter else []
    of_each = " of each study" if len(parts_of(runs)) > 1 else ""
    sentences.append(
        f"The runs of the best trial{of_each} are drawn thicker."
        if has_repeats(runs)
        else f"The best run{of_each} is drawn thicker."
    )
    return " ".join(
        [*sentences, "Click a curve to find its row in the table, or a row to find its curve."]
    )


def _shown(runs: pd.DataFrame, history: pd.DataFrame) -> tuple[list[int], int]:
    """Runs with epochs, best first, and how many there are of them."""
    known = {int(run) for run in rows_of(history, runs) if run >= 0}
    ranked = [run for run in best_order(runs, ("COMPLETE", "PRUNED")) if run in known]
    ranked += [run for run in sorted(known) if run not in set(ranked)]
    return ranked[:_MOST_RUNS], len(ranked)


def _panel(metric: str, lines: tuple[Line, ...], chance: float) -> Panel:
    is_accuracy = metric.endswith("accuracy")
    rules = (Rule(chance, "chance"),) if is_accuracy and math.isfinite(chance) else ()
    scale = "log" if metric == "lr" and _all_positive(lines) else "linear"
    return Panel(
        x=Axis("epoch", has_grid=False, is_count=True),
        y=Axis(metric, scale="log" if scale == "log" else "linear"),
        marks=lines,
        rules=rules,
        height_px=420,
        choice=metric,
    )


def _all_positive(lines: tuple[Line, ...]) -> bool:
    return all(value is None or value > 0 for line in lines for value in line.y)


class _Style:
    """How each run's curve looks: by the first parameter with few values, the best on top."""

    def __init__(self, runs: pd.DataFrame, shown: list[int]) -> None:
        self.parameter, self.colours, colours = category_colours(runs, palette.CATEGORIES)
        self.titles = titles_of(runs, shown)
        self.best = best_rows(runs)
        self.opacity = 0.9 if len(shown) <= 12 else 0.55 if len(shown) <= 60 else 0.3
        if not self.parameter:
            self.colours = [palette.BLUE] * len(runs)
        self.legend = tuple(LegendEntry(name, colour, "line") for name, colour in colours.items())

    def line(self, run: int, epochs: np.ndarray, values: np.ndarray) -> Line:
        """One run's curve; a very long one keeps every n-th epoch."""
        order = np.argsort(epochs, kind="stable")
        step = max(1, math.ceil(len(order) / _MOST_EPOCHS))
        order = order[::-1][::step][::-1]
        return Line(
            x=plain(epochs[order]),
            y=plain(values[order]),
            colour=self.colours[run] or palette.FAINT,
            label=self.titles[run],
            key=run,
            opacity=1.0 if run in self.best else self.opacity,
            width=3.0 if run in self.best else 1.8,
        )
