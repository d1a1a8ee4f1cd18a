"""Which runs have the same setting, and which are runs of their own."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.columns import objectives_of, parameters_of
from resnet_sweep.study.canonical import canonical

# A swept seed, also beside the column of the runs' own seeds.
_SEED = re.compile(r"(.*\.)?(params_)*seed")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf", re.IGNORECASE)
_WORDS = {"true": True, "false": False, "null": None}

Key = tuple[str, ...]
# What a run may resolve by itself; another may have it pinned to the very same.
_OPEN = (None, "auto")
# They cannot make another result, or have a column of their own.
_CANNOT_MATTER = re.compile(
    r"data\.(content|root|val_root|cache_dir|download)|objective(\..*)?"
    r"|trainer\.(device|threads|resume|tensorboard|checkpoint_every_s|readback_every_s"
    r"|val_batch_size)"
)


def swept_parameters(table: pd.DataFrame) -> list[str]:
    """Names of the parameters' columns without swept seeds, which are repetitions.

    Args:
        table: Of runs; one without a state or an objective has none.
    """
    return [name for name in _parameters(table) if not is_seed(name)]


def swept_seeds(table: pd.DataFrame) -> list[str]:
    """Names of the parameters' columns that are seeds.

    Args:
        table: Of runs.
    """
    return [name for name in _parameters(table) if is_seed(name)]


def is_seed(name: str) -> bool:
    """Whether a parameter only makes a repetition of a run.

    Args:
        name: Its key, or the name of its column.
    """
    return _SEED.fullmatch(name) is not None


def repetitions(*tables: pd.DataFrame) -> list[list[Key]]:
    """For each row of each table what tells it from the other runs of its setting.

    That is its seed, where all runs of all tables have one, else its repeat.

    Args:
        tables: Of runs; of several, values are compared as what they say.
    """
    is_seeded = all("seed" in table and table["seed"].notna().all() for table in tables)
    name = "seed" if is_seeded else "repeat"
    names = [name] if all(name in table for table in tables) else []
    swept = [swept_seeds(table) for table in tables]
    names += [name for name in swept[0] if all(name in one for one in swept)]
    return [keys_of(table, names, as_typed=len(tables) > 1) for table in tables]


def _parameters(table: pd.DataFrame) -> list[str]:
    return parameters_of(table) if "state" in table and objectives_of(table) else []


def completed(table: pd.DataFrame) -> pd.DataFrame:
    """The runs that ended well and were really run.

    A trial whose values were reused from an equal one counts only where that one is not there:
    the same number twice says nothing about the spread.

    Args:
        table: Of runs.
    """
    runs = table[table["state"] == "COMPLETE"] if "state" in table else table
    if "duplicate_of" not in runs or "number" not in runs or runs["duplicate_of"].isna().all():
        return runs
    studies = runs["study"] if "study" in runs else pd.Series("", index=runs.index)
    there = set(zip(studies, runs["number"], strict=True))
    pairs = zip(studies, runs["duplicate_of"], strict=True)
    again = [not pd.isna(number) and (study, number) in there for study, number in pairs]
    return runs[~np.array(again, dtype=bool)]


def in_plan_order(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs as they were planned, so that nothing depends on which is the best so far.

    Args:
        runs: Some rows of a table of runs.
    """
    names = [name for name in ("ticket", "number") if name in runs]
    return runs.sort_values(names, kind="stable", na_position="last") if names else runs


def keys_of(table: pd.DataFrame, names: Sequence[str], *, as_typed: bool = False) -> list[Key]:
    """For each row a key that is equal for rows that agree on the columns.

    Args:
        table: Of runs.
        names: Of columns.
        as_typed: Whether 1 is "1", and null a missing value, as between two files of which one
            keeps no types. Otherwise they differ, and a missing value is equal to another.
    """
    columns = [_column_keys(table[name], as_typed) for name in names]
    return list(zip(*columns, strict=True)) if columns else [()] * len(table)


def _column_keys(column: pd.Series[Any], as_typed: bool) -> list[str]:
    known: dict[tuple[type, Any], str] = {}
    keys = []
    for value in map(plain, column):
        try:
            key = known.get((type(value), value))
            if key is None:
                key = known[type(value), value] = _key(value, as_typed)
        except TypeError:  # A list cannot be looked up.
            key = _key(value, as_typed)
        keys.append(key)
    return keys


def _key(value: Any, as_typed: bool) -> str:
    if as_typed and isinstance(value, str):
        value = _typed(value)
    if is_missing(value) or (as_typed and value is None):
        return ""
    try:
        return canonical({"": value})
    except TypeError:  # A time, for instance.
        return canonical({"": str(value)})


def _typed(text: str) -> Any:
    """What a text would be on a command line."""
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    number = number_in(text)
    if number is not None:
        return number
    if text.lower() == "nan" or not text:
        return math.nan
    if text[0] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def number_in(text: str) -> int | float | None:
    """The number that a text is, whole if it is written so; None for every other text.

    Args:
        text: Of a cell or a command line.
    """
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return int(text)
    except ValueError:
        return float(text)


def plain(value: Any) -> Any:
    """A cell as Python has it: no types of numpy, NaN for whatever is missing.

    Args:
        value: Of a DataFrame.
    """
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    return math.nan if value is pd.NA or value is pd.NaT else value


def is_missing(value: Any) -> bool:
    """Whether a plain cell holds nothing; null is something.

    Args:
        value: From ``plain``.
    """
    return isinstance(value, float) and math.isnan(value)


def holds_numbers(column: pd.Series[Any]) -> bool:
    """Whether a column holds numbers and, at most, null beside them.

    Args:
        column: Of any table.
    """
    if pd.api.types.is_bool_dtype(column.dtype):
        return False
    if pd.api.types.is_numeric_dtype(column.dtype):
        return True
    if column.dtype != object:
        return False
    present = [value for value in map(plain, column) if value is not None and not is_missing(value)]
    return bool(present) and all(type(one) in (int, float) for one in present)


def as_number(value: Any) -> float:
    """A cell as a float; NaN for what is missing or no number.

    Args:
        value: Of a DataFrame.
    """
    value = plain(value)
    return float(value) if isinstance(value, int | float) else math.nan


def column_or_missing(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    """A column of numbers; NaN where the table has none of this name.

    Args:
        table: Of runs.
        name: Of the column.
    """
    values: Iterable[Any] = table[name] if name in table else [math.nan] * len(table)
    return pd.Series([as_number(value) for value in values], index=table.index, dtype="float64")


def can_matter(key: str, value: Any = 0) -> bool:
    """Whether runs may differ because of a setting.

    Args:
        key: Its dotted key.
        value: What it is; of one that a run resolves by itself nothing is known.
    """
    return value not in _OPEN and not is_seed(key) and not _CANNOT_MATTER.fullmatch(key)
