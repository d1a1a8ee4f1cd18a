"""Puts the page together and writes it."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from resnet_sweep.files import replacing
from resnet_sweep.report.columns import frame
from resnet_sweep.report.page.comparisons import comparisons, why_no_groups
from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.page.failures import failures
from resnet_sweep.report.page.means import means_tables
from resnet_sweep.report.page.pictures import TITLES, Pictures, script_json
from resnet_sweep.report.page.table import STATIC_ROWS, RunsTable, runs_table
from resnet_sweep.report.page.verdicts import verdicts
from resnet_sweep.report.page.words import key_figures, summary
from resnet_sweep.report.plots.groups import luck_of


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
    pictures = Pictures(content)
    environment = Environment(
        loader=FunctionLoader(_own),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        content=content,
        titles=TITLES,
        sentences=summary(content),
        key_figures=key_figures(content),
        table=table,
        num_static=min(STATIC_ROWS, table.num_rows),
        pictures=pictures.by_name,
        reasons=[*pictures.reasons, *filter(None, [why_no_groups(content)])],
        verdicts=verdicts(content.runs),
        means=means_tables(content.runs),
        comparisons=comparisons(content.groups),
        luck=luck_of(content.groups),
        kinds=failures(content.runs, content.tracebacks),
        data=f'{{"table":{script_json(_packed(table))},"panels":[{",".join(pictures.panels)}]}}',
        css=_own("page.css"),
        js=_own("page.js"),
        plotly=_plotly_js() if pictures.panels else "",
    )


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
            **({"numbers": column.numbers} if column.numbers else {}),
        }
        for column in table.columns
    ]
    return {"columns": columns, "numRows": table.num_rows, "step": STATIC_ROWS}
