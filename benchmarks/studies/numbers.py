"""Numbers of runs as the pages write them, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from resnet_sweep.report.statistics import (
    Estimate,
    difference_of_proportions,
    t_interval,
    wilson,
)
from resnet_sweep.report.verdicts import decimals

LAST = "last_val_accuracy"
_NUM_IMAGES = {LAST: "num_val_images", "test_accuracy": "num_test_images"}


def complete(runs: pd.DataFrame) -> pd.DataFrame:
    """Those that have come to their end, by their seeds: others have a last epoch, and no last.

    Args:
        runs: Of one setting.
    """
    return runs[runs["state"] == "COMPLETE"].sort_values("seed")


def accuracy(runs: pd.DataFrame, column: str = LAST) -> Estimate:
    """The accuracy of a setting, from its runs.

    Args:
        runs: Of one setting; one run, or one for each of several seeds.
        column: An accuracy that was not chosen for being high.

    Returns:
        NaN where no run has come to its end. Of one run its Wilson 95% interval, which is of the
        images; of several the mean and its t interval, which is of the seeds.
    """
    known = complete(runs).dropna(subset=[column, _NUM_IMAGES[column]])
    if len(known) != 1:
        return _of_seeds(known[column])
    value, num_images = float(known[column].iloc[0]), float(known[_NUM_IMAGES[column]].iloc[0])
    low, high = wilson(value * num_images, num_images)
    return Estimate(value, float(low), float(high))


def difference(a: pd.DataFrame, b: pd.DataFrame, column: str = LAST) -> Estimate:
    """How much better a is than b.

    Args:
        a: Runs of one setting.
        b: Runs of another, with the same seeds.
        column: An accuracy.

    Returns:
        Of one run each Newcombe's interval, as if of different images, which is wider than that
        of the same ones in ``report.html``; of several the t interval of the differences seed by
        seed.
    """
    sides = [complete(runs).dropna(subset=[column]) for runs in (a, b)]
    if [len(side) for side in sides] == [1, 1]:
        counts: list[float] = []
        for runs in sides:
            num_images = float(runs[_NUM_IMAGES[column]].iloc[0])
            counts += [float(runs[column].iloc[0]) * num_images, num_images]
        return difference_of_proportions(*counts)
    by_seed = [side.set_index("seed")[column] for side in sides]
    return _of_seeds((by_seed[0] - by_seed[1]).dropna())


def _of_seeds(values: pd.Series[float]) -> Estimate:
    """The t interval; seeds that all come to the same number, as collapsed networks do, are it."""
    found = t_interval(values)
    if len(values) > 1 and values.nunique() == 1:
        return Estimate(found.value, found.value, found.value)
    return found


def learned(runs: pd.DataFrame) -> str:
    """``2 of 3``: how many runs have learned, of all that were begun; and how many have failed.

    Args:
        runs: Of one setting.
    """
    num_learned = int(complete(runs)["learned"].fillna(False).sum())
    num_failed = len(runs) - len(complete(runs))
    failed = f", {num_failed} failed" if num_failed else ""
    return f"{num_learned} of {len(runs)}{failed}"


def text(estimate: Estimate, num: int = 3) -> str:
    """``0.643 (0.604 to 0.681)``; the number alone where it has no interval, empty without one."""
    if math.isnan(estimate.value):
        return ""
    value = decimals(estimate.value, num)
    if math.isnan(estimate.low):
        return value
    return f"{value} ({decimals(estimate.low, num)} to {decimals(estimate.high, num)})"


def each(values: Sequence[float] | pd.Series, num: int = 3) -> str:
    """``0.568, 0.602, 0.590``: what every seed has reached, a dash where that is not known."""
    floats = [math.nan if one is pd.NA else float(one) for one in values]
    return ", ".join("-" if math.isnan(one) else decimals(one, num) for one in floats)


def number(value: float) -> str:
    """A learning rate or the like, as it is typed."""
    return f"{value:g}"


def duration(seconds: float) -> str:
    """``96 min`` or ``48 s``."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
