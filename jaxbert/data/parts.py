"""A part of the examples of a data set, drawn by a seed: the smaller is contained in the larger."""

from __future__ import annotations

import numpy as np

_OF_PARTS = 0x70617274  # a stream of random numbers of its own, beside that of the order of rows


def part_of(count: int, fraction: float, seed: int) -> np.ndarray:
    """The rows of a part, ascending, at least one.

    Each row has a random number that is a function of the seed and of the row alone; a part has the
    rows with the lowest. Classes are not balanced: they are as they fall.

    Args:
        count: of all rows.
        fraction: above 0, at most 1.

    >>> part_of(8, 0.25, seed=0).tolist(), part_of(8, 0.5, seed=0).tolist()
    ([1, 5], [1, 4, 5, 7])
    """
    numbers = np.random.default_rng([seed, _OF_PARTS]).random(count)
    return np.sort(np.argsort(numbers, kind="stable")[: size_of(count, fraction)])


def size_of(count: int, fraction: float) -> int:
    """How many rows a part has.

    >>> size_of(1000, 0.001), size_of(10, 0.001)
    (1, 1)
    """
    return max(1, round(fraction * count))
