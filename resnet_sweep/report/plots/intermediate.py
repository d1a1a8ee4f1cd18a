"""What the pruner was told, and where it gave runs up."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import (
    Axis,
    Figure,
    LegendEntry,
    Line,
    Mark,
    NoFigure,
    Panel,
    Points,
)
from resnet_sweep.report.plots.parts import figure_of_parts, parts_of
from resnet_sweep.report.plots.trials import best_order
from resnet_sweep.report.plots.values import (
    floats,
    objective_names,
    objective_title,
    plain,
    rows_of,
    sampled,
    texts,
    titles_of,
)
from resnet_sweep.report.text import number

_MOST_RUNS = 200


def intermediate(runs: pd.DataFrame, history: pd.DataFrame) -> Figure | NoFigure:
    """A line a run of the values that it reported, a cross where it was pruned.

    Args:
        runs: A row a run.
        history: A row a run and epoch.
    """
    return figure_of_parts(parts_of(runs), lambda part: _computed(part, history))


def _computed(runs: pd.DataFrame, history: pd.DataFrame) -> Figure | NoFigure:
    reported = floats(history, "reported")
    states = texts(runs, "state")
    if "PRUNED" not in states or not np.isfinite(reported).any():
        return NoFigure("No intermediate values: no run was pruned.")
    owners, epochs = rows_of(history, runs), floats(history, "epoch")
    known = np.flatnonzero(np.isfinite(reported) & np.isfinite(epochs) & (owners >= 0))
    spans: dict[int, list[int]] = {}
    for i in known[np.argsort(epochs[known], kind="stable")]:
        spans.setdefault(int(owners[i]), []).append(int(i))
    if not spans:
        return NoFigure("No intermediate values: none belongs to a run of the table.")
    shown = sampled(sorted(spans), _MOST_RUNS, best_order(runs)[:20])
    titles = titles_of(runs, shown)
    marks: list[Mark] = [
        Line(
            x=plain(epochs[spans[run]]),
            y=plain(reported[spans[run]]),
            colour=palette.ORANGE if states[run] == "PRUNED" else palette.BLUE,
            label=titles[run],
            key=run,
            opacity=0.8 if len(shown) <= 20 else 0.35,
        )
        for run in shown
    ]
    marks.append(
        _prunings(
            [run for run in shown if states[run] == "PRUNED"], spans, epochs, reported, titles
        )
    )
    return _figure(runs, marks, len(shown), len(spans))


def _prunings(
    pruned: list[int],
    spans: dict[int, list[int]],
    epochs: np.ndarray,
    reported: np.ndarray,
    titles: dict[int, str],
) -> Points:
    last = [spans[run][-1] for run in pruned]
    return Points(
        x=plain(epochs[last]),
        y=plain(reported[last]),
        colour=palette.VERMILLION,
        labels=tuple(
            f"{titles[run]}\npruned at {number(reported[i])}"
            for run, i in zip(pruned, last, strict=True)
        ),
        keys=tuple(pruned),
        symbol="cross",
        size=8,
    )


def _figure(runs: pd.DataFrame, marks: list[Mark], num_shown: int, num_all: int) -> Figure:
    title = objective_title(runs, objective_names(runs)[0])
    panel = Panel(
        x=Axis("epoch", has_grid=False, is_count=True),
        y=Axis(f"{title} so far"),
        marks=tuple(marks),
        height_px=360,
    )
    legend = (
        LegendEntry("went to its end", palette.BLUE, "line"),
        LegendEntry("pruned", palette.ORANGE, "line"),
        LegendEntry("where", palette.VERMILLION, "cross"),
    )
    caption = f"{num_shown} of {num_all} runs." if num_shown < num_all else ""
    return Figure((panel,), legend, caption)
