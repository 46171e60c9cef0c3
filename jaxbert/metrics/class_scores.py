"""Scores of classes, numbers, choices and predicted tokens: fractions (0 to 1), not percent.

scikit-learn and scipy are imported where they are used, for they take seconds to load.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class _Correlation(Protocol):
    @property
    def statistic(self) -> float: ...


def classification_scores(
    predictions: Sequence[str],
    references: Sequence[str],
    labels: Sequence[str],
    positive: str | None = None,
) -> dict[str, float | str]:
    """Accuracy, F1 and Matthews correlation of one class for each example.

    ``f1`` is GLUE's for MRPC and QQP where there are two classes, the F1 of one of them, which is
    named, and ``f1_macro`` where there are more.  ``f1_macro`` is the mean over the classes that
    occur among predictions or references, as scikit-learn and GLUE take it; ``f1_micro`` equals
    ``accuracy``.  What would be divided by zero is 0, and so is the correlation where only one
    class occurs.

    Args:
        predictions, references: names of classes, one for each example.
        labels: all names, in the order of the model's ids.
        positive: the one of two classes that f1 is of; by default ``labels[1]``.

    Returns:
        accuracy, f1, positive_label where there are two classes, f1_macro, f1_micro and
        matthews_correlation.

    Raises:
        ValueError: no examples, not as many predictions as references, or a name is not in
            ``labels``.

    Source: Wang et al. 2019 (GLUE, arXiv:1804.07461), section 3; computed by scikit-learn.

    >>> scores = classification_scores(list("yyn"), list("ynn"), ["n", "y"])
    >>> scores["f1"], scores["matthews_correlation"]
    (0.6666666666666666, 0.5)
    """
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    _check_counts(predictions, references)
    ids = {label: number for number, label in enumerate(labels)}
    for what, names in (("prediction", predictions), ("reference", references)):
        if unknown := next((name for name in names if name not in ids), None):
            raise ValueError(f"the {what} {unknown!r} is none of the labels {', '.join(labels)}")
    predicted, gold = (
        np.fromiter((ids[name] for name in names), np.int64) for names in (predictions, references)
    )

    def f1(average: str, **more: int) -> float:
        return float(f1_score(gold, predicted, average=average, zero_division=0, **more))

    positive = (positive or labels[1]) if len(labels) == 2 else None
    of_two: dict[str, float | str] = {}
    if positive is not None:
        of_two = {"f1": f1("binary", pos_label=ids[positive]), "positive_label": positive}
    # With a single class scikit-learn gives 0 as well, and a warning.
    single = len({*predicted.tolist(), *gold.tolist()}) == 1
    return {
        "accuracy": float(accuracy_score(gold, predicted)),
        **(of_two or {"f1": f1("macro")}),
        "f1_macro": f1("macro"),
        "f1_micro": f1("micro"),
        "matthews_correlation": 0.0 if single else float(matthews_corrcoef(gold, predicted)),
    }


def multi_label_scores(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    labels: Sequence[str],
    probabilities: np.ndarray | None = None,
) -> dict[str, float]:
    """Scores of any number of classes for each example.

    ``f1_micro`` is of all decisions, examples times classes, together; ``f1_macro`` the mean over
    the classes; ``exact_match`` the part of the examples all of whose classes are right.
    ``average_precision_micro`` and ``_macro`` need no threshold: they judge the ranking.  As with
    scikit-learn a class that occurs nowhere counts as 0 in the macro means.

    Args:
        predictions, references: names of classes, a sequence for each example that may be empty.
        labels: all L names.
        probabilities: (examples, L), higher where a class is likelier; without them there is no
            average precision.

    Returns:
        f1_micro, f1_macro, exact_match and, with probabilities, average_precision_micro and
        average_precision_macro.

    Raises:
        ValueError: no examples, not as many predictions as references, a name is not in ``labels``,
            or a probability is not finite.

    >>> scores = multi_label_scores([["a"], ["a", "b"]], [["a"], ["b"]], ["a", "b"])
    >>> scores["f1_micro"], scores["exact_match"]
    (0.8, 0.5)
    """
    from sklearn.metrics import average_precision_score, f1_score

    _check_counts(predictions, references)
    predicted, gold = (_indicators(names, labels) for names in (predictions, references))
    micro = f1_score(gold.ravel(), predicted.ravel(), zero_division=0)
    macro = micro  # scikit-learn takes a single column for two classes
    if len(labels) > 1:
        macro = f1_score(gold, predicted, average="macro", zero_division=0)
    scores: dict[str, float] = {
        "f1_micro": float(micro),
        "f1_macro": float(macro),
        "exact_match": float(np.mean((predicted == gold).all(axis=1))),
    }
    if probabilities is None:
        return scores
    if not np.isfinite(probabilities).all():
        raise ValueError("a score of the predictions is not finite")

    def precision(of_labels: np.ndarray, ranked: np.ndarray) -> float:
        if not of_labels.any():  # scikit-learn gives 0 as well, and a warning
            return 0.0
        return float(average_precision_score(of_labels, ranked))

    each = [precision(gold[:, n], probabilities[:, n]) for n in range(len(labels))]
    scores["average_precision_micro"] = precision(gold.ravel(), probabilities.ravel())
    scores["average_precision_macro"] = float(np.mean(each))
    return scores


def _indicators(examples: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    """(examples, L) int64: 1 where an example has the class."""
    ids = {label: number for number, label in enumerate(labels)}
    found = np.zeros((len(examples), len(labels)), np.int64)
    for row, names in enumerate(examples):
        for name in names:
            if name not in ids:
                raise ValueError(f"{name!r} is none of the labels {', '.join(labels)}")
            found[row, ids[name]] = 1
    return found


def regression_scores(
    predictions: Sequence[float], references: Sequence[float]
) -> dict[str, float]:
    """Pearson's and Spearman's correlation and the mean squared error.

    A correlation is undefined where all predictions or all references are equal, or where there
    are fewer than two: it is 0 here, where GLUE's script gives nan, which JSON cannot hold.

    Args:
        predictions, references: numbers in the range of float32, one for each example.

    Returns:
        pearson, spearmanr and mse.

    Raises:
        ValueError: no examples, not as many predictions as references, or a number is nan,
            infinite or too large for float32.

    Source: Wang et al. 2019 (GLUE, arXiv:1804.07461), section 3, STS-B; computed by scipy.

    >>> scores = regression_scores([1.0, 2.0, 4.0], [0.0, 2.0, 4.0])
    >>> round(scores["pearson"], 4), scores["mse"]
    (0.982, 0.3333333333333333)
    """
    from scipy.stats import pearsonr, spearmanr

    _check_counts(predictions, references)
    predicted, gold = np.asarray(predictions, np.float64), np.asarray(references, np.float64)
    for what, numbers in (("prediction", predicted), ("reference", gold)):
        within = np.abs(numbers) <= np.finfo(np.float32).max  # False for nan
        if not within.all():
            row = int(np.argmin(within))
            raise ValueError(f"the {what} of example {row} is {numbers[row]}, not a float32 number")
    return {
        "pearson": _correlation(pearsonr, predicted, gold),
        "spearmanr": _correlation(spearmanr, predicted, gold),
        "mse": float(np.mean((predicted - gold) ** 2)),
    }


def choice_scores(predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
    """Accuracy of one chosen number for each example.

    Raises:
        ValueError: no examples, or not as many predictions as references.

    >>> choice_scores([0, 1, 1, 3], [0, 1, 2, 3])
    {'accuracy': 0.75}
    """
    _check_counts(predictions, references)
    return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}


def language_model_scores(loss_sum: float, right: float, count: float) -> dict[str, float]:
    """Perplexity, ``exp(loss_sum / count)``, and accuracy of predicted tokens.

    A mean loss above 700 counts as 700, so that the perplexity (1e304 then) stays a finite number.

    Args:
        loss_sum: of the cross entropy in nats; right: tokens predicted rightly; count: all tokens.

    Raises:
        ValueError: ``count`` is 0, or the loss is nan.

    >>> language_model_scores(0.0, 6, 8)
    {'perplexity': 1.0, 'accuracy': 0.75}
    """
    if count == 0:
        raise ValueError("there are no tokens to score")
    if math.isnan(loss_sum):
        raise ValueError("the loss is nan")
    return {"perplexity": math.exp(min(loss_sum / count, 700.0)), "accuracy": right / count}


def _check_counts(predictions: Sequence[T], references: Sequence[T]) -> None:
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    if not references:
        raise ValueError("there are no examples to score")


def _correlation(
    measure: Callable[[np.ndarray, np.ndarray], _Correlation], left: np.ndarray, right: np.ndarray
) -> float:
    if len(left) < 2:
        return 0.0
    # All that scipy and numpy warn of here is input that is constant, or nearly so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(measure(left, right).statistic)
    return value if math.isfinite(value) else 0.0
