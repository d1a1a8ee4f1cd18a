"""What ran when: a lane a slot, a bar an attempt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import (
    Axis,
    Bars,
    Figure,
    LegendEntry,
    NoFigure,
    Panel,
)
from resnet_sweep.report.plots.values import names_of, rows_of, texts, value_text
from resnet_sweep.report.text import duration

_MOST_LANES = 40
# Bars narrower than this share of the picture are joined with their neighbours.
_FINEST = 1 / 400
_LANE_PX = 30


@dataclass(frozen=True)
class _Span:
    start: float
    end: float
    state: str
    label: str
    rows: tuple[int, ...]


def timeline(
    attempts: pd.DataFrame, now: datetime, runs: pd.DataFrame | None = None
) -> Figure | NoFigure:
    """Bars from start to end, coloured by how each attempt ended.

    Args:
        attempts: A row an attempt at a run.
        now: Where bars of running ones end.
        runs: The table that bars are to be found in by a click; None for none.
    """
    lanes = _lanes(attempts, now)
    if not lanes:
        return NoFigure("No timeline: no attempt has kept when it started and ended.")
    shown = dict(list(lanes.items())[:_MOST_LANES])
    spans = [span for lane in shown.values() for span in lane]
    finest = (max(s.end for s in spans) - min(s.start for s in spans)) * _FINEST
    shown = {name: _joined(lane, finest) for name, lane in shown.items()}
    heights = {name: float(len(shown) - 1 - i) for i, name in enumerate(shown)}
    states = [s for s in palette.STATES if any(span.state == s for span in spans)]
    places = rows_of(attempts, runs, by_run=True) if runs is not None else None
    marks = tuple(_bars(shown, heights, state, places) for state in states)
    ticks = tuple((heights[name], value_text(name, 24)) for name in shown)
    panel = Panel(
        x=Axis(scale="time"),
        y=Axis(ticks=ticks, limits=(-0.6, len(shown) - 0.4), has_grid=False),
        marks=marks,
        height_px=80 + _LANE_PX * len(shown),
    )
    caption = f"The first {_MOST_LANES} of {len(lanes)} slots. " if len(lanes) > len(shown) else ""
    legend = tuple(LegendEntry(s.lower(), palette.STATES[s], "bar") for s in states)
    return Figure((panel,), legend, caption.strip())


def _lanes(attempts: pd.DataFrame, now: datetime) -> dict[str, list[_Span]]:
    """Spans by slot; without slots by worker, and without these side by side."""
    if "started" not in attempts or attempts.empty:
        return {}
    started = _seconds(attempts["started"])
    ended = _seconds(attempts["ended"]) if "ended" in attempts else np.full(len(started), np.nan)
    states, names = texts(attempts, "state"), names_of(attempts)
    places = [
        slot or worker
        for slot, worker in zip(texts(attempts, "slot"), texts(attempts, "worker"), strict=True)
    ]
    lanes: dict[str, list[_Span]] = {}
    unplaced: list[list[_Span]] = []
    until = pd.Timestamp(now).timestamp() if now.tzinfo else _seconds(pd.Series([now]))[0]
    for i in np.argsort(started, kind="stable"):
        end = until if states[i] == "RUNNING" and np.isnan(ended[i]) else ended[i]
        if np.isnan(started[i]) or np.isnan(end):
            continue
        end = max(end, started[i])
        label = f"{names[i]}\n{states[i].lower()} after {duration(end - started[i])}"
        span = _Span(float(started[i]), float(end), states[i], label, (int(i),))
        if places[i]:
            lanes.setdefault(places[i], []).append(span)
        else:
            _pack(unplaced, span)
    named = dict(sorted(lanes.items(), key=lambda item: (len(item[0]), item[0])))
    return named | {f"lane {i + 1}": lane for i, lane in enumerate(unplaced)}


def _seconds(column: pd.Series[Any]) -> np.ndarray:
    times = pd.to_datetime(column).to_numpy(dtype="datetime64[us]")
    return np.where(np.isnat(times), np.nan, times.astype(np.int64) / 1e6)


def _pack(lanes: list[list[_Span]], span: _Span) -> None:
    """Puts a span into the first lane that is free by then."""
    for lane in lanes:
        if lane[-1].end <= span.start:
            lane.append(span)
            return
    lanes.append([span])


def _joined(lane: list[_Span], finest: float) -> list[_Span]:
    """Joins neighbours that end alike and are too short to be seen."""
    spans: list[_Span] = []
    for span in lane:
        last = spans[-1] if spans else None
        if last is not None and last.state == span.state and span.end - last.start < finest:
            rows = last.rows + span.rows
            label = f"{len(rows)} attempts, {span.state.lower()}"
            spans[-1] = replace(last, end=max(last.end, span.end), rows=rows, label=label)
        else:
            spans.append(span)
    return spans


def _bars(
    lanes: dict[str, list[_Span]],
    heights: dict[str, float],
    state: str,
    places: np.ndarray | None,
) -> Bars:
    chosen = [(s, heights[name]) for name, lane in lanes.items() for s in lane if s.state == state]
    return Bars(
        start=tuple(span.start for span, _ in chosen),
        end=tuple(span.end for span, _ in chosen),
        y=tuple(y for _, y in chosen),
        colour=palette.STATES[state],
        labels=tuple(span.label for span, _ in chosen),
        keys=() if places is None else tuple(_key(span, places) for span, _ in chosen),
    )


def _key(span: _Span, places: np.ndarray) -> int | None:
    """The run that a bar belongs to; None for a bar of several, and of one that is unknown."""
    found = {int(places[row]) for row in span.rows}
    return found.pop() if len(found) == 1 and -1 not in found else None
