"""How far a model's probabilities can be believed: calibration error, and a temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Bin(NamedTuple):
    """Answers whose confidence is in [low, high]: how many, their mean confidence, and the part
    that is right."""

    low: float
    high: float
    answers: int
    confidence: float
    right: float


def reliability(confidences: Sequence[float], right: Sequence[int], bins: int = 10) -> list[Bin]:
    """Answers by confidence in bins of equal width; those without any answer are left out.

    The first bin has both its ends, each other one its upper end (Guo et al. 2017, section 2).

    >>> [tuple(b) for b in reliability([0.9, 1.0, 0.2], [True, False, False], bins=2)]
    [(0.0, 0.5, 1, 0.2, 0.0), (0.5, 1.0, 2, 0.95, 0.5)]
    """
    given, hits = np.asarray(confidences, np.float64), np.asarray(right, np.float64)
    number = np.clip(np.ceil(given * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for n in range(bins):
        own = number == n
        if own.any():
            mean, part = float(given[own].mean()), float(hits[own].mean())
            found.append(Bin(n / bins, (n + 1) / bins, int(own.sum()), mean, part))
    return found


def calibration_error(confidences: Sequence[float], right: Sequence[int], bins: int = 10) -> float:
    """Expected calibration error: sum over bins of n_b / n |right_b - confidence_b|.

    Source: Guo et al. 2017 (arXiv:1706.04599), equation 3.

    >>> round(calibration_error([0.9, 1.0, 0.2], [True, False, False], bins=2), 4)
    0.3667
    """
    found = reliability(confidences, right, bins)
    return sum(b.answers * abs(b.right - b.confidence) for b in found) / len(confidences)


def confidences_at(scores: Sequence[np.ndarray], temperature: float) -> np.ndarray:
    """Of each list of scores, softmax(scores / temperature) at the highest: (n,) float64."""
    # 1 / sum exp((s - max) / t)
    return np.array([1 / np.exp((s - s.max()) / temperature).sum() for s in scores])


def fit_temperature(scores: Sequence[np.ndarray], right: Sequence[bool]) -> float:
    """The temperature at which the confidence in the best entry tells best whether it is right.

    min over t of -sum log c if right else log(1 - c), c = confidences_at(scores, t): temperature
    scaling (Guo et al. 2017, section 4.2) for the one answer that is given. Between 0.05 and 50.

    Args:
        scores: of each question, those of its n-best list, float64.
        right: whether the best of them is.
    """
    from scipy.optimize import minimize_scalar  # half a second, which no other command needs

    hits = np.asarray(right, bool)

    def cost(log_temperature: float) -> float:
        c = confidences_at(scores, math.exp(log_temperature)).clip(1e-12, 1 - 1e-12)
        return -float(np.where(hits, np.log(c), np.log1p(-c)).mean())

    found = minimize_scalar(cost, bounds=(math.log(0.05), math.log(50)), method="bounded")
    return math.exp(float(found.x))
