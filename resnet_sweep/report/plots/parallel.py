"""Optuna's own parallel coordinates, in this report's colours."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import NoFigure
from resnet_sweep.report.plots.fonts import quiet_fonts
from resnet_sweep.report.plots.parts import MOST_PARTS, Part, parts_of
from resnet_sweep.report.plots.plotly import FONT, base_layout, escaped
from resnet_sweep.report.plots.study import quiet, study_of
from resnet_sweep.report.plots.trials import best_order
from resnet_sweep.report.plots.values import (
    can_be_drawn,
    floats,
    maximizes,
    objective_names,
    objective_title,
    sampled,
    texts,
    titles_of,
    varying,
)

# Optuna draws a trace a trial.
_MOST_RUNS = 200
_KEPT_BEST = 60
_AXIS_PX = 130
_SCALE = ((0.0, "#dfe7ee"), (0.5, "#7fb2d6"), (1.0, "#00507d"))


def parallel(
    runs: pd.DataFrame, log_parameters: frozenset[str] = frozenset(), *, by_study: bool = False
) -> dict[str, dict[str, Any]] | NoFigure:
    """Data and layout for plotly.js, of the first objective.

    Args:
        runs: A row a run.
        log_parameters: On a logarithmic scale.
        by_study: Keeps studies apart also where their objectives can be compared.

    Returns:
        By name of the study where studies are kept apart, else one under "".
    """
    parts = parts_of(runs, by_study=by_study)[:MOST_PARTS]
    computed = {part.name: _of_part(part, log_parameters) for part in parts}
    figures = {name: found for name, found in computed.items() if isinstance(found, dict)}
    if figures:
        return figures
    return next(found for found in computed.values() if isinstance(found, NoFigure))


def _of_part(part: Part, log_parameters: frozenset[str]) -> dict[str, Any] | NoFigure:
    runs = part.table
    objective = objective_names(runs)[0]
    values = floats(runs, objective)
    usable = can_be_drawn(values) & (np.array(texts(runs, "state")) == "COMPLETE")
    best = best_order(runs)
    rows = sampled(np.flatnonzero(usable).tolist(), _MOST_RUNS, best[:_KEPT_BEST])
    if len(rows) < 3 or len(varying(runs.iloc[rows])) < 2:
        return NoFigure(
            "No parallel coordinates: they need three completed runs that differ in two parameters."
        )
    # The best are drawn last, on top.
    rank = {row: i for i, row in enumerate(best)}
    rows = sorted(rows, key=lambda row: -rank[row])
    title = objective_title(runs, objective)
    figure = _optunas(runs, rows, objective, title, maximizes(runs)[0], log_parameters)
    figure = _ours(figure, runs, rows, maximizes(runs)[0])
    for trace in figure["data"]:
        trace["meta"]["key"] = int(part.rows[trace["meta"]["key"]])
    return figure


def _optunas(
    runs: pd.DataFrame,
    rows: list[int],
    objective: str,
    title: str,
    is_more_better: bool,
    log_parameters: frozenset[str],
) -> dict[str, Any]:
    with quiet():
        quiet_fonts()
        from optuna.visualization import plot_parallel_coordinate

        study = study_of(runs, rows, objective, is_more_better, log_parameters)
        figure = plot_parallel_coordinate(study, target_name=title)
    figure.layout.template = None
    plain: dict[str, Any] = json.loads(figure.to_json())
    return plain


def _ours(
    figure: dict[str, Any], runs: pd.DataFrame, rows: list[int], is_more_better: bool
) -> dict[str, Any]:
    """The figure with its texts escaped, our look, and rows to pick."""
    figure = _escaped(figure)
    titles = titles_of(runs, rows)
    shades = _shades(floats(runs, objective_names(runs)[0])[rows], is_more_better)
    lines = [trace for trace in figure["data"] if trace.get("mode") == "lines"]
    for trace, row, shade in zip(lines, rows, shades, strict=True):
        trace["line"] |= {"color": shade, "width": 1.6}
        trace["opacity"] = 0.8
        trace["meta"] = {"key": row, "label": escaped(titles[row])}
        trace["hovertemplate"] = (
            "%{meta.label}<br>%{customdata[0]}: %{customdata[1]}<extra></extra>"
        )
    layout = figure["layout"]
    width = len(layout["xaxis"]["tickvals"])
    axis = layout["xaxis"] | {"fixedrange": True, "automargin": True, "tickfont": {"size": 12}}
    axis |= {"showline": False, "type": "linear", "side": "top", "tickangle": 0}
    axis["range"] = [-0.35, width - 0.5]
    for note in layout.get("annotations", []):
        note["font"] = {"family": FONT, "size": 11, "color": palette.MUTED}
        note["bgcolor"] = "rgba(255,255,255,0.8)"
    figure["layout"] = layout | base_layout(380) | {"xaxis": axis, "title": {"text": ""}}
    figure["min_width_px"] = _AXIS_PX * width
    figure["data"] = lines
    return figure


def _shades(values: np.ndarray, is_more_better: bool) -> list[str]:
    """The better, the darker, by rank: one bad run must not fade all others."""
    ranks = np.argsort(np.argsort(values if is_more_better else -values, kind="stable"))
    shares = ranks / max(len(values) - 1, 1)
    at = [position for position, _ in _SCALE]
    ends = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for _, c in _SCALE])
    channels = np.stack([np.interp(shares, at, ends[:, i]) for i in range(3)], axis=1)
    return ["#" + "".join(f"{round(c):02x}" for c in colour) for colour in channels]


def _escaped(value: Any) -> Any:
    """All texts of a figure escaped, save the templates that hold Optuna's own tags."""
    if isinstance(value, dict):
        return {
            key: item if key in ("hovertemplate", "bdata") else _escaped(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return escaped(value) if isinstance(value, str) else value
