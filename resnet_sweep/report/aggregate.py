"""A table of runs brought together: a row a setting, over seeds, repeats and all else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.faults import ConfigError
from resnet_sweep.report.columns import column_names, directions_of, objectives_of
from resnet_sweep.report.settings import column_or_missing, completed, keys_of
from resnet_sweep.report.shaping import unknown_columns
from resnet_sweep.report.statistics import Floats, t_interval

_ENDED = ("COMPLETE", "PRUNED", "FAIL")
# Of one epoch, so that their means say what the setting does; where any run has them.
_ACCURACIES = ("last_val_accuracy", "test_accuracy")


def aggregate(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Means over all runs that agree on some columns, best first.

    Means are over completed runs, whatever else differs between them; a trial that reused the
    values of another counts once. Runs that wait or are not over are left out.

    Args:
        table: Of runs, as ``load_results`` gives it.
        by: Names of columns, of parameters for instance; none brings all runs together.

    Returns:
        A row a setting: the columns of ``by`` (as they are), ``num_runs`` (Int64; completed, of
        which the means are), ``num_pruned``, ``num_failed`` (Int64), ``objective_mean``,
        ``objective_low``, ``objective_high`` (float64; the t interval of the mean, NaN for one
        run), ``objective_best``, ``objective_worst`` (float64) (``objective_0_mean`` and so on
        of several), ``last_val_accuracy_mean`` and ``test_accuracy_mean`` with their ``_low``
        and ``_high`` (float64, where known of any run), ``share_learned`` (float64, of the runs
        of which it is known) and ``seconds_mean`` (float64).

    Raises:
        ConfigError: ``by`` names columns that the table does not have.
    """
    by = list(dict.fromkeys(by))
    faults = unknown_columns(table, by, "--by")
    if faults:
        raise ConfigError(faults)
    ended = table[table["state"].isin(_ENDED)] if "state" in table else table
    ended = ended.reset_index(drop=True)
    places: dict[Any, list[int]] = {}
    for i, key in enumerate(keys_of(ended, by)):
        places.setdefault(key, []).append(i)
    objectives = objectives_of(table)
    measured = _Measured(ended, dict(zip(objectives, directions_of(table), strict=True)))
    rows = [measured.row(where) for where in places.values()]
    first = ended.iloc[[where[0] for where in places.values()]][by].reset_index(drop=True)
    found = _joined(first, _frame(rows, objectives, table))
    return _best_first(found, measured.is_maximized)


class _Measured:
    """What is known of runs that have ended."""

    def __init__(self, ended: pd.DataFrame, is_maximized: dict[str, bool]) -> None:
        self.is_maximized = is_maximized
        names = (*is_maximized, *_ACCURACIES, "learned", "seconds")
        self.columns = {name: column_or_missing(ended, name).to_numpy() for name in names}
        states = ended["state"] if "state" in ended else ["COMPLETE"] * len(ended)
        self.states = np.array([str(state) for state in states])
        self.is_counted = ended.index.isin(completed(ended).index)

    def row(self, where: Sequence[int]) -> dict[str, Any]:
        """The runs at some places brought together."""
        places = np.array(where)
        states, counted = self.states[places], places[self.is_counted[places]]
        row: dict[str, Any] = {
            "num_runs": len(counted),
            "num_pruned": int((states == "PRUNED").sum()),
            "num_failed": int((states == "FAIL").sum()),
        }
        for name, more in self.is_maximized.items():
            values = self.columns[name][counted]
            row |= _mean(name, values)
            known = values[~np.isnan(values)]
            worst, best = (known.min(), known.max()) if known.size else (math.nan, math.nan)
            best, worst = (best, worst) if more else (worst, best)
            row |= {f"{name}_best": best, f"{name}_worst": worst}
        for name in _ACCURACIES:
            row |= _mean(name, self.columns[name][counted])
        for name, column in (("share_learned", "learned"), ("seconds_mean", "seconds")):
            row[name] = t_interval(self.columns[column][counted]).value
        return row


def _mean(name: str, values: Floats) -> dict[str, float]:
    estimate = t_interval(values)
    return {
        f"{name}_mean": estimate.value,
        f"{name}_low": estimate.low,
        f"{name}_high": estimate.high,
    }


def _frame(
    rows: Sequence[dict[str, Any]], objectives: Sequence[str], table: pd.DataFrame
) -> pd.DataFrame:
    counts = ("num_runs", "num_pruned", "num_failed")
    parts = ("mean", "low", "high")
    names = [f"{name}_{part}" for name in objectives for part in (*parts, "best", "worst")]
    for name in _ACCURACIES:
        if column_or_missing(table, name).notna().any():
            names += [f"{name}_{part}" for part in parts]
    if "learned" in table:
        names.append("share_learned")
    names.append("seconds_mean")
    types = dict.fromkeys(counts, "Int64") | dict.fromkeys(names, "float64")
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in types.items()}
    )


def _joined(by: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Both beside each other; a parameter that has the name of a measurement is renamed."""
    names = column_names(map(str, by), map(str, measured), "params")
    return pd.concat([by.set_axis(list(names.values()), axis=1), measured], axis=1)


def _best_first(table: pd.DataFrame, is_maximized: dict[str, bool]) -> pd.DataFrame:
    if not is_maximized:
        return table
    means = {name: table[f"{name}_mean"].to_numpy() for name in is_maximized}
    # NaN comes last, also behind the infinite.
    keys = [-means[name] if more else means[name] for name, more in is_maximized.items()]
    # lexsort takes the most important key last.
    return table.iloc[np.lexsort(keys[::-1])].reset_index(drop=True)
