"""Where a parameter's values lie on an axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from resnet_sweep.report.plots.categories import categories_of
from resnet_sweep.report.plots.figure import Axis
from resnet_sweep.report.plots.values import can_be_drawn, floats, is_missing, is_number

_LOG_SPAN = 100
_MAX_CATEGORIES = 12
_OTHER = "other"
# Of the axis: how far beside the numbers null stands.
_NULL_SHARE = 0.12
_NUM_TICKS = 4


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
    spans = is_positive and float(shown.max()) / float(shown.min()) > _LOG_SPAN
    is_log = is_positive and (is_told_log or spans)
    distinct = np.unique(shown)
    ticks = tuple((float(v), f"{v:.4g}") for v in distinct) if 0 < distinct.size <= 4 else ()
    axis = Axis(scale="log" if is_log else "linear", ticks=ticks)
    return Coordinate(np.where(is_shown, values, np.nan), axis, is_categorical=False)


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
