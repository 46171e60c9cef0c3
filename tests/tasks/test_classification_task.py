"""Classification: classes, their weights in the loss, predictions and scores."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from jaxbert.compiling.full_rows import letters_tokenizer
from jaxbert.data.features import Features
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.losses.choose import choose_loss, with_keywords
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.options.task_settings import ClassificationSettings
from jaxbert.tasks.classification import Classification, Classified

CFG = BertConfig(id2label=("bad", "good", "so so"))


def examples(*labels: str | None) -> list[TextExample]:
    return [TextExample(f"f: row {n}", "text", None, label) for n, label in enumerate(labels)]


def task(**settings: Any) -> Classification:
    return Classification(ClassificationSettings(**settings))


def weighted(weights: list[str] | None, cfg: BertConfig) -> Any:
    """The default loss as a training has it."""
    chosen = choose_loss(Classification.losses, "cross_entropy")
    settings = task(class_weights=weights).loss_keywords(cfg)
    return with_keywords(chosen, settings).function


def loss_of(weights: list[str] | None, logits: np.ndarray, labels: list[int]) -> list[float]:
    loss = weighted(weights, CFG)
    batch: Any = {"labels": np.array(labels, np.int32), "weight": np.ones(len(labels), np.float32)}
    return [float(x) for x in loss({"logits": logits}, batch)]


def test_the_classes_are_those_of_the_training_data_in_order() -> None:
    assert task().labels(examples("b", "a", "b")) == ("a", "b")
    assert task().labels(examples("10", "9", "10")) == ("9", "10")


def test_one_class_is_nothing_to_learn() -> None:
    with pytest.raises(InputError, match="one class only, a; at least 2"):
        task().labels(examples("a", "a"))
    # Without any label it is for the reader to say which row has none.
    assert task().labels(examples(None, None)) == ()


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
def test_balanced_weights_are_those_of_scikit_learn(labels: list[str]) -> None:
    fitted = task(class_weights=["balanced"]).fit_to(examples(*labels), None)
    names = sorted(set(labels))
    wanted = compute_class_weight("balanced", classes=np.array(names), y=np.array(labels))
    assert [each.name for each in fitted.class_weights] == names
    np.testing.assert_allclose([each.weight for each in fitted.class_weights], wanted, rtol=1e-5)
    words = [f"{each.name}={each.weight:g}" for each in fitted.class_weights]
    assert fitted.settings.class_weights == words  # what options.json keeps
    assert Classification(fitted.settings).class_weights == fitted.class_weights


def test_an_evaluation_counts_no_classes() -> None:
    given = task(class_weights=["balanced"])
    assert given.fit_to(None, examples("a", "b")) is given


def test_fitting_twice_changes_nothing() -> None:
    given = task(class_weights=["balanced"])
    once = given.fit_to(examples("a", "b", "b"), None)
    assert once.settings != given.settings
    assert once.fit_to(examples("a"), None).settings == once.settings


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
    loss = weighted(["a=b=3"], cfg)
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
    reduced = task().reduce()({"logits": logits}, {})  # type: ignore[dict-item]
    arrays = {name: np.asarray(x) for name, x in reduced.items()}
    features = Features(np.arange(3), {}, {}, np.arange(2))  # a window for each text
    first, second = task().decode(examples("a", "b"), features, arrays, CFG)
    assert (first.label, second.label) == ("good", "bad")
    assert first.scores == pytest.approx({"bad": 0.2, "good": 0.5, "so so": 0.3})
    files: Any = task().artifacts(examples("a", "b"), [first, second], CFG)
    assert next(iter(files["predictions.json"].entries)) == {
        "label": "good",
        "scores": first.scores,
    }


def test_the_score_is_the_part_that_is_right() -> None:
    predictions = [Classified("good", {}), Classified("bad", {})]
    scores = task().score(examples("good", "so so"), predictions, CFG)
    assert scores["accuracy"] == pytest.approx(0.5)


def test_the_default_tells_the_best_checkpoint_by_accuracy() -> None:
    assert Classification.metrics[0] == Metric("accuracy")
    assert not any(metric.lower_is_better for metric in Classification.metrics)


def test_a_soft_label_is_a_distribution_and_is_scored_as_its_best_class() -> None:
    rows: list[Any] = [
        {"text": "a", "label": {"no": 0.25, "yes": 0.75}},
        {"text": "b", "label": "no"},
        {"text": "c", "label": {"yes": 0.5, "maybe": 0.5, "no": None}},
    ]
    own = task()
    rows_read = own.read([("f", rows)]).examples
    assert own.labels(rows_read) == ("maybe", "no", "yes")
    assert [str(e.label) for e in rows_read] == ["yes", "no", "yes"]
    cfg = dataclasses.replace(CFG, id2label=("maybe", "no", "yes"))
    features = own.encode(rows_read, letters_tokenizer("abc"), cfg)
    assert features.rows["labels"].tolist() == [2, 1, 2]
    wanted = [[0, 0.25, 0.75], [0, 1, 0], [0.5, 0, 0.5]]
    np.testing.assert_allclose(features.rows["soft_labels"], wanted)
    many = dataclasses.replace(cfg, problem_type="multi_label_classification")
    with pytest.raises(InputError, match="f: row 0: a distribution over classes, and the model gi"):
        own.encode(rows_read, letters_tokenizer("abc"), many)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"a": 0.5, "b": 0.4}, "its 2 probabilities have the sum 0.9, expected 1"),
        ({"a": -0.5, "b": 1.5}, "the probability of a is -0.5, expected a number from 0 to 1"),
        ({"a": "much"}, "the probability of a is much, expected a number"),
        ({}, "its 0 probabilities have the sum 0, expected 1"),
        ({"a": float("nan")}, "the probability of a is nan, expected a number"),
    ],
)
def test_what_is_no_distribution_is_refused(label: Any, message: str) -> None:
    strict = task(strict=True)
    with pytest.raises(InputError) as caught:
        strict.read([("f", [{"text": "a", "label": label}, {"text": "b", "label": "a"}])])
    assert str(caught.value).startswith(f'f: row 0: label column "label": {message}')
