"""What all figures ask of a table: numbers, names of runs, which parameters vary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.columns import objectives_of, parameters_of
from resnet_sweep.report.plots.figure import Axis
from resnet_sweep.report.text import beginning, one_line, short_keys

_LOG_SPAN = 100
_MAX_CATEGORIES = 12
_LANE_CHARS = 60
_OTHER = "other"
_KEY_COLUMNS = ("study", "ticket", "number", "repeat", "attempt", "folder")


def is_missing(value: object) -> bool:
    """Whether there is no value; None is one, the value null."""
    return value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def floats(table: pd.DataFrame, name: str) -> np.ndarray:
    """A column as float64, NaN where there is no number or no such column."""
    if name not in table:
        return np.full(len(table), np.nan)
    numbers = pd.to_numeric(table[name], errors="coerce")
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def texts(table: pd.DataFrame, name: str) -> list[str]:
    """A column as text, empty where there is none."""
    if name not in table:
        return [""] * len(table)
    return [
        "" if value is None or is_missing(value) else str(value) for value in table[name].tolist()
    ]


def plain(values: Iterable[float]) -> tuple[float | None, ...]:
    """Numbers for a figure: what is not finite becomes a gap."""
    return tuple(value if math.isfinite(value) else None for value in map(float, values))


def objective_names(runs: pd.DataFrame) -> list[str]:
    """The columns of the objectives."""
    return objectives_of(runs)


def maximizes(runs: pd.DataFrame) -> list[bool]:
    """For each objective whether more is better, as most runs say."""
    objectives = objectives_of(runs)
    told = [text for text in texts(runs, "direction") if text]
    usual = max(set(told), key=told.count) if told else ""
    directions = [part.strip() for part in usual.split(",")]
    return [i < len(directions) and directions[i] == "maximize" for i in range(len(objectives))]


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


def names_of(runs: pd.DataFrame) -> list[str]:
    """What each run is called: ``trial 3``, ``trial 3, repeat 1`` or its folder's name."""
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
        names.append(f"{name}, repeat {repeat}" if repeat else name)
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


def titles_of(runs: pd.DataFrame, rows: Iterable[int]) -> dict[int, str]:
    """Name and settings of some runs, two lines for hovering.

    Args:
        runs: The table.
        rows: Positions of the runs.
    """
    names = names_of(runs)
    return {
        row: f"{names[row]}\n{settings}" if settings else names[row]
        for row, settings in settings_of(runs, rows).items()
    }


def best_order(runs: pd.DataFrame, states: Sequence[str] = ("COMPLETE",)) -> list[int]:
    """Positions of runs with a finite first objective, best first."""
    objectives = objectives_of(runs)
    if not objectives or runs.empty:
        return []
    values = floats(runs, objectives[0])
    is_in = np.isin(np.array(texts(runs, "state")), states) & np.isfinite(values)
    signed = -values if maximizes(runs)[0] else values
    return [int(i) for i in np.argsort(signed, kind="stable") if is_in[i]]


def rows_of(history: pd.DataFrame, runs: pd.DataFrame) -> np.ndarray:
    """For each row of the history the position of its run in the table; -1 without one."""
    shared = [name for name in _KEY_COLUMNS if name in history and name in runs]
    keys = zip(*(texts(runs, name) for name in shared), strict=True)
    positions = {key: i for i, key in enumerate(keys)}
    rows = zip(*(texts(history, name) for name in shared), strict=True)
    return np.array([positions.get(key, -1) for key in rows], dtype=np.int64)


@dataclass(frozen=True)
class Coordinate:
    """A parameter's column as positions on an axis.

    Attributes:
        positions: NaN where the parameter has no part in the run.
        axis: Where they lie.
        is_categorical: Positions are indices of the axis's ticks.
    """

    positions: np.ndarray
    axis: Axis
    is_categorical: bool


def coordinate(runs: pd.DataFrame, name: str, log_parameters: frozenset[str]) -> Coordinate:
    """Places a parameter's values on an axis: numbers by value, all else by name.

    Args:
        runs: The table.
        name: The parameter's column.
        log_parameters: Drawn on a logarithmic axis whatever they span.
    """
    values = runs[name].tolist()
    present = [value for value in values if not is_missing(value)]
    if present and all(map(_is_number, present)):
        return _numeric(floats(runs, name), name in log_parameters)
    names = [value_text(value, 24) for value in values]
    counts: dict[str, int] = {}
    for text, value in zip(names, values, strict=True):
        if not is_missing(value):
            counts[text] = counts.get(text, 0) + 1
    kept = sorted(sorted(counts, key=lambda text: -counts[text])[:_MAX_CATEGORIES])
    ticks = kept + [_OTHER] * (len(counts) > len(kept))
    place = {text: float(i) for i, text in enumerate(kept)}
    positions = np.array(
        [
            np.nan if is_missing(value) else place.get(text, float(len(kept)))
            for text, value in zip(names, values, strict=True)
        ]
    )
    limits = (-0.6, len(ticks) - 0.4)
    axis = Axis(ticks=tuple((float(i), t) for i, t in enumerate(ticks)), limits=limits)
    return Coordinate(positions, axis, is_categorical=True)


def _numeric(values: np.ndarray, is_told_log: bool) -> Coordinate:
    finite = values[np.isfinite(values)]
    is_positive = bool(finite.size) and float(finite.min()) > 0
    spans = is_positive and float(finite.max()) / float(finite.min()) > _LOG_SPAN
    is_log = is_positive and (is_told_log or spans)
    distinct = np.unique(finite)
    ticks = tuple((float(v), f"{v:.4g}") for v in distinct) if 0 < distinct.size <= 4 else ()
    axis = Axis(scale="log" if is_log else "linear", ticks=ticks)
    return Coordinate(np.where(np.isfinite(values), values, np.nan), axis, is_categorical=False)


def _is_number(value: object) -> bool:
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


def category_colours(runs: pd.DataFrame, palette: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The first parameter that a colour can tell, and the colour of each of its values.

    Returns:
        Name and colours by text; an empty name where there is none.
    """
    for name in varying(runs):
        values: list[Any] = [value for value in runs[name].tolist() if not is_missing(value)]
        names = sorted({value_text(value, 24) for value in values})
        if 2 <= len(names) <= len(palette) and not all(map(_is_number, values)):
            return name, dict(zip(names, palette, strict=False))
    return "", {}
