"""Intervals and tests for shares of correct answers and for means; all two-sided, 95%.

The accuracy of one epoch is a share of n images and has an interval. The best of many epochs is
none: the largest of 20 coin-flip accuracies of 600 images lies above what one of them would allow
in about a third of all runs, so it is never given to a function of this module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special  # type: ignore[import-untyped]

CONFIDENCE = 0.95
_Z = float(special.ndtri(0.5 + CONFIDENCE / 2))
# A spread below this share of the values is what rounding leaves of equal ones.
_ROUNDING = 1e-12
_NAN = float("nan")

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Estimate(NamedTuple):
    """A number and its 95% interval.

    Attributes:
        value: The estimate; NaN where there is nothing to estimate it from.
        low: Lower bound; NaN where the data give no interval.
        high: Upper bound; NaN where the data give no interval.
    """

    value: float
    low: float
    high: float

    def within(self, least: float, most: float) -> Estimate:
        """The same with bounds that its quantity can have.

        Args:
            least: No value is smaller.
            most: No value is larger.
        """
        # Of a NaN min and max give what stands first.
        return Estimate(self.value, max(self.low, least), min(self.high, most))

    def negative(self) -> Estimate:
        """Of the same difference the other way round."""
        return Estimate(-self.value, -self.high, -self.low)


_UNKNOWN = Estimate(_NAN, _NAN, _NAN)


def wilson(num_correct: Any, n: Any) -> tuple[Floats, Floats]:
    """The score interval of a share, as in Newcombe 1998a, method 3.

    E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
    JASA 22:209-212. R. G. Newcombe (1998), Two-sided confidence intervals for the single
    proportion: comparison of seven methods, Statistics in Medicine 17:857-872. With p = k/n:
    (2np + z^2 -+ z sqrt(z^2 + 4np(1 - p))) / (2(n + z^2)).

    Args:
        num_correct: Correct answers, a number or an array or Series of them; NaN and NA are
            unknown.
        n: Answers in all, of the same shape or a single number.

    Returns:
        Lower and upper bounds; NaN where a count is unknown, n is 0 or the counts cannot be.
    """
    k, total = np.broadcast_arrays(_floats(num_correct), _floats(n))
    known = (total > 0) & np.isfinite(total) & (k >= 0) & (k <= total)
    k, total = np.where(known, k, _NAN), np.where(known, total, _NAN)
    middle = 2 * k + _Z**2
    # 4np(1 - p) is 4k(n - k)/n.
    half = _Z * np.sqrt(_Z**2 + 4 * k * (total - k) / total)
    scale = 2 * (total + _Z**2)
    # Rounding may leave 1e-18 where the bound is 0, and more than 1 where it is 1.
    low = np.where(k == 0, 0.0, (middle - half) / scale)
    high = np.where(k == total, 1.0, (middle + half) / scale)
    return np.where(known, low, _NAN), np.where(known, high, _NAN)


def difference(a: Any, b: Any) -> Floats:
    """What a is more than b; 0 where only rounding tells them apart.

    Args:
        a: Numbers.
        b: Others, as many or a single one.
    """
    first, second = np.broadcast_arrays(_floats(a), _floats(b))
    with np.errstate(invalid="ignore", over="ignore"):
        found = first - second
        is_same = np.abs(found) <= _ROUNDING * np.maximum(np.abs(first), np.abs(second))
    return np.where(is_same & np.isfinite(found), 0.0, found)


def t_interval(values: Any) -> Estimate:
    """The mean of values and Student's interval for it: mean -+ t(n - 1) s / sqrt(n).

    Student (1908), The probable error of a mean, Biometrika 6:1-25.

    Args:
        values: Of independent runs; NaN and NA are left out.

    Returns:
        The mean, with an interval for two values or more. Values that are all the same, or not
        all finite, tell nothing about their spread and give none.
    """
    known = _known(values)
    if not known.size:
        return _UNKNOWN
    mean = _mean(known)
    if abs(mean) <= _ROUNDING * float(np.abs(known).max()) < math.inf:
        # Values that cancel out leave a little.
        mean = 0.0
    spread = _spread(known)
    if not spread > 0:
        return Estimate(mean, _NAN, _NAN)
    half = _t(known.size - 1) * spread / math.sqrt(known.size)
    return Estimate(mean, mean - half, mean + half)


def paired_difference(only_a: int, only_b: int, n: int) -> Estimate:
    """How much more often a is correct than b, both asked the same n questions.

    D. G. Bonett and R. M. Price (2012), Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data, Journal of Educational and Behavioral Statistics
    37:479-488: one is added to each of the two counts of disagreement and two to n, then
    p12 - p21 -+ z sqrt((p12 + p21 - (p12 - p21)^2) / (n + 2)), cut at -1 and 1.

    Args:
        only_a: Questions that only a answers correctly.
        only_b: Questions that only b answers correctly.
        n: All questions.

    Returns:
        (only_a - only_b) / n and the interval; NaN for n of 0.
    """
    if n <= 0:
        return _UNKNOWN
    p12, p21 = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    middle = p12 - p21
    half = _Z * math.sqrt((p12 + p21 - middle**2) / (n + 2))
    return Estimate((only_a - only_b) / n, max(middle - half, -1.0), min(middle + half, 1.0))


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p of McNemar's test: is a as often the only correct one as b?

    Q. McNemar (1947), Note on the sampling error of the difference between correlated
    proportions or percentages, Psychometrika 12:153-157; the exact form is the sign test, twice
    the smaller tail of Binomial(only_a + only_b, 1/2).

    Args:
        only_a: Questions that only a answers correctly.
        only_b: Questions that only b answers correctly.

    Returns:
        p, 1 where a and b never differ.
    """
    tail = special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)
    return min(1.0, 2 * float(tail))


def difference_of_proportions(k1: float, n1: float, k2: float, n2: float) -> Estimate:
    """The difference k1/n1 - k2/n2 of two shares of different questions.

    R. G. Newcombe (1998), Interval estimation for the difference between independent
    proportions: comparison of eleven methods, Statistics in Medicine 17:873-890, method 10: from
    the Wilson bounds l and u of both, d - sqrt((p1 - l1)^2 + (u2 - p2)^2) to
    d + sqrt((u1 - p1)^2 + (p2 - l2)^2).

    Args:
        k1: Correct answers of the first.
        n1: Questions of the first.
        k2: Correct answers of the second.
        n2: Questions of the second.

    Returns:
        The difference and its interval; NaN where a count is unknown or cannot be.
    """
    low, high = wilson([k1, k2], [n1, n2])
    if np.isnan(low).any():
        return _UNKNOWN
    p1, p2 = k1 / n1, k2 / n2
    value = p1 - p2
    below = math.hypot(p1 - float(low[0]), float(high[1]) - p2)
    above = math.hypot(float(high[0]) - p1, p2 - float(low[1]))
    return Estimate(value, max(value - below, -1.0), min(value + above, 1.0))


def welch_difference(a_values: Any, b_values: Any) -> Estimate:
    """The difference mean(a) - mean(b) of independent runs, whose spreads may differ.

    B. L. Welch (1947), The generalization of "Student's" problem when several different
    population variances are involved, Biometrika 34:28-35; degrees of freedom after F. E.
    Satterthwaite (1946), An approximate distribution of estimates of variance components,
    Biometrics Bulletin 2:110-114.

    Args:
        a_values: Of a's runs; NaN and NA are left out.
        b_values: Of b's runs; NaN and NA are left out.

    Returns:
        The difference, with an interval where both sides have two finite values or more, and
        not both sides are all the same.
    """
    a, b = _known(a_values), _known(b_values)
    if not a.size or not b.size:
        return _UNKNOWN
    value = float(difference(_mean(a), _mean(b)))
    if a.size < 2 or b.size < 2:
        return Estimate(value, _NAN, _NAN)
    va, vb = _spread(a) ** 2 / a.size, _spread(b) ** 2 / b.size
    if not va + vb > 0:
        return Estimate(value, _NAN, _NAN)
    # Shares of the whole, which squares of small variances cannot turn into 0/0.
    share_a, share_b = va / (va + vb), vb / (va + vb)
    half = _t(1 / (share_a**2 / (a.size - 1) + share_b**2 / (b.size - 1))) * math.sqrt(va + vb)
    return Estimate(value, value - half, value + half)


def _floats(values: Any) -> Floats:
    """Numbers, with NaN for what is missing."""
    if isinstance(values, pd.Series | pd.api.extensions.ExtensionArray):
        return np.asarray(values.to_numpy(dtype="float64", na_value=_NAN))
    if isinstance(values, np.ndarray):
        return values.astype("float64")
    if isinstance(values, Sequence):
        return np.array([_NAN if one is None or one is pd.NA else one for one in values], "float64")
    return np.asarray(_NAN if values is None or values is pd.NA else values, dtype="float64")


def _known(values: Any) -> Floats:
    floats = np.atleast_1d(_floats(values))
    return floats[~np.isnan(floats)]


def _mean(known: Floats) -> float:
    # Infinities of both signs have no mean.
    with np.errstate(invalid="ignore", over="ignore"):
        return float(known.mean())


def _spread(known: Floats) -> float:
    """The standard deviation; 0 for values that only rounding tells apart, NaN for infinities."""
    if known.size < 2 or not np.isfinite(known).all():
        return _NAN
    with np.errstate(invalid="ignore", over="ignore"):
        spread = float(known.std(ddof=1))
    if not math.isfinite(spread):
        return _NAN
    return spread if spread > _ROUNDING * float(np.abs(known).max()) else 0.0


def _t(num_degrees: float) -> float:
    return float(special.stdtrit(num_degrees, 0.5 + CONFIDENCE / 2))
