"""Labels of words by construction, and entities against the pipeline of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForTokenClassification, TokenClassificationPipeline
from transformers.pipelines.token_classification import AggregationStrategy

from jaxbert.decoding.tags import STRATEGIES, Token, group_entities, merge_windows, word_labels
from jaxbert.model.tokenizer import load_tokenizer

fixed = settings(deadline=None, derandomize=True, max_examples=60)

# --- a label for every word -------------------------------------------------------------------


def windows(rng: np.random.Generator, counts: list[int]) -> tuple[dict[str, np.ndarray], list]:
    """Arguments of word_labels with every word in one random place, and what it must return."""
    word, example, lengths, expected = [], [], [], []
    label_rows, score_rows = [], []
    for n, count in enumerate(counts):
        labels = rng.integers(0, 9, count).astype(np.int32)
        scores = rng.random(count, np.float32)
        expected.append((labels, scores))
        for own in np.array_split(np.arange(count), rng.integers(1, 4)):
            # The window's own words at random places, in order, among tokens without a word.
            places = np.sort(rng.choice(len(own) * 2 + 2, len(own), replace=False))
            row = np.full(len(own) * 2 + 2, -1, np.int32)
            row[places] = own
            word.append(row)
            example.append(n)
            lengths.append(len(row))
            label_rows.append(np.where(row >= 0, np.append(labels, 0)[row], 99))
            score_rows.append(np.where(row >= 0, np.append(scores, 0)[row], -1))
    width = max(lengths) + 3  # a batch's padding

    def padded(rows: list[np.ndarray], dtype: type) -> np.ndarray:
        return np.stack([np.pad(r, (0, width - len(r)), constant_values=77) for r in rows]).astype(
            dtype
        )

    arrays = {
        "word": np.concatenate(word),
        "bounds": np.cumsum([0, *lengths]),
        "example": np.array(example, np.int32),
        "label": padded(label_rows, np.int32),
        "score": padded(score_rows, np.float32),
        "counts": np.array(counts),
    }
    return arrays, expected


@fixed
@given(st.integers(0, 2**32), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_every_word_has_the_label_of_its_token(seed: int, counts: list[int]) -> None:
    arrays, expected = windows(np.random.default_rng(seed), counts)
    found = word_labels(**arrays)
    assert len(found) == len(counts)
    for (labels, scores), (own, own_scores) in zip(found, expected, strict=True):
        assert (labels.dtype, scores.dtype) == (np.int32, np.float32)
        np.testing.assert_array_equal(labels, own)
        np.testing.assert_array_equal(scores, own_scores)


def test_word_labels_by_hand() -> None:
    # [CLS] w0 ## w1 [SEP] | [CLS] w0 [SEP] | [CLS] w2 [SEP], where the last is the first's rest.
    (labels, scores), (others, _) = word_labels(
        np.array([-1, 0, -1, 1, -1, -1, 0, -1, -1, 2, -1]),
        bounds=np.array([0, 5, 8, 11]),
        example=np.array([0, 1, 0]),
        label=np.arange(15, dtype=np.int32).reshape(3, 5),
        score=np.arange(15, dtype=np.float32).reshape(3, 5) / 16,
        counts=[3, 1],
    )
    assert labels.tolist() == [1, 3, 11]
    assert scores.tolist() == [1 / 16, 3 / 16, 11 / 16]
    assert others.tolist() == [6]


def test_no_examples() -> None:
    none = np.zeros((0, 4), np.int32)
    empty = np.zeros(0, np.int32)
    found = word_labels(
        empty, bounds=np.zeros(1, int), example=empty, label=none, score=none, counts=[]
    )
    assert found == []


@fixed
@given(
    st.integers(0, 2**32), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99)
)
def test_a_word_without_a_token_or_with_two(seed: int, counts: list[int], which: int) -> None:
    arrays, _ = windows(np.random.default_rng(seed), counts)
    carrying = np.flatnonzero(arrays["word"] >= 0)
    at = carrying[which % len(carrying)]
    window = np.searchsorted(arrays["bounds"], at, side="right") - 1
    name = rf"word {arrays['word'][at]} of example {arrays['example'][window]} has"
    missing = arrays["word"].copy()
    missing[at] = -1
    with pytest.raises(ValueError, match=f"{name} 0 predictions"):
        word_labels(**{**arrays, "word": missing})
    twice = arrays["word"].copy()
    inside = np.arange(*arrays["bounds"][window : window + 2])
    twice[inside[arrays["word"][inside] < 0][0]] = arrays["word"][at]
    with pytest.raises(ValueError, match=f"{name} 2 predictions"):
        word_labels(**{**arrays, "word": twice})


def test_a_word_that_is_not_there() -> None:
    arrays, _ = windows(np.random.default_rng(0), [2, 3])
    with pytest.raises(ValueError, match="example 0 has 1 words; a token is of word 1"):
        word_labels(**{**arrays, "counts": np.array([1, 3])})


# --- entities of a text -----------------------------------------------------------------------

LABELS = ["O", "B-PER", "I-PER", "B-LOC.NAM", "I-LOC.NAM", "NOUN", "E-PER", "S-1-2"]
WORDS = [
    "the",
    "of",
    "Who",
    "is",
    "London",
    "Lovelace's",
    "25°C",
    "café,",
    "naïve",
    "北京",
    "☃",
    ".",
]


@pytest.fixture(scope="module")
def pipeline(tiny_folder: Path) -> TokenClassificationPipeline:
    tokenizer = load_tokenizer(tiny_folder)
    torch.manual_seed(0)
    model = BertForTokenClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            id2label=dict(enumerate(LABELS)),
            label2id={label: n for n, label in enumerate(LABELS)},
        )
    )
    with torch.no_grad():  # so that labels differ from token to token
        model.classifier.weight.mul_(100)
    return TokenClassificationPipeline(model=model.eval(), tokenizer=tokenizer)


def tokens_of(tokenizer, text: str, logits: np.ndarray) -> list[Token]:
    """The text's tokens with the best labels of `logits` (T, C), as a caller makes them."""
    encoding = tokenizer(text, return_offsets_mapping=True)
    pieces = tokenizer.convert_ids_to_tokens(encoding["input_ids"])
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    rows = list(zip(pieces, encoding["offset_mapping"], probabilities, strict=True))
    return [
        Token(
            start=start,
            end=end,
            word=text[start:end] if piece == "[UNK]" else piece,
            index=index,
            first=not piece.startswith("##"),
            scores=row,
        )
        for index, (piece, (start, end), row) in enumerate(rows)
        if piece not in ("[CLS]", "[SEP]")
    ]


def assert_equal(ours, theirs) -> None:
    def without_score(found):
        return [{k: v for k, v in entity.items() if k != "score"} for entity in found]

    assert without_score(ours) == without_score(theirs)
    assert [list(entity) for entity in ours] == [list(entity) for entity in theirs]
    assert [e["score"] for e in ours] == pytest.approx([e["score"] for e in theirs])
    assert [type(e["score"]) for e in ours] == [type(e["score"]) for e in theirs]


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(fixed)
@given(data=st.data())
def test_entities_equal_the_pipeline(pipeline, strategy, data) -> None:
    tokenizer = pipeline.tokenizer
    words = data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6))
    text = data.draw(st.sampled_from([" ", "  "])).join(words)
    (inputs,) = pipeline.preprocess(text, is_split_into_words=False)
    # Few labels of many make long entities; the temperature makes different scores.
    length = inputs["input_ids"].shape[1]
    used = data.draw(st.lists(st.integers(0, len(LABELS) - 1), min_size=1, max_size=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    logits = rng.normal(0, 1, (length, len(LABELS))).astype(np.float32)
    logits[np.arange(length), rng.choice(used, length)] += 4
    ignore = data.draw(st.sampled_from([["O"], [], ["O", "PER", "B-PER"]]))
    theirs = pipeline.postprocess(
        [{**inputs, "logits": torch.tensor(logits)[None]}],
        aggregation_strategy=AggregationStrategy(strategy),
        ignore_labels=ignore,
    )
    tokens = tokens_of(tokenizer, text, logits)
    join = tokenizer.convert_tokens_to_string
    found = group_entities(tokens, strategy, labels=LABELS, join=join, ignore=ignore)
    assert_equal(found, theirs)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_text_through_the_pipeline(pipeline, strategy) -> None:
    text = "Who is London's Ada Lovelace, of 25°C in the café?"
    with torch.no_grad():
        logits = pipeline.model(**pipeline.tokenizer(text, return_tensors="pt")).logits[0].numpy()
    tokens = tokens_of(pipeline.tokenizer, text, logits)
    assert len({token.scores.argmax() for token in tokens}) > 2
    join = pipeline.tokenizer.convert_tokens_to_string
    theirs = pipeline(text, aggregation_strategy=strategy)
    assert theirs
    assert_equal(group_entities(tokens, strategy, labels=LABELS, join=join), theirs)


NAMES = ["O", "B-LOC", "I-LOC", "B-PER", "NOUN"]


def token(word: str, *scores: float, at: int, first: bool = True) -> Token:
    row = np.array(scores, np.float64)
    return Token(at, at + len(word.removeprefix("##")), word, 7, first, row)


def test_groups_by_hand() -> None:
    tokens = [
        token("new", 0, 0.5, 0.25, 0.25, 0, at=0),
        token("##er", 0, 0, 0.375, 0.625, 0, at=3, first=False),
        token("york", 0, 0, 1, 0, 0, at=6),
        token("is", 1, 0, 0, 0, 0, at=11),
        token("noun", 0, 0, 0, 0, 1, at=14),
    ]

    def join(pieces: list[str]) -> str:
        return " ".join(pieces).replace(" ##", "")

    def groups(strategy: Any) -> list[dict[str, Any]]:
        return group_entities(tokens, strategy, labels=NAMES, join=join)

    none = groups("none")
    assert none[1] == {
        "entity": "B-PER",
        "score": 0.625,
        "index": 7,
        "word": "##er",
        "start": 3,
        "end": 5,
    }
    assert [e["entity"] for e in none] == ["B-LOC", "B-PER", "I-LOC", "NOUN"]
    assert [(e["entity_group"], e["start"], e["end"]) for e in groups("simple")] == [
        ("LOC", 0, 3),
        ("PER", 3, 5),
        ("LOC", 6, 10),
        ("NOUN", 14, 18),
    ]
    noun = {"entity_group": "NOUN", "score": 1.0, "word": "noun", "start": 14, "end": 18}
    assert groups("first") == [
        {"entity_group": "LOC", "score": 0.75, "word": "newer york", "start": 0, "end": 10},
        noun,
    ]
    # The surest token of "newer" is the second; the best mean is 0.4375, of B-PER.
    york = {"entity_group": "LOC", "score": 1.0, "word": "york", "start": 6, "end": 10}
    newer = {"entity_group": "PER", "word": "newer", "start": 0, "end": 5}
    assert groups("max") == [{**newer, "score": 0.625}, york, noun]
    assert groups("average") == [{**newer, "score": 0.4375}, york, noun]
    for strategy in STRATEGIES:
        assert group_entities([], strategy, labels=NAMES, join=join) == []


@fixed
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(1, 6), st.floats(0, 1, width=32)), max_size=8
    )
)
def test_overlapping_windows_equal_the_pipeline(pipeline, found) -> None:
    entities = [{"start": a, "end": a + size, "score": score} for a, size, score in found]
    assert merge_windows(entities) == pipeline.aggregate_overlapping_entities(entities)
