import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_sweep.report.statistics import Estimate
from resnet_sweep.report.verdicts import DISAGREE, NONE_SHOWN, decimals, verdict


@pytest.mark.parametrize(
    ("value", "num", "text"),
    [
        (0.125, 2, "0.13"),
        (-0.125, 2, "-0.13"),
        (0.285, 2, "0.29"),
        (0.1 + 0.2, 2, "0.30"),
        (0.075 + 1e-15, 2, "0.08"),
        (-1e-17, 3, "0.000"),
        (-0.0004, 3, "0.000"),
        (np.float64(0.125), 2, "0.13"),
        (1e15, 1, "1000000000000000.0"),
        (math.inf, 2, "inf"),
        (math.nan, 2, "nan"),
    ],
)
def test_numbers_are_rounded_as_their_digits_are_read(value, num, text):
    assert decimals(value, num) == text


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_a_rounded_number_is_near(value, num):
    text = decimals(value, num)
    assert abs(float(text) - value) <= 0.5 * 10**-num * (1 + 1e-6) + 1e-9
    assert len(text.partition(".")[2]) == num


@pytest.mark.parametrize(
    ("estimate", "p", "text"),
    [
        ((0.125, 0.001, 0.237), 0.01, "a better by 0.13 (0.00 to 0.24)"),
        ((-0.06, -0.1, -0.02), math.nan, "b better by 0.06 (0.02 to 0.10)"),
        ((0.0021, 0.0011, 0.0031), math.nan, "a better by 0.0021 (0.0011 to 0.0031)"),
        ((0.125, 0.001, 0.237), 0.0625, DISAGREE),
        ((0.1, -0.01, 0.237), 0.04, DISAGREE),
        ((0.1, -0.01, 0.237), 0.06, NONE_SHOWN),
        ((0.0, 0.0, 0.0), math.nan, NONE_SHOWN),
        ((0.1, math.nan, math.nan), math.nan, "no interval"),
    ],
)
def test_a_verdict_follows_the_interval_and_the_test(estimate, p, text):
    assert verdict("a", "b", Estimate(*estimate), p) == text
