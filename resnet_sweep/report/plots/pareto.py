"""Two objectives against each other, with the runs that none beats in both."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import (
    Axis,
    Figure,
    LegendEntry,
    Line,
    NoFigure,
    Panel,
    Points,
)
from resnet_sweep.report.plots.parts import figure_of_parts, parts_of
from resnet_sweep.report.plots.values import (
    floats,
    maximizes,
    objective_names,
    plain,
    sampled,
    texts,
    titles_of,
)
from resnet_sweep.report.text import number

_MOST_POINTS = 1500


def front_of(runs: pd.DataFrame) -> list[int]:
    """Positions of completed runs that none beats in all objectives.

    Args:
        runs: A row a run.
    """
    losses = _losses(runs)
    rows = np.flatnonzero(_usable(runs))
    front: list[int] = []
    # In this order a run can only be beaten by one before it.
    for row in rows[np.lexsort(losses[rows].T[::-1])]:
        beaten = losses[front] <= losses[row]
        is_equal = (losses[front] == losses[row]).all(axis=1)
        if not (beaten.all(axis=1) & ~is_equal).any():
            front.append(int(row))
    return front


def _losses(runs: pd.DataFrame) -> np.ndarray:
    signs = [-1.0 if more else 1.0 for more in maximizes(runs)]
    columns = [floats(runs, name) * s for name, s in zip(objective_names(runs), signs, strict=True)]
    return np.stack(columns, axis=1)


def _usable(runs: pd.DataFrame) -> np.ndarray:
    is_complete = np.array([state == "COMPLETE" for state in texts(runs, "state")], dtype=bool)
    usable: np.ndarray = np.isfinite(_losses(runs)).all(axis=1) & is_complete
    return usable


def pareto(runs: pd.DataFrame) -> Figure | NoFigure:
    """The first two objectives, the front joined by a line; nothing for a single objective.

    Args:
        runs: A row a run.
    """
    return figure_of_parts(parts_of(runs), _computed)


def _computed(runs: pd.DataFrame) -> Figure | NoFigure:
    names = objective_names(runs)
    if len(names) < 2:
        return NoFigure()
    if not _usable(runs).any():
        return NoFigure("No Pareto front: no run has completed with finite objectives.")
    x, y = floats(runs, names[0]), floats(runs, names[1])
    front = front_of(runs)
    others = sampled(
        [int(i) for i in np.flatnonzero(_usable(runs)) if i not in set(front)], _MOST_POINTS
    )
    titles = titles_of(runs, [*front, *others])

    def points(rows: list[int], colour: str, size: float) -> Points:
        labels = [
            f"{titles[i]}\n" + "\n".join(f"{n} {number(floats(runs, n)[i])}" for n in names)
            for i in rows
        ]
        return Points(plain(x[rows]), plain(y[rows]), colour, tuple(labels), tuple(rows), size=size)

    # With three objectives the front of all is no line in two of them.
    steps = sorted(front, key=lambda i: (x[i], y[i])) if len(names) == 2 else []
    line = Line(plain(x[steps]), plain(y[steps]), palette.VERMILLION, "Pareto front")
    marks = (points(others, palette.FAINT, 6), line, points(front, palette.VERMILLION, 9))
    directions = ["more is better" if more else "less is better" for more in maximizes(runs)]
    panel = Panel(
        x=Axis(f"{names[0]} ({directions[0]})"),
        y=Axis(f"{names[1]} ({directions[1]})"),
        marks=marks,
        height_px=400,
    )
    legend = (
        LegendEntry("Pareto front", palette.VERMILLION, "line"),
        LegendEntry("beaten in all objectives", palette.FAINT),
    )
    caption = "" if len(names) == 2 else f"The first two of {len(names)} objectives."
    return Figure((panel,), legend, caption)
