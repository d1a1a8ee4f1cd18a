"""What a difference says, in words; the same rule and the same rounding wherever it is told."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

from resnet_sweep.report.statistics import CONFIDENCE, Estimate

NONE_SHOWN = "no difference shown"
DISAGREE = "not sure: interval and McNemar's test disagree"
_NUM_DECIMALS = 2
# Digits beyond these are what computing has left of fewer ones.
_NUM_EXACT = 12
# From here on a float has no decimals worth rounding.
_LARGE = 1e12


def verdict(a: str, b: str, difference: Estimate, mcnemar_p: float = math.nan) -> str:
    """Which of two is better, if that can be said.

    Args:
        a: What the first is called.
        b: What the second is called.
        difference: Of the first less the second, of which more is better.
        mcnemar_p: Of the exact test on the same images; better is only what the interval and
            the test both call so. NaN where there is none.

    Returns:
        "resnet50 better by 0.06 (0.02 to 0.10)", "no difference shown", "no interval", or that
        interval and test disagree.
    """
    value, low, high = difference
    if math.isnan(low):
        return "no interval"
    is_sure = not low <= 0 <= high
    if not math.isnan(mcnemar_p) and (mcnemar_p < 1 - CONFIDENCE) != is_sure:
        return DISAGREE
    if not is_sure:
        return NONE_SHOWN
    better = a
    if high < 0:
        better, value, low, high = b, -value, -high, -low
    # More only where two would make a zero of the difference itself.
    num = _NUM_DECIMALS if float(decimals(value, _NUM_DECIMALS)) else 2 * _NUM_DECIMALS
    texts = [decimals(one, num) for one in (value, low, high)]
    return f"{better} better by {texts[0]} ({texts[1]} to {texts[2]})"


def decimals(value: float, num: int) -> str:
    """A number as a reader of its digits rounds it: 0.125 is 0.13, and nothing is -0.00.

    Args:
        value: Finite or not.
        num: Decimals.
    """
    if not abs(value) < _LARGE:
        return f"{value:.{num}f}"
    exact = Decimal(repr(round(float(value), _NUM_EXACT)))
    text = f"{exact.quantize(Decimal(1).scaleb(-num), ROUND_HALF_UP):f}"
    return text if float(text) else text.lstrip("-")
