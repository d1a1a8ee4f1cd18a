"""The pictures of a page; one that fails takes no other with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.plots.all import figures_of
from resnet_sweep.report.plots.figure import Figure, LegendEntry, NoFigure
from resnet_sweep.report.plots.parallel import parallel
from resnet_sweep.report.plots.plotly import drawn
from resnet_sweep.report.text import beginning

log = logging.getLogger(__name__)

_ERROR_CHARS = 200
_PARALLEL_CAPTION = "Each line is a completed run: the darker, the better."
TITLES = {
    "published": "Published beside measured",
    "ranking": "How sure is the ranking?",
    "means": "Means over repeats",
    "curves": "Learning curves",
    "groups": "Groups compared",
    "pareto": "Trade-off",
    "parameters": "What each parameter did",
    "importances": "Which parameters mattered",
    "parallel": "All parameters at once",
    "history": "How the search went",
    "intermediate": "Where runs were pruned",
    "timeline": "What ran when",
}


@dataclass(frozen=True)
class Slot:
    """A panel's place on the page.

    Attributes:
        place: Among the page's panels.
        min_width_px: Narrower pages scroll it; 0 for any width.
    """

    place: int
    title: str
    choice: str
    height_px: int
    min_width_px: int = 0


@dataclass(frozen=True)
class Picture:
    """A figure on the page: its slots and what stands around them."""

    slots: tuple[Slot, ...]
    caption: str
    legend: tuple[LegendEntry, ...] = ()
    is_wide: bool = True
    choice_name: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """Of which one is shown at a time."""
        return tuple(dict.fromkeys(slot.choice for slot in self.slots if slot.choice))


class Pictures:
    """All pictures of a page.

    Attributes:
        panels: Data and layout of each, as JSON for a script element.
        by_name: Those that there are.
        reasons: Why others are not there.

    Args:
        content: Of the page.
    """

    def __init__(self, content: PageContent) -> None:
        self.panels: list[str] = []
        self.by_name: dict[str, Picture] = {}
        self.reasons: list[str] = []
        if content.runs.empty:
            return
        for name, compute in figures_of(content).items():
            self._try(name, partial(self._figure, compute))
        self._try("parallel", partial(self._parallel, content))

    def _try(self, name: str, make: Callable[[], Picture | NoFigure]) -> None:
        num_panels = len(self.panels)
        try:
            picture = make()
        except Exception as error:
            # The page is worth having without it.
            log.exception("the picture %s cannot be drawn", name)
            del self.panels[num_panels:]
            what = beginning(f"{type(error).__name__}: {error}", _ERROR_CHARS)
            self.reasons.append(
                f"\N{LEFT DOUBLE QUOTATION MARK}{TITLES[name]}"
                f"\N{RIGHT DOUBLE QUOTATION MARK} could not be drawn: {what}"
            )
            return
        if isinstance(picture, Picture):
            self.by_name[name] = picture
        elif picture.reason:
            self.reasons.append(picture.reason)

    def _figure(self, compute: Callable[[], Figure | NoFigure]) -> Picture | NoFigure:
        figure = compute()
        if isinstance(figure, NoFigure):
            return figure
        slots = tuple(
            Slot(self._place(drawn(panel)), panel.title, panel.choice, panel.height_px)
            for panel in figure.panels
        )
        return Picture(slots, figure.caption, figure.legend, figure.is_wide, figure.choice_name)

    def _parallel(self, content: PageContent) -> Picture | NoFigure:
        figures = parallel(content.runs, content.log_parameters, by_study=content.studies_differ)
        if isinstance(figures, NoFigure):
            return figures
        slots = []
        for choice, figure in figures.items():
            width, height = figure["min_width_px"], figure["layout"]["height"]
            place = self._place({"data": figure["data"], "layout": figure["layout"]})
            slots.append(Slot(place, "", choice, height, width))
        return Picture(tuple(slots), _PARALLEL_CAPTION, choice_name="study")

    def _place(self, panel: dict[str, Any]) -> int:
        self.panels.append(script_json(panel))
        return len(self.panels) - 1


def script_json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or a line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
