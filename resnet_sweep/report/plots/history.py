"""How the search went: each objective in the order in which runs ended, and the best so far."""

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
from resnet_sweep.report.plots.parts import figure_of_parts, studies_of
from resnet_sweep.report.plots.trials import has_repeats, trials_of
from resnet_sweep.report.plots.values import (
    can_be_drawn,
    floats,
    maximizes,
    objective_names,
    objective_title,
    plain,
    sampled,
    texts,
    titles_of,
)
from resnet_sweep.report.text import number

_MOST_POINTS = 1500


def history(runs: pd.DataFrame) -> Figure | NoFigure:
    """A panel an objective; of several studies, a choice each.

    Args:
        runs: A row a run.
    """
    return figure_of_parts(studies_of(runs), _of_study)


def _of_study(runs: pd.DataFrame) -> Figure | NoFigure:
    are_means = has_repeats(runs)
    what = "trials" if are_means else "runs"
    panels = []
    for objective, is_more_better in zip(objective_names(runs), maximizes(runs), strict=True):
        values = _means(runs, objective) if are_means else floats(runs, objective)
        usable = (np.array(texts(runs, "state")) == "COMPLETE") & can_be_drawn(values)
        if usable.sum() > 1:
            order = _order(runs, np.flatnonzero(usable))
            title = f"{'mean ' if are_means else ''}{objective_title(runs, objective)}"
            x = Axis(
                f"completed {what}, in the order in which they ended", has_grid=False, is_count=True
            )
            marks = _marks(runs, order, values, title, is_more_better)
            panels.append(Panel(x=x, y=Axis(title), marks=marks, height_px=320))
    if not panels:
        return NoFigure("No optimisation history: it needs two completed runs of a study.")
    legend = (
        LegendEntry("a trial" if are_means else "a run", palette.BLUE),
        LegendEntry("best so far", palette.VERMILLION, "line"),
    )
    caption = (
        f"Of more than {_MOST_POINTS} runs a sample is drawn." if len(runs) > _MOST_POINTS else ""
    )
    return Figure(tuple(panels), legend, caption)


def _means(runs: pd.DataFrame, objective: str) -> np.ndarray:
    """The mean of each trial that has all its runs, at the one that ended last; NaN elsewhere."""
    values = floats(runs, objective)
    means = np.full(len(runs), np.nan)
    for trial in trials_of(runs):
        if trial.is_whole:
            rows = np.array(trial.rows)
            last = _order(runs, rows)[-1] if len(rows) > 1 else rows[0]
            means[last] = np.sum(values[rows] / len(rows))
    return means


def _order(runs: pd.DataFrame, rows: np.ndarray) -> list[int]:
    """The rows in the order in which they ended; without times, by their numbers."""
    numbers = floats(runs, "number")[rows]
    if "ended" in runs:
        ended = pd.to_datetime(runs["ended"]).to_numpy(dtype="datetime64[us]")[rows]
        if not np.isnat(ended).any():
            return [int(i) for i in rows[np.lexsort((numbers, ended))]]
    return [int(i) for i in rows[np.argsort(numbers, kind="stable")]]


def _marks(
    runs: pd.DataFrame,
    order: list[int],
    values: np.ndarray,
    title: str,
    is_more_better: bool,
) -> tuple[Mark, ...]:
    found = values[order]
    best = np.maximum.accumulate(found) if is_more_better else np.minimum.accumulate(found)
    is_step = np.r_[True, best[1:] != best[:-1]]
    is_step[-1] = True
    steps = np.flatnonzero(is_step)
    place = {row: i + 1 for i, row in enumerate(order)}
    rows = sampled(order, _MOST_POINTS, [order[i] for i in steps])
    titles = titles_of(runs, rows, by_trial=True)
    points = Points(
        x=tuple(float(place[row]) for row in rows),
        y=plain(values[rows]),
        colour=palette.BLUE,
        labels=tuple(f"{titles[row]}\n{title} {number(values[row])}" for row in rows),
        keys=tuple(rows),
        size=7 if len(rows) <= 100 else 5,
        opacity=0.8 if len(rows) <= 100 else 0.4,
    )
    line = Line(
        x=plain(steps + 1),
        y=plain(best[steps]),
        colour=palette.VERMILLION,
        label="best so far",
        width=2,
        is_stepped=True,
    )
    return points, line
