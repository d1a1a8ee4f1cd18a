"""A table of runs as an Optuna study in memory, for what Optuna computes from one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from resnet_sweep.report.plots.categories import categories_of
from resnet_sweep.report.plots.coordinates import coordinate
from resnet_sweep.report.plots.values import floats, varying

if TYPE_CHECKING:
    import optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Optuna from telling the user what the figure's caption tells already."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)


def study_of(
    runs: pd.DataFrame,
    rows: Sequence[int],
    objective: str,
    is_more_better: bool,
    log_parameters: frozenset[str],
) -> optuna.Study:
    """A study with a completed trial for each of the rows.

    Args:
        runs: The table.
        rows: Positions of completed runs whose objective is finite.
        objective: Its column.
        is_more_better: Its direction.
        log_parameters: Drawn on a logarithmic scale.
    """
    import optuna

    part = runs.iloc[list(rows)]
    parameters = {name: _parameter(part, name, log_parameters) for name in varying(part)}
    study = optuna.create_study(direction="maximize" if is_more_better else "minimize")
    values = floats(part, objective)
    trials = []
    for i, value in enumerate(values):
        present = {name: column for name, column in parameters.items() if column[1][i] is not None}
        trials.append(
            optuna.trial.create_trial(
                value=float(value),
                params={name: column[1][i] for name, column in present.items()},
                distributions={name: column[0] for name, column in present.items()},
            )
        )
    study.add_trials(trials)
    return study


def _parameter(
    runs: pd.DataFrame, name: str, log_parameters: frozenset[str]
) -> tuple[Any, list[Any]]:
    """The distribution of a parameter and its value in each run, None where it has no part."""
    import optuna

    place = coordinate(runs, name, log_parameters)
    if place.is_categorical:
        # As texts: lists and mappings are no values that Optuna takes.
        found = categories_of(runs, name)
        texts = [found.labels[i] if i >= 0 else None for i in found.places]
        return optuna.distributions.CategoricalDistribution(found.labels), list(texts)
    finite = place.positions[np.isfinite(place.positions)]
    if finite.size == 0:
        return None, [None] * len(place.positions)
    distribution = optuna.distributions.FloatDistribution(
        float(finite.min()), float(finite.max()), log=place.axis.scale == "log"
    )
    return distribution, [float(v) if np.isfinite(v) else None for v in place.positions]
