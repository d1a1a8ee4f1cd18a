"""Puts the page together and writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FunctionLoader, StrictUndefined

from resnet_sweep.files import replacing
from resnet_sweep.report.columns import frame
from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.page.failures import failures
from resnet_sweep.report.page.table import STATIC_ROWS, RunsTable, runs_table
from resnet_sweep.report.page.verdicts import verdicts
from resnet_sweep.report.page.words import key_figures, summary
from resnet_sweep.report.plots.curves import curves
from resnet_sweep.report.plots.figure import Figure, NoFigure
from resnet_sweep.report.plots.groups import groups, settings_of_groups
from resnet_sweep.report.plots.history import history
from resnet_sweep.report.plots.importances import importances
from resnet_sweep.report.plots.intermediate import intermediate
from resnet_sweep.report.plots.parallel import parallel
from resnet_sweep.report.plots.parameters import parameters
from resnet_sweep.report.plots.pareto import pareto
from resnet_sweep.report.plots.plotly import drawn
from resnet_sweep.report.plots.published import published
from resnet_sweep.report.plots.ranking import chance_of, ranking
from resnet_sweep.report.plots.timeline import timeline
from resnet_sweep.report.plots.values import floats, objective_title, texts
from resnet_sweep.report.text import number


def write_page(content: PageContent, path: Path) -> None:
    """Writes the report as one HTML file that needs nothing else.

    Args:
        content: What it shows.
        path: Of the file; replaced whole or not at all.
    """
    text = page_html(content)
    with replacing(path) as temporary:
        # A lone surrogate, as in a file's name, has no UTF-8.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def page_html(content: PageContent) -> str:
    """The page's HTML.

    Args:
        content: What it shows.
    """
    if content.runs.columns.empty:
        content = _without_runs(content)
    table = runs_table(content.runs)
    pictures = _Pictures(content)
    data = {"table": _packed(table), "panels": pictures.panels}
    environment = Environment(
        loader=FunctionLoader(_own),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        content=content,
        sentences=summary(content),
        key_figures=key_figures(content),
        table=table,
        num_static=min(STATIC_ROWS, table.num_rows),
        pictures=pictures.by_name,
        reasons=pictures.reasons,
        verdicts=pictures.verdicts,
        comparisons=_comparisons(content.groups),
        kinds=failures(content.runs, content.tracebacks),
        data=script_json(data),
        css=_own("page.css"),
        js=_own("page.js"),
        plotly=_plotly_js() if pictures.panels else "",
    )


def script_json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or a line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _without_runs(content: PageContent) -> PageContent:
    return replace(content, runs=frame([]))


def _own(name: str) -> str:
    return files("resnet_sweep.report.page").joinpath(name).read_text(encoding="utf-8")


def _plotly_js() -> str:
    # The package itself is not imported: only its file is needed.
    path = files("plotly").joinpath("package_data/plotly.min.js")
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _packed(table: RunsTable) -> dict[str, Any]:
    columns = [
        {
            "title": column.title,
            "subtitle": column.subtitle,
            "name": column.name,
            "texts": column.texts,
            "index": column.index,
            "numeric": column.is_numeric,
            "main": column.is_main,
        }
        for column in table.columns
    ]
    return {"columns": columns, "numRows": table.num_rows, "step": STATIC_ROWS}


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        figure: Its legend, caption and choices.
        slots: Place among the page's panels, title, choice, height and least width of each.
    """

    figure: Figure
    slots: tuple[tuple[int, str, str, int, int], ...]


class _Pictures:
    """All figures of a page, and the reasons why others are not on it."""

    def __init__(self, content: PageContent) -> None:
        self.panels: list[dict[str, Any]] = []
        self.by_name: dict[str, Picture] = {}
        self.reasons: list[str] = []
        runs, log = content.runs, content.log_parameters
        self.verdicts = verdicts(runs)
        pairs = [verdict.pair for verdict in self.verdicts]
        if runs.empty:
            return
        self._add(
            "published", published(pairs, objective_title(runs, "objective"), chance_of(runs))
        )
        self._add("ranking", ranking(runs))
        self._add("curves", curves(runs, content.history))
        self._add("groups", groups(content.groups))
        self._add("parameters", parameters(runs, log))
        self._add("importances", importances(runs, log))
        self._add_parallel(parallel(runs, log))
        self._add("pareto", pareto(runs))
        self._add("history", history(runs))
        self._add("intermediate", intermediate(runs, content.history))
        attempts = runs if content.attempts.empty else content.attempts
        self._add("timeline", timeline(attempts, content.made_at))

    def _add(self, name: str, figure: Figure | NoFigure) -> None:
        if isinstance(figure, NoFigure):
            self.reasons += [figure.reason] if figure.reason else []
            return
        slots = []
        for panel in figure.panels:
            slots.append((len(self.panels), panel.title, panel.choice, panel.height_px, 0))
            self.panels.append(drawn(panel))
        self.by_name[name] = Picture(figure, tuple(slots))

    def _add_parallel(self, figure: dict[str, Any] | NoFigure) -> None:
        if isinstance(figure, NoFigure):
            self.reasons.append(figure.reason)
            return
        width = figure.pop("min_width_px")
        slot = (len(self.panels), "", "", figure["layout"]["height"], width)
        self.panels.append({"data": figure["data"], "layout": figure["layout"]})
        caption = "Each line is a completed run: the darker, the better."
        self.by_name["parallel"] = Picture(Figure((), caption=caption), (slot,))


def _comparisons(table: pd.DataFrame) -> list[dict[str, str]]:
    """Rows of the table of groups, as texts."""
    numbers = {
        name: floats(table, name)
        for name in (
            *("a_accuracy", "b_accuracy", "difference", "difference_low", "difference_high"),
            *("mcnemar_p", "num_pairs"),
        )
    }
    words = {name: texts(table, name) for name in ("parameter", "a", "b", "split", "method")}
    settings, said = settings_of_groups(table), texts(table, "verdict")

    def text(name: str, i: int) -> str:
        value = numbers[name][i]
        return number(value) if np.isfinite(value) else "-"

    return [
        {
            **{name: column[i] for name, column in words.items()},
            "setting": settings[i],
            "verdict": said[i],
            "a_accuracy": text("a_accuracy", i),
            "b_accuracy": text("b_accuracy", i),
            "difference": text("difference", i),
            "interval": f"{text('difference_low', i)} to {text('difference_high', i)}"
            if np.isfinite(numbers["difference_low"][i])
            else "-",
            "p": text("mcnemar_p", i),
        }
        for i in range(len(table))
    ]
