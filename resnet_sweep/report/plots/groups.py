"""Differences between groups as a forest: a row a comparison, its interval against zero."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import Axis, Figure, NoFigure, Panel, Points, Rule
from resnet_sweep.report.plots.values import floats, is_missing, lane_text, plain, texts, value_text
from resnet_sweep.report.text import number, one_line, short_keys

# Columns that are no other parameter.
FIXED = frozenset(
    (
        *("parameter", "a", "b", "num_pairs", "split", "a_accuracy", "b_accuracy", "difference"),
        *("difference_low", "difference_high", "method", "mcnemar_p", "verdict", "study"),
    )
)
_MOST = 30
_LANE_PX = 34


def settings_of_groups(table: pd.DataFrame) -> list[str]:
    """What both sides of each comparison share: ``lr=0.001 momentum=0.9``.

    Args:
        table: Of groups compared; with a column ``study`` that stands in front.
    """
    found = _settings(table)
    studies = [value_text(study, 24) for study in texts(table, "study")]
    return [": ".join(filter(None, pair)) for pair in zip(studies, found, strict=True)]


def _settings(table: pd.DataFrame) -> list[str]:
    names = [str(name) for name in table if str(name) not in FIXED]
    if len(table) > 1:
        names = [name for name in names if len(set(map(repr, table[name].tolist()))) > 1]
    short = short_keys(names)
    columns = [
        [
            "" if is_missing(v) else f"{one_line(short[name])}={one_line(v, 24)}"
            for v in table[name].tolist()
        ]
        for name in names
    ]
    if not columns:
        return [""] * len(table)
    return [" ".join(filter(None, cells)) for cells in zip(*columns, strict=True)]


def groups(table: pd.DataFrame) -> Figure | NoFigure:
    """The differences that are known, in the order of the table.

    Args:
        table: Of groups compared, a row a pair of values and setting.
    """
    difference = floats(table, "difference")
    rows = np.flatnonzero(np.isfinite(difference))[:_MOST]
    if rows.size == 0:
        return NoFigure()
    low, high = floats(table, "difference_low"), floats(table, "difference_high")
    a, b, settings = texts(table, "a"), texts(table, "b"), settings_of_groups(table)
    methods = texts(table, "method")
    y = [float(len(rows) - 1 - i) for i in range(len(rows))]
    labels = [
        f"{a[i]} against {b[i]}\n{settings[i]}\ndifference {number(difference[i])}"
        + (f" ({number(low[i])} to {number(high[i])})" if np.isfinite(low[i]) else "")
        + f"\n{methods[i]}"
        for i in rows
    ]
    points = Points(
        x=plain(difference[rows]),
        y=tuple(y),
        colour=palette.BLUE,
        labels=tuple(labels),
        size=9,
        intervals=tuple(zip(plain(low[rows]), plain(high[rows]), strict=True)),
    )
    ticks = tuple(
        (at, lane_text(f"{a[i]} vs {b[i]}", settings[i])) for at, i in zip(y, rows, strict=True)
    )
    panel = Panel(
        x=Axis("difference in accuracy"),
        y=Axis(ticks=ticks, limits=(-0.7, len(rows) - 0.3), has_grid=False),
        marks=(points,),
        rules=(Rule(0.0, "no difference", "x"),),
        height_px=90 + _LANE_PX * len(rows),
    )
    return Figure((panel,), caption=_caption(table, int(np.isfinite(difference).sum())))


def _caption(table: pd.DataFrame, num_known: int) -> str:
    more = f"The first {_MOST} of {num_known} comparisons." if num_known > _MOST else ""
    sure = "A difference whose 95% interval crosses zero is not shown by this data."
    return " ".join(filter(None, [more, sure, luck_of(table)]))


def luck_of(table: pd.DataFrame) -> str:
    """How many p values were looked at, and how many luck alone makes small; "" below two.

    Args:
        table: Of groups compared.
    """
    num = int(np.isfinite(floats(table, "mcnemar_p")).sum())
    if num < 2:
        return ""
    return (
        f"{num} p values were looked at: were all sides equally good, about {num * 0.05:.2g} of "
        "them would still lie below 0.05."
    )
