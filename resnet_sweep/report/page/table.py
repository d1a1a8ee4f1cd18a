"""The table of runs, packed so that a browser can sort and filter it without reading numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.columns import column_names, parameters_of
from resnet_sweep.report.page.best import is_optimistic, optimism
from resnet_sweep.report.plots.pareto import front_of
from resnet_sweep.report.plots.parts import parts_of
from resnet_sweep.report.plots.values import (
    floats,
    is_missing,
    objective_names,
    objective_title,
    texts,
    value_text,
    varying,
)
from resnet_sweep.report.text import beginning, duration, number, one_line, short_keys

STATIC_ROWS = 100
_ERROR_CHARS = 90
_WORDS = {True: "learned", False: "did not learn"}
_LARGEST = 1e300
_DURATIONS = ("seconds", "val_seconds")
# Beside the parameters and objectives these say most; the others are shown when asked for.
_OUTCOMES = ("last_val_accuracy", "learned", "test_accuracy")
_MAIN = ("epochs", "microbatch", "seconds", "error")
_IN_INTERVAL = (
    *("last_val_accuracy_low", "last_val_accuracy_high"),
    *("test_accuracy_low", "test_accuracy_high"),
)
_TITLES = {
    "last_val_accuracy": ("last accuracy", "95% interval"),
    "test_accuracy": ("test accuracy", "95% interval"),
    "learned": ("learned?", "last epoch above chance"),
    "seconds": ("time", ""),
}


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: In the table of runs.
        title: Above it.
        subtitle: Below the title, smaller.
        texts: The distinct cells in the order in which they sort.
        index: For each row the place of its cell in ``texts``; -1 where it has none.
        is_numeric: Stands at the right.
        is_main: Shown from the start.
        numbers: What the texts say, where that cannot be read off them; else empty.
    """

    name: str
    title: str
    subtitle: str
    texts: tuple[str, ...]
    index: tuple[int, ...]
    is_numeric: bool
    is_main: bool
    numbers: tuple[float, ...] = ()

    def cell(self, row: int) -> str:
        """The text in a row; empty where there is none."""
        place = self.index[row]
        return self.texts[place] if place >= 0 else ""


@dataclass(frozen=True)
class RunsTable:
    """The table.

    Attributes:
        columns: From left to right.
        constant: Name and value of what all runs share.
        num_rows: How many runs.
    """

    columns: tuple[Column, ...]
    constant: tuple[tuple[str, str], ...]
    num_rows: int


def runs_table(runs: pd.DataFrame) -> RunsTable:
    """Packs the table of runs; columns that say nothing are left out.

    Args:
        runs: A row a run.
    """
    runs, front = _with_front(runs)
    parameters = parameters_of(runs)
    short = short_keys(parameters)
    shown, constant = [], []
    for name in _order(runs, front):
        column = _column(runs, name, parameters, short)
        is_same = len(runs) > 1 and len(column.texts) == 1 and min(column.index) == 0
        is_always = name in ("number", "state", *objective_names(runs))
        if front and name == front:
            column = replace(column, title="front", is_main=True)
        if column.texts and is_same and not is_always:
            constant.append((name, column.texts[0]))
        elif column.texts or is_always:
            shown.append(column)
    return RunsTable(tuple(shown), tuple(constant), len(runs))


def _with_front(runs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The runs with a column that marks those on the Pareto front, and its name; "" without."""
    if len(objective_names(runs)) < 2:
        return runs, ""
    rows = {int(part.rows[i]) for part in parts_of(runs) for i in front_of(part.table)}
    if not rows:
        return runs, ""
    name = next(iter(column_names(["front"], runs.columns, "pareto").values()))
    told = ["yes" if i in rows else pd.NA for i in range(len(runs))]
    marks = pd.Series(told, index=runs.index, dtype="string")
    return runs.assign(**{name: marks}), name


def _order(runs: pd.DataFrame, front: str) -> list[str]:
    """Names of the columns from left to right: what says most comes first."""
    names = [str(name) for name in runs]
    varied = set(varying(runs))
    leading = ["study", "number", "repeat", "state"]
    if "number" in runs and runs["number"].isna().all():
        leading.insert(1, "folder")
    leading += [*objective_names(runs), front, "metric", *_OUTCOMES]
    leading += [name for name in parameters_of(runs) if name in varied]
    leading += _MAIN
    hidden = {*_IN_INTERVAL, "direction"}
    if texts(runs, "ticket") == texts(runs, "number"):
        hidden.add("ticket")
    ordered = [*leading, *(name for name in names if name not in hidden)]
    return [name for name in dict.fromkeys(ordered) if name in names]


def _column(
    runs: pd.DataFrame, name: str, parameters: Sequence[str], short: dict[str, str]
) -> Column:
    values = runs[name].tolist()
    title, subtitle = _TITLES.get(name, (name, ""))
    is_parameter = name in parameters
    is_main = is_parameter or name in (*_OUTCOMES, *_MAIN, "study", "number", "repeat", "state")
    write: Callable[[Any], str] = _writer(name, is_parameter)
    title = one_line(title, 40)
    if is_parameter:
        title, subtitle = one_line(short[name], 40), ""
    elif name == "number":
        title = "trial"
    elif name in objective_names(runs):
        title, is_main = objective_title(runs, name), True
        subtitle = optimism(runs) if is_optimistic(runs, name) else ""
    elif name == "metric":
        # Of several studies it says what the objective is.
        is_main = len({text for text in texts(runs, name) if text}) > 1
    elif name == "folder" and runs["number"].isna().all():
        title, is_main, write = "run", True, lambda value: one_line(PurePath(value).name, 40)
    elif f"{name}_low" in runs:
        values = _with_intervals(runs, name)
    cells, index = _packed(values, write)
    is_numeric = pd.api.types.is_numeric_dtype(runs[name].dtype) and name not in ("learned",)
    is_numeric = is_numeric and not pd.api.types.is_bool_dtype(runs[name].dtype)
    column = Column(name, title, subtitle, cells, index, is_numeric, is_main)
    return replace(column, numbers=_seconds(values, index)) if name in _DURATIONS else column


def _seconds(values: list[Any], index: tuple[int, ...]) -> tuple[float, ...]:
    """Of each distinct text the seconds, which "2 h 5 min" tells no filter."""
    found = dict(zip(index, values, strict=True))
    known = [float(found[place]) for place in range(max(index, default=-1) + 1)]
    # JSON knows nothing infinite.
    return tuple(round(min(max(value, -_LARGEST), _LARGEST), 3) for value in known)


def _writer(name: str, is_parameter: bool) -> Callable[[Any], str]:
    if is_parameter:
        return value_text
    if name in ("learned", "published_learned"):
        return lambda value: _WORDS[bool(value)]
    if name in _DURATIONS:
        return lambda value: duration(value) if math.isfinite(value) else str(value)
    if name in ("state", "error_kind"):
        return lambda value: str(value).lower()
    return _measured_text


def _measured_text(value: Any) -> str:
    if isinstance(value, tuple):
        last, low, high = value
        return f"{number(last)} ({number(low)} to {number(high)})"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return number(value)
    return beginning(str(value), _ERROR_CHARS) if isinstance(value, str) else value_text(value)


def _with_intervals(runs: pd.DataFrame, name: str) -> list[Any]:
    columns = (floats(runs, f"{name}{end}").tolist() for end in ("", "_low", "_high"))
    return [
        cells if all(map(math.isfinite, cells)) else cells[0]
        for cells in zip(*columns, strict=True)
    ]


def _packed(
    values: list[Any], write: Callable[[Any], str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The distinct cells in order, and where each row's is among them."""
    cells: dict[tuple[Any, ...], str] = {}
    keys: list[tuple[Any, ...] | None] = []
    for value in values:
        text = "" if is_missing(value) else write(value)
        if not text:
            keys.append(None)
            continue
        key = (*_rank(value, text), text)
        cells[key] = text
        keys.append(key)
    places = {key: i for i, key in enumerate(sorted(cells))}
    return (
        tuple(cells[key] for key in places),
        tuple(-1 if key is None else places[key] for key in keys),
    )


def _rank(value: Any, text: str) -> tuple[int, float, str]:
    """Numbers by their value, before all else by its text."""
    if isinstance(value, tuple):
        value = value[0]
    if isinstance(value, datetime):
        return 0, value.timestamp(), ""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        # A whole number may be too large for a float.
        return 0, value if isinstance(value, int) else float(value), ""
    return 1, 0.0, text.lower()
