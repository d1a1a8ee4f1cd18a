"""Which parameters mattered, as Optuna estimates it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from resnet_sweep.report.plots import palette
from resnet_sweep.report.plots.figure import Axis, Bars, Figure, NoFigure, Panel
from resnet_sweep.report.plots.parts import figure_of_parts, parts_of
from resnet_sweep.report.plots.study import quiet, study_of
from resnet_sweep.report.plots.values import (
    can_be_drawn,
    floats,
    maximizes,
    objective_names,
    objective_title,
    sampled,
    texts,
    value_text,
    varying,
)

_MOST_RUNS = 2000
_MOST_PARAMETERS = 20
_FEW = 20
# PED-ANOVA asks what tells good runs from all; Optuna's authors advise 5 good ones at least.
_NUM_GOOD, _GOOD_SHARE = 5, 0.1


def importances(
    runs: pd.DataFrame, log_parameters: frozenset[str] = frozenset(), *, by_study: bool = False
) -> Figure | NoFigure:
    """Bars by importance, a panel an objective.

    Args:
        runs: A row a run.
        log_parameters: Compared on a logarithmic scale.
        by_study: Keeps studies apart also where their objectives can be compared.
    """
    return figure_of_parts(
        parts_of(runs, by_study=by_study), lambda part: _figure(part, log_parameters)
    )


def _figure(runs: pd.DataFrame, log_parameters: frozenset[str]) -> Figure | NoFigure:
    panels, num_runs = [], 0
    for objective, is_more_better in zip(objective_names(runs), maximizes(runs), strict=True):
        values = floats(runs, objective)
        usable = can_be_drawn(values) & (np.array(texts(runs, "state")) == "COMPLETE")
        rows = sampled(np.flatnonzero(usable).tolist(), _MOST_RUNS)
        if len(rows) < 4 or len(np.unique(values[rows])) < 2 or not varying(runs.iloc[rows]):
            continue
        found = _evaluate(runs, rows, objective, is_more_better, log_parameters)
        if any(found.values()):
            panels.append(_panel(found, objective_title(runs, objective)))
            num_runs = len(rows)
    if not panels:
        reason = "it needs four completed runs that differ in their objective and in a parameter"
        return NoFigure(f"No parameter importances: {reason}.")
    caption = (
        "Share of what tells the best runs from the others (PED-ANOVA), estimated from "
        f"{num_runs} runs"
    )
    caption += ": so few say little." if num_runs < _FEW else "."
    return Figure(tuple(panels), caption=caption)


def _evaluate(
    runs: pd.DataFrame,
    rows: list[int],
    objective: str,
    is_more_better: bool,
    log_parameters: frozenset[str],
) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    quantile = min(0.5, max(_GOOD_SHARE, _NUM_GOOD / len(rows)))
    with quiet():
        study = study_of(runs, rows, objective, is_more_better, log_parameters)
        evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
        found = get_param_importances(study, evaluator=evaluator)
    # Optuna goes through the names as a set, whose order is another one each time.
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {name: float(value) if np.isfinite(value) else 0.0 for name, value in ranked}


def _panel(found: dict[str, float], title: str) -> Panel:
    shown = list(found.items())[:_MOST_PARAMETERS]
    y = tuple(float(len(shown) - 1 - i) for i in range(len(shown)))
    bars = Bars(
        start=(0.0,) * len(shown),
        end=tuple(value for _, value in shown),
        y=y,
        colour=palette.BLUE,
        labels=tuple(f"{name}: {value:.2f}" for name, value in shown),
    )
    ticks = tuple((at, value_text(name, 28)) for at, (name, _) in zip(y, shown, strict=True))
    return Panel(
        x=Axis(f"importance for {title}", limits=(0.0, 1.0)),
        y=Axis(ticks=ticks, limits=(-0.6, len(shown) - 0.4), has_grid=False),
        marks=(bars,),
        height_px=80 + 30 * len(shown),
    )
