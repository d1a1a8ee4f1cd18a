"""The columns of a table of runs: names, order and types.

Between ``state`` and the objective stand the parameters, between the objective and ``folder``
what was measured, behind ``folder`` the settings that were asked for. The order is all that a
reader of the file needs to know which is which.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.study.canonical import same

MISSING = float("nan")
OF_A_RUN = ("study", "ticket", "number", "repeat", "attempt")
_BEFORE = (*OF_A_RUN, "state")
_CURVE = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
# In this order behind the objective; what a task tells stands between the two parts.
_MEASURED = (
    *("metric", "direction", "earlier", "published", "published_learned", "best_epoch"),
    *(f"best_{name}" for name in _CURVE),
    "epochs",
    *(f"last_{name}" for name in _CURVE),
    *("last_val_accuracy_low", "last_val_accuracy_high", "chance_accuracy", "learned"),
    *("test_loss", "test_accuracy", "test_accuracy_low", "test_accuracy_high"),
    *("num_val_images", "num_test_images", "num_skipped_images"),
)
_CIRCUMSTANCES = (
    *("seconds", "images_per_s", "peak_memory_mib", "device", "precision", "microbatch", "seed"),
    *("worker", "slot", "started", "ended", "duplicate_of", "error_kind", "error"),
)
_ALWAYS = frozenset((*_BEFORE, "metric", "direction", "seconds", "error_kind", "error", "folder"))
_DTYPES = {
    **dict.fromkeys(("ticket", "number", "repeat", "attempt"), "Int64"),
    **dict.fromkeys(("epoch", "best_epoch", "epochs"), "Int64"),
    **dict.fromkeys(("num_val_images", "num_test_images", "seed", "duplicate_of"), "Int64"),
    **dict.fromkeys(("num_skipped_images", "microbatch"), "Int64"),
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


@dataclass(frozen=True)
class Keys:
    """Columns that a table has whether or not a row knows them, in their order.

    Attributes:
        parameters: Keys of the parameters.
        told: Names of what tasks have told.
        settings: Keys of the configuration.
        objectives: Names of the objectives: how many there are is known before there is one.
    """

    parameters: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()


def frame(rows: Sequence[Row], keys: Iterable[Keys] = ()) -> pd.DataFrame:
    """The table of runs, in their order.

    Args:
        rows: Of one study or of several.
        keys: Of what is there without the rows.
    """
    given = list(keys)
    known = {key for row in rows for key, value in row.facts.items() if value is not None}
    objectives = {key for key in known if _OBJECTIVE.fullmatch(key)}
    objectives |= {name for one in given for name in one.objectives}
    in_order = sorted(objectives, key=_place) or ["objective"]
    shown = [name for name in (*_MEASURED, *_CIRCUMSTANCES) if name in known or name in _ALWAYS]
    used = [*FIXED, *in_order]
    columns: dict[str, pd.Series[Any]] = {}

    def add_fixed(names: Iterable[str]) -> None:
        for name in names:
            columns[name] = fixed_column(name, [row.facts.get(name) for row in rows])

    def add_free(kind: str, prefix: str, besides: Set[str] = frozenset()) -> None:
        found = dict.fromkeys(key for one in (*given, *rows) for key in getattr(one, kind))
        found = {key: None for key in found if key not in besides}
        for key, name in column_names(found, used, prefix).items():
            used.append(name)
            columns[name] = free_column([getattr(row, kind).get(key, MISSING) for row in rows])

    add_fixed(_BEFORE)
    add_free("parameters", "params")
    add_fixed((*in_order, *(name for name in shown if name in _MEASURED)))
    add_free("told", "attrs")
    add_fixed((*(name for name in shown if name in _CIRCUMSTANCES), "folder"))
    add_free("settings", "config", _told_by_parameters(rows))
    return pd.DataFrame(columns, index=pd.RangeIndex(len(rows)))


def _told_by_parameters(rows: Sequence[Row]) -> set[str]:
    """Settings that have the parameter's value in all runs that have them."""
    keys = {key for row in rows for key in row.settings.keys() & row.parameters.keys()}
    return {key for key in keys if all(_tells(row, key) for row in rows if key in row.settings)}


def _tells(row: Row, key: str) -> bool:
    # Of a group the parameter is the choice, and the setting all that is in it.
    return key in row.parameters and same(_plain(row.parameters[key]), _plain(row.settings[key]))


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


def objectives_of(table: Iterable[object]) -> list[str]:
    """Names of the objectives' columns: ``objective``, or ``objective_0`` and so on.

    Args:
        table: Of runs, as ``load_results`` gives it, or the names of its columns.
    """
    return [str(name) for name in table if _OBJECTIVE.fullmatch(str(name))]


def directions_of(table: pd.DataFrame) -> tuple[bool, ...]:
    """For each objective whether more of it is better.

    Of studies that do not agree the most frequent direction counts; where none is known, more
    is better.

    Args:
        table: Of runs, as ``load_results`` gives it.
    """
    known = table["direction"].dropna() if "direction" in table else pd.Series(dtype="string")
    # Of two that are equally frequent the first in the table.
    usual = Counter(known.tolist()).most_common(1)
    names = [name.strip() for name in str(usual[0][0]).split(",")] if usual else []
    return tuple(names[i : i + 1] != ["minimize"] for i in range(len(objectives_of(table))))


def told_of(table: pd.DataFrame) -> list[str]:
    """Names of the columns that hold what the task has told.

    Args:
        table: Of runs, as ``load_results`` gives it.
    """
    names = [str(name) for name in table]
    start, end = names.index(objectives_of(table)[-1]), names.index("folder")
    return [name for name in names[start + 1 : end] if name not in FIXED]


def settings_of(table: pd.DataFrame) -> list[str]:
    """Names of the columns that hold settings that were asked for.

    Args:
        table: Of runs, as ``load_results`` gives it.
    """
    names = [str(name) for name in table]
    return names[names.index("folder") + 1 :] if "folder" in names else []


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
        name = encodable(key)
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
        return pd.Series([MISSING if value is None else value for value in values], dtype=dtype)
    if dtype == "string":
        # An empty text says nothing, and in a file it is nothing.
        texts = [None if not value else encodable(str(value)) for value in values]
        return pd.Series(texts, dtype=dtype)
    return pd.Series(list(values), dtype=dtype)


def free_column(values: Sequence[Any]) -> pd.Series[Any]:
    """A column of parameters, settings or told facts, of the narrowest type that holds them.

    Args:
        values: Whole numbers become Int64, numbers float64, true and false boolean, texts
            string; of any other mixture each value keeps its own type. NaN is missing. None is
            the value null, a choice like others. What JSON does not know becomes text.
    """
    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain if not _is_missing(value)}
    filled = [None if _is_missing(value) else value for value in plain]
    if kinds == {bool}:
        return pd.Series(filled, dtype="boolean")
    if kinds == {str}:
        return pd.Series(filled, dtype="string")
    if kinds == {int} and all(one is None or abs(one) < 2**63 for one in filled):
        return pd.Series(filled, dtype="Int64")
    if kinds != {int} and kinds <= {int, float} and all(map(_is_exact, filled)):
        return pd.Series([MISSING if one is None else one for one in filled], dtype="float64")
    return pd.Series(plain, dtype=object)


def _plain(value: Any) -> Any:
    """The value in types that JSON knows, all of it encodable."""
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, Enum):
        return encodable(value.name)
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Mapping):
        return {encodable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.item() if value.ndim == 0 else value.tolist())
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    return MISSING if value is pd.NA or value is pd.NaT else encodable(str(value))


def encodable(text: str) -> str:
    """The text with lone surrogates as escapes: no file and no page could hold them.

    Args:
        text: A file's name that is no UTF-8 has them, for instance.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _is_missing(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _is_exact(value: float | None) -> bool:
    """Whether float64 holds the number."""
    return value is None or isinstance(value, float) or (_fits(value) and float(value) == value)


def _fits(value: int) -> bool:
    return abs(value) < 2**1023


def dtype_of(name: str, names: Iterable[object]) -> str | None:
    """What a column always holds; None if that depends on its values.

    Args:
        name: Of the column.
        names: Of all columns of the table.
    """
    if is_history(names):
        # Whatever a run has measured are numbers, also under the name of another column.
        return _DTYPES[name] if name in (*OF_A_RUN, "epoch", "folder") else "float64"
    if name in FIXED or _OBJECTIVE.fullmatch(name):
        return _DTYPES.get(name, "float64")
    return None


def is_history(names: Iterable[object]) -> bool:
    """Whether a table has a row an epoch, and not a row a run.

    Args:
        names: Of its columns.
    """
    return [*names][: len(OF_A_RUN) + 1] == [*OF_A_RUN, "epoch"]
