"""Whether two models differ: over seeds by a t-test, over examples by a bootstrap, both paired.

Pure functions of numbers on the host.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
_CHUNK = 1 << 20  # counts in memory at once


class Interval(NamedTuple):
    """What a bootstrap says of a difference.

    Attributes:
        low, high: the ends of its 95 % interval.
        p: two-sided, of no difference.
    """

    low: float
    high: float
    p: float

    @property
    def holds_zero(self) -> bool:
        """Whether there may be no difference."""
        return self.low <= 0 <= self.high


def drawn_counts(
    examples: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """How often each example is in each resample, as many as there are, drawn with replacement.

    Yields:
        (R, N) int64, in parts whose R add up to `resamples`.

    >>> [counts.sum(1).tolist() for counts in drawn_counts(5, resamples=2)]
    [[5, 5]]
    """
    rng = np.random.default_rng(seed)
    size = max(1, _CHUNK // examples)
    for first in range(0, resamples, size):
        rows = min(size, resamples - first)
        drawn = rng.integers(examples, size=(rows, examples))
        drawn += np.arange(rows)[:, None] * examples
        yield np.bincount(drawn.ravel(), minlength=rows * examples).reshape(rows, examples)


def interval_of(differences: np.ndarray) -> Interval:
    """The percentile interval of differences of resamples, (R,), and how likely one is as far on
    the other side of 0.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, sections 13.3 and 15.4.

    >>> interval_of(np.zeros(100))
    Interval(low=0.0, high=0.0, p=1.0)
    """
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    below, above = np.sum(differences <= 0), np.sum(differences >= 0)
    p = 2 * (1 + min(below, above)) / (1 + len(differences))
    return Interval(float(low), float(high), min(1.0, float(p)))


def paired_p(values: Sequence[float], base: Sequence[float]) -> float | None:
    """p of the two-sided paired t-test; None where there are too few pairs, or no difference
    varies."""
    from scipy.stats import ttest_rel

    differences = [b - a for a, b in zip(base, values, strict=True)]
    if len(differences) < 2 or max(differences) - min(differences) <= 1e-12:
        return None
    return float(ttest_rel(values, base).pvalue)


def effect_size(values: Sequence[float], base: Sequence[float]) -> float | None:
    """The difference of two means in standard deviations of a run, both sides' averaged; None where
    nothing varies, or there is one value each.

    This is Cohen's d with the average variance. His d of differences would be t / sqrt(n) again,
    and grows with how alike two runs of one seed are.

    Source: Lakens 2013, Frontiers in Psychology 4:863, equation 10.

    >>> effect_size([3.0, 5.0], [1.0, 3.0])
    1.414213562373095
    """
    if len(values) < 2:
        return None
    spread = math.sqrt((statistics.variance(values) + statistics.variance(base)) / 2)
    if spread <= 1e-12:
        return None
    return (statistics.fmean(values) - statistics.fmean(base)) / spread


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are: below 0.05 are those of which, with 95 %
    probability, none is chance.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70. scipy corrects the rate of false
    discoveries alone, and statsmodels, which has this, needs pandas.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(ps, kind="stable")
    factors = np.arange(len(ps), 0, -1)
    corrected = np.minimum(1, np.maximum.accumulate(factors * np.asarray(ps)[order]))
    found = np.empty(len(ps))
    found[order] = corrected
    return [float(p) for p in found]
