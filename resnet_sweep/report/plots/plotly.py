"""Draws a panel as the plain values that plotly.js takes; nothing of plotly is imported."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import Axis, Bars, Line, Mark, Panel, Points, Rule

# Of an axis; fewer where they would not fit.
_NUM_TICKS = 7
_NUM_DECADES = 5
_SYMBOLS = {"dot": "circle", "ring": "circle-open", "cross": "x-thin", "diamond": "diamond"}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def escaped(text: str) -> str:
    """A text that plotly.js shows as it is: it takes tags and %{templates} in all texts."""
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("%", "&#37;")):
        text = text.replace(char, entity)
    return text.replace("\n", "<br>")


def drawn(panel: Panel) -> dict[str, Any]:
    """Data and layout of a panel; JSON can hold both.

    Args:
        panel: To draw.
    """
    is_time = panel.x.scale == "time"
    return {
        "data": [_trace(mark, panel, is_time) for mark in panel.marks],
        "layout": layout(panel),
    }


def layout(panel: Panel) -> dict[str, Any]:
    """The layout of a panel: calm, with thin grids and room for long names."""
    on_x, on_y = (any(rule.axis == axis for rule in panel.rules) for axis in ("x", "y"))
    return {
        **base_layout(panel.height_px),
        "xaxis": _axis(panel.x, _extent(panel, "x")),
        "yaxis": _axis(panel.y, _extent(panel, "y")),
        "shapes": [_rule(rule) for rule in panel.rules],
        "annotations": [_rule_label(rule, panel) for rule in panel.rules],
        "barmode": "overlay",
        # A rule's name stands beyond its end.
        "margin": {"l": 8, "r": 52 if on_y else 12, "t": 24 if on_x else 18, "b": 8},
    }


def base_layout(height_px: int) -> dict[str, Any]:
    """What the layouts of all pictures share.

    Args:
        height_px: Of the picture; its width is the page's.
    """
    return {
        "height": height_px,
        "margin": {"l": 8, "r": 12, "t": 18, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": palette.INK},
        "showlegend": False,
        "dragmode": False,
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": "#ffffff",
            "bordercolor": palette.FAINT,
            "align": "left",
            "font": {"family": FONT, "size": 12, "color": palette.INK},
        },
    }


def _axis(axis: Axis, extent: tuple[float, float] | None) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "type": {"linear": "linear", "log": "log", "time": "date"}[axis.scale],
        "title": {"text": escaped(axis.title), "standoff": 10},
        "automargin": True,
        "fixedrange": True,
        "showgrid": axis.has_grid,
        "gridcolor": palette.GRID,
        "gridwidth": 1,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "tickcolor": palette.FAINT,
        "nticks": _NUM_TICKS,
        "tickfont": {"color": palette.MUTED, "size": 12},
    }
    drawn["title"]["font"] = {"color": palette.MUTED, "size": 12}
    if axis.scale == "log":
        num_decades = 1.0 if extent is None else extent[1] - extent[0]
        every = max(math.ceil(num_decades / _NUM_DECADES), 1)
        drawn |= {"dtick": every, "exponentformat": "power"}
    if axis.is_count and (extent is None or extent[1] - extent[0] < _NUM_TICKS):
        # Left alone it would count halves and fifths.
        drawn |= {"dtick": 1}
    if axis.ticks:
        drawn |= {
            "tickmode": "array",
            "tickvals": [at for at, _ in axis.ticks],
            "ticktext": [escaped(name) for _, name in axis.ticks],
        }
    if extent is not None:
        drawn["range"] = list(extent)
    return drawn


def _extent(panel: Panel, which: str) -> tuple[float, float] | None:
    """From where to where an axis goes, in its own unit; None leaves it to plotly.js."""
    axis = panel.x if which == "x" else panel.y
    if axis.limits is not None or axis.scale == "time":
        return axis.limits
    values = [value for mark in panel.marks for value in _positions(mark, which)]
    values += [rule.at for rule in panel.rules if rule.axis == which]
    if not values:
        return None
    if axis.scale == "log":
        values = [math.log10(value) for value in values if value > 0]
        if not values:
            return None
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - room, high + room


def _positions(mark: Mark, which: str) -> Iterable[float]:
    if isinstance(mark, Bars):
        return [*mark.start, *mark.end] if which == "x" else mark.y
    values = list(mark.x if which == "x" else mark.y)
    if which == "x" and isinstance(mark, Points):
        values += [end for interval in mark.intervals for end in interval]
    return [value for value in values if value is not None]


def _trace(mark: Mark, panel: Panel, is_time: bool) -> dict[str, Any]:
    if isinstance(mark, Line):
        return _line(mark, panel)
    if isinstance(mark, Bars):
        return _bars(mark, is_time)
    return _points(mark)


def _line(mark: Line, panel: Panel) -> dict[str, Any]:
    x, y = (escaped(axis.title.partition(",")[0]) for axis in (panel.x, panel.y))
    hover = f"%{{meta.label}}<br>{x} %{{x}}: {y} %{{y:.4~g}}<extra></extra>"
    return {
        "type": "scatter",
        "mode": "lines" if len(mark.x) > 1 else "lines+markers",
        "x": rounded(mark.x),
        "y": rounded(mark.y),
        **({"hovertemplate": hover} if mark.label else {"hoverinfo": "skip"}),
        "opacity": mark.opacity,
        "line": {
            "color": mark.colour,
            "width": mark.width,
            "shape": "hv" if mark.is_stepped else "linear",
        },
        "meta": {"label": escaped(mark.label)} | ({} if mark.key is None else {"key": mark.key}),
    }


def _points(mark: Points) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(mark.x),
        "y": rounded(mark.y),
        "text": [escaped(label) for label in mark.labels],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "color": mark.colour,
            "size": mark.size,
            "opacity": mark.opacity,
            "symbol": _SYMBOLS[mark.symbol],
            "line": {"color": "#ffffff", "width": 0.8 if mark.symbol == "dot" else 0},
        },
        "meta": {"keys": list(mark.keys)} if mark.keys else {},
    }
    if mark.symbol in ("ring", "cross"):
        trace["marker"]["line"] = {"color": mark.colour, "width": 2}
    if mark.intervals:
        trace["error_x"] = _intervals(mark)
    return trace


def _intervals(mark: Points) -> dict[str, Any]:
    """Ends of intervals as plotly.js wants them: how far they are from the point."""
    above, below = [], []
    for x, (low, high) in zip(mark.x, mark.intervals, strict=True):
        is_known = x is not None and low is not None and high is not None
        below.append(x - low if is_known and x is not None and low is not None else None)
        above.append(high - x if is_known and x is not None and high is not None else None)
    return {
        "type": "data",
        "symmetric": False,
        "array": rounded(above),
        "arrayminus": rounded(below),
        "color": mark.colour,
        "thickness": 2.2,
        "width": 0,
    }


def _bars(mark: Bars, is_time: bool) -> dict[str, Any]:
    length = [end - start for start, end in zip(mark.start, mark.end, strict=True)]
    return {
        "type": "bar",
        "orientation": "h",
        # Of a bar on a time axis the length is in milliseconds.
        "base": [_time(start) for start in mark.start] if is_time else rounded(mark.start),
        "x": [value * 1000 for value in length] if is_time else rounded(length),
        "y": list(mark.y),
        "width": mark.width,
        "text": [escaped(label) for label in mark.labels],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": mark.colour, "line": {"color": "#ffffff", "width": 0.5}},
        "meta": {"keys": list(mark.keys)} if mark.keys else {},
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _rule(rule: Rule) -> dict[str, Any]:
    other = "y" if rule.axis == "x" else "x"
    return {
        "type": "line",
        # Below is below the grid too, of which a line would hide a rule at the same place.
        "layer": "above",
        f"{rule.axis}0": rule.at,
        f"{rule.axis}1": rule.at,
        f"{other}ref": "paper",
        f"{other}0": 0,
        f"{other}1": 1,
        "line": {"color": palette.MUTED, "width": 1, "dash": "4px,3px"},
    }


def _rule_label(rule: Rule, panel: Panel) -> dict[str, Any]:
    axis = panel.x if rule.axis == "x" else panel.y
    at = math.log10(rule.at) if axis.scale == "log" and rule.at > 0 else rule.at
    place: dict[str, Any] = {"x": at, "y": 1, "yref": "paper", "yanchor": "bottom"}
    if rule.axis == "y":
        place = {"y": at, "x": 1, "xref": "paper", "xanchor": "left", "yanchor": "middle"}
    font = {"size": 11, "color": palette.MUTED}
    return {**place, "text": escaped(rule.label), "showarrow": False, "font": font}


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """Numbers with the seven digits that a picture can show, None for what is not finite."""
    return [
        None if value is None or not math.isfinite(value) else float(f"{value:.7g}")
        for value in values
    ]
