"""A table of runs brought together: a row a setting, over seeds, repeats and all else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.faults import ConfigError
from resnet_sweep.report.columns import column_names, directions_of, objectives_of
from resnet_sweep.report.notes import batch_norm_notes
from resnet_sweep.report.settings import column_or_missing, completed, keys_of, swept_parameters
from resnet_sweep.report.shaping import FOOTNOTES, unknown_columns
from resnet_sweep.report.statistics import Estimate, t_interval

_ENDED = ("COMPLETE", "PRUNED", "FAIL")
# Of one epoch, so that their means say what the setting does; where any run has them.
_ACCURACIES = ("last_val_accuracy", "test_accuracy")

# Why a mean has no interval.
_ONE_RUN = "one run"
_NOT_ONE_SETTING = "runs that differ in more than their seeds"
_ALL_SAME = "runs that are all the same"


def aggregate(table: pd.DataFrame, by: Sequence[str], *, is_ranked: bool = True) -> pd.DataFrame:
    """Means over all runs that agree on some columns.

    Means are over completed runs, whatever else differs between them; a trial that reused the
    values of another counts once. Runs that wait or are not over are left out.

    Args:
        table: Of runs, as ``load_results`` gives it.
        by: Names of columns, of parameters for instance; none brings all runs together.
        is_ranked: Best first: settings without a failed run, whose means leave nothing out, then
            those with failed ones, then those without a mean. Else, and where the objectives
            of the runs cannot be compared, in the order in which the table has them.

    Returns:
        A row a setting: the columns of ``by`` (as they are), ``num_runs`` (Int64; completed, of
        which the means are), ``num_pruned``, ``num_failed`` (Int64), ``objective_mean``,
        ``objective_low``, ``objective_high`` (float64; the t interval of the mean over seeds,
        NaN for one run, and where the runs differ in another parameter than a seed),
        ``objective_best``, ``objective_worst`` (float64) (``objective_0_mean`` and so on of
        several), ``last_val_accuracy_mean`` and ``test_accuracy_mean`` with their ``_low`` and
        ``_high`` (float64, where known of any run), ``share_learned`` (float64, of the runs of
        which it is known) and ``seconds_mean`` (float64). Its ``attrs`` tell
        what to say below it.

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
    measured = _Measured(ended, by)
    rows = [measured.row(where) for where in places.values()]
    first = ended.iloc[[where[0] for where in places.values()]][by].reset_index(drop=True)
    found = _joined(first, _frame(rows, measured.objectives, table))
    found.attrs |= table.attrs
    found.attrs[FOOTNOTES] = measured.footnotes()
    is_one_kind = all(
        ended[name].nunique() < 2 for name in ("metric", "direction") if name in ended
    )
    if not (is_ranked and is_one_kind):
        return found
    return _best_first(found, dict(zip(measured.objectives, directions_of(table), strict=True)))


class _Measured:
    """What is known of runs that have ended."""

    def __init__(self, ended: pd.DataFrame, by: Sequence[str]) -> None:
        self.objectives = objectives_of(ended)
        self._ended = ended
        self._is_one_direction = "direction" not in ended or ended["direction"].nunique() < 2
        self._directions = directions_of(ended)
        names = (*self.objectives, *_ACCURACIES, "learned", "seconds")
        self._columns = {name: column_or_missing(ended, name).to_numpy() for name in names}
        states = ended["state"] if "state" in ended else ["COMPLETE"] * len(ended)
        self._states = np.array([str(state) for state in states])
        self._is_counted = ended.index.isin(completed(ended).index)
        others = [name for name in swept_parameters(ended) if name not in by]
        self._settings = keys_of(ended, others)
        metrics = list(ended["metric"].dropna().unique()) if "metric" in ended else []
        is_accuracy = bool(metrics) and all(str(one).endswith("accuracy") for one in metrics)
        self._metrics = metrics
        self._reasons: set[str] = set()
        self._shares = (*_ACCURACIES, *(self.objectives if is_accuracy else ()))

    def row(self, where: Sequence[int]) -> dict[str, Any]:
        """The runs at some places brought together."""
        places = np.array(where)
        states, counted = self._states[places], places[self._is_counted[places]]
        row: dict[str, Any] = {
            "num_runs": len(counted),
            "num_pruned": int((states == "PRUNED").sum()),
            "num_failed": int((states == "FAIL").sum()),
        }
        for name, more in zip(self.objectives, self._maximized(where), strict=True):
            row |= self._mean(name, counted)
            if math.isnan(row[f"{name}_low"]) and len(counted):
                self._reasons.add(self._why_no_interval(counted))
            values = self._columns[name][counted]
            known = values[~np.isnan(values)]
            worst, best = (known.min(), known.max()) if known.size else (math.nan, math.nan)
            best, worst = (best, worst) if more else (worst, best)
            row |= {f"{name}_best": best, f"{name}_worst": worst}
        for name in _ACCURACIES:
            row |= self._mean(name, counted)
        for name, column in (("share_learned", "learned"), ("seconds_mean", "seconds")):
            row[name] = t_interval(self._columns[column][counted]).value
        return row

    def _why_no_interval(self, counted: np.ndarray[Any, Any]) -> str:
        if len(counted) < 2:
            return _ONE_RUN
        return _NOT_ONE_SETTING if len({self._settings[i] for i in counted}) > 1 else _ALL_SAME

    def footnotes(self) -> tuple[str, ...]:
        """What a reader of the rows made so far should know of their numbers."""
        notes = []
        if self._metrics and all(str(one).startswith("best_") for one in self._metrics):
            notes.append("objective: of each run the best of all epochs, which is optimistic")
        reasons = [one for one in (_ONE_RUN, _NOT_ONE_SETTING, _ALL_SAME) if one in self._reasons]
        if reasons:
            notes.append(f"no interval: {'; '.join(reasons)}")
        return (*notes, *batch_norm_notes(self._ended[self._is_counted]))

    def _maximized(self, where: Sequence[int]) -> tuple[bool, ...]:
        if self._is_one_direction:
            return self._directions
        return directions_of(self._ended.iloc[list(where)])

    def _mean(self, name: str, counted: np.ndarray[Any, Any]) -> dict[str, float]:
        estimate = t_interval(self._columns[name][counted])
        if len({self._settings[i] for i in counted}) > 1:
            # How settings differ says nothing about what a seed does.
            estimate = Estimate(estimate.value, math.nan, math.nan)
        if name in self._shares:
            estimate = estimate.within(0.0, 1.0)
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
    has_failed = table["num_failed"].to_numpy() > 0
    # lexsort takes the most important key last.
    order = np.lexsort([*keys[::-1], has_failed, np.isnan(keys[0])])
    return table.iloc[order].reset_index(drop=True)
