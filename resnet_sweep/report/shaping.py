"""What of a table is shown and in which order, as it is asked for on a command line."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.report.settings import as_number, holds_numbers, is_missing, number_in, plain
from resnet_sweep.study.canonical import same
from resnet_sweep.study.standing import STATES

# Among the attributes of a table: how many rows a filter has taken out of it.
LEFT_OUT = "num_left_out"
# And what a reader should know of its numbers, in lines.
FOOTNOTES = "footnotes"
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*(?P<name>[^<>=!]*?)\s*(?P<op><=|>=|!=|==|<|>|=)(?P<value>.*)", re.S)
_QUOTED = re.compile(r"""\s*(["'])(.*)\1\s*""", re.S)
# How a cell that holds nothing is asked for.
_NOTHING = ("", "null", "nan")
_OPENING, _CLOSING = "[{(", "]})"


def shape(
    table: pd.DataFrame,
    sort: str | None = None,
    filter: str | Sequence[str] = (),
    columns: str | None = None,
) -> pd.DataFrame:
    """Takes rows and columns out of a table and sorts what is left.

    Args:
        table: Of runs, or any other.
        sort: Columns with commas between them, "-" before those whose largest value comes
            first: "model,-seconds". Missing values come last. None keeps the order.
        filter: Conditions that all must hold, each a text or with commas between them:
            "state=COMPLETE,optimizer.lr<1e-3". Operators are = (or ==), !=, <, <=, > and >=; a
            value that holds a comma stands in quotes. "=null" asks for cells without a value,
            != is also true of them, and the others are not.
        columns: Names with commas between them; None keeps all.

    Returns:
        A new table; rows are numbered anew. Its ``attrs`` tell how many the filter left out.

    Raises:
        ConfigError: A column does not exist, a condition cannot be read or compares what cannot
            be compared; everything that is wrong is told at once.
    """
    faults: list[Fault] = []
    conditions = _conditions(table, [filter] if isinstance(filter, str) else filter, faults)
    keys = _names(sort)
    descending = [key.startswith("-") and key not in table for key in keys]
    keys = [key[1:].strip() if down else key for key, down in zip(keys, descending, strict=True)]
    faults += unknown_columns(table, keys, "--sort")
    shown = [str(name) for name in table] if columns is None else _names(columns)
    faults += unknown_columns(table, shown, "--columns")
    if faults:
        raise ConfigError(faults)
    keep = np.ones(len(table), dtype=bool)
    for condition in conditions:
        keep &= np.array([condition.holds(value) for value in table[condition.name]], dtype=bool)
    found = table[keep]
    # The sort is stable, so the last key goes first.
    for key, down in reversed(list(zip(keys, descending, strict=True))):
        found = found.iloc[_order(found[key], down)]
    found = found[list(dict.fromkeys(shown))].reset_index(drop=True)
    if not keep.all():
        found.attrs[LEFT_OUT] = int((~keep).sum())
    return found


def unknown_columns(table: pd.DataFrame, names: Iterable[str], key: str) -> list[Fault]:
    """Faults of names that no column has.

    Args:
        table: Any.
        names: As they were typed.
        key: What they were typed for, "--by".
    """
    choices = [str(name) for name in table]
    faults = []
    for name in dict.fromkeys(names):
        if name not in choices:
            close = [one for one in choices if name and one.endswith(f".{name}")]
            close = close or difflib.get_close_matches(name, choices, n=1)
            fix = f"did you mean {close[0]}?" if close else ""
            faults.append(Fault(key, name, "is no column of the table", tuple(choices), fix))
    return faults


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


@dataclass(frozen=True)
class _Condition:
    """What must hold of the cells of a column.

    Attributes:
        name: Of the column.
        compare: The operator.
        value: What cells are compared with; NaN stands for nothing.
        text: The value as it was typed, for columns that hold texts among other things.
    """

    name: str
    compare: Callable[[Any, Any], bool]
    value: Any
    text: str | None

    def holds(self, cell: Any) -> bool:
        """Whether it holds of a cell."""
        cell = plain(cell)
        is_nothing = cell is None or is_missing(cell)
        if self.compare in (operator.eq, operator.ne):
            return self._is_equal(cell, is_nothing) == (self.compare is operator.eq)
        if is_nothing or isinstance(cell, str | bool | list | tuple | dict):
            return False
        return bool(self.compare(cell, self.value))

    def _is_equal(self, cell: Any, is_nothing: bool) -> bool:
        if is_missing(self.value) or is_nothing:
            return is_nothing and is_missing(self.value)
        if isinstance(cell, list | tuple | dict):
            return str(cell).replace(" ", "") == (self.text or "").replace(" ", "")
        if isinstance(cell, pd.Timestamp):
            return bool(cell == self.value)
        return same(cell, self.value) or cell == self.text


def _conditions(
    table: pd.DataFrame, filters: Sequence[str], faults: list[Fault]
) -> list[_Condition]:
    conditions = []
    for text in (part for one in filters for part in _parts(one)):
        match = _CONDITION.fullmatch(text)
        if match is None or not match["name"]:
            rule = "is no condition: it needs a column, an operator and a value"
            fix = "put a value that holds a comma in quotes"
            faults.append(Fault("--filter", text.strip(), rule, tuple(_OPERATORS), fix))
            continue
        unknown = unknown_columns(table, [match["name"]], "--filter")
        found = [] if unknown else _fitting(table[match["name"]], match, faults)
        faults += unknown
        conditions += found
    return conditions


def _parts(text: str) -> list[str]:
    """The text between commas that stand in no quotes and no brackets."""
    parts, depth, quote = [""], 0, ""
    for before, char in zip(f" {text}", text, strict=False):
        if quote:
            quote = "" if char == quote else quote
        # In the middle of a word it is an apostrophe.
        elif char in "\"'" and (before.isspace() or before in "<>=![{(,:"):
            quote = char
        elif char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth -= 1
        elif char == "," and depth <= 0:
            parts.append("")
            continue
        parts[-1] += char
    return [part for part in parts if part.strip()]


def _fitting(column: pd.Series[Any], match: re.Match[str], faults: list[Fault]) -> list[_Condition]:
    """The condition, if its operator and its value suit the column."""
    name, compare = match["name"], _OPERATORS[match["op"]]
    # What stands in quotes is a text, whatever it looks like.
    quoted = _QUOTED.fullmatch(match["value"])
    text = quoted[2] if quoted else match["value"].strip()
    condition = f"{name}{match['op']}{text}"
    is_equality = compare in (operator.eq, operator.ne)
    if not quoted and text.lower() in _NOTHING and is_equality:
        return [_Condition(name, compare, math.nan, None)]
    kind = _kind(column)
    value, rule, choices = _value(name, "text" if quoted and kind == "mixed" else kind, text)
    if not is_equality and (
        kind in ("text", "truth") or (kind == "mixed" and _not_a_number(value))
    ):
        rule = f"{'true and false' if kind == 'truth' else 'texts'} have no order"
        choices = ("=", "!=")
    if rule:
        faults.append(Fault("--filter", condition, rule, choices))
        return []
    return [_Condition(name, compare, value, text)]


def _not_a_number(value: Any) -> bool:
    return isinstance(value, bool) or not isinstance(value, int | float)


def _kind(column: pd.Series[Any]) -> str:
    if pd.api.types.is_bool_dtype(column.dtype):
        return "truth"
    if holds_numbers(column):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "time"
    present = [one for one in map(plain, column) if one is not None and not is_missing(one)]
    return "text" if all(isinstance(one, str) for one in present) else "mixed"


def _value(name: str, kind: str, text: str) -> tuple[Any, str, tuple[str, ...]]:
    """What a text stands for in a column, or the rule that it breaks and the choices."""
    number = number_in(text)
    if kind == "number":
        return number, "" if number is not None else f"{name} holds numbers", ()
    if kind == "time":
        try:
            return pd.Timestamp(text), "", ()
        except ValueError:
            return None, f"{name} holds times, as 2026-11-24T07:00:00", ()
    words = {"true": True, "false": False}
    if kind == "truth":
        known = text.lower() in words
        return words.get(text.lower()), "" if known else "is neither", () if known else tuple(words)
    if name == "state":
        known = text.upper() in STATES
        return text.upper(), "" if known else "is no state", () if known else tuple(STATES)
    if kind == "mixed":
        return words.get(text.lower(), text if number is None else number), "", ()
    return text, "", ()


def _order(column: pd.Series[Any], down: bool) -> list[int]:
    """Places of a column's rows, sorted; equal ones keep their order, missing ones come last."""
    values = [plain(value) for value in column]
    present = [i for i, one in enumerate(values) if one is not None and not is_missing(one)]
    missing = sorted(set(range(len(values))).difference(present))
    present.sort(key=lambda i: _rank(values[i]), reverse=down)
    return present + missing


def _rank(value: Any) -> tuple[int, float, str]:
    """Numbers before times before texts, so that everything can stand beside everything."""
    if isinstance(value, int | float):
        return 0, as_number(value), ""
    if isinstance(value, pd.Timestamp):
        return 1, value.timestamp(), ""
    return 2, 0.0, str(value)
