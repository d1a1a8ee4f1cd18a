"""A table of runs as text for a terminal: only what varies, numbers as they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import pandas as pd

from resnet_sweep.report.columns import objectives_of, parameters_of, settings_of, told_of
from resnet_sweep.report.grid import Column, fitted, lines_of
from resnet_sweep.report.notes import batch_norm_notes, skipped_notes
from resnet_sweep.report.settings import holds_numbers, is_missing, plain
from resnet_sweep.report.shaping import LEFT_OUT
from resnet_sweep.report.text import beginning, number, one_line
from resnet_sweep.report.verdicts import decimals

NONE_LEFT = "no run matches the filter"
# Given up in this order when the terminal is narrow; then what tasks have told, then the rest.
_FIRST_TO_GO = (
    *("images_per_s", "last_train_loss", "slot", "best_val_accuracy", "peak_memory_mib"),
    *("microbatch", "attempt", "best_epoch", "seconds", "last_val_accuracy", "test_accuracy"),
    "duplicate_of",
)
_LAST_TO_GO = ("epochs", "published")
FORMATS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("seconds", "seconds_mean", "peak_memory_mib"), "{:.1f}".format),
    "images_per_s": "{:.0f}".format,
    **dict.fromkeys(("best_val_accuracy", "last_val_accuracy", "last_train_loss"), number),
    **dict.fromkeys(("earlier", "published", "test_accuracy"), number),
}
_NUM_OF_FRONT = 20
_LEARNED = {True: "learned", False: "did not learn"}
_VALUE_CELLS, _TEXT_CELLS, ERROR_CELLS = 32, 72, 20


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
        return NONE_LEFT if table.attrs.get(LEFT_OUT) else "no trial has started"
    begun, drawn, said = _without_unbegun(table)
    shown = begun
    if num_rows is not None and len(begun) > num_rows:
        said.insert(0, f"{len(begun) - num_rows} more rows are not shown")
        shown = begun.head(num_rows)
    varying, constant = _split_parameters(drawn)
    kept = fitted(_columns(begun, shown, varying), width, varying, _first_to_go(begun))
    lines = lines_of(kept, width) if len(shown) else []
    if constant:
        said.append(f"in all trials: {constant}")
    said += [*_explanations(begun, kept), *notes]
    return "\n".join([*lines, *([""] if lines and said else []), *said])


def run_columns(table: pd.DataFrame) -> list[Column]:
    """The columns that ``render`` shows where there is room for all.

    Args:
        table: From ``load_results``.
    """
    varying, _ = _split_parameters(_without_unbegun(table)[1])
    return list(_columns(table, table, varying).values())


def _columns(begun: pd.DataFrame, shown: pd.DataFrame, varying: Sequence[str]) -> dict[str, Column]:
    columns = {name: _column(shown, name) for name in _names(begun)}
    columns |= {name: _value_column(one_line(name), shown[name]) for name in varying}
    return {name: columns[name] for name in _in_order(columns, varying)}


def has_ends(table: pd.DataFrame, name: str) -> bool:
    """Whether any value of a column has an interval.

    Args:
        table: Any.
        name: Of the column.
    """
    return f"{name}_low" in table and bool(table[f"{name}_low"].notna().any())


def with_ends(cells: Sequence[str], table: pd.DataFrame, name: str) -> list[str]:
    """The cells with their intervals behind them, where there are any.

    Args:
        cells: Of a column.
        table: That has the ends.
        name: Of the column.
    """
    if f"{name}_low" not in table:
        return list(cells)
    ends = zip(table[f"{name}_low"], table[f"{name}_high"], strict=True)
    return [
        f"{cell} ({decimals(low, 3)} to {decimals(high, 3)})" if low == low else cell
        for cell, (low, high) in zip(cells, ends, strict=True)
    ]


def _without_unbegun(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The trials that have begun, those whose values are known, and how many are neither."""
    is_to_begin = table["number"].isna() & (table["state"] == "WAITING")
    is_undrawn = is_to_begin.copy()
    for name in parameters_of(table):
        # Null is a value that was drawn.
        is_undrawn &= table[name].isna() & table[name].map(lambda value: value is not None)
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
    """The parameters and settings that vary, and what the others are in all trials."""
    names, asked_for = parameters_of(table), settings_of(table)
    if len(table) < 2:
        return [*names, *asked_for], ""
    same = {name: table[name].iloc[0] for name in names if len(_distinct(table[name])) == 1}
    for name in asked_for:
        # Where no run has begun, and in what is known from a file, there is no configuration.
        known = [value for value in table[name] if not is_missing(plain(value))]
        if len(_distinct(known)) < 2:
            same[name] = known[0] if known else math.nan
    texts = [f"{one_line(name)}={value_text(value)}" for name, value in same.items()]
    return [name for name in (*names, *asked_for) if name not in same], " ".join(texts)


def _distinct(values: Iterable[Any]) -> set[str]:
    return {repr(value) for value in values}


def _names(table: pd.DataFrame) -> list[str]:
    """The columns that say something, beside parameters."""
    names = [name for name in ("study", "number", "repeat", "attempt") if name in table]
    names += ["state", *objectives_of(table)]
    names += [name for name in (*_MEASURED, *told_of(table), *_LAST) if name in table]
    repeated = set(table["metric"].dropna())
    if table["number"].isna().any():
        names[0:0] = ["folder"]
    return [name for name in names if name not in repeated and not _says_nothing(name, table)]


_MEASURED = (
    *("earlier", "published", "epochs", "best_epoch", "best_val_accuracy"),
    *("last_val_accuracy", "learned", "last_train_loss", "test_accuracy"),
)
_LAST = (
    *("seconds", "images_per_s", "peak_memory_mib", "microbatch", "slot", "duplicate_of"),
    "error",
)


def _says_nothing(name: str, table: pd.DataFrame) -> bool:
    column = table[name]
    if name in ("study", "slot", "epochs"):
        return column.nunique() < 2
    if name == "attempt":
        return not bool((column.fillna(0) > 0).any())
    if name == "published" and "published_learned" in table:
        column = column.fillna(table["published_learned"].astype("Float64").astype("float64"))
    return name not in ("state", "objective") and bool(column.isna().all())


def _in_order(columns: Iterable[str], varying: Sequence[str]) -> list[str]:
    """Parameters stand behind the objective, and a long error where it can be cut."""
    names = [name for name in columns if name not in varying]
    objective = max(i for i, name in enumerate(names) if name.startswith("objective"))
    names[objective + 1 : objective + 1] = varying
    # An attempt is a matter of how a result came about.
    names.sort(key=lambda name: (name == "error", name == "attempt"))
    return names


def _first_to_go(table: pd.DataFrame) -> list[str]:
    told = [name for name in reversed(told_of(table)) if name not in _FIRST_TO_GO]
    # That all are complete is told by their number as well.
    state = ["state"] if table["state"].nunique() == 1 else []
    return [*_FIRST_TO_GO, *told, *state, *_LAST_TO_GO]


def _column(table: pd.DataFrame, name: str) -> Column:
    column = table[name]
    if name in ("learned", "published"):
        words = _LEARNED_COLUMN[name]
        learned = table[words].tolist() if words in table else [None] * len(table)
        values = column.tolist() if name == "published" else [math.nan] * len(table)
        pairs = zip(values, learned, strict=True)
        cells = [" ".join(_published(value, word)) for value, word in pairs]
        return Column(name, cells)
    if name == "folder":
        # Of a trial its number is enough.
        is_single = table["number"].isna().tolist()
        pairs = zip(column.fillna("").tolist(), is_single, strict=True)
        return Column(name, [one_line(one.rpartition("/")[2]) if is_ else "" for one, is_ in pairs])
    if name == "error":
        kinds = table["error_kind"].fillna("").tolist()
        pairs = zip(kinds, column.fillna("").tolist(), strict=True)
        texts = [text if kind in text else f"{kind}: {text}" for kind, text in pairs]
        return Column(name, [beginning(text, _TEXT_CELLS) for text in texts], least=ERROR_CELLS)
    if name in told_of(table):
        return _value_column(one_line(name), column)
    pattern = number if name.startswith("objective") else FORMATS.get(name)
    cells = [measured_text(value, pattern) for value in column.tolist()]
    return Column(one_line(name), with_ends(cells, table, name), holds_numbers(column))


_LEARNED_COLUMN = {"learned": "learned", "published": "published_learned"}


def _published(value: float, learned: Any) -> list[str]:
    """A number, if there is one, and whether that is learned, if that is known."""
    numbers = [] if math.isnan(value) else [number(value)]
    return numbers if learned is None or learned is pd.NA else [*numbers, _LEARNED[learned]]


def _value_column(header: str, column: pd.Series[Any]) -> Column:
    return Column(header, [value_text(value) for value in column.tolist()], holds_numbers(column))


def value_text(value: Any) -> str:
    """A parameter as it would be typed.

    Args:
        value: Of a cell.
    """
    # None is a choice; missing means that the parameter has no part in the trial.
    if value is not None and pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    return "''" if value == "" else one_line(value, _VALUE_CELLS)


def measured_text(value: Any, pattern: Callable[[Any], str] | None) -> str:
    """What was measured; empty where it is not known.

    Args:
        value: Of a cell.
        pattern: How numbers are written; None for six digits.
    """
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return ""
    if pattern is not None:
        return pattern(value)
    return f"{value:.6g}" if isinstance(value, float) else beginning(str(value), _TEXT_CELLS)


def _explanations(table: pd.DataFrame, shown: Container[str]) -> list[str]:
    """What the numbers mean, where that is not what they seem to."""
    metrics = set(table["metric"].dropna())
    notes = []
    if metrics and all(metric.startswith("best_") for metric in metrics):
        name = metrics.pop().removeprefix("best_") if len(metrics) == 1 else "value"
        notes.append(f"objective: the best {name} of all epochs, which is optimistic")
    # Of some of the trials there is a front as well, but nobody wants to know it.
    if len(objectives_of(table)) > 1 and not table.attrs.get(LEFT_OUT):
        notes.append(_front(table))
    if any(name in shown and has_ends(table, name) for name in _WITH_ENDS):
        notes.append("in brackets: 95% interval of one run's accuracy at that epoch")
    if "learned" in shown:
        chances = sorted({number(one) for one in table["chance_accuracy"].dropna()})
        chance = f"chance ({', '.join(chances)})"
        notes.append(f"learned: the last epoch's 95% interval lies above {chance}")
    # Also where the terminal has no room for the column.
    notes += [*batch_norm_notes(table), *skipped_notes(table)]
    return [note for note in notes if note]


def _front(table: pd.DataFrame) -> str:
    """Which trials no other beats in all objectives."""
    from resnet_sweep.report.plots.pareto import front_of

    runs = table.iloc[front_of(table)]
    has_several = table["study"].nunique() > 1
    texts = dict.fromkeys(
        f"{one_line(study)} {number}" if has_several else str(number)
        for study, number in zip(runs["study"], runs["number"], strict=True)
        if not pd.isna(number)
    )
    trials = "trial" if len(texts) == 1 else "trials"
    shown = [*list(texts)[:_NUM_OF_FRONT], *(["..."] if len(texts) > _NUM_OF_FRONT else [])]
    return f"{len(texts)} on the Pareto front: {trials} {', '.join(shown)}" if texts else ""


_WITH_ENDS = ("last_val_accuracy", "test_accuracy")
