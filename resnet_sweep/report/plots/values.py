"""What all figures ask of a table: numbers, names of runs, which parameters vary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TypeGuard

import numpy as np
import pandas as pd

from resnet_sweep.report.columns import directions_of, objectives_of, parameters_of
from resnet_sweep.report.text import beginning, one_line, short_keys

_LANE_CHARS = 60
_TOO_LARGE = 1e100
_KEY_COLUMNS = ("study", "ticket", "number", "repeat", "attempt", "folder")


def is_missing(value: object) -> bool:
    """Whether there is no value; None is one, the value null."""
    return value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def floats(table: pd.DataFrame, name: str) -> np.ndarray:
    """A column as float64, NaN where there is no number or no such column."""
    if name not in table:
        return np.full(len(table), np.nan)
    try:
        numbers = pd.to_numeric(table[name], errors="coerce")
    except OverflowError:
        return np.array([_float(value) for value in table[name].tolist()], dtype=np.float64)
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def _float(value: object) -> float:
    """A value of a column that has whole numbers too large for a float."""
    if not is_number(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def can_be_drawn(values: np.ndarray) -> np.ndarray:
    """Which numbers a picture can show: of larger ones the distances are not finite."""
    # Of NaN both are false.
    found: np.ndarray = np.abs(values) < _TOO_LARGE
    return found


def texts(table: pd.DataFrame, name: str) -> list[str]:
    """A column as text, empty where there is none."""
    if name not in table:
        return [""] * len(table)
    return [
        "" if value is None or is_missing(value) else str(value) for value in table[name].tolist()
    ]


def plain(values: Iterable[float]) -> tuple[float | None, ...]:
    """Numbers for a figure: what cannot be drawn becomes a gap."""
    return tuple(value if abs(value) < _TOO_LARGE else None for value in map(float, values))


def objective_names(runs: pd.DataFrame) -> list[str]:
    """The columns of the objectives."""
    return objectives_of(runs)


def maximizes(runs: pd.DataFrame) -> list[bool]:
    """For each objective whether more is better."""
    return list(directions_of(runs))


def objective_title(runs: pd.DataFrame, name: str) -> str:
    """What an objective is called: the metric it repeats, where all runs agree on one."""
    metrics = {text for text in texts(runs, "metric") if text}
    return beginning(metrics.pop(), 40) if len(metrics) == 1 and name == "objective" else name


def varying(runs: pd.DataFrame) -> list[str]:
    """Parameters that are not the same in all runs; all of them where there is one run."""
    names = parameters_of(runs)
    if len(runs) < 2:
        return names
    return [name for name in names if len(set(map(repr, runs[name].tolist()))) > 1]


def value_text(value: object, limit: int | None = 40) -> str:
    """A parameter's value as it would be typed; empty where it has no part in the run."""
    return "" if is_missing(value) else one_line(value, limit)


def names_of(runs: pd.DataFrame, *, by_trial: bool = False) -> list[str]:
    """What each run is called: ``trial 3``, ``trial 3, repeat 1`` or its folder's name.

    Args:
        runs: The table.
        by_trial: Leaves out which repeat it is.
    """
    rows = zip(
        *(texts(runs, name) for name in ("number", "ticket", "repeat", "folder")), strict=True
    )
    names = []
    for number, ticket, repeat, folder in rows:
        if number:
            name = f"trial {number}"
        elif ticket:
            name = f"planned trial {ticket}"
        else:
            name = one_line(PurePath(folder).name or "run", 40)
        names.append(f"{name}, repeat {repeat}" if repeat and not by_trial else name)
    studies = texts(runs, "study")
    if len(set(studies)) > 1:
        names = [
            f"{one_line(study, 24)}: {name}" for study, name in zip(studies, names, strict=True)
        ]
    return names


def settings_of(runs: pd.DataFrame, rows: Iterable[int]) -> dict[int, str]:
    """What varies of some runs' parameters, in one line each: ``model=resnet50 lr=0.001``.

    Args:
        runs: The table.
        rows: Positions of the runs.
    """
    rows = list(rows)
    parameters = varying(runs)
    short = short_keys(parameters)
    part = runs.iloc[rows]
    columns = [
        [
            None if is_missing(value) else f"{one_line(short[name])}={one_line(value, 24)}"
            for value in part[name].tolist()
        ]
        for name in parameters
    ]
    if not columns:
        return dict.fromkeys(rows, "")
    return {
        row: beginning(" ".join(filter(None, cells)), 120)
        for row, cells in zip(rows, zip(*columns, strict=True), strict=True)
    }


def lane_text(name: str, settings: str = "") -> str:
    """What stands beside a lane: short enough to leave room for it."""
    return beginning("  ".join(filter(None, [name, settings])), _LANE_CHARS)


def titles_of(runs: pd.DataFrame, rows: Iterable[int], *, by_trial: bool = False) -> dict[int, str]:
    """Name and settings of some runs, two lines for hovering.

    Args:
        runs: The table.
        rows: Positions of the runs.
        by_trial: Leaves out which repeats they are.
    """
    names = names_of(runs, by_trial=by_trial)
    return {
        row: f"{names[row]}\n{settings}" if settings else names[row]
        for row, settings in settings_of(runs, rows).items()
    }


def rows_of(history: pd.DataFrame, runs: pd.DataFrame, *, by_run: bool = False) -> np.ndarray:
    """For each row of the history the position of its run in the table; -1 without one.

    Args:
        history: A row an epoch, or an attempt.
        runs: A row a run.
        by_run: An earlier attempt belongs to the run that took it up again.
    """
    shared = [name for name in _KEY_COLUMNS if name in history and name in runs]
    if by_run and "ticket" in shared and not runs["ticket"].isna().any():
        shared = [name for name in shared if name in ("study", "ticket", "repeat")]
    keys = zip(*(texts(runs, name) for name in shared), strict=True)
    positions = {key: i for i, key in enumerate(keys)}
    rows = zip(*(texts(history, name) for name in shared), strict=True)
    return np.array([positions.get(key, -1) for key in rows], dtype=np.int64)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(
        value, bool | np.bool_
    )


def sampled(positions: Sequence[int], most: int, keep: Iterable[int] = ()) -> list[int]:
    """At most about ``most`` of the positions, the same ones each time.

    Args:
        positions: To choose from; their order is kept.
        most: How many.
        keep: Stay in whatever is drawn.
    """
    if len(positions) <= most:
        return list(positions)
    drawn = np.random.default_rng(0).choice(len(positions), most, replace=False)
    chosen = {positions[i] for i in drawn} | set(keep)
    return [position for position in positions if position in chosen]
