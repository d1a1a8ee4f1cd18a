"""Published values beside measured ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import (
    Axis,
    Figure,
    LegendEntry,
    Line,
    Mark,
    NoFigure,
    Panel,
    Points,
    Rule,
    Symbol,
)
from resnet_sweep.report.plots.values import lane_text, plain
from resnet_sweep.report.text import number

_MOST = 30


@dataclass(frozen=True)
class Pair:
    """One setting: what was published and what was measured; NaN where there is no number.

    Attributes:
        key: Row of the table that it belongs to.
    """

    setting: str
    published: float
    measured: float
    key: int


def published(pairs: Sequence[Pair], title: str, chance: float) -> Figure | NoFigure:
    """A row a setting, both values on it, joined.

    Args:
        pairs: In reading order.
        title: Of the objective.
        chance: Level to draw; NaN for none.
    """
    pairs = [p for p in pairs if math.isfinite(p.published) or math.isfinite(p.measured)][:_MOST]
    if not any(math.isfinite(pair.published) for pair in pairs):
        return NoFigure()
    y = np.arange(len(pairs))[::-1].astype(float)
    ticks = tuple((float(at), lane_text(pair.setting)) for at, pair in zip(y, pairs, strict=True))
    panel = Panel(
        x=Axis(title),
        y=Axis(ticks=ticks, limits=(-0.6, len(pairs) - 0.4), has_grid=False),
        marks=tuple(_marks(pairs, y)),
        rules=(Rule(chance, "chance", "x"),) if math.isfinite(chance) else (),
        height_px=90 + 32 * len(pairs),
    )
    legend = (
        LegendEntry("published", palette.VERMILLION, "ring"),
        LegendEntry("measured", palette.BLUE),
    )
    return Figure((panel,), legend)


def _marks(pairs: Sequence[Pair], y: np.ndarray) -> Iterator[Mark]:
    """Of each setting both values over the line that joins them."""
    theirs = np.array([pair.published for pair in pairs])
    ours = np.array([pair.measured for pair in pairs])
    for a, b, at in zip(theirs, ours, y, strict=True):
        if math.isfinite(a) and math.isfinite(b):
            yield Line(plain([a, b]), (float(at), float(at)), palette.FAINT, width=2)
    kinds: tuple[tuple[str, np.ndarray, str, Symbol], ...] = (
        ("published", theirs, palette.VERMILLION, "ring"),
        ("measured", ours, palette.BLUE, "dot"),
    )
    for what, values, colour, symbol in kinds:
        labels = [f"{p.setting}\n{what} {number(v)}" for p, v in zip(pairs, values, strict=True)]
        yield Points(
            x=plain(values),
            y=plain(y),
            colour=colour,
            labels=tuple(labels),
            keys=tuple(pair.key for pair in pairs),
            symbol=symbol,
            size=11,
        )
