"""The columns of a table of runs: names, order and types, in pandas and in a CSV file.

Between ``state`` and the objective stand the parameters, between the objective and ``folder``
what was measured, behind ``folder`` the settings that were asked for. The order is all that a
reader of the file needs to know which is which.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

MISSING = float("nan")
_BEFORE = ("study", "ticket", "number", "repeat", "attempt", "state")
_CURVE = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
# In this order behind the objective; what a task tells stands between the two parts.
_MEASURED = (
    *("metric", "direction", "published", "published_learned", "best_epoch"),
    *(f"best_{name}" for name in _CURVE),
    "epochs",
    *(f"last_{name}" for name in _CURVE),
    *("last_val_accuracy_low", "last_val_accuracy_high", "chance_accuracy", "learned"),
    *("test_loss", "test_accuracy", "test_accuracy_low", "test_accuracy_high"),
    *("num_val_images", "num_test_images"),
)
_CIRCUMSTANCES = (
    *("seconds", "images_per_s", "peak_memory_mib", "device", "precision", "seed"),
    *("worker", "slot", "started", "ended", "duplicate_of", "error_kind", "error"),
)
_ALWAYS = frozenset((*_BEFORE, "metric", "direction", "seconds", "error_kind", "error", "folder"))
_DTYPES = {
    **dict.fromkeys(("ticket", "number", "repeat", "attempt", "best_epoch", "epochs"), "Int64"),
    **dict.fromkeys(("num_val_images", "num_test_images", "seed", "duplicate_of"), "Int64"),
    **dict.fromkeys(("published_learned", "learned"), "boolean"),
    **dict.fromkeys(("study", "state", "metric", "direction", "device", "precision"), "string"),
    **dict.fromkeys(("worker", "slot", "error_kind", "error", "folder"), "string"),
    **dict.fromkeys(("started", "ended"), "datetime64[us]"),
}
_OBJECTIVE = re.compile(r"objective(_\d+)?")
FIXED = frozenset((*_BEFORE, *_MEASURED, *_CIRCUMSTANCES, "folder"))


@dataclass
class Row:
    """One run.

    Attributes:
        facts: By the names of the fixed columns; None or nothing where it is not known.
        parameters: Of the trial, by key; one that has no part in it is not there.
        told: What the task has told of the run, by name.
        settings: Values of the configuration that were asked for, by key.
        is_last: Of the newest attempt at its ticket.
        traceback: Of a failure, if it was kept.
    """

    facts: dict[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_last: bool = True
    traceback: str = ""


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The table of runs, in their order.

    Args:
        rows: Of one study or of several.
    """
    known = {key for row in rows for key, value in row.facts.items() if value is not None}
    objectives = sorted((key for key in known if _OBJECTIVE.fullmatch(key)), key=_place)
    objectives = objectives or ["objective"]
    shown = [name for name in (*_MEASURED, *_CIRCUMSTANCES) if name in known or name in _ALWAYS]
    used = [*FIXED, *objectives]
    columns: dict[str, pd.Series[Any]] = {}

    def add_fixed(names: Iterable[str]) -> None:
        for name in names:
            columns[name] = fixed_column(name, [row.facts.get(name) for row in rows])

    def add_free(kind: str, prefix: str) -> None:
        keys = dict.fromkeys(key for row in rows for key in getattr(row, kind))
        for key, name in column_names(keys, used, prefix).items():
            used.append(name)
            columns[name] = free_column([getattr(row, kind).get(key, MISSING) for row in rows])

    add_fixed(_BEFORE)
    add_free("parameters", "params")
    add_fixed((*objectives, *(name for name in shown if name in _MEASURED)))
    add_free("told", "attrs")
    add_fixed((*(name for name in shown if name in _CIRCUMSTANCES), "folder"))
    add_free("settings", "config")
    return pd.DataFrame(columns, index=pd.RangeIndex(len(rows)))


def _place(name: str) -> int:
    return int(name.partition("_")[2] or -1)


def parameters_of(table: pd.DataFrame) -> list[str]:
    """Names of the parameters' columns.

    Args:
        table: Of runs, as ``load_results`` gives it.
    """
    names = [str(name) for name in table]
    end = next(i for i, name in enumerate(names) if _OBJECTIVE.fullmatch(name))
    return names[names.index("state") + 1 : end]


def objectives_of(table: pd.DataFrame) -> list[str]:
    """Names of the objectives' columns: ``objective``, or ``objective_0`` and so on.

    Args:
        table: Of runs, as ``load_results`` gives it.
    """
    return [str(name) for name in table if _OBJECTIVE.fullmatch(str(name))]


def told_of(table: pd.DataFrame) -> list[str]:
    """Names of the columns that hold what the task has told.

    Args:
        table: Of runs, as ``load_results`` gives it.
    """
    names = [str(name) for name in table]
    start, end = names.index(objectives_of(table)[-1]), names.index("folder")
    return [name for name in names[start + 1 : end] if name not in FIXED]


def column_names(keys: Iterable[str], taken: Iterable[str], prefix: str) -> dict[str, str]:
    """For each key the name of its column: its own, or with a prefix if that is taken.

    Args:
        keys: Of parameters or of facts.
        taken: Names that other columns have; those of objectives always are.
        prefix: For names that are taken.
    """
    names: dict[str, str] = {}
    used = set(taken)
    for key in keys:
        name = key
        while name in used or _OBJECTIVE.fullmatch(name):
            name = f"{prefix}_{name}"
        used.add(name)
        names[key] = name
    return names


def fixed_column(name: str, values: Sequence[Any]) -> pd.Series[Any]:
    """A column of those that every table has; all others hold numbers.

    Args:
        name: Its name.
        values: Of the type that the name has; None where nothing is known.
    """
    dtype = _DTYPES.get(name, "float64")
    if dtype == "float64":
        values = [MISSING if value is None else value for value in values]
    return pd.Series(values, dtype=dtype)


def free_column(values: Sequence[Any]) -> pd.Series[Any]:
    """A column of parameters, settings or told facts, of the narrowest type that holds them.

    Args:
        values: Whole numbers become Int64, numbers float64, true and false boolean, texts
            string; of any other mixture each value keeps its own type. NaN is missing. None,
            the value null, is missing among numbers and kept among all else.
    """
    present = [value for value in values if not _is_missing(value)]
    if any(value is None for value in present) and not all(
        value is None or _is_number(value) for value in present
    ):
        return pd.Series(list(values), dtype=object)
    present = [value for value in present if value is not None]
    filled = [None if value is None or _is_missing(value) else value for value in values]
    if present and all(isinstance(value, bool) for value in present):
        return pd.Series(filled, dtype="boolean")
    if present and all(isinstance(value, str) for value in present):
        return pd.Series(filled, dtype="string")
    if all(_is_number(value) for value in present):
        if present and all(isinstance(one, int) and abs(one) < 2**63 for one in present):
            return pd.Series(filled, dtype="Int64")
        return pd.Series([MISSING if one is None else one for one in filled], dtype="float64")
    return pd.Series(list(values), dtype=object)


def _is_missing(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table as texts that ``from_cells`` reads back.

    A text that would be read as a number, true, false or null stands in quotes.

    Args:
        table: Of runs, or of their epochs.
    """
    cells = {}
    for name in table:
        column = table[name]
        if str(name) in FIXED and column.dtype == "string":
            cells[name] = column.fillna("")
        elif str(column.dtype).startswith("datetime"):
            cells[name] = pd.Series([_time_cell(value) for value in column], dtype=object)
        else:
            cells[name] = pd.Series([_cell(value) for value in column], dtype=object)
    return pd.DataFrame(cells, columns=table.columns)


def _time_cell(value: Any) -> str:
    return "" if pd.isna(value) else pd.Timestamp(value).isoformat(sep=" ")


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    if value is pd.NA or _is_missing(value):
        return ""
    if isinstance(value, str):
        return value if _value(value) == value else json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool | list | dict | tuple):
        return json.dumps(value, ensure_ascii=False)
    return repr(value.item() if hasattr(value, "item") else value)


_INTEGER = re.compile(r"[-+]?\d+")
_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?|[-+]?inf|nan", re.IGNORECASE)


def _value(cell: str) -> Any:
    """What a cell holds; NaN for an empty one."""
    if cell == "":
        return MISSING
    if cell in ("null", "true", "false"):
        return {"null": None, "true": True, "false": False}[cell]
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _FLOAT.fullmatch(cell):
        return float(cell)
    if cell[0] in '"[{':
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell


def from_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """A table from the texts of a CSV file.

    Args:
        cells: Strings only.

    Raises:
        ValueError: A cell does not hold what its column's name says.
    """
    columns: dict[str, pd.Series[Any]] = {}
    for key in cells:
        name, texts = str(key), cells[key].tolist()
        dtype = _DTYPES.get(name)
        if dtype == "string":
            columns[name] = fixed_column(name, [text or None for text in texts])
        elif dtype is not None and dtype.startswith("datetime"):
            columns[name] = pd.Series(pd.to_datetime(texts, format="ISO8601"), dtype=dtype)
        elif name in FIXED or _OBJECTIVE.fullmatch(name):
            values = [_value(text) for text in texts]
            missing = [
                None if _is_missing(one) and text == "" else one
                for one, text in zip(values, texts, strict=True)
            ]
            columns[name] = fixed_column(name, missing)
        else:
            columns[name] = free_column([_value(text) for text in texts])
    return pd.DataFrame(columns, index=pd.RangeIndex(len(cells)))
