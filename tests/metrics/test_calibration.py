"""Calibration error and temperature against plain loops, and against scikit-learn's diagram."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from jaxbert.metrics.calibration import (
    calibration_error,
    confidences_at,
    fit_temperature,
    reliability,
)

ANSWERS = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=80)


def plain_error(confidences: list[float], right: list[bool], bins: int) -> float:
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        own = [
            (c, r)
            for c, r in zip(confidences, right, strict=True)
            if (low < c or number == 0) and c <= high
        ]
        if own:
            mean, part = (sum(x) / len(own) for x in zip(*own, strict=True))
            total += len(own) / len(right) * abs(mean - part)
    return total


@given(answers=ANSWERS, bins=st.sampled_from([1, 2, 4, 8]))
def test_calibration_error_is_its_definition(answers: list[tuple[float, bool]], bins: int) -> None:
    confidences, right = ([a[n] for a in answers] for n in (0, 1))
    found = calibration_error(confidences, right, bins)
    assert found == pytest.approx(plain_error(confidences, right, bins), abs=1e-9)
    assert 0 <= found <= 1
    assert sum(b.answers for b in reliability(confidences, right, bins)) == len(answers)


def test_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.random(500)
    right = rng.random(500) < confidences
    parts, means = calibration_curve(right, confidences, n_bins=10)
    found = reliability(confidences.tolist(), right.tolist())
    np.testing.assert_allclose([b.right for b in found], parts)
    np.testing.assert_allclose([b.confidence for b in found], means)


def test_confidence_is_the_softmax_at_its_highest() -> None:
    scores = [np.array([1.0, 3.0, 2.0]), np.array([-5.0])]
    odds = np.exp(scores[0] / 2)
    np.testing.assert_allclose(confidences_at(scores, 2.0), [odds[1] / odds.sum(), 1.0])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_data_is_found(temperature: float) -> None:
    rng = np.random.default_rng(1)
    scores = [rng.normal(0, 3, 6) for _ in range(6000)]
    right = rng.random(6000) < confidences_at(scores, temperature)
    found = fit_temperature(scores, right.tolist())
    assert math.log(found) == pytest.approx(math.log(temperature), abs=0.1)
    before, after = (
        calibration_error(confidences_at(scores, t).tolist(), right.tolist())
        for t in (7 * temperature, found)
    )
    assert after < 0.02 < before
