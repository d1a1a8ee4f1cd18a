import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnet_sweep.report.statistics import (
    difference,
    difference_of_proportions,
    mcnemar,
    paired_difference,
    t_interval,
    welch_difference,
    wilson,
)

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
NUMBERS = st.lists(st.floats(-1e6, 1e6).map(lambda one: round(one, 3)), min_size=2, max_size=20)


# Newcombe 1998a, table I, method 3.
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(k, n, low, high):
    assert [float(bound) for bound in wilson(k, n)] == pytest.approx([low, high], abs=5e-5)


@given(COUNTS)
def test_wilson_is_scipys_and_holds_the_share(counts):
    k, n = counts
    low, high = map(float, wilson(k, n))
    assert 0 <= low <= k / n <= high <= 1
    assert (low, high) == pytest.approx(tuple(stats.binomtest(k, n).proportion_ci(method="wilson")))


def test_wilson_takes_columns_and_knows_nothing_where_a_count_is_missing_or_cannot_be():
    k = pd.Series([5, None, 5, 11, -1], dtype="Int64")
    low, high = wilson(k, pd.Series([10, 10, 0, 10, 10], dtype="Int64"))
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True, True, True, True]
    assert np.isnan(wilson(pd.NA, 10)).all()
    assert np.isnan(wilson([None, math.inf], 10)).all()
    assert wilson(np.array([1, 2]), 3)[0].shape == (2,)
    assert wilson([], [])[0].shape == (0,)


@given(NUMBERS)
def test_the_t_interval_is_scipys(values):
    mean, low, high = t_interval(values)
    assert mean == pytest.approx(np.mean(values))
    if len(set(values)) > 1:
        expected = stats.ttest_1samp(values, 0).confidence_interval()
        assert (low, high) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-6)
    else:
        assert math.isnan(low)
        assert math.isnan(high)


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([], math.nan),
        ([math.nan, None, pd.NA], math.nan),
        ([0.5], 0.5),
        ([0.5, math.nan], 0.5),
        ([1.0, math.inf], math.inf),
        ([-math.inf, math.inf], math.nan),
        # Equal but for rounding: a width of 1e-17 would claim a certainty that is not there.
        ([0.3 - 0.1, 0.4 - 0.2], 0.2),
    ],
)
def test_a_mean_without_a_spread_carries_no_interval(values, mean):
    found = t_interval(values)
    assert found.value == pytest.approx(mean, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_paired_difference_is_that_of_worked_examples():
    # Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33:2850-2875: 1 and 7 of 21.
    found = paired_difference(1, 7, 21)
    assert found == pytest.approx((-6 / 21, -0.508, -0.013), abs=5e-4)
    # The help page of ci.prop.ps in R's statpsych, by Bonett: 26 and 4 of 48.
    assert paired_difference(26, 4, 48)[1:] == pytest.approx((0.2548067, 0.6251933), abs=1e-7)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_a_paired_difference_lies_in_its_interval_and_turns_with_the_sides(only_a, only_b, both):
    n = only_a + only_b + both
    found, turned = paired_difference(only_a, only_b, n), paired_difference(only_b, only_a, n)
    if n == 0:
        assert np.isnan(found).all()
        return
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert turned == pytest.approx((-found.value, -found.high, -found.low))


def test_no_questions_have_no_difference():
    assert np.isnan(paired_difference(0, 0, 0)).all()


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_sign_test(only_a, only_b):
    p = mcnemar(only_a, only_b)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert p == pytest.approx(expected)


def test_mcnemar_of_the_worked_example():
    # As above; the exact conditional test gives 0.0703.
    assert mcnemar(1, 7) == mcnemar(7, 1) == pytest.approx(18 / 256)
    assert mcnemar(0, 0) == 1.0


# Newcombe 1998b, table II, method 10.
@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
    ],
)
def test_the_difference_of_shares_is_the_published_one(counts, low, high):
    found = difference_of_proportions(*counts)
    assert found[1:] == pytest.approx((low, high), abs=5e-5)


@given(COUNTS, COUNTS)
def test_a_difference_of_shares_lies_in_its_interval(first, second):
    found = difference_of_proportions(*first, *second)
    assert found.value == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert -1 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("counts", [(1, 0, 1, 2), (3, 2, 1, 2), (math.nan, 2, 1, 2)])
def test_a_difference_of_impossible_shares_is_unknown(counts):
    assert np.isnan(difference_of_proportions(*counts)).all()


@given(NUMBERS, NUMBERS)
def test_welchs_difference_is_scipys(a, b):
    found = welch_difference(a, b)
    assert found.value == pytest.approx(np.mean(a) - np.mean(b), abs=1e-6)
    if min(len(set(a)), len(set(b))) > 1:
        expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
        assert found[1:] == pytest.approx(tuple(expected), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ([], [1.0], math.nan),
        ([1.0], [0.5, 0.7], 0.4),
        ([1.0, 1.0], [0.5, 0.5], 0.5),
        ([math.inf, 1.0], [0.5, 0.7], math.inf),
        ([math.inf, 1.0], [math.inf, 0.7], math.nan),
    ],
)
def test_welchs_difference_has_no_interval_without_spreads(a, b, value):
    found = welch_difference(a, b)
    assert found.value == pytest.approx(value, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def covers(intervals, truth):
    low, high = np.array([one[1:] for one in intervals]).T
    return ((low <= truth) & (truth <= high)).mean()


def test_intervals_hold_the_truth_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    low, high = wilson(rng.binomial(600, 0.7, 20000), 600)
    assert ((low <= 0.7) & (high >= 0.7)).mean() == pytest.approx(0.95, abs=0.01)
    pairs = rng.multinomial(600, [0.5, 0.15, 0.09, 0.26], 4000)
    assert covers([paired_difference(a, b, 600) for _, a, b, _ in pairs], 0.06) == pytest.approx(
        0.95, abs=0.015
    )
    k1, k2 = rng.binomial(600, 0.7, 2000), rng.binomial(600, 0.6, 2000)
    unpaired = [difference_of_proportions(a, 600, b, 600) for a, b in zip(k1, k2, strict=True)]
    assert covers(unpaired, 0.1) == pytest.approx(0.95, abs=0.02)
    means = [t_interval(rng.normal(0.7, 0.02, 3)) for _ in range(4000)]
    assert covers(means, 0.7) == pytest.approx(0.95, abs=0.015)
    welch = [
        welch_difference(rng.normal(0.7, 0.05, 5), rng.normal(0.6, 0.01, 4)) for _ in range(4000)
    ]
    assert covers(welch, 0.1) == pytest.approx(0.95, abs=0.02)


def test_the_best_of_20_coin_flip_epochs_leaves_the_interval_of_chance_in_a_third_of_runs():
    correct = np.random.default_rng(0).binomial(600, 0.5, (10000, 20))
    last, _ = wilson(correct[:, -1], 600)
    best, _ = wilson(correct.max(axis=1), 600)
    assert (last > 0.5).mean() < 0.03
    assert 0.28 < (best > 0.5).mean() < 0.42


def test_what_only_rounding_tells_apart_is_the_same():
    assert 0.1 + 0.2 - 0.3 != 0
    found = difference([0.1 + 0.2, 0.5, math.inf, math.nan], [0.3, 0.25, math.inf, 1.0])
    assert found[:2].tolist() == [0.0, 0.25]
    assert np.isnan(found[2:]).all()
    assert difference([1e-17, 1e-17], 0.0).tolist() == [1e-17, 1e-17]
    assert t_interval([0.1, 0.2, -0.1 - 0.2]).value == 0.0
    assert t_interval([1e-17, 3e-17]).value == pytest.approx(2e-17)
    assert welch_difference([0.1 + 0.2, 0.1 + 0.2], [0.3]).value == 0.0
