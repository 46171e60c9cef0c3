"""The record of classification: classes, their weights in the loss, predictions and scores."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from jaxbert.data.features import Features
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.losses.choose import choose_loss, with_settings
from jaxbert.model.config import BertConfig
from jaxbert.options.settings import ClassificationTrainOptions
from jaxbert.tasks.classification import CLASSIFICATION, Classified

CFG = BertConfig(id2label=("bad", "good", "so so"))
OPTIONS = ClassificationTrainOptions()
NO_FEATURES = Features(np.zeros(1, np.int64), {}, {}, np.zeros(0, np.int32))


def examples(*labels: str | None) -> list[TextExample]:
    return [TextExample(f"f: row {n}", "text", None, label) for n, label in enumerate(labels)]


def weighted(options: ClassificationTrainOptions, cfg: BertConfig) -> Any:
    """The default loss as a training has it."""
    chosen = choose_loss(CLASSIFICATION.losses, options.loss)
    return with_settings(chosen, CLASSIFICATION.loss_settings(options, cfg)).function


def loss_of(weights: list[str] | None, logits: np.ndarray, labels: list[int]) -> list[float]:
    options = ClassificationTrainOptions(class_weights=weights)
    loss = weighted(options, CFG)
    batch: Any = {"labels": np.array(labels, np.int32), "weight": np.ones(len(labels), np.float32)}
    return [float(x) for x in loss({"logits": logits}, batch)]


def test_the_classes_are_those_of_the_training_data_in_order() -> None:
    labels = CLASSIFICATION.labels
    assert labels is not None
    assert labels(examples("b", "a", "b"), OPTIONS) == ("a", "b")
    assert labels(examples("10", "9", "10"), OPTIONS) == ("9", "10")


def test_one_class_is_nothing_to_learn() -> None:
    assert CLASSIFICATION.labels is not None
    with pytest.raises(InputError, match="one class only, a; at least 2"):
        CLASSIFICATION.labels(examples("a", "a"), OPTIONS)
    # Without any label it is for resolve to say which row has none.
    assert CLASSIFICATION.labels(examples(None, None), OPTIONS) == ()


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
def test_balanced_weights_are_those_of_scikit_learn(labels: list[str]) -> None:
    options = ClassificationTrainOptions(class_weights=["balanced"])
    resolved = CLASSIFICATION.resolve(options, examples(*labels), None).class_weights
    names = sorted(set(labels))
    wanted = compute_class_weight("balanced", classes=np.array(names), y=np.array(labels))
    assert [word.split("=")[0] for word in resolved] == names
    np.testing.assert_allclose([float(w.split("=")[1]) for w in resolved], wanted, rtol=1e-5)


def test_an_evaluation_counts_no_classes() -> None:
    options = ClassificationTrainOptions(class_weights=["balanced"])
    assert CLASSIFICATION.resolve(options, None, examples("a", "b")) is options


def test_settling_twice_changes_nothing() -> None:
    options = ClassificationTrainOptions(class_weights=["balanced"])
    once = CLASSIFICATION.resolve(options, examples("a", "b", "b"), None)
    assert once != options
    assert CLASSIFICATION.resolve(once, examples("a"), None) == once


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        (None, [1, 1, 1]),
        (["good=2.5"], [1, 2.5, 1]),
        (["so so=0", "bad=1e-1"], [0.1, 1, 0]),
    ],
)
def test_the_weighted_loss_is_that_of_pytorch(words: Any, weights: list[float]) -> None:
    logits = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    labels = [0, 1, 2, 2, 1, 1, 0]
    theirs = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float32))
    mean = float(theirs(torch.from_numpy(logits), torch.tensor(labels)))
    loss_sum, weight_sum = loss_of(words, logits, labels)
    assert loss_sum / weight_sum == pytest.approx(mean, rel=1e-6)
    assert weight_sum == pytest.approx(sum(weights[n] for n in labels), rel=1e-6)


def test_a_class_may_have_an_equals_sign_in_its_name() -> None:
    cfg = dataclasses.replace(CFG, id2label=("a=b", "c"))
    options = ClassificationTrainOptions(class_weights=["a=b=3"])
    loss = weighted(options, cfg)
    batch: Any = {"labels": np.zeros(1, np.int32), "weight": np.ones(1, np.float32)}
    assert float(loss({"logits": np.zeros((1, 2), np.float32)}, batch)[1]) == 3


@pytest.mark.parametrize(
    "words", [["best=1"], ["good"], ["good="], ["=1"], ["good=-1"], ["good=inf"], ["good=x"]]
)
def test_wrong_weights_are_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match="NAME=WEIGHT with a class of bad, good, so so"):
        loss_of(words, np.zeros((1, 3), np.float32), [0])


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(InputError, match="all are 0"):
        loss_of(["bad=0", "good=0", "so so=0"], np.zeros((1, 3), np.float32), [0])


def test_a_prediction_has_the_probability_of_every_class() -> None:
    logits = np.log(np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], np.float32))
    reduced = CLASSIFICATION.reduce(None)({"logits": logits}, {})  # type: ignore[dict-item]
    arrays = {name: np.asarray(x) for name, x in reduced.items()}
    first, second = CLASSIFICATION.decode(examples("a", "b"), NO_FEATURES, arrays, None, CFG)
    assert (first.label, second.label) == ("good", "bad")
    assert first.scores == pytest.approx({"bad": 0.2, "good": 0.5, "so so": 0.3})
    [entry, _] = CLASSIFICATION.files(None, [first, second], None, None)["predictions.json"]
    assert entry == {"label": "good", "scores": first.scores}


def test_the_score_is_the_part_that_is_right() -> None:
    predictions = [Classified("good", {}), Classified("bad", {})]
    assert CLASSIFICATION.score(examples("good", "so so"), predictions, OPTIONS, CFG)[
        "accuracy"
    ] == pytest.approx(0.5)


def test_the_default_tells_the_best_checkpoint_by_accuracy() -> None:
    assert CLASSIFICATION.best_metrics[0] == "accuracy"
    assert not CLASSIFICATION.lower_is_better
