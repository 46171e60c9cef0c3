"""--class_weights: how much each class counts in the loss."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxbert.errors import InputError


class ClassWeight(NamedTuple):
    """How much a class counts in the loss: the words that say so, the class, and a number, NaN
    where the words have none."""

    given: str
    name: str
    weight: float


def read_weight(given: str) -> ClassWeight:
    """NAME=WEIGHT, where a name may have an equals sign too.

    >>> read_weight("a=b=3")
    ClassWeight(given='a=b=3', name='a=b', weight=3.0)
    """
    name, _, value = given.rpartition("=")
    try:
        return ClassWeight(given, name, float(value))
    except ValueError:
        return ClassWeight(given, name, math.nan)


def _rounded(name: str, weight: float) -> ClassWeight:
    """A measured weight, rounded as options.json keeps it: repeated by its record, a run has the
    same.

    >>> _rounded("a", 2 / 3)
    ClassWeight(given='a=0.666667', name='a', weight=0.666667)
    """
    value = f"{weight:.6g}"
    return ClassWeight(f"{name}={value}", name, float(value))


def balanced(labels: Iterable[str]) -> tuple[ClassWeight, ...]:
    """A weight for each class by its number among the labels: n / (C n_c), as scikit-learn does."""
    counts = collections.Counter(labels)
    each = {name: counts.total() / (len(counts) * counts[name]) for name in sorted(counts)}
    return tuple(_rounded(name, weight) for name, weight in each.items())


def weight_array(weights: Sequence[ClassWeight], names: Sequence[str]) -> np.ndarray:
    """(C,) float32, the weight of each class; 1 for one that has none.

    Args:
        names: of all classes, in the model's order.

    Raises:
        InputError: a class is not among them, a weight is no number from 0 on, or all are 0.
    """
    array = np.ones(len(names), np.float32)
    for given, name, weight in weights:
        if name not in names or not 0 <= weight < math.inf:
            raise InputError(
                f"--class_weights {given}: give balanced, or NAME=WEIGHT with a class of "
                f"{', '.join(names)}"
            )
        array[names.index(name)] = weight
    if not array.any():
        words = " ".join(weight.given for weight in weights)
        raise InputError(f"--class_weights {words}: all are 0")
    return array
