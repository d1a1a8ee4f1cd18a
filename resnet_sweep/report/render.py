"""A table of runs as text for a terminal: only what varies, numbers as they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
from rich.cells import cell_len, set_cell_size

from resnet_sweep.report.columns import objectives_of, parameters_of, told_of
from resnet_sweep.report.text import beginning, number, one_line, short_keys

# Given up in this order when the terminal is narrow.
_FIRST_TO_GO = (
    *("images_per_s", "last_train_loss", "slot", "best_val_accuracy", "peak_memory_mib"),
    *("attempt", "best_epoch", "seconds", "last_val_accuracy", "test_accuracy"),
)
_FORMATS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("seconds", "seconds_mean", "peak_memory_mib"), "{:.1f}".format),
    "images_per_s": "{:.0f}".format,
    **dict.fromkeys(("best_val_accuracy", "last_val_accuracy", "last_train_loss"), number),
    **dict.fromkeys(("published", "test_accuracy"), number),
}
_LEARNED = {True: "learned", False: "did not learn"}
_VALUE_CELLS, _TEXT_CELLS, _ERROR_CELLS = 32, 72, 20
_GAP = "  "


def render(
    table: pd.DataFrame,
    width: int | None = None,
    num_rows: int | None = None,
    notes: Iterable[str] = (),
) -> str:
    """The table as text.

    Parameters that are the same in all trials stand below it, once.

    Args:
        table: From ``load_results``.
        width: Of the terminal; keys are shortened and columns that say least are left out to
            fit. None shows all.
        num_rows: Rows to show; None shows all.
        notes: To stand below the table.
    """
    if table.empty:
        return "no trial has started"
    begun, drawn, said = _without_unbegun(table)
    shown = begun
    if num_rows is not None and len(begun) > num_rows:
        said.insert(0, f"{len(begun) - num_rows} more rows are not shown")
        shown = begun.head(num_rows)
    varying, constant = _split_parameters(drawn)
    columns = {name: _padded(one_line(name), *_cells(shown, name)) for name in _names(begun)}
    for name in varying:
        columns[name] = _padded(one_line(name), *_value_cells(shown[name]))
    order = _in_order(columns, varying)
    lines = _layout({name: columns[name] for name in order}, varying, width) if len(shown) else []
    if constant:
        said.append(f"in all trials: {constant}")
    said += [*_explanations(begun), *notes]
    return "\n".join([*lines, *([""] if lines and said else []), *said])


def render_summary(summary: pd.DataFrame, width: int | None = None) -> str:
    """A table of means or of differences as text; what says nothing is left out.

    Args:
        summary: From ``aggregate``, ``compare_groups`` or ``compare``; a value and the columns
            with ``_low`` and ``_high`` behind its name become one.
        width: Of the terminal; longer lines are cut. None shows all.
    """
    ends = [f"{name}{end}" for name in map(_stem, summary) for end in ("_low", "_high")]
    columns = {}
    for name in map(str, summary):
        column = summary[name]
        if name in ends or column.isna().all() or (name in _COUNTS and not column.any()):
            continue
        if _SUMMED_UP.fullmatch(name) and pd.api.types.is_float_dtype(column.dtype):
            cells = ["" if value != value else number(value) for value in column.tolist()]
        else:
            cells = [_value_or_text(value, _FORMATS.get(name)) for value in column.tolist()]
        cells = _with_ends(cells, summary, _stem(name))
        is_number = pd.api.types.is_numeric_dtype(column.dtype) and column.dtype != "boolean"
        columns[name] = _padded(one_line(name), cells, is_number)
    return "\n".join(_layout(columns, (), width)) if len(summary) else "nothing to show"


_COUNTS = ("num_failed", "num_pruned")
# What was measured has four decimals; parameters are shown as they would be typed.
_SUMMED_UP = re.compile(
    r"(objective|last_val_accuracy|test_accuracy)(_\d+)?(_mean|_best|_worst)?"
    r"|a|b|difference|mcnemar_p|share_learned|published|chance_accuracy"
)


def _stem(name: object) -> str:
    return str(name).removesuffix("_mean")


def _value_or_text(value: Any, pattern: Callable[[Any], str] | None) -> str:
    return _text(value, pattern) if pattern is not None else _value(value)


def _with_ends(cells: Sequence[str], table: pd.DataFrame, name: str) -> list[str]:
    """The cells with their intervals behind them, where there are any."""
    if f"{name}_low" not in table:
        return list(cells)
    ends = zip(table[f"{name}_low"], table[f"{name}_high"], strict=True)
    return [
        f"{cell} ({low:.3f} - {high:.3f})" if low == low else cell
        for cell, (low, high) in zip(cells, ends, strict=True)
    ]


def _without_unbegun(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The trials that have begun, those whose values are known, and how many are neither."""
    is_to_begin = table["number"].isna() & (table["state"] == "WAITING")
    is_undrawn = is_to_begin.copy()
    for name in parameters_of(table):
        is_undrawn &= table[name].isna()
    num_undrawn = int(is_undrawn.sum())
    num_planned = int(is_to_begin.sum()) - num_undrawn
    notes = []
    if num_planned:
        notes.append(f"{_trials(num_planned, 'has', 'have')} not begun")
    if num_undrawn:
        notes.append(f"{_trials(num_undrawn, 'is', 'are')} yet to be drawn")
    return table[~is_to_begin], table[~is_undrawn], notes


def _trials(num: int, one: str, many: str) -> str:
    return f"1 more trial {one}" if num == 1 else f"{num} more trials {many}"


def _split_parameters(table: pd.DataFrame) -> tuple[list[str], str]:
    """The parameters that vary, and what the others are in all trials."""
    names = parameters_of(table)
    if len(table) < 2:
        return names, ""
    same = [name for name in names if len({repr(value) for value in table[name]}) == 1]
    texts = [f"{one_line(name)}={_value(table[name].iloc[0])}" for name in same]
    return [name for name in names if name not in same], " ".join(texts)


def _names(table: pd.DataFrame) -> list[str]:
    """The columns that say something, beside parameters."""
    names = [name for name in ("study", "number", "repeat", "attempt") if name in table]
    names += ["state", *objectives_of(table)]
    names += [name for name in (*_MEASURED, *told_of(table), *_LAST) if name in table]
    repeated = set(table["metric"].dropna())
    if table["number"].isna().all():
        names[0:0] = ["folder"]
    return [name for name in names if name not in repeated and not _says_nothing(name, table[name])]


_MEASURED = (
    *("published", "published_learned", "epochs", "best_epoch", "best_val_accuracy"),
    *("last_val_accuracy", "learned", "last_train_loss", "test_accuracy"),
)
_LAST = ("seconds", "images_per_s", "peak_memory_mib", "slot", "duplicate_of", "error")


def _says_nothing(name: str, column: pd.Series[Any]) -> bool:
    if name in ("study", "slot", "epochs"):
        return column.nunique() < 2
    if name == "attempt":
        return not bool((column.fillna(0) > 0).any())
    return name not in ("state", "objective") and bool(column.isna().all())


def _in_order(columns: Iterable[str], varying: Sequence[str]) -> list[str]:
    """Parameters stand behind the objective, and a long error where it can be cut."""
    names = [name for name in columns if name not in varying]
    objective = max(i for i, name in enumerate(names) if name.startswith("objective"))
    names[objective + 1 : objective + 1] = varying
    # An attempt is a matter of how a result came about.
    names.sort(key=lambda name: (name == "error", name == "attempt"))
    return names


def _cells(table: pd.DataFrame, name: str) -> tuple[list[str], bool]:
    """A column's cells, and whether they are numbers, which stand at the right."""
    column = table[name]
    if name in ("learned", "published_learned"):
        return [_LEARNED.get(value, "") for value in column.tolist()], False
    if name == "folder":
        return [str(value).rpartition("/")[2] for value in column], False
    pattern = number if name.startswith("objective") else _FORMATS.get(name)
    if name == "error":
        kinds = table["error_kind"]
        pairs = zip(kinds.fillna(""), column.fillna(""), strict=True)
        texts = [text if kind in text else f"{kind}: {text}" for kind, text in pairs]
        return [beginning(text, _TEXT_CELLS) for text in texts], False
    cells = [_text(value, pattern) for value in column.tolist()]
    return _with_ends(cells, table, name), pd.api.types.is_numeric_dtype(column.dtype)


def _value_cells(column: pd.Series[Any]) -> tuple[list[str], bool]:
    is_number = pd.api.types.is_numeric_dtype(column.dtype) and column.dtype != "boolean"
    return [_value(value) for value in column.tolist()], is_number


def _padded(header: str, cells: Sequence[str], is_number: bool) -> list[str]:
    """A column's header and cells, of one width."""
    texts = [header, *cells]
    width = max(map(cell_len, texts))
    if is_number:
        return [" " * (width - cell_len(text)) + text for text in texts]
    return [text + " " * (width - cell_len(text)) for text in texts]


def _value(value: Any) -> str:
    # None is a choice; missing means that the parameter has no part in the trial.
    if value is not None and pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    return one_line(value, _VALUE_CELLS)


def _text(value: Any, pattern: Callable[[Any], str] | None) -> str:
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return ""
    if pattern is not None:
        return pattern(value)
    return f"{value:.6g}" if isinstance(value, float) else beginning(str(value), _TEXT_CELLS)


def _explanations(table: pd.DataFrame) -> list[str]:
    """What the numbers mean, where that is not what they seem to."""
    metrics = set(table["metric"].dropna())
    notes = []
    if metrics and all(metric.startswith("best_") for metric in metrics):
        name = metrics.pop().removeprefix("best_") if len(metrics) == 1 else "value"
        notes.append(f"objective: the best {name} of all epochs, which is optimistic")
    if "last_val_accuracy_low" in table:
        text = "in brackets: 95% interval of that epoch's accuracy"
        if "learned" in table and table["learned"].notna().any():
            chances = sorted({number(one) for one in table["chance_accuracy"].dropna()})
            text += f"; learned: it lies above chance ({', '.join(chances)})"
        notes.append(text)
    return notes


def _layout(columns: dict[str, list[str]], varying: Sequence[str], width: int | None) -> list[str]:
    columns = dict(columns)
    if width is not None and _width(columns) > width:
        for name, short in short_keys(varying).items():
            header, *cells = columns[name]
            is_number = header.startswith(" ") or any(cell.startswith(" ") for cell in cells)
            stripped = [cell.strip() for cell in cells]
            columns[name] = _padded(one_line(short), stripped, is_number)
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
