"""Scores of any number of labels an example against scikit-learn's."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.metrics.class_scores import multi_label_scores

LABELS = ("a", "b", "c")
sets = st.lists(st.sampled_from(LABELS), unique=True)
scores_of = st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3)


def ones(examples: list[list[str]]) -> np.ndarray:
    return np.array([[int(label in names) for label in LABELS] for names in examples])


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(st.tuples(sets, sets, scores_of), min_size=1, max_size=12))
def test_scores_are_those_of_scikit_learn(
    rows: list[tuple[list[str], list[str], list[float]]],
) -> None:
    predictions, references, ranked = (list(column) for column in zip(*rows, strict=True))
    found = multi_label_scores(predictions, references, LABELS, np.array(ranked))
    json.dumps(found, allow_nan=False)
    gold, predicted = ones(references), ones(predictions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that occur nowhere, which ours must not pass on
        wanted = {
            "f1_micro": sk.f1_score(gold, predicted, average="micro", zero_division=0),
            "f1_macro": sk.f1_score(gold, predicted, average="macro", zero_division=0),
            "exact_match": sk.accuracy_score(gold, predicted),
            "average_precision_micro": sk.average_precision_score(gold, ranked, average="micro"),
            "average_precision_macro": sk.average_precision_score(gold, ranked, average="macro"),
        }
    assert found == pytest.approx(wanted, abs=1e-12)


def test_by_hand() -> None:
    # a: 1 right, 1 too many; b: 1 missed; c: 1 right.
    found = multi_label_scores([["a"], ["a", "c"], []], [["a", "b"], ["c"], []], LABELS)
    assert found == pytest.approx(
        {"f1_micro": 2 * 2 / (2 * 2 + 1 + 1), "f1_macro": (2 / 3 + 0 + 1) / 3, "exact_match": 1 / 3}
    )


def test_a_single_label_is_not_taken_for_two_classes() -> None:
    found = multi_label_scores([["a"], [], []], [["a"], ["a"], []], ["a"], np.ones((3, 1)))
    assert found["f1_micro"] == found["f1_macro"] == pytest.approx(2 / 3)
    assert found["average_precision_micro"] == pytest.approx(2 / 3)


def test_without_any_label_all_that_is_undefined_is_0() -> None:
    found = multi_label_scores([[], []], [[], []], LABELS, np.full((2, 3), 0.25))
    assert found.pop("exact_match") == 1
    assert set(found.values()) == {0.0}


def test_names_counts_and_numbers_are_checked() -> None:
    with pytest.raises(ValueError, match="'d' is none of the labels a, b, c"):
        multi_label_scores([["d"]], [[]], LABELS)
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        multi_label_scores([[]], [[], []], LABELS)
    with pytest.raises(ValueError, match="not finite"):
        multi_label_scores([[]], [[]], LABELS, np.full((1, 3), np.nan))
