"""Classes, numbers, choices and tokens: by hand, against scikit-learn and scipy, and edges."""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys
import warnings
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from jaxbert.metrics import class_scores, entities
from jaxbert.metrics.class_scores import (
    choice_scores,
    classification_scores,
    language_model_scores,
    regression_scores,
)

fixed = settings(deadline=None, derandomize=True, max_examples=30)

THREE = ["neutral", "entailment", "contradiction"]
NAMES = st.sampled_from(THREE)
PAIRS = st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=12)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def is_plain(scores: dict[str, float]) -> bool:
    """Python floats, which JSON can hold."""
    json.dumps(scores, allow_nan=False)
    return all(type(value) is float for value in scores.values())


# --- classes ----------------------------------------------------------------------------------


def test_two_classes_by_hand() -> None:
    # Of "yes": 3 right, 1 too many, 2 missed; of "no": 4 right, 2 too many, 1 missed.
    references = ["yes"] * 5 + ["no"] * 5
    predictions = ["yes"] * 3 + ["no"] * 2 + ["yes"] + ["no"] * 4
    scores = classification_scores(predictions, references, ["no", "yes"])
    assert scores.pop("positive_label") == "yes"  # named, since f1 is of it alone
    assert scores == pytest.approx(
        {
            "accuracy": 7 / 10,
            "f1": 6 / 9,
            "f1_macro": (6 / 9 + 8 / 11) / 2,
            "f1_micro": 7 / 10,
            "matthews_correlation": (3 * 4 - 1 * 2) / math.sqrt(4 * 5 * 5 * 6),
        }
    )
    turned = classification_scores(predictions, references, ["yes", "no"])
    other = {"f1": pytest.approx(8 / 11), "positive_label": "no"}
    assert turned == {**scores, **other}
    chosen = classification_scores(predictions, references, ["no", "yes"], "no")
    assert chosen == turned


def test_three_classes_by_hand() -> None:
    # The class of the third label never occurs and is no part of the mean.
    scores = classification_scores(["a", "b", "b", "b"], ["a", "a", "b", "b"], ["a", "b", "c"])
    assert scores["f1"] == scores["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores["accuracy"] == scores["f1_micro"] == 3 / 4


@fixed
@given(PAIRS)
def test_classes_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    predictions, references = map(list, zip(*pairs, strict=True))
    scores = classification_scores(predictions, references, THREE)
    assert is_plain(scores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a single class, which ours must not pass on
        expected = {
            "accuracy": sk.accuracy_score(references, predictions),
            "f1": sk.f1_score(references, predictions, average="macro"),
            "f1_macro": sk.f1_score(references, predictions, average="macro"),
            "f1_micro": sk.f1_score(references, predictions, average="micro"),
            "matthews_correlation": sk.matthews_corrcoef(references, predictions),
        }
    assert scores == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "reference", "f1"), [("yes", "yes", 1), ("no", "no", 0), ("yes", "no", 0)]
)
@pytest.mark.parametrize("count", [1, 5])
def test_a_single_class_warns_of_nothing(
    prediction: str, reference: str, f1: float, count: int
) -> None:
    scores = classification_scores([prediction] * count, [reference] * count, ["no", "yes"])
    right = float(prediction == reference)
    assert scores.pop("positive_label") == "yes"
    assert scores == {
        "accuracy": right,
        "f1": f1,
        "f1_macro": right,
        "f1_micro": right,
        "matthews_correlation": 0,
    }
    assert is_plain(scores)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a"], ["c"], "the reference 'c' is none of the labels a, b"),
        (["c"], ["a"], "the prediction 'c' is none of the labels a, b"),
        (["a"], ["a", "b"], "1 predictions for 2 references"),
        ([], [], "no examples"),
    ],
)
def test_faulty_classes(predictions: list[str], references: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classification_scores(predictions, references, ["a", "b"])


# --- numbers ----------------------------------------------------------------------------------


def test_numbers_by_hand() -> None:
    # Deviations (-1.5, -.5, .5, 1.5) and (-2, 1, -1, 2); ranks 1 2 3 4 and 1 3 2 4.
    scores = regression_scores([1, 2, 3, 4], [0, 3, 1, 4])
    assert scores == pytest.approx(
        {"pearson": 5 / math.sqrt(5 * 10), "spearmanr": 0.8, "mse": (1 + 1 + 4 + 0) / 4}
    )


@fixed
@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=8))
def test_numbers_equal_scipy_and_stay_finite(pairs: list[tuple[float, float]]) -> None:
    predictions, references = map(list, zip(*pairs, strict=True))
    scores = regression_scores(predictions, references)
    assert is_plain(scores)
    for name, measure in (("pearson", pearsonr), ("spearmanr", spearmanr)):
        if len(set(predictions)) == 1 or len(set(references)) == 1:
            assert scores[name] == 0
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = measure(predictions, references).statistic
        if math.isfinite(expected):
            assert scores[name] == expected
    gaps = [(p - r) ** 2 for p, r in pairs]
    assert scores["mse"] == pytest.approx(math.fsum(gaps) / len(gaps))


@pytest.mark.parametrize(
    ("predictions", "references", "mse"),
    [
        ([2.0], [1.0], 1.0),
        ([1.0, 1.0], [1.0, 2.0], 0.5),
        ([1.0, 2.0], [3.0, 3.0], 2.5),
        ([0.1] * 7, [0.1] * 7, 0.0),
    ],
)
def test_undefined_correlations_are_0(
    predictions: list[float], references: list[float], mse: float
) -> None:
    scores = regression_scores(predictions, references)
    assert scores == {"pearson": 0.0, "spearmanr": 0.0, "mse": mse}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e39])
def test_numbers_that_are_none(bad: float) -> None:
    with pytest.raises(ValueError, match="the prediction of example 1 is "):
        regression_scores([0.0, bad], [0.0, 1.0])
    with pytest.raises(ValueError, match="the reference of example 0 is "):
        regression_scores(np.float32([0.0, 1.0]).tolist(), [bad, 1.0])


def test_faulty_counts_of_numbers() -> None:
    with pytest.raises(ValueError, match="2 predictions for 1 references"):
        regression_scores([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no examples"):
        regression_scores([], [])


# --- choices and tokens -----------------------------------------------------------------------


def test_choices() -> None:
    scores = choice_scores([0, 1, 2], [0, 2, 2])
    assert scores == {"accuracy": 2 / 3}
    assert is_plain(scores)
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        choice_scores([0], [0, 1])
    with pytest.raises(ValueError, match="no examples"):
        choice_scores([], [])


def test_perplexity_by_hand() -> None:
    scores = language_model_scores(8 * math.log(5), 2, 8)
    assert scores == pytest.approx({"perplexity": 5.0, "accuracy": 0.25})


@pytest.mark.parametrize("loss", [1e5, 1e300, math.inf])
def test_perplexity_stays_finite(loss: float) -> None:
    scores = language_model_scores(loss, 0, 1)
    assert 1e300 < scores["perplexity"] < math.inf
    assert is_plain(scores)


def test_faulty_tokens() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        language_model_scores(0.0, 0, 0)
    with pytest.raises(ValueError, match="nan"):
        language_model_scores(math.nan, 0, 1)


@pytest.mark.parametrize("module", [class_scores, entities])
def test_import_is_light(module: ModuleType) -> None:
    path = inspect.getsourcefile(module)
    slow = {"jax", "scipy", "sklearn", "seqeval"}
    code = f"import runpy, sys; runpy.run_path({path!r}); print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
