"""Tagging: tags and their classes, predictions of words, scores by scheme."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.data.words import WordsExample
from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import TaggingOptions
from jaxbert.tasks.tagging import Tagged, Tagging

CFG = BertConfig(id2label=("B-PER", "I-PER", "O"))
TASK = Tagging(TaggingOptions(max_seq_length=12, doc_stride=2))


def with_keywords(**changes: Any) -> Tagging:
    return Tagging(dataclasses.replace(TASK.settings, **changes))


def sentence(words: str, tags: str | None = None, where: str = "f: line 1") -> WordsExample:
    return WordsExample(where, tuple(words.split()), tuple(tags.split()) if tags else None)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=512)


def test_the_classes_are_the_tags_of_the_training_data_in_order() -> None:
    rows = [sentence("a b", "O B-PER"), sentence("c", "I-PER")]
    assert TASK.labels(rows) == ("B-PER", "I-PER", "O")
    assert TASK.labels([sentence("a b c", "10 9 10")]) == ("9", "10")


def test_a_tag_that_the_model_has_not_is_named(tokenizer: Any) -> None:
    rows = [sentence("the", "O"), sentence("the of", "O B-LOC", "f: line 3")]
    with pytest.raises(InputError, match=r"^f: line 3: label 'B-LOC' is none of the model's: B-"):
        TASK.encode(rows, tokenizer, CFG)


def test_first_sub_words_learn_the_class_of_their_tag(tokenizer: Any) -> None:
    rows = [sentence("the xyz of", "B-PER I-PER O")]
    labels = TASK.encode(rows, tokenizer, CFG).tokens["labels"]
    assert labels.tolist() == [-100, 0, 1, -100, -100, 2, -100]
    everywhere = with_keywords(label_all_tokens=True)
    labels = everywhere.encode(rows, tokenizer, CFG).tokens["labels"]
    assert labels.tolist() == [-100, 0, 1, 1, 1, 2, -100]
    # A word has one beginning: as run_ner's --label_all_tokens, the others are inside.
    rows = [sentence("the xyz of", "O B-PER O")]
    labels = everywhere.encode(rows, tokenizer, CFG).tokens["labels"]
    assert labels.tolist() == [-100, 2, 0, 1, 1, 2, -100]
    bare = TASK.encode([sentence("the of")], tokenizer, CFG)
    assert "labels" not in bare.tokens


def test_every_word_of_several_windows_has_the_tag_of_its_first_sub_word(tokenizer: Any) -> None:
    words = " ".join(["the", "xyz", "of"] * 10)
    features = TASK.encode([sentence(words)], tokenizer, CFG)
    assert len(features) > 3
    # As if the model gave B-PER to the token x and O to all others.
    logits = np.zeros((len(features), int(features.lengths.max()), 3), np.float32)
    x = tokenizer.convert_tokens_to_ids("x")
    for row, (a, b) in enumerate(zip(features.bounds[:-1], features.bounds[1:], strict=True)):
        ids = features.tokens["input_ids"][a:b]
        logits[row, : b - a, 2] = 2
        logits[row, : b - a, 0] = np.where(ids == x, 9, 0)
    outputs: Any = {"logits": logits}
    # Batches are as long as their bucket, and predictions are kept in max_seq_length columns.
    wide = with_keywords(max_seq_length=20)
    arrays = {n: np.asarray(v) for n, v in wide.reduce()(outputs, {}).items()}
    assert arrays["label"].shape == arrays["score"].shape == (len(features), 20)
    assert arrays["label"].dtype == np.int32
    [found] = wide.decode([sentence(words)], features, arrays, CFG)
    assert found.tags == ["O", "B-PER", "O"] * 10
    np.testing.assert_allclose(found.scores[0], np.exp(2) / (np.exp(2) + 2), rtol=1e-5)
    files: Any = TASK.artifacts([sentence(words)], [found], CFG)
    [entry] = files["predictions.json"].entries
    assert list(entry) == ["words", "tags", "scores"]
    assert entry["words"] == words.split()


def test_entities_are_scored_where_the_tags_are_a_scheme() -> None:
    predictions = [Tagged(["B-PER", "O", "O"], [])]
    rows = [sentence("a b c", "B-PER O B-PER")]
    scores = TASK.score(rows, predictions, CFG)
    assert scores == pytest.approx({"precision": 1, "recall": 0.5, "f1": 2 / 3, "accuracy": 2 / 3})
    words = BertConfig(id2label=("DET", "NOUN"))
    rows, predictions = [sentence("a b", "DET NOUN")], [Tagged(["DET", "DET"], [])]
    assert TASK.score(rows, predictions, words) == {"accuracy": 0.5}


def test_the_mode_of_the_scores_is_an_option() -> None:
    predictions, rows = [Tagged(["I-PER", "O"], [])], [sentence("a b", "B-PER O")]
    scores = [
        with_keywords(entity_mode=mode).score(rows, predictions, CFG)["f1"]
        for mode in ("default", "strict")
    ]
    assert scores == [1.0, 0.0]


def test_the_score_to_watch_must_be_one_that_the_tags_have() -> None:
    words, chunks = [sentence("a b", "DET NOUN")], [sentence("a b", "B-PER O")]
    TASK.check_metric("f1", chunks, CFG)
    with pytest.raises(InputError, match="--metric_for_best_model f1: the tags are no entities"):
        TASK.check_metric("f1", words, CFG)
    for name in (None, "accuracy", "eval_accuracy", "eval_loss"):
        TASK.check_metric(name, words, CFG)


def test_one_tag_of_another_kind_is_named(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = [sentence("a b", "B-PER I-PER"), sentence("c d e", "O 0 O", "f: line 4")]
    line = (
        "f: line 4, word 2 (d): the tag '0' occurs 1 time and is not of the scheme of B-PER, "
        "I-PER, O; with it only accuracy can be scored, no entities: correct it in the file"
    )
    for given in ((rows, None), (None, rows)):
        caplog.clear()
        assert TASK.fit_to(*given) is TASK
        assert caplog.messages == [line]
    with pytest.raises(InputError) as caught:
        TASK.check_metric("f1", rows, CFG)
    assert str(caught.value) == f"--metric_for_best_model f1: {line}"
    # An evaluation of sound data says what the model has learned.
    cfg = BertConfig(id2label=("0", "B-PER", "I-PER", "O"))
    [line] = TASK.remarks(rows[:1], cfg)
    assert line.startswith("the model has the class '0', which is not of the scheme of B-PER")
    assert TASK.remarks(rows[:1], CFG) == []
    caplog.clear()
    TASK.fit_to([sentence("a b", "DET NOUN")], None)
    assert caplog.messages == []


def test_several_tags_of_another_kind() -> None:
    rows = [sentence("a b c", "B_PER I_PER O")]
    [line] = TASK.doubts(rows)
    start = "f: line 1, word 1 (a): the tag 'B_PER' occurs 1 time (and 1 other tags like it) and "
    assert line.startswith(f"{start}is not of the scheme of B-PER, I-PER; ")


def test_the_strict_mode_says_what_it_leaves_out() -> None:
    rows = [sentence("a b c d", "I-PER O B-PER I-PER")]
    assert TASK.doubts(rows) == []
    [line] = with_keywords(entity_mode="strict").doubts(rows)
    assert line.startswith("--entity_mode strict leaves out 1 of the 2 entities of the data: they ")


def test_words_are_no_tags() -> None:
    rows = [sentence("the tea of assam", "the tea of X")] * 5
    with pytest.raises(
        InputError, match=r"^f: line 1: 15 of 20 tags are the word itself; name the"
    ):
        TASK.fit_to(rows, None)
    assert TASK.fit_to(rows[:4], None) is TASK
