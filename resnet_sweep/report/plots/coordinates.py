"""Where a parameter's values lie on an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from resnet_sweep.report.plots.categories import categories_of
from resnet_sweep.report.plots.figure import Axis
from resnet_sweep.report.plots.values import can_be_drawn, floats, is_missing, is_number

_LOG_SPAN = 10
# Between so many decades there would be one name or two.
_FEW_DECADES = 2
_MAX_CATEGORIES = 12
_OTHER = "other"
# Of the axis: how far beside the numbers null stands.
_NULL_SHARE = 0.12
_NUM_TICKS = 4
# Of the distance of two names, and of an axis of numbers: how far equal values are moved apart.
_STRIP, _SPREAD_SHARE = 0.32, 0.04
# Of more numbers few are equal.
_MOST_SPREAD = 24


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
    present = [value for value in runs[name].tolist() if not is_missing(value)]
    are_numbers = bool(present) and all(value is None or is_number(value) for value in present)
    has_null = any(value is None for value in present)
    if are_numbers and (not has_null or len(set(present)) > _MAX_CATEGORIES):
        found = _numeric(floats(runs, name), name in log_parameters)
        is_null = np.array([value is None for value in runs[name].tolist()], dtype=bool)
        return _with_null(found, is_null) if has_null else found
    return _categorical(runs, name)


def _categorical(runs: pd.DataFrame, name: str) -> Coordinate:
    found = categories_of(runs, name)
    places = np.array(found.places, dtype=np.int64)
    counts = np.bincount(places[places >= 0], minlength=len(found.labels))
    # The most frequent ones, in their own order.
    kept = np.sort(np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES])
    ticks = [found.labels[i] for i in kept] + [_OTHER] * (len(counts) > len(kept))
    # The last place is that of rows without a value.
    where = np.full(len(counts) + 1, float(len(kept)))
    where[kept], where[-1] = np.arange(len(kept)), np.nan
    limits = (-0.6, len(ticks) - 0.4)
    axis = Axis(ticks=tuple((float(i), t) for i, t in enumerate(ticks)), limits=limits)
    return Coordinate(where[places], axis, is_categorical=True)


def _numeric(values: np.ndarray, is_told_log: bool) -> Coordinate:
    is_shown = can_be_drawn(values)
    shown = values[is_shown]
    is_positive = bool(shown.size) and float(shown.min()) > 0
    span = float(shown.max()) / float(shown.min()) if is_positive else 1.0
    # What was typed as a decade may fall short of it by a rounding.
    spans = span > _LOG_SPAN * (1 - 1e-9)
    is_log = is_positive and (is_told_log or spans)
    distinct = np.unique(shown)
    named = distinct.tolist() if distinct.size <= _NUM_TICKS else []
    if not named and is_log and span < 10**_FEW_DECADES:
        named = _between(float(shown.min()), float(shown.max()))
    ticks = tuple((float(v), f"{v:.4g}") for v in named)
    axis = Axis(scale="log" if is_log else "linear", ticks=ticks)
    return Coordinate(np.where(is_shown, values, np.nan), axis, is_categorical=False)


def _between(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two numbers."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]


def spread(place: Coordinate) -> np.ndarray:
    """The positions, with those that several runs share moved apart, the same way each time.

    Args:
        place: Where a parameter's values lie.
    """
    is_log = place.axis.scale == "log" and not place.is_categorical
    scaled = np.log10(place.positions) if is_log else place.positions
    values, counts = np.unique(scaled[np.isfinite(scaled)], return_counts=True)
    room = _STRIP
    if not place.is_categorical:
        if not 1 < values.size <= _MOST_SPREAD:
            return place.positions
        room = min(_STRIP * float(np.diff(values).min()), _SPREAD_SHARE * float(np.ptp(values)))
    is_shared = np.isin(scaled, values[counts > 1])
    # Multiples of the golden ratio spread evenly however many there are.
    steps = np.arange(len(scaled)) * 0.6180339887498949 % 1.0 - 0.5
    moved = scaled + np.where(is_shared, steps * room, 0.0)
    return 10**moved if is_log else moved


def _with_null(found: Coordinate, is_null: np.ndarray) -> Coordinate:
    """A place of its own for null, before all numbers."""
    known = found.positions[np.isfinite(found.positions)]
    if known.size == 0:
        return found
    is_log = found.axis.scale == "log"
    scaled = np.log10(known) if is_log else known
    low, high = float(scaled.min()), float(scaled.max())
    ticks = np.linspace(low, high, _NUM_TICKS)
    place = np.array([low - _NULL_SHARE * (high - low or 1.0)])
    if is_log:
        ticks, place = 10**ticks, 10**place
    named = ((float(place[0]), "null"), *((float(at), f"{at:.3g}") for at in ticks))
    positions = np.where(is_null, place[0], found.positions)
    return Coordinate(positions, replace(found.axis, ticks=named), is_categorical=False)
