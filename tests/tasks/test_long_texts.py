"""Texts in windows, in the tasks that have a prediction for a text: encoded, decoded, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import TINY
from scipy.special import expit, softmax

from jaxbert.data.feature_parts import merged
from jaxbert.data.soft_labels import SoftLabel
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.losses.label_losses import label_accuracy, label_cross_entropy
from jaxbert.model.config import MULTI_LABEL, BertConfig
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.keywords import make_settings
from jaxbert.options.task_settings import (
    ClassificationEvalOptions,
    ClassificationSettings,
    ClassificationTrainOptions,
    RegressionSettings,
)
from jaxbert.tasks.classification import Classification, Classified
from jaxbert.tasks.regression import Regression

CFG = BertConfig(id2label=("bad", "good"))
WINDOWS: dict[str, Any] = {"long_texts": "windows", "max_seq_length": 12, "doc_stride": 2}
COUNTS = [3, 1, 2]


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=TINY.vocab_size)


def examples(*labels: Any) -> list[TextExample]:
    texts = [("the " * 20, None), ("who", None), ("the " * 9, "of")]
    return [
        TextExample(f"row {n}", text, pair, label)
        for n, ((text, pair), label) in enumerate(zip(texts, labels, strict=True))
    ]


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("several", [False, True])
def test_classes_are_those_of_the_pooled_logits(
    tokenizer: Any, pooling: str, several: bool
) -> None:
    cfg = BertConfig(id2label=CFG.id2label, problem_type=MULTI_LABEL if several else None)
    labels = [("good",), (), ("bad", "good")] if several else ["good", "bad", "good"]
    task = Classification(ClassificationSettings(**WINDOWS, window_pooling=pooling))
    given = examples(*labels)
    features = task.encode(given, tokenizer, cfg)
    assert np.bincount(features.example).tolist() == COUNTS
    logits = np.random.default_rng(0).normal(0, 3, (6, 2)).astype(np.float32)
    found = task.decode(given, features, {"logits": logits}, cfg)
    parts = np.split(logits, np.cumsum(COUNTS)[:-1])
    pooled = np.stack([part.max(0) if pooling == "max" else part.mean(0) for part in parts])
    wanted = expit(pooled) if several else softmax(pooled, axis=-1)
    scores = [list(p.scores.values()) for p in found]
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)
    if not several:
        names = [p.label for p in found if isinstance(p, Classified)]
        assert names == [cfg.id2label[n] for n in pooled.argmax(-1)]
        assert task.score(given, found, cfg)["accuracy"] in (0, 1 / 3, 2 / 3, 1)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_numbers_are_pooled_in_the_scale_of_the_targets(tokenizer: Any, pooling: str) -> None:
    scaled: dict[str, Any] = {"target_scaling": ["10", "4"], "window_pooling": pooling}
    task = Regression(RegressionSettings(**WINDOWS, **scaled))
    given = examples(1.0, 2.0, 3.0)
    features = task.encode(given, tokenizer, CFG)
    raw: Any = {"scores": np.array([1, 2, 3, -1, 5, 6], np.float32)}
    kept = {n: np.asarray(x) for n, x in task.reduce()(raw, {}).items()}
    found = task.decode(given, features, kept, CFG)
    assert found == ([22.0, 6.0, 34.0] if pooling == "max" else [18.0, 6.0, 32.0])
    np.testing.assert_allclose(
        features.rows["labels"], (np.repeat([1, 2, 3], COUNTS) - 10) / 4, rtol=1e-6
    )


def test_a_text_counts_once_in_a_loss_however_long_it_is(tokenizer: Any) -> None:
    task = Classification(ClassificationSettings(**WINDOWS))
    features = task.encode(examples("good", "bad", "bad"), tokenizer, CFG)
    logits = np.random.default_rng(1).normal(0, 3, (6, 2)).astype(np.float32)
    batch: Any = {n: jax.numpy.asarray(x) for n, x in features.rows.items()}
    loss_sum, weight = label_cross_entropy({"logits": logits}, batch)
    of_windows = -np.log(softmax(logits, -1)[np.arange(6), features.rows["labels"]])
    means = [part.mean() for part in np.split(of_windows, np.cumsum(COUNTS)[:-1])]
    assert float(weight) == pytest.approx(3)
    assert float(loss_sum) == pytest.approx(sum(means), rel=1e-5)
    assert float(label_accuracy({"logits": logits}, batch)["accuracy"][1]) == pytest.approx(3)


def test_soft_labels_are_those_of_each_window_and_parts_are_as_the_whole(tokenizer: Any) -> None:
    task = Classification(ClassificationSettings(**WINDOWS))
    soft = SoftLabel(("bad", "good"), (0.25, 0.75))
    given = examples(soft, "bad", "good")
    fitted = task.fit_to(given, None)
    whole = fitted.encode(given, tokenizer, CFG)
    wanted = np.repeat([[0.25, 0.75], [1, 0], [0, 1]], COUNTS, axis=0)
    np.testing.assert_array_equal(whole.rows["soft_labels"], wanted)
    parts = [fitted.encode_part(part, tokenizer, CFG) for part in (given[:1], given[1:])]
    joined = fitted.finish(merged(fitted.join_parts(parts, given, tokenizer)))
    assert joined.fingerprint() == whole.fingerprint()
    assert np.array_equal(joined.example, whole.example)
    assert joined.notes == whole.notes


def test_what_says_nothing_without_windows_is_refused() -> None:
    for words in ({"doc_stride": 4}, {"window_pooling": "max"}):
        with pytest.raises(
            InputError, match="goes with --long_texts windows alone, and here that is truncate"
        ):
            ClassificationTrainOptions(**words)
    with pytest.raises(InputError, match="view_column other goes with --long_texts truncate"):
        ClassificationTrainOptions(long_texts="windows", view_column="other")
    assert ClassificationTrainOptions(long_texts="windows", doc_stride=4).doc_stride == 4


def test_an_evaluation_reads_as_the_training_or_as_it_is_told() -> None:
    def settings(trained: dict[str, Any], **given: Any) -> ClassificationEvalOptions:
        return make_settings(ClassificationEvalOptions, given, defaults=lambda options: trained)

    trained = {"long_texts": "windows", "doc_stride": 4, "window_pooling": "max"}
    assert settings(trained).doc_stride == 4
    assert settings(trained, window_pooling="mean").window_pooling == "mean"
    cut = settings(trained, long_texts="truncate")
    assert (cut.long_texts, cut.doc_stride, cut.window_pooling) == ("truncate", None, "mean")
    assert settings({}, long_texts="windows", doc_stride=3).doc_stride == 3
    # What needs one that says nothing says nothing either.
    weighed = {**trained, "window_pooling": "attention", "windows_per_row": 3}
    found = make_settings(
        ClassificationTrainOptions, {"long_texts": "truncate"}, defaults=lambda options: weighed
    )
    assert (found.window_pooling, found.windows_per_row) == ("mean", 8)
    with pytest.raises(InputError, match="--doc_stride 4 goes with --long_texts windows"):
        settings({}, doc_stride=4)
