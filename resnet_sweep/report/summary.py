"""Means and differences as text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Container

import pandas as pd

from resnet_sweep.report.grid import Column, fitted, lines_of
from resnet_sweep.report.render import (
    ERROR_CELLS,
    FORMATS,
    NONE_LEFT,
    has_ends,
    measured_text,
    value_text,
    with_ends,
)
from resnet_sweep.report.settings import holds_numbers
from resnet_sweep.report.shaping import FOOTNOTES, LEFT_OUT
from resnet_sweep.report.text import number, one_line

_COUNTS = ("num_failed", "num_pruned")
_WORDS = ("verdict", "method")
_SUMMED_FIRST_TO_GO = (
    *("images_per_s_mean", "seconds_mean", "method", "mcnemar_p", "objective_worst"),
    *("objective_best", "share_learned"),
)
# What was measured has four decimals; parameters are shown as they would be typed.
_SUMMED_UP = re.compile(
    r"(objective|last_val_accuracy|test_accuracy)(_\d+)?(_mean|_best|_worst)?"
    r"|a|b|difference|mcnemar_p|share_learned|published|chance_accuracy"
)


def render_summary(summary: pd.DataFrame, width: int | None = None) -> str:
    """A table of means or of differences as text; what says nothing is left out.

    Args:
        summary: From ``aggregate``, ``compare_groups`` or ``compare``; a value and the columns
            with ``_low`` and ``_high`` behind its name become one.
        width: Of the terminal; keys are shortened and columns that say least are left out to
            fit. None shows all.
    """
    columns = summary_columns(summary)
    if summary.empty:
        return NONE_LEFT if summary.attrs.get(LEFT_OUT) else "nothing to show"
    same = [name for name, column in columns.items() if len(set(column.cells)) == 1]
    # What two rows share tells them not apart; it is in the table of runs.
    same = [name for name in same if len(summary) > 1 and not _SUMMED_UP.fullmatch(name)]
    dotted = [name for name in columns if "." in name]
    kept = fitted(columns, width, dotted, [*_SUMMED_FIRST_TO_GO, *same])
    lines = lines_of(kept, width)
    return "\n".join([*lines, *_explained(summary, kept)])


def summary_columns(summary: pd.DataFrame) -> dict[str, Column]:
    """The columns that ``render_summary`` shows where there is room for all.

    Args:
        summary: As for ``render_summary``.
    """
    ends = [f"{name}{end}" for name in map(_stem, summary) for end in ("_low", "_high")]
    columns = {}
    for name in map(str, summary):
        column = summary[name]
        if name in ends or column.isna().all() or (name in _COUNTS and not column.any()):
            continue
        if _SUMMED_UP.fullmatch(name) and pd.api.types.is_float_dtype(column.dtype):
            cells = ["" if value != value else number(value) for value in column.tolist()]
        elif name in FORMATS or name in _WORDS:
            cells = [measured_text(value, FORMATS.get(name)) for value in column.tolist()]
        else:
            cells = [value_text(value) for value in column.tolist()]
        cells = with_ends(cells, summary, _stem(name))
        least = ERROR_CELLS if name in _WORDS else None
        columns[name] = Column(one_line(name), cells, holds_numbers(column), least)
    return columns


def _explained(summary: pd.DataFrame, shown: Container[str]) -> list[str]:
    """What the numbers mean, where that is not what they seem to."""
    notes = list(summary.attrs.get(FOOTNOTES, ()))
    means = [str(name) for name in summary if str(name).endswith("_mean") and name in shown]
    if any(has_ends(summary, _stem(name)) for name in means):
        notes.append("in brackets: 95% t interval of the mean over seeds")
    if "mcnemar_p" in shown:
        notes.append(
            "mcnemar_p: how often chance alone makes two equally good networks differ so much "
            "on the same images (McNemar's exact test)"
        )
    return ["", *notes] if notes else []


def _stem(name: object) -> str:
    return str(name).removesuffix("_mean")
