"""Two tables of results side by side: the settings that both have, and how they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.report.columns import column_names, directions_of, free_column, objectives_of
from resnet_sweep.report.paired import (
    LAST,
    TEST,
    Comparison,
    LoadPredictions,
    compare_runs,
    read_predictions,
    runs_on,
)
from resnet_sweep.report.settings import (
    Key,
    as_number,
    can_matter,
    column_or_missing,
    completed,
    keys_of,
    plain,
    repetitions,
    swept_parameters,
)
from resnet_sweep.report.statistics import Floats, difference, t_interval, welch_difference
from resnet_sweep.report.text import one_line
from resnet_sweep.report.verdicts import verdict

_DTYPES = {
    "metric": "string",
    **dict.fromkeys(("a", "b", "difference", "difference_low", "difference_high"), "float64"),
    "method": "string",
    "mcnemar_p": "float64",
    "verdict": "string",
    **dict.fromkeys(("num_a", "num_b"), "Int64"),
}
_NUM_VALUES_SHOWN = 5

# Places of the runs of a setting: by what both tables have, then by what only this one has.
_Settings = dict[Key, dict[Key, list[int]]]


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    names: tuple[str, str] = ("a", "b"),
    load_predictions: LoadPredictions = read_predictions,
) -> pd.DataFrame:
    """Matches the completed runs of two tables by the parameters that both have.

    Values are compared as what they say, so a file without types matches one with them: 1 is
    1.0 and "1e-3" is 0.001. Each side is the mean over seeds, repeats and all that is no
    parameter. A parameter that one table sweeps matches a setting of the other that was loaded
    with it. Compared is ``test_accuracy`` if both tables know it, else ``last_val_accuracy``,
    else the first objective.

    Args:
        a: Of runs, as ``load_results`` gives it, also from a CSV without its folders.
        b: Another.
        names: What the tables are called in errors.
        load_predictions: Gives what a folder's predictions.npz holds; raises what numpy raises.

    Returns:
        A row a setting of both, in a's order: the shared parameters, those that only a has and
        those that only b has, ``metric`` (string; what is compared), ``a``, ``b`` (float64,
        means), ``difference`` (b less a), ``difference_low``, ``difference_high`` (float64, its
        95% interval), ``method`` (string: "same images" or "unpaired: ..." of one run each,
        "paired t over 3 seeds" where both have the same ones, else "Welch t of 3 and 2 runs",
        or "no interval: ..." with the reason), ``mcnemar_p`` (float64, of one run each on the
        same images), ``verdict`` ("b better by 0.06 (0.02 to 0.10)", or as that of
        ``compare_groups``), ``num_a``, ``num_b`` (Int64, runs). Its ``attrs`` hold ``names``,
        ``only_a`` and ``only_b`` (parameters), ``num_unmatched_a`` and ``num_unmatched_b``
        (settings without a counterpart), ``also_differ`` (by name both values, as texts, of
        what each table keeps fixed, but not at the same value: they match nothing, and are
        told), and ``note`` where a table has no completed run.

    Raises:
        ConfigError: No setting of one is in the other, or their objectives are not the same.
    """
    tables = [completed(table).reset_index(drop=True) for table in (a, b)]
    shared, only = _parameters(a, b)
    otherwise = _fixed_otherwise(tables, [*shared, *_loaded_by_both(a, b)])
    shared = [name for name in shared if name not in otherwise]
    sides = [_settings(table, shared, own) for table, own in zip(tables, only, strict=True)]
    both = [key for key in sides[0] if key in sides[1]]
    matched = set(both)
    attrs: dict[str, Any] = {"names": names, "only_a": only[0], "only_b": only[1]}
    attrs["also_differ"] = otherwise | _measured_otherwise(tables, otherwise)
    attrs |= {
        f"num_unmatched_{letter}": sum(len(side[key]) for key in side if key not in matched)
        for letter, side in zip("ab", sides, strict=True)
    }
    empty = [name for name, table in zip(names, tables, strict=True) if table.empty]
    if empty:
        attrs["note"] = f"no completed run in {' and '.join(empty)}"
    elif not both or (not (shared or otherwise) and any(only)):
        raise ConfigError([_nothing_in_common(tables, names, shared)])
    metric = _metric(tables, names)
    load = lru_cache(maxsize=16)(load_predictions)
    compared = [
        _Compared(table, metric, keys)
        for table, keys in zip(tables, repetitions(*tables), strict=True)
    ]
    # Of accuracies more is better, and of objectives what was asked of them.
    more = compared[0].split is not None or directions_of(a)[0]
    shown = [_columns(tables[0], [*shared, *only[0]]), _columns(tables[1], only[1])]
    matches = _matches(sides, both)
    rows = [{"metric": metric} | _difference(compared, one, load, more) for one in matches]
    settings = [
        {name: column[at[0]] for part, at in zip(shown, one, strict=True) for name, column in part}
        for one in matches
    ]
    table = _frame(rows, settings, [*shared, *only[0], *only[1]])
    table.attrs |= attrs
    return table


def _parameters(a: pd.DataFrame, b: pd.DataFrame) -> tuple[list[str], tuple[list[str], list[str]]]:
    """What both tables have, and which parameters are only in one."""
    swept = [swept_parameters(table) for table in (a, b)]
    known = [{*one, *_loaded(table)} for one, table in zip(swept, (a, b), strict=True)]
    shared = [name for name in dict.fromkeys(swept[0] + swept[1]) if name in known[0] & known[1]]
    only_a, only_b = ([name for name in one if name not in shared] for one in swept)
    return shared, (only_a, only_b)


def _loaded(table: pd.DataFrame) -> list[str]:
    """Settings that were loaded with the table; they stand behind the folder."""
    names = [str(name) for name in table]
    return names[names.index("folder") + 1 :] if "folder" in names else []


def _loaded_by_both(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    return [name for name in _loaded(a) if name in _loaded(b) and can_matter(name)]


def _fixed_otherwise(
    tables: Sequence[pd.DataFrame], names: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """What has one value in each table, and not the same: a match of it there is none."""
    found = {}
    for name in dict.fromkeys(names):
        keys = [set(keys_of(table, [name], as_typed=True)) for table in tables]
        if keys[0] == keys[1] or any(len(one) != 1 or ("",) in one for one in keys):
            continue
        first = [plain(table[name].iloc[0]) for table in tables]
        found[name] = (one_line(first[0], 32), one_line(first[1], 32))
    return found


# Of a file these are known without any configuration.
_TELLING = {"epochs": "trainer.epochs", "num_val_images": "data.num_val", "seed": "trainer.seed"}


def _measured_otherwise(
    tables: Sequence[pd.DataFrame], told: Mapping[str, Any]
) -> dict[str, tuple[str, str]]:
    """How long the runs trained, on how many images they were measured, and with which seeds."""
    found = {}
    for name, setting in _TELLING.items():
        values = [
            sorted({as_number(value) for value in column_or_missing(table, name).dropna()})
            for table in tables
        ]
        if setting not in told and all(values) and values[0] != values[1]:
            texts = [_listed([f"{value:.0f}" for value in one], " ") for one in values]
            found[name] = (texts[0], texts[1])
    return found


def _settings(runs: pd.DataFrame, shared: Sequence[str], own: Sequence[str]) -> _Settings:
    places: _Settings = {}
    keys = zip(keys_of(runs, shared, as_typed=True), keys_of(runs, own, as_typed=True), strict=True)
    for i, (key, own_key) in enumerate(keys):
        places.setdefault(key, {}).setdefault(own_key, []).append(i)
    return places


def _matches(sides: Sequence[_Settings], both: Sequence[Key]) -> list[tuple[list[int], list[int]]]:
    return [
        (places_a, places_b)
        for key in both
        for places_a in sides[0][key].values()
        for places_b in sides[1][key].values()
    ]


def _nothing_in_common(
    tables: Sequence[pd.DataFrame], names: tuple[str, str], shared: Sequence[str]
) -> Fault:
    texts = []
    for name, runs in zip(names, tables, strict=True):
        swept = [*shared, *(one for one in swept_parameters(runs) if one not in shared)]
        parts = [f"{one_line(one)}={_choices(runs[one])}" for one in swept]
        texts.append(f"{name} has {' '.join(parts) or 'no parameter'}")
    rule = f"no setting of one is in the other: {'; '.join(texts)}"
    fix = (
        "compare sweeps that have values in common"
        if shared
        else "compare sweeps that have a parameter in common; what one of them keeps fixed can be "
        "swept with its one value"
    )
    return Fault("--compare", " ".join(names), rule, fix=fix)


def _choices(column: pd.Series[Any]) -> str:
    return _listed(list(dict.fromkeys(one_line(plain(value), 32) for value in column)))


def _listed(values: Sequence[str], comma: str = ",") -> str:
    more = [f"... ({len(values)} values)"] if len(values) > _NUM_VALUES_SHOWN else []
    return comma.join([*values[:_NUM_VALUES_SHOWN], *more])


def _metric(tables: Sequence[pd.DataFrame], names: tuple[str, str]) -> str:
    """The column to compare."""
    for split in (TEST, LAST):
        if all(column_or_missing(runs, split.accuracy).notna().any() for runs in tables):
            return split.accuracy
    metrics = [
        list(dict.fromkeys(runs["metric"].dropna())) if "metric" in runs else [] for runs in tables
    ]
    if all(metrics) and metrics[0] != metrics[1]:
        texts = (f"{name}: {', '.join(one)}" for name, one in zip(names, metrics, strict=True))
        rule = f"their objectives cannot be compared ({'; '.join(texts)})"
        fix = "compare sweeps with the same objective.metric and objective.epoch"
        raise ConfigError([Fault("--compare", " ".join(names), rule, fix=fix)])
    return next(iter(objectives_of(tables[0])), "objective")


def _columns(runs: pd.DataFrame, names: Sequence[str]) -> list[tuple[str, list[Any]]]:
    return [(name, [plain(value) for value in runs[name]]) for name in names]


class _Compared:
    """The runs of a table, as far as they are compared."""

    def __init__(self, runs: pd.DataFrame, metric: str, keys: Sequence[Key]) -> None:
        self.split = next((split for split in (TEST, LAST) if split.accuracy == metric), None)
        self.runs = runs_on(runs, self.split) if self.split is not None else []
        self.values = column_or_missing(runs, metric).to_numpy()
        self.keys = keys

    def known(self, places: Sequence[int]) -> list[int]:
        """Those of some runs of which the metric is known."""
        return [i for i in places if not math.isnan(self.values[i])]

    def by_key(self, places: Sequence[int]) -> dict[Key, float]:
        """Values of some runs by their seeds or repeats."""
        return {self.keys[i]: self.values[i] for i in places}


def _difference(
    compared: Sequence[_Compared],
    places: tuple[list[int], list[int]],
    load: LoadPredictions,
    is_more_better: bool,
) -> dict[str, Any]:
    known_a, known_b = (one.known(at) for one, at in zip(compared, places, strict=True))
    a, b = compared[0].values[known_a], compared[1].values[known_b]
    split, pairs = compared[0].split, _pairs(compared, known_a, known_b)
    if len(a) == len(b) == 1 and split is not None:
        run_a, run_b = compared[0].runs[known_a[0]], compared[1].runs[known_b[0]]
        found = compare_runs(run_b, run_a, split, load)
    elif pairs:
        estimate = t_interval(difference(*np.array(pairs).T[::-1]))
        found = Comparison(estimate, f"paired t over {len(pairs)} seeds")
    else:
        found = Comparison(welch_difference(b, a), f"Welch t of {len(a)} and {len(b)} runs")
    estimate = found.estimate if split is None else found.estimate.within(-1.0, 1.0)
    gained = estimate if is_more_better else estimate.negative()
    is_told = not math.isnan(estimate.low) or found.method.startswith("no interval")
    return {
        "a": t_interval(a).value,
        "b": t_interval(b).value,
        "difference": estimate.value,
        "difference_low": estimate.low,
        "difference_high": estimate.high,
        "method": found.method if is_told else f"no interval: {_reason(a, b)}",
        "mcnemar_p": found.mcnemar_p,
        "verdict": verdict("b", "a", gained, found.mcnemar_p) if len(a) and len(b) else "not known",
        "num_a": len(a),
        "num_b": len(b),
    }


def _pairs(
    compared: Sequence[_Compared], known_a: Sequence[int], known_b: Sequence[int]
) -> list[tuple[float, float]]:
    """Values of a and of b at the same seeds; none unless both have the same ones, each once."""
    a, b = compared[0].by_key(known_a), compared[1].by_key(known_b)
    is_once = len(a) == len(known_a) and len(b) == len(known_b)
    if not is_once or len(a) < 2 or a.keys() != b.keys():
        return []
    pairs = [(a[key], b[key]) for key in a]
    return pairs if np.isfinite(pairs).all() else []


def _reason(a: Floats, b: Floats) -> str:
    """Why there is no interval."""
    unknown = [name for name, values in (("a", a), ("b", b)) if not len(values)]
    if unknown:
        return f"not known of {' and '.join(unknown)}"
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return "a value is not finite"
    if len(a) > 1 and len(b) > 1:
        return "nothing varies between the runs of a setting"
    if len(a) == len(b):
        return "one run each"
    return f"one run of {'a' if len(a) == 1 else 'b'}"


def _frame(
    rows: Sequence[dict[str, Any]], settings: Sequence[dict[str, Any]], names: Sequence[str]
) -> pd.DataFrame:
    parameters = {
        name: free_column([setting[key] for setting in settings])
        for key, name in column_names(names, _DTYPES, "params").items()
    }
    columns = {
        name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in _DTYPES.items()
    }
    return pd.DataFrame(parameters | columns)
