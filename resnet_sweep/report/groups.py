"""Groups compared: networks, optimizers, switches, at settings that are otherwise the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.report.columns import column_names, free_column
from resnet_sweep.report.paired import (
    LAST,
    TEST,
    LoadPredictions,
    Run,
    Split,
    compare_runs,
    read_predictions,
    runs_on,
)
from resnet_sweep.report.settings import (
    Key,
    completed,
    in_plan_order,
    is_missing,
    keys_of,
    plain,
    repetitions,
    swept_parameters,
)
from resnet_sweep.report.statistics import difference, t_interval
from resnet_sweep.report.text import one_line
from resnet_sweep.report.verdicts import verdict

_NUM_VALUES_MIN, _NUM_VALUES_MAX = 2, 4
_DTYPES = {
    **dict.fromkeys(("parameter", "a", "b"), "string"),
    "num_pairs": "Int64",
    "split": "string",
    **dict.fromkeys(("a_accuracy", "b_accuracy", "difference"), "float64"),
    **dict.fromkeys(("difference_low", "difference_high"), "float64"),
    "method": "string",
    "mcnemar_p": "float64",
    "verdict": "string",
}
# These stand in front of the other parameters.
_HEAD = ("parameter", "a", "b")

_OnSplits = Sequence[tuple[Split, list[Run]]]
# What runs are told apart by: the setting, then the value, then the repetition.
_Cells = dict[Key, dict[str, dict[Key, int]]]


def compare_groups(
    table: pd.DataFrame, load_predictions: LoadPredictions = read_predictions
) -> pd.DataFrame:
    """Compares the values of every parameter that names one of a few things.

    Only completed runs of one study are compared that agree on all other parameters and on their
    seed (on their repeat where seeds are not known): on the test split where all of them have
    one, else on the last epoch, never on the best. One pair of runs is compared image by image
    where both have left their predictions of the same images, several by the spread of their
    differences, which tells about other seeds on these images.

    Args:
        table: Of runs, as ``load_results`` gives it.
        load_predictions: Gives what a folder's predictions.npz holds; raises what numpy raises.

    Returns:
        A row a pair of values and a setting: ``study`` (only of several studies), ``parameter``,
        ``a``, ``b`` (string), every other parameter at which they are compared, ``num_pairs``
        (Int64; pairs of runs with an accuracy), ``split`` ("test" or "last epoch"),
        ``a_accuracy``, ``b_accuracy`` (float64, means), ``difference`` (a less b),
        ``difference_low``, ``difference_high`` (float64), ``method`` ("same images",
        "t over N seeds", "unpaired: ..." or "no interval: ..." with the reason; NA where
        nothing is known), ``mcnemar_p`` (float64, of one pair on the same images), ``verdict``
        ("resnet50 better by 0.06 (0.02 to 0.10)", "no difference shown", "no interval",
        "not known", or that interval and McNemar's test disagree). Of a study of which no pair
        has an accuracy there are no rows.
    """
    runs = in_plan_order(completed(table)).reset_index(drop=True)
    names = swept_parameters(table)
    # A run meets several others of its setting, which follow one another.
    load = lru_cache(maxsize=16)(load_predictions)
    on_splits = [(split, runs_on(runs, split)) for split in (TEST, LAST)]
    values = {name: [plain(value) for value in runs[name]] for name in names}
    studies = [plain(value) for value in runs.get("study", [""] * len(runs))]
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for name in [name for name in names if _is_categorical(runs[name])]:
        others = [other for other in names if other != name]
        for a, b, pairs in _matches(runs, name, others):
            first = pairs[0][0]
            row = {"study": studies[first], "parameter": name, "a": a, "b": b}
            row |= _row(on_splits, pairs, (a, b), load)
            found.append((row, {other: values[other][first] for other in others}))
    # Rows that know nothing beside others that do; alone they would only be dashes.
    known = {row["study"] for row, _ in found if row["num_pairs"]}
    found = [pair for pair in found if pair[0]["study"] in known]
    has_several = "study" in table and table["study"].nunique() > 1
    return _frame([row for row, _ in found], [one for _, one in found], names, has_several)


def _is_categorical(column: pd.Series[Any]) -> bool:
    values = [value for value in map(plain, column) if not is_missing(value)]
    if not all(value is None or isinstance(value, str | bool) for value in values):
        return False
    return _NUM_VALUES_MIN <= len(set(values)) <= _NUM_VALUES_MAX


def _matches(
    runs: pd.DataFrame, name: str, others: Sequence[str]
) -> list[tuple[str, str, list[tuple[int, int]]]]:
    """Pairs of values, with the pairs of runs to compare them by; a match a setting."""
    values = [plain(value) for value in runs[name]]
    order = list(dict.fromkeys(one_line(value) for value in values if not is_missing(value)))
    cells: _Cells = {}
    where = keys_of(runs, [*(["study"] if "study" in runs else []), *others])
    for i, (setting, repetition) in enumerate(zip(where, *repetitions(runs), strict=True)):
        if not is_missing(values[i]):
            here = cells.setdefault(setting, {}).setdefault(one_line(values[i]), {})
            here.setdefault(repetition, i)
    found = []
    for groups in cells.values():
        for a, b in itertools.combinations([value for value in order if value in groups], 2):
            pairs = [(i, groups[b][key]) for key, i in groups[a].items() if key in groups[b]]
            if pairs:
                found.append((a, b, pairs))
    return found


def _row(
    on_splits: _OnSplits,
    pairs: Sequence[tuple[int, int]],
    names: tuple[str, str],
    load: LoadPredictions,
) -> dict[str, Any]:
    """What pairs of runs say about their two values."""
    split, known = _pairs_with_accuracies(on_splits, pairs)
    if not known:
        return {"num_pairs": 0, "verdict": "not known"}
    a, b = (np.array([pair[side].accuracy for pair in known]) for side in (0, 1))
    p = math.nan
    if len(known) == 1:
        comparison = compare_runs(*known[0], split, load)
        estimate, method, p = comparison.estimate, comparison.method, comparison.mcnemar_p
    else:
        estimate = t_interval(difference(a, b)).within(-1.0, 1.0)
        method = f"t over {len(known)} seeds"
        if math.isnan(estimate.low):
            method = "no interval: all differences are the same"
    return {
        "num_pairs": len(known),
        "split": split.name,
        "a_accuracy": float(a.mean()),
        "b_accuracy": float(b.mean()),
        "difference": estimate.value,
        "difference_low": estimate.low,
        "difference_high": estimate.high,
        "method": method,
        "mcnemar_p": p,
        "verdict": verdict(*names, estimate, p),
    }


def _pairs_with_accuracies(
    on_splits: _OnSplits, pairs: Sequence[tuple[int, int]]
) -> tuple[Split, list[tuple[Run, Run]]]:
    """The first split that all runs have, or the last one, and the pairs that have it."""
    found: list[tuple[Split, list[tuple[Run, Run]]]] = []
    for split, runs in on_splits:
        both = [(runs[i], runs[j]) for i, j in pairs]
        known = [pair for pair in both if all(math.isfinite(run.accuracy) for run in pair)]
        found.append((split, known))
        if len(known) == len(pairs):
            break
    return found[-1]


def _frame(
    rows: list[dict[str, Any]],
    settings: list[dict[str, Any]],
    names: Sequence[str],
    has_several: bool,
) -> pd.DataFrame:
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=dtype)
        for name, dtype in _DTYPES.items()
    }
    used = [name for name in names if any(name in setting for setting in settings)]
    others = {
        name: free_column([setting.get(key, math.nan) for setting in settings])
        for key, name in column_names(used, ("study", *_DTYPES), "params").items()
    }
    head = {name: columns.pop(name) for name in _HEAD}
    if has_several:
        head = {"study": pd.Series([row["study"] for row in rows], dtype="string"), **head}
    return pd.DataFrame(head | others | columns)
