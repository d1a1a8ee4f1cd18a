"""A picture as plain values, before anything draws it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Scale = Literal["linear", "log", "time"]
Symbol = Literal["dot", "ring", "cross", "diamond"]
Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class Axis:
    """One axis of a panel.

    Attributes:
        title: What it measures.
        scale: Of a "time" axis positions are seconds since 1970.
        ticks: Positions and their names, where the renderer is not to choose them.
        limits: Lowest and highest position; None follows the data.
        has_grid: Whether thin lines cross the panel at the ticks.
        is_count: Positions are whole numbers: of epochs, of runs.
    """

    title: str = ""
    scale: Scale = "linear"
    ticks: tuple[tuple[float, str], ...] = ()
    limits: tuple[float, float] | None = None
    has_grid: bool = True
    is_count: bool = False


@dataclass(frozen=True)
class Line:
    """Points joined in their order.

    Attributes:
        x: Positions.
        y: Positions; None breaks the line.
        label: What hovering tells first.
        key: Row of the table that it belongs to.
        is_stepped: A value holds until the next one.
    """

    x: Numbers
    y: Numbers
    colour: str
    label: str = ""
    key: int | None = None
    width: float = 1.5
    opacity: float = 1.0
    is_stepped: bool = False


@dataclass(frozen=True)
class Points:
    """Marks of one kind.

    Attributes:
        x: Positions.
        y: Positions.
        labels: What hovering tells, a text a point, newlines allowed.
        keys: Rows of the table that they belong to; empty where there are none.
        intervals: Low and high ends on the x axis, a pair a point; empty where there are none.
    """

    x: Numbers
    y: Numbers
    colour: str
    labels: tuple[str, ...]
    keys: tuple[int, ...] = ()
    symbol: Symbol = "dot"
    size: float = 7.0
    opacity: float = 1.0
    intervals: tuple[tuple[float | None, float | None], ...] = ()


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, each from a start to an end at its height.

    Attributes:
        keys: Rows of the table that they belong to, None for a bar of several; empty where there
            are none.
    """

    start: tuple[float, ...]
    end: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    labels: tuple[str, ...]
    keys: tuple[int | None, ...] = ()
    width: float = 0.62


@dataclass(frozen=True)
class Rule:
    """A straight line across the panel at one position of an axis, such as chance level."""

    at: float
    label: str
    axis: Literal["x", "y"] = "y"


Mark = Line | Points | Bars


@dataclass(frozen=True)
class Panel:
    """One pair of axes and what is drawn on it, the first mark at the bottom.

    Attributes:
        choice: Of the panels of a figure only those of one choice are shown at a time.
    """

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    title: str = ""
    rules: tuple[Rule, ...] = ()
    height_px: int = 300
    choice: str = ""


@dataclass(frozen=True)
class LegendEntry:
    """What a colour or a symbol stands for."""

    label: str
    colour: str
    symbol: Literal["dot", "ring", "cross", "diamond", "line", "bar"] = "dot"


@dataclass(frozen=True)
class Figure:
    """Panels that belong together.

    Attributes:
        panels: In reading order.
        legend: Empty where there is one colour only.
        caption: What to know to read it.
        is_wide: Each panel takes the full width, else several stand in a row.
        choice_name: What the panels' choices are: "metric".
    """

    panels: tuple[Panel, ...]
    legend: tuple[LegendEntry, ...] = ()
    caption: str = ""
    is_wide: bool = True
    choice_name: str = ""
    choices: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        choices = tuple(dict.fromkeys(panel.choice for panel in self.panels if panel.choice))
        object.__setattr__(self, "choices", choices)


@dataclass(frozen=True)
class NoFigure:
    """Why there is nothing to draw.

    Attributes:
        reason: A sentence; empty where nobody would have expected a picture.
    """

    reason: str = ""
