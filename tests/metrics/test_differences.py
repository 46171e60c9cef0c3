"""Intervals, p-values and effect sizes, beside scipy and the definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxbert.metrics.differences import (
    drawn_counts,
    effect_size,
    holm,
    interval_of,
    paired_p,
)
from jaxbert.metrics.resampled_scores import resampled_means


def differences_of(mine: np.ndarray, theirs: np.ndarray, seed: int = 0) -> np.ndarray:
    """Of the means of two sides, in each resample of both."""
    one, other = resampled_means({"x": mine.tolist()}), resampled_means({"x": theirs.tolist()})
    parts = [one(c)["x"] - other(c)["x"] for c in drawn_counts(len(mine), seed=seed)]
    return np.concatenate(parts)


def test_a_resample_has_as_many_examples_as_there_are() -> None:
    parts = list(drawn_counts(2000, resamples=1100))
    assert len(parts) > 1
    counts = np.concatenate(parts)
    assert counts.shape == (1100, 2000)
    assert (counts.sum(1) == 2000).all()
    # A count is binomial: mean 1, variance 1 - 1/N.
    assert counts.mean() == 1
    assert counts.var() == pytest.approx(1 - 1 / 2000, abs=0.01)
    again = np.concatenate(list(drawn_counts(2000, resamples=1100)))
    np.testing.assert_array_equal(counts, again)
    assert (np.concatenate(list(drawn_counts(2000, resamples=1100, seed=1))) != counts).any()


def test_the_interval_is_scipys() -> None:
    rng = np.random.default_rng(3)
    theirs = rng.normal(0.6, 0.3, 400)
    mine = theirs + rng.normal(0.03, 0.2, 400)
    found = interval_of(differences_of(mine, theirs))
    expected = stats.bootstrap(
        (mine, theirs),
        lambda a, b, axis: np.mean(a, axis) - np.mean(b, axis),
        paired=True,
        method="percentile",
        n_resamples=20000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    error = 0.1 * (expected.high - expected.low)
    assert found.low == pytest.approx(expected.low, abs=error)
    assert found.high == pytest.approx(expected.high, abs=error)
    # With this many examples a t-test over them agrees.
    assert found.p == pytest.approx(stats.ttest_rel(mine, theirs).pvalue, abs=0.01)


def test_the_interval_has_the_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    trials = 400
    for trial in range(trials):
        hard = rng.uniform(size=150)  # what is hard for one is hard for the other
        theirs = (rng.uniform(size=150) < 0.3 + 0.6 * hard).astype(float)
        mine = (rng.uniform(size=150) < 0.35 + 0.6 * hard).astype(float)
        found = interval_of(differences_of(mine, theirs, seed=trial)[:500])
        held += found.low <= 0.05 <= found.high
    # 95 % of 400, and three standard deviations.
    assert held / trials == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / trials))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_what_is_equal_has_the_interval_zero(values: list[float]) -> None:
    found = interval_of(differences_of(np.array(values), np.array(values)))
    assert found == (0.0, 0.0, 1.0)
    assert found.holds_zero


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_the_t_test_is_scipys(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, count)).tolist()
    assert paired_p(one, other) == pytest.approx(stats.ttest_rel(one, other).pvalue)


def test_nothing_is_tested_where_nothing_varies() -> None:
    assert paired_p([1.0], [2.0]) is None
    assert paired_p([1.0, 2.0], [2.0, 3.0]) is None
    assert effect_size([1.0], [2.0]) is None
    assert effect_size([1.0, 1.0], [2.0, 2.0]) is None


def test_the_effect_is_in_standard_deviations_of_a_run() -> None:
    rng = np.random.default_rng(0)
    base, other = rng.normal(0, 2, 5000), rng.normal(1, 2, 5000)
    assert effect_size(other.tolist(), base.tolist()) == pytest.approx(0.5, abs=0.05)
    assert effect_size(base.tolist(), other.tolist()) == pytest.approx(-0.5, abs=0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_closed_testing_by_bonferroni(ps: list[float]) -> None:
    """The corrected p of a hypothesis is the largest Bonferroni p of all sets that have it."""
    sets = [
        chosen
        for size in range(1, len(ps) + 1)
        for chosen in itertools.combinations(range(len(ps)), size)
    ]
    for number, found in enumerate(holm(ps)):
        whole = (min(1, len(s) * min(ps[n] for n in s)) for s in sets if number in s)
        assert found == pytest.approx(max(whole))


def test_holm_of_nothing() -> None:
    assert holm([]) == []
