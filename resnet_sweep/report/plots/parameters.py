"""The objective over each parameter, a small panel each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.coordinates import coordinate, spread
from resnet_sweep.report.plots.figure import (
    Axis,
    Figure,
    LegendEntry,
    NoFigure,
    Panel,
    Points,
    Rule,
    Symbol,
)
from resnet_sweep.report.plots.parts import figure_of_parts, parts_of
from resnet_sweep.report.plots.ranking import chance_of
from resnet_sweep.report.plots.trials import best_order
from resnet_sweep.report.plots.values import (
    can_be_drawn,
    floats,
    objective_names,
    objective_title,
    plain,
    sampled,
    texts,
    titles_of,
    varying,
)
from resnet_sweep.report.text import number

_MOST_POINTS = 1000
_MOST_PARAMETERS = 24
_KINDS: tuple[tuple[str, str, Symbol], ...] = (
    ("PRUNED", palette.ORANGE, "ring"),
    ("COMPLETE", palette.BLUE, "dot"),
)


def parameters(
    runs: pd.DataFrame, log_parameters: frozenset[str] = frozenset(), *, by_study: bool = False
) -> Figure | NoFigure:
    """A panel for each parameter that varies.

    Args:
        runs: A row a run.
        log_parameters: Drawn on a logarithmic axis.
        by_study: Keeps studies apart also where their objectives can be compared.
    """
    return figure_of_parts(
        parts_of(runs, by_study=by_study), lambda part: _computed(part, log_parameters)
    )


def _computed(runs: pd.DataFrame, log_parameters: frozenset[str]) -> Figure | NoFigure:
    names = varying(runs)
    if not names:
        return NoFigure("No objective over parameters: the runs differ in none.")
    objectives = objective_names(runs)
    states = np.array(texts(runs, "state"))
    panels: list[Panel] = []
    for objective in objectives:
        values = floats(runs, objective)
        usable = can_be_drawn(values) & np.isin(states, [kind for kind, _, _ in _KINDS])
        if usable.any():
            choice = objective if len(objectives) > 1 else ""
            panels += _panels(runs, names, objective, usable, choice, log_parameters)
    if not panels:
        return NoFigure(
            "No objective over parameters: no two runs with an objective differ in a parameter."
        )
    return _figure(panels, runs, names, states)


def _figure(
    panels: list[Panel], runs: pd.DataFrame, names: Sequence[str], states: np.ndarray
) -> Figure:
    told = ", ".join(objective_title(runs, name) for name in objective_names(runs))
    caption = f"Each point is a run; its height is {told}. "
    if len(names) > _MOST_PARAMETERS:
        caption = f"The first {_MOST_PARAMETERS} of {len(names)} parameters. "
    if len(runs) > _MOST_POINTS:
        caption += f"A sample of {_MOST_POINTS} runs, with the best. "
    has_pruned = bool((states == "PRUNED").any())
    legend = (
        LegendEntry("completed", palette.BLUE, "dot"),
        LegendEntry("pruned, as far as it came", palette.ORANGE, "ring"),
    )
    return Figure(
        tuple(panels),
        legend if has_pruned else (),
        caption.strip(),
        is_wide=False,
        choice_name="objective",
    )


def _panels(
    runs: pd.DataFrame,
    names: Sequence[str],
    objective: str,
    usable: np.ndarray,
    choice: str,
    log_parameters: frozenset[str],
) -> list[Panel]:
    chosen = sampled(np.flatnonzero(usable).tolist(), _MOST_POINTS, best_order(runs)[:100])
    titles = titles_of(runs, chosen)
    values = floats(runs, objective)
    labels = {i: f"{titles[i]}\n{objective} {number(values[i])}" for i in chosen}
    title = objective_title(runs, objective)
    chance = chance_of(runs)
    is_accuracy = title.endswith("accuracy") and math.isfinite(chance)
    panels = []
    for name in names[:_MOST_PARAMETERS]:
        place = coordinate(runs, name, log_parameters)
        marks = _marks(runs, chosen, spread(place), values, labels)
        # One position only shows nothing.
        if marks and len({x for mark in marks for x in mark.x}) > 1:
            panels.append(
                Panel(
                    x=place.axis,
                    y=Axis(),
                    marks=marks,
                    title=name,
                    rules=(Rule(chance, "chance"),) if is_accuracy else (),
                    height_px=270,
                    choice=choice,
                )
            )
    return panels


def _marks(
    runs: pd.DataFrame,
    chosen: Sequence[int],
    positions: np.ndarray,
    values: np.ndarray,
    labels: Mapping[int, str],
) -> tuple[Points, ...]:
    states = texts(runs, "state")
    marks = []
    for state, colour, symbol in _KINDS:
        rows = [i for i in chosen if states[i] == state and np.isfinite(positions[i])]
        if rows:
            marks.append(
                Points(
                    x=plain(positions[rows]),
                    y=plain(values[rows]),
                    colour=colour,
                    labels=tuple(labels[i] for i in rows),
                    keys=tuple(rows),
                    symbol=symbol,
                    size=8 if len(rows) <= 60 else 6,
                    opacity=0.85 if len(rows) <= 60 else 0.45,
                )
            )
    return tuple(marks)
