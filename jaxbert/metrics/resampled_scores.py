"""Scores of many resamples of the same examples at once.

A resample is how often each example is in it. The functions are those of class_scores, entities and
answer_scores, of such counts in place of examples; what a score sums over examples is summed here
with counts, and ranks are made again in each resample.

R resamples, N examples, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from jaxbert.metrics.entities import Mode, Scheme, entities

# Counts, (R, N) integers, to each score's values, (R,) float64.
ResampledScores: TypeAlias = Callable[[np.ndarray], dict[str, np.ndarray]]


def resampled_means(columns: Mapping[str, Sequence[float]]) -> ResampledScores:
    """Of scores that are means over examples: name -> the value of each example.

    >>> resampled_means({"accuracy": [1, 0]})(np.array([[1, 1], [2, 0]]))
    {'accuracy': array([0.5, 1. ])}
    """
    values = np.array(list(columns.values()), np.float64).T

    def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
        means = counts @ values / counts.sum(1)[:, None]
        return dict(zip(columns, means.T, strict=True))

    return scores


def resampled_classes(
    predictions: Sequence[str],
    references: Sequence[str],
    labels: Sequence[str],
    positive: str | None = None,
) -> ResampledScores:
    """See class_scores.classification_scores."""
    predicted, gold = (_one_hot(names, labels) for names in (predictions, references))
    both = predicted * gold

    def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
        right, given, there = counts @ both, counts @ predicted, counts @ gold
        f1 = _f1(right, given, there)
        occurs = given + there > 0
        accuracy = right.sum(1) / counts.sum(1)
        macro = np.where(occurs, f1, 0).sum(1) / occurs.sum(1)
        chosen = f1[:, list(labels).index(positive or labels[1])] if len(labels) == 2 else macro
        return {
            "accuracy": accuracy,
            "f1": chosen,
            "f1_macro": macro,
            "f1_micro": accuracy,
            "matthews_correlation": _matthews(right, given, there),
        }

    return scores


def _matthews(right: np.ndarray, given: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Gorodkin's correlation, from sums of each class, (R, L)."""
    total = there.sum(1)
    covariance = right.sum(1) * total - (given * there).sum(1)
    spread = (total**2 - (given**2).sum(1)) * (total**2 - (there**2).sum(1))
    return _divided(covariance, np.sqrt(spread))


def resampled_sets(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    labels: Sequence[str],
    probabilities: np.ndarray | None = None,
) -> ResampledScores:
    """See class_scores.multi_label_scores."""
    predicted, gold = (
        np.array([[label in names for label in labels] for names in of], np.float64)
        for of in (predictions, references)
    )
    exact = (predicted == gold).all(1).astype(np.float64)

    def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
        right, given, there = counts @ (predicted * gold), counts @ predicted, counts @ gold
        found = {
            "f1_micro": _f1(right.sum(1), given.sum(1), there.sum(1)),
            "f1_macro": _f1(right, given, there).mean(1),
            "exact_match": counts @ exact / counts.sum(1),
        }
        if probabilities is None:
            return found
        of_each = [
            _average_precision(counts, gold[:, n], probabilities[:, n]) for n in range(len(labels))
        ]
        found["average_precision_micro"] = _average_precision(
            np.repeat(counts, len(labels), axis=1), gold.ravel(), probabilities.ravel()
        )
        found["average_precision_macro"] = np.mean(of_each, axis=0)
        return found

    return scores


def _average_precision(counts: np.ndarray, gold: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """Sum of precision times what each threshold adds to the recall, (R,)."""
    order = np.argsort(-ranked, kind="stable")
    last = np.flatnonzero(np.append(np.diff(ranked[order]) != 0, True))  # of equal ones
    taken = np.cumsum(counts[:, order], axis=1)[:, last]
    right = np.cumsum(counts[:, order] * gold[order], axis=1)[:, last]
    recall: np.ndarray = _divided(right, right[:, -1:])
    gains = np.diff(recall, prepend=0.0)
    area: np.ndarray = np.sum(_divided(right, taken) * gains, axis=1)
    return area


def resampled_numbers(predictions: Sequence[float], references: Sequence[float]) -> ResampledScores:
    """See class_scores.regression_scores."""
    predicted, gold = np.asarray(predictions, np.float64), np.asarray(references, np.float64)
    squared = (predicted - gold) ** 2
    ranks = _Ranks(predicted), _Ranks(gold)

    def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "pearson": _correlation(counts, predicted, gold),
            "spearmanr": _correlation(counts, *(of(counts) for of in ranks)),
            "mse": counts @ squared / counts.sum(1),
        }

    return scores


class _Ranks:
    """The mean ranks of values in a resample, (R, N)."""

    def __init__(self, values: np.ndarray) -> None:
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        self._first = np.flatnonzero(np.append(True, np.diff(ordered) != 0))
        self._group = np.unique(values, return_inverse=True)[1]

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        equal = np.add.reduceat(counts[:, self._order], self._first, axis=1)
        ranks = np.cumsum(equal, axis=1) - (equal - 1) / 2
        of_each: np.ndarray = ranks[:, self._group]
        return of_each


def _correlation(counts: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pearson's, (R,); 0 where one side does not vary.

    Args:
        left, right: (N,), or (R, N) where a resample has its own.
    """
    total = counts.sum(1)
    drawn = counts > 0

    def centred(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.sum(counts * values, axis=1) / total
        least = np.where(drawn, values, np.inf).min(1)
        varies = np.where(drawn, values, -np.inf).max(1) > least
        return values - mean[:, None], varies

    (x, x_varies), (y, y_varies) = centred(left), centred(right)
    covariance = np.sum(counts * x * y, axis=1)
    spread = np.sqrt(np.sum(counts * x * x, axis=1)) * np.sqrt(np.sum(counts * y * y, axis=1))
    found: np.ndarray = np.clip(_divided(covariance, spread), -1, 1)
    found[~(x_varies & y_varies)] = 0
    return found


def resampled_entities(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    scheme: Scheme | None,
    mode: Mode = "default",
) -> ResampledScores:
    """See entities.entity_scores; an example is a sentence."""
    pairs = list(zip(predictions, references, strict=True))
    words = np.array(
        [(sum(p == g for p, g in zip(*pair, strict=True)), len(pair[1])) for pair in pairs],
        np.float64,
    )

    def accuracy(counts: np.ndarray) -> dict[str, np.ndarray]:
        right, total = (counts @ words).T
        return {"accuracy": _divided(right, total)}

    if scheme is None:
        return accuracy
    sets = [[{*entities(tags, scheme=scheme, mode=mode)} for tags in pair] for pair in pairs]
    found = np.array([(len(p & g), len(p), len(g)) for p, g in sets], np.float64)

    def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
        right, given, there = (counts @ found).T
        return {
            "precision": _divided(right, given),
            "recall": _divided(right, there),
            "f1": _f1(right, given, there),
            **accuracy(counts),
        }

    return scores


def _one_hot(names: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """(N, L) float64."""
    ids = {label: number for number, label in enumerate(labels)}
    return np.eye(len(labels))[[ids[name] for name in names]]


def _f1(right: np.ndarray, given: np.ndarray, there: np.ndarray) -> np.ndarray:
    return _divided(2 * right, given + there)


def _divided(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The quotient; 0 where it has none."""
    left, right = np.broadcast_arrays(left, right)
    quotient: np.ndarray = np.divide(left, right, out=np.zeros(left.shape), where=right != 0)
    return quotient
