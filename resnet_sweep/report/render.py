"""A table of results as text for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from rich.cells import cell_len, set_cell_size

from resnet_sweep.report.text import beginning, number, one_line

# In results.csv, but of no help on a terminal.
_NOT_SHOWN = ("seed", "folder", "worker", "started", "ended")
# Given up in this order when the terminal is narrow.
_FIRST_TO_GO = (
    *("images_per_s", "last_train_loss", "last_val_accuracy", "slot", "best_val_accuracy"),
    *("peak_memory_mib", "memory_mib", "attempt", "best_epoch", "seconds"),
)
_FORMATS: dict[str, Callable[[Any], str]] = {
    "best_epoch": "{:.0f}".format,
    "seconds": "{:.1f}".format,
    "images_per_s": "{:.0f}".format,
    **dict.fromkeys(("best_val_accuracy", "last_val_accuracy", "last_train_loss"), number),
}
_VALUE_CELLS, _TEXT_CELLS, _ERROR_CELLS = 32, 72, 20
_GAP = "  "


def render(table: pd.DataFrame, width: int | None = None, num_rows: int | None = None) -> str:
    """The table as text.

    Parameters that are the same in all trials stand below it, once.

    Args:
        table: From ``load_results`` or ``load_sweep``.
        width: Of the terminal; columns that say least are left out to fit. None shows all.
        num_rows: Rows to show; None shows all.
    """
    if table.empty:
        return "no trial has started"
    parameters = [name for name in table.attrs.get("parameters", []) if name in table]
    shown, notes = _without_unbegun(table, parameters)
    shown, constant = _without_constant(shown, parameters)
    names = [str(name) for name in shown if not _says_nothing(str(name), shown[name])]
    # Long, so it stands where it can be cut.
    names.sort(key=lambda name: name == "error")
    if num_rows is not None and len(shown) > num_rows:
        notes.insert(0, f"{len(shown) - num_rows} more rows are not shown")
        shown = shown.head(num_rows)
    columns = {name: _cells(name, shown[name], name in parameters) for name in names}
    lines = _layout(columns, width) if len(shown) else []
    if constant:
        notes.append(f"in all trials: {constant}")
    if "note" in table.attrs:
        notes.append(table.attrs["note"])
    return "\n".join([*lines, *([""] if lines and notes else []), *notes])


def _without_unbegun(
    table: pd.DataFrame, parameters: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Takes out trials that have not begun, of which some have still to be drawn."""
    is_to_begin = table["number"].isna()
    is_undrawn = is_to_begin.copy()
    for name in parameters:
        is_undrawn &= table[name].isna()
    num_undrawn = int(is_undrawn.sum())
    num_planned = int(is_to_begin.sum()) - num_undrawn
    notes = []
    if num_planned:
        notes.append(f"{_trials(num_planned, 'has', 'have')} not begun")
    if num_undrawn:
        notes.append(f"{_trials(num_undrawn, 'is', 'are')} yet to be drawn")
    return table[~is_to_begin], notes


def _trials(num: int, one: str, many: str) -> str:
    return f"1 more trial {one}" if num == 1 else f"{num} more trials {many}"


def _without_constant(table: pd.DataFrame, parameters: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Takes out parameters that all trials share, and says what they are."""
    if len(table) < 2:
        return table, ""
    same = [name for name in parameters if len({repr(value) for value in table[name]}) == 1]
    texts = [f"{one_line(name)}={_value(table[name].iloc[0], _VALUE_CELLS)}" for name in same]
    return table.drop(columns=same), " ".join(texts)


def _says_nothing(name: str, column: pd.Series[Any]) -> bool:
    if name in _NOT_SHOWN:
        return True
    if name == "error":
        return not column.astype(bool).any()
    if name == "slot":
        return column[column != ""].nunique() < 2
    return name == "attempt" and not bool((column.fillna(0) > 0).any())


def _cells(name: str, column: pd.Series[Any], is_parameter: bool) -> list[str]:
    """A column's header and cells, padded to one width; numbers stand at the right."""
    if is_parameter:
        cells = [_value(value, _VALUE_CELLS) for value in column]
    else:
        pattern = number if name.startswith("objective") else _FORMATS.get(name)
        cells = [_text(value, pattern) for value in column]
    cells = [one_line(name), *cells]
    width = max(map(cell_len, cells))
    if pd.api.types.is_numeric_dtype(column.dtype):
        return [" " * (width - cell_len(cell)) + cell for cell in cells]
    return [cell + " " * (width - cell_len(cell)) for cell in cells]


def _value(value: Any, limit: int) -> str:
    # None is a choice; missing means that the parameter has no part in the trial.
    if value is not None and pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    return one_line(value, limit)


def _text(value: Any, pattern: Callable[[Any], str] | None) -> str:
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return ""
    if pattern is not None:
        return pattern(value)
    return f"{value:.6g}" if isinstance(value, float) else beginning(str(value), _TEXT_CELLS)


def _layout(columns: dict[str, list[str]], width: int | None) -> list[str]:
    columns = dict(columns)
    for name in _FIRST_TO_GO:
        if width is None or _width(columns) <= width:
            break
        columns.pop(name, None)
    lines = [_GAP.join(cells).rstrip() for cells in zip(*columns.values(), strict=True)]
    if width is None:
        return lines
    return [
        line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…" for line in lines
    ]


def _width(columns: dict[str, list[str]]) -> int:
    """Cells that a line needs, of an error only its beginning."""
    widths = {name: cell_len(cells[0]) for name, cells in columns.items()}
    if "error" in widths:
        widths["error"] = min(widths["error"], _ERROR_CELLS)
    return len(_GAP) * (len(columns) - 1) + sum(widths.values())
