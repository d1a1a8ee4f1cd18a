"""A table of runs brought together: a row a setting, over seeds, repeats and all else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.faults import ConfigError
from resnet_sweep.report.columns import column_names, objectives_of
from resnet_sweep.report.settings import column_or_missing, completed, keys_of, plain
from resnet_sweep.report.shaping import unknown_columns
from resnet_sweep.report.statistics import t_interval

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
    counted = set(completed(ended).index)
    places: dict[Any, list[int]] = {}
    for i, key in enumerate(keys_of(ended, by)):
        places.setdefault(key, []).append(i)
    objectives = objectives_of(table)
    rows = []
    for where in places.values():
        runs = ended.iloc[where]
        rows.append(_row(runs, runs[runs.index.isin(counted)], objectives))
    first = ended.iloc[[where[0] for where in places.values()]][by].reset_index(drop=True)
    found = _joined(first, _frame(rows, objectives, table))
    return _best_first(found, objectives, [_is_maximized(table, i) for i in range(len(objectives))])


def _row(runs: pd.DataFrame, counted: pd.DataFrame, objectives: Sequence[str]) -> dict[str, Any]:
    states = runs["state"] if "state" in runs else pd.Series("COMPLETE", index=runs.index)
    row: dict[str, Any] = {
        "num_runs": len(counted),
        "num_pruned": int((states == "PRUNED").sum()),
        "num_failed": int((states == "FAIL").sum()),
    }
    for i, name in enumerate(objectives):
        values = column_or_missing(counted, name)
        row |= _mean(name, values)
        known = values.dropna()
        worst, best = (known.min(), known.max()) if len(known) else (math.nan, math.nan)
        if not _is_maximized(counted, i):
            worst, best = best, worst
        row |= {f"{name}_best": best, f"{name}_worst": worst}
    for name in _ACCURACIES:
        row |= _mean(name, column_or_missing(counted, name))
    learned = column_or_missing(counted, "learned").dropna()
    row["share_learned"] = float(learned.mean()) if len(learned) else math.nan
    row["seconds_mean"] = t_interval(column_or_missing(counted, "seconds")).value
    return row


def _mean(name: str, values: pd.Series[Any]) -> dict[str, float]:
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


def _is_maximized(table: pd.DataFrame, place: int) -> bool:
    """Whether more is better, of the objective at a place; where it is not known, it is."""
    known = next(
        (one for one in map(plain, table.get("direction", ())) if isinstance(one, str)), ""
    )
    names = [name.strip() for name in known.split(",")]
    return place >= len(names) or names[place] != "minimize"


def _best_first(
    table: pd.DataFrame, objectives: Sequence[str], is_maximized: Sequence[bool]
) -> pd.DataFrame:
    if not objectives:
        return table
    means = [
        np.where(
            table[f"{name}_mean"].isna(), math.inf, table[f"{name}_mean"] * (-1 if more else 1)
        )
        for name, more in zip(objectives, is_maximized, strict=True)
    ]
    missing = table[f"{objectives[0]}_mean"].isna().to_numpy()
    # lexsort takes the most important key last.
    order = np.lexsort([*means[::-1], missing])
    return table.iloc[order].reset_index(drop=True)
