"""The main figures as static pictures for papers, drawn with matplotlib."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_sweep.files import replacing
from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.all import figures_of
from resnet_sweep.report.plots.figure import (
    Axis,
    Bars,
    Figure,
    LegendEntry,
    Line,
    NoFigure,
    Panel,
    Points,
    Rule,
)
from resnet_sweep.report.text import beginning

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

_DPI = 200
# Longer names would leave no room for the picture.
_TITLE_CHARS, _PANEL_CHARS = 40, 26
_TICK_CHARS = {"x": 14, "y": 44}
_WIDTH_IN, _NARROW_IN, _PX_PER_IN = 6.5, 2.6, 110
_SYMBOLS = {"dot": "o", "ring": "o", "cross": "x", "diamond": "D"}
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.edgecolor": palette.FAINT,
    "axes.labelcolor": palette.MUTED,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": palette.GRID,
    "grid.linewidth": 0.6,
    "xtick.color": palette.MUTED,
    "ytick.color": palette.MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
    "text.color": palette.INK,
    # A dollar sign in a parameter's name is no formula.
    "text.parse_math": False,
}


def write_pngs(content: PageContent, folder: Path) -> list[Path]:
    """Writes a picture for each figure that there is something to draw of.

    Args:
        content: As the page's.
        folder: Where to; made if it is not there.

    Returns:
        The files: ``<figure>.png``, or ``<figure>_<choice>.png`` for each of a figure's choices.
    """
    if content.runs.empty:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, compute in figures_of(content).items():
        try:
            figure = compute()
            if isinstance(figure, NoFigure):
                continue
            for choice, path in _paths(name, figure.choices, folder).items():
                _draw(figure, [panel for panel in figure.panels if panel.choice == choice], path)
                paths.append(path)
        except Exception:
            # The others are worth having without it.
            log.exception("the picture %s cannot be drawn", name)
    return paths


def _paths(name: str, choices: Sequence[str], folder: Path) -> dict[str, Path]:
    """A file for each choice; choices are metrics, objectives or studies: any text."""
    paths: dict[str, Path] = {}
    taken: set[str] = set()
    for choice in choices or ("",):
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", choice).strip("._")[:60]
        stem = f"{name}_{plain}" if plain else name
        # Some file systems take A and a for one.
        free = (s for s in chain([stem], (f"{stem}-{i}" for i in count(2))))
        stem = next(s for s in free if s.lower() not in taken)
        taken.add(stem.lower())
        paths[choice] = folder / f"{stem}.png"
    return paths


def _draw(figure: Figure, panels: list[Panel], path: Path) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    num_columns = 1 if figure.is_wide else min(len(panels), 3)
    num_rows = math.ceil(len(panels) / num_columns)
    width = _WIDTH_IN if figure.is_wide else max(_NARROW_IN * num_columns, 3.4)
    height = sum(panel.height_px for panel in panels[::num_columns]) / _PX_PER_IN
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(width, height + 0.3), layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.subplots(num_rows, num_columns, squeeze=False).flat
        for ax in list(axes)[len(panels) :]:
            ax.set_axis_off()
        for ax, panel in zip(canvas.axes, panels, strict=False):
            _panel(ax, panel)
        if figure.legend:
            handles = [_handle(entry) for entry in figure.legend]
            canvas.legend(
                handles=handles, loc="outside upper left", ncols=min(len(handles), 3), frameon=False
            )
        with replacing(path) as temporary:
            canvas.savefig(temporary, format="png", dpi=_DPI, facecolor="white")


def _panel(ax: Axes, panel: Panel) -> None:
    ax.set_title(beginning(panel.title, _PANEL_CHARS))
    for mark in panel.marks:
        if isinstance(mark, Line):
            _line(ax, mark)
        elif isinstance(mark, Bars):
            _bars(ax, mark)
        else:
            _points(ax, mark)
    for rule in panel.rules:
        _rule(ax, rule)
    _axis(ax, panel.x, "x")
    _axis(ax, panel.y, "y")


def _array(values: tuple[float | None, ...]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _line(ax: Axes, mark: Line) -> None:
    ax.plot(
        _array(mark.x),
        _array(mark.y),
        color=mark.colour,
        linewidth=mark.width * 0.7,
        alpha=mark.opacity,
        drawstyle="steps-post" if mark.is_stepped else "default",
        marker="." if len(mark.x) == 1 else None,
    )


def _bars(ax: Axes, mark: Bars) -> None:
    lengths = np.array(mark.end) - np.array(mark.start)
    ax.barh(mark.y, lengths, height=mark.width, left=np.array(mark.start), color=mark.colour)


def _points(ax: Axes, mark: Points) -> None:
    x, y = _array(mark.x), _array(mark.y)
    for value, height, (low, high) in zip(x, y, mark.intervals, strict=False):
        if low is not None and high is not None and math.isfinite(value):
            ax.plot([low, high], [height, height], color=mark.colour, linewidth=1.2)
    style: dict[str, Any] = {"color": mark.colour}
    if mark.symbol == "ring":
        style = {"facecolors": "none", "edgecolors": mark.colour}
    elif mark.symbol != "cross":
        style |= {"linewidths": 0}
    size = (mark.size * 0.55) ** 2
    ax.scatter(x, y, s=size, marker=_SYMBOLS[mark.symbol], alpha=mark.opacity, **style)


def _rule(ax: Axes, rule: Rule) -> None:
    style: dict[str, Any] = {"color": palette.MUTED, "linewidth": 0.7, "linestyle": (0, (4, 3))}
    text: dict[str, Any] = {
        "fontsize": 7,
        "color": palette.MUTED,
    }
    if rule.axis == "x":
        ax.axvline(rule.at, **style)
        place = ax.get_xaxis_transform()
        ax.text(rule.at, 1, rule.label, transform=place, ha="center", va="bottom", **text)
    else:
        ax.axhline(rule.at, **style)
        place = ax.get_yaxis_transform()
        ax.text(1.01, rule.at, rule.label, transform=place, ha="left", va="center", **text)


def _axis(ax: Axes, axis: Axis, which: str) -> None:
    from matplotlib.ticker import MaxNLocator

    (ax.set_xlabel if which == "x" else ax.set_ylabel)(beginning(axis.title, _TITLE_CHARS))
    ours = ax.xaxis if which == "x" else ax.yaxis
    if axis.scale == "log":
        (ax.set_xscale if which == "x" else ax.set_yscale)("log")
        ours.set_major_formatter(lambda at, _: f"{at:g}")
        ours.set_minor_formatter(lambda at, _: "")
    if axis.scale == "time":
        ours.set_major_formatter(
            lambda at, _: datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M")
        )
    if axis.ticks:
        names = [beginning(name, _TICK_CHARS[which]) for _, name in axis.ticks]
        ours.set_ticks([at for at, _ in axis.ticks], labels=names)
        if which == "x" and sum(map(len, names)) > _TITLE_CHARS:
            ax.tick_params(axis="x", labelrotation=90)
        ours.set_ticks([], minor=True)
    if axis.is_count:
        ours.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if axis.limits is not None:
        (ax.set_xlim if which == "x" else ax.set_ylim)(*axis.limits)
    ax.grid(axis.has_grid, axis="x" if which == "x" else "y")


def _handle(entry: LegendEntry) -> Any:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if entry.symbol == "bar":
        return Patch(color=entry.colour, label=entry.label)
    if entry.symbol == "line":
        return Line2D([], [], color=entry.colour, label=beginning(entry.label, _TITLE_CHARS))
    fill = "none" if entry.symbol == "ring" else entry.colour
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=_SYMBOLS[entry.symbol],
        markeredgecolor=entry.colour,
        markerfacecolor=fill,
        markersize=5,
        label=beginning(entry.label, _TITLE_CHARS),
    )
