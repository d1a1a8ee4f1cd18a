"""The cells of a table as the texts of a CSV file, which tell the types of what they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from resnet_sweep.report.columns import MISSING, dtype_of, fixed_column, free_column


def to_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table as texts that ``from_cells`` reads back.

    A text that would be read as a number, true, false or null stands in quotes, and so does one
    that a spreadsheet would take for a formula: whatever is in it, it is not computed.

    Args:
        table: Of runs, or of their epochs.
    """
    cells = {}
    for key in table:
        name, column = str(key), table[key]
        if column.dtype == "string" and dtype_of(name, table) == "string":
            texts = [guarded(text) for text in column.fillna("").tolist()]
        elif str(column.dtype).startswith("datetime"):
            texts = [_time_cell(value) for value in column]
        else:
            texts = [_cell(value) for value in column.tolist()]
        cells[name] = pd.Series(texts, dtype=object)
    return pd.DataFrame(cells, columns=table.columns)


def _time_cell(value: Any) -> str:
    return "" if pd.isna(value) else pd.Timestamp(value).isoformat(sep=" ")


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    if value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, str):
        is_plain = _value(value) == value and value[:1] not in _FORMULA
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


# What a spreadsheet computes instead of showing it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def guarded(text: str) -> str:
    """A text that no spreadsheet computes: in quotes, where it begins like a formula.

    Args:
        text: Of a column that holds texts only, or a column's name.
    """
    return json.dumps(text, ensure_ascii=False) if text[:1] in (*_FORMULA, '"') else text


def unguarded(cell: str) -> str:
    """The text that ``guarded`` has written.

    Args:
        cell: Of such a column.
    """
    if cell[:1] != '"':
        return cell
    try:
        text = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return text if isinstance(text, str) else cell


# Python reads no whole number of more than 4300 digits.
_INTEGER = re.compile(r"[-+]?\d{1,4000}", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?|[-+]?inf|nan", re.IGNORECASE | re.ASCII
)
_WORDS = {"": MISSING, "null": None, "true": True, "false": False}


def _value(cell: str) -> Any:
    """What a cell holds; NaN for an empty one."""
    if cell in _WORDS:
        return _WORDS[cell]
    if cell[0] in '"[{':
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _FLOAT.fullmatch(cell):
        return float(cell)
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
        name = str(key)
        dtype = dtype_of(name, cells)
        try:
            columns[name] = _column(name, dtype, cells[key].tolist())
        except (ValueError, TypeError) as error:
            raise ValueError(f"column {name} does not hold {dtype}: {error}") from error
    return pd.DataFrame(columns, index=pd.RangeIndex(len(cells)))


def _column(name: str, dtype: str | None, texts: Sequence[str]) -> pd.Series[Any]:
    if dtype is None:
        return free_column([_value(text) for text in texts])
    if dtype == "string":
        return fixed_column(name, [unguarded(text) for text in texts])
    if dtype.startswith("datetime"):
        return pd.Series(pd.to_datetime(list(texts), format="ISO8601"), dtype=dtype)
    # A spreadsheet writes TRUE.
    lower = [text.lower() for text in texts] if dtype == "boolean" else texts
    return pd.Series([None if text == "" else _value(text) for text in lower], dtype=dtype)


def line_of(cells: Iterable[str]) -> str:
    """A line of a CSV file, with its end.

    Python's writer of 3.11 leaves a lone carriage return without quotes.

    Args:
        cells: From ``to_cells``, or names of columns.
    """
    return ",".join(map(_quoted, cells)) + "\n"


_SPECIAL = re.compile(r'[,"\r\n]')


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell
