"""The record of tagging: tags and their classes, predictions of words, scores by scheme."""

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
from jaxbert.options.settings import TaggingEvalOptions, TaggingTrainOptions
from jaxbert.tasks.tagging import TAGGING, Tagged, doubts_of

CFG = BertConfig(id2label=("B-PER", "I-PER", "O"))
OPTIONS = TaggingEvalOptions(max_seq_length=12, doc_stride=2)


def sentence(words: str, tags: str | None = None, where: str = "f: line 1") -> WordsExample:
    return WordsExample(where, tuple(words.split()), tuple(tags.split()) if tags else None)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=512)


def test_the_classes_are_the_tags_of_the_training_data_in_order() -> None:
    assert TAGGING.labels is not None
    rows = [sentence("a b", "O B-PER"), sentence("c", "I-PER")]
    assert TAGGING.labels(rows, None) == ("B-PER", "I-PER", "O")
    assert TAGGING.labels([sentence("a b c", "10 9 10")], None) == ("9", "10")


def test_a_tag_that_the_model_has_not_is_named(tokenizer: Any) -> None:
    rows = [sentence("the", "O"), sentence("the of", "O B-LOC", "f: line 3")]
    with pytest.raises(InputError, match=r"^f: line 3: label 'B-LOC' is none of the model's: B-"):
        TAGGING.encode(rows, tokenizer, OPTIONS, CFG)


def test_first_sub_words_learn_the_class_of_their_tag(tokenizer: Any) -> None:
    rows = [sentence("the xyz of", "B-PER I-PER O")]
    labels = TAGGING.encode(rows, tokenizer, OPTIONS, CFG).tokens["labels"]
    assert labels.tolist() == [-100, 0, 1, -100, -100, 2, -100]
    everywhere = dataclasses.replace(OPTIONS, label_all_tokens=True)
    labels = TAGGING.encode(rows, tokenizer, everywhere, CFG).tokens["labels"]
    assert labels.tolist() == [-100, 0, 1, 1, 1, 2, -100]
    # A word has one beginning: as run_ner's --label_all_tokens, the others are inside.
    rows = [sentence("the xyz of", "O B-PER O")]
    labels = TAGGING.encode(rows, tokenizer, everywhere, CFG).tokens["labels"]
    assert labels.tolist() == [-100, 2, 0, 1, 1, 2, -100]
    bare = TAGGING.encode([sentence("the of")], tokenizer, OPTIONS, CFG)
    assert "labels" not in bare.tokens


def test_every_word_of_several_windows_has_the_tag_of_its_first_sub_word(tokenizer: Any) -> None:
    words = " ".join(["the", "xyz", "of"] * 10)
    features = TAGGING.encode([sentence(words)], tokenizer, OPTIONS, CFG)
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
    wide = dataclasses.replace(OPTIONS, max_seq_length=20)
    arrays = {n: np.asarray(v) for n, v in TAGGING.reduce(wide)(outputs, {}).items()}
    assert arrays["label"].shape == arrays["score"].shape == (len(features), 20)
    assert arrays["label"].dtype == np.int32
    [found] = TAGGING.decode([sentence(words)], features, arrays, wide, CFG)
    assert found.tags == ["O", "B-PER", "O"] * 10
    np.testing.assert_allclose(found.scores[0], np.exp(2) / (np.exp(2) + 2), rtol=1e-5)
    [entry] = TAGGING.files([sentence(words)], [found], None, CFG)["predictions.json"]
    assert list(entry) == ["words", "tags", "scores"]
    assert entry["words"] == words.split()


def test_entities_are_scored_where_the_tags_are_a_scheme() -> None:
    predictions = [Tagged(["B-PER", "O", "O"], [])]
    rows = [sentence("a b c", "B-PER O B-PER")]
    scores = TAGGING.score(rows, predictions, OPTIONS, CFG)
    assert scores == pytest.approx({"precision": 1, "recall": 0.5, "f1": 2 / 3, "accuracy": 2 / 3})
    words = BertConfig(id2label=("DET", "NOUN"))
    rows, predictions = [sentence("a b", "DET NOUN")], [Tagged(["DET", "DET"], [])]
    assert TAGGING.score(rows, predictions, OPTIONS, words) == {"accuracy": 0.5}


def test_the_mode_of_the_scores_is_an_option() -> None:
    predictions, rows = [Tagged(["I-PER", "O"], [])], [sentence("a b", "B-PER O")]
    scores = [
        TAGGING.score(rows, predictions, TaggingEvalOptions(entity_mode=mode), CFG)["f1"]
        for mode in ("default", "strict")
    ]
    assert scores == [1.0, 0.0]


def test_the_score_to_watch_must_be_one_that_the_tags_have() -> None:
    words, chunks = [sentence("a b", "DET NOUN")], [sentence("a b", "B-PER O")]
    watched = TaggingTrainOptions(metric_for_best_model="f1")
    assert TAGGING.resolve(watched, chunks, None) == watched
    assert TAGGING.resolve(watched, None, words) is watched
    with pytest.raises(InputError, match="--metric_for_best_model f1: the tags are no entities"):
        TAGGING.resolve(watched, words, None)
    for name in (None, "accuracy", "eval_accuracy"):
        plain = TaggingTrainOptions(metric_for_best_model=name)
        assert TAGGING.resolve(plain, words, None) == plain


def test_one_tag_of_another_kind_is_named(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = [sentence("a b", "B-PER I-PER"), sentence("c d e", "O 0 O", "f: line 4")]
    line = (
        "f: line 4, word 2 (d): the tag '0' occurs 1 time and is not of the scheme of B-PER, "
        "I-PER, O; with it only accuracy can be scored, no entities: correct it in the file"
    )
    for given in ((rows, None), (None, rows)):
        caplog.clear()
        TAGGING.resolve(TaggingTrainOptions(), *given)
        assert caplog.messages == [line]
    with pytest.raises(InputError) as caught:
        TAGGING.resolve(TaggingTrainOptions(metric_for_best_model="f1"), rows, None)
    assert str(caught.value) == f"--metric_for_best_model f1: {line}"
    # An evaluation of sound data says what the model has learned.
    cfg = BertConfig(id2label=("0", "B-PER", "I-PER", "O"))
    notes = TAGGING.encode(rows[:1], tokenizer, OPTIONS, cfg).notes
    assert notes[-1].startswith("the model has the class '0', which is not of the scheme of B-PER")
    assert TAGGING.encode(rows[:1], tokenizer, OPTIONS, CFG).notes == notes[:-1]
    caplog.clear()
    TAGGING.resolve(TaggingTrainOptions(), [sentence("a b", "DET NOUN")], None)
    assert caplog.messages == []


def test_several_tags_of_another_kind() -> None:
    rows = [sentence("a b c", "B_PER I_PER O")]
    [line] = doubts_of(rows, OPTIONS)
    start = "f: line 1, word 1 (a): the tag 'B_PER' occurs 1 time (and 1 other tags like it) and "
    assert line.startswith(f"{start}is not of the scheme of B-PER, I-PER; ")


def test_the_strict_mode_says_what_it_leaves_out() -> None:
    rows = [sentence("a b c d", "I-PER O B-PER I-PER")]
    assert doubts_of(rows, OPTIONS) == []
    [line] = doubts_of(rows, dataclasses.replace(OPTIONS, entity_mode="strict"))
    assert line.startswith("--entity_mode strict leaves out 1 of the 2 entities of the data: they ")


def test_words_are_no_tags() -> None:
    rows = [sentence("the tea of assam", "the tea of X")] * 5
    with pytest.raises(
        InputError, match=r"^f: line 1: 15 of 20 tags are the word itself; name the"
    ):
        TAGGING.resolve(TaggingTrainOptions(), rows, None)
    assert TAGGING.resolve(TaggingTrainOptions(), rows[:4], None) == TaggingTrainOptions()
