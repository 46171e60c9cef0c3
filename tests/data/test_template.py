"""What the tokenizers of the families make of texts, pairs, questions, words and lines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from family_folders import SENTENCES, TOKENIZERS, tokenizer_of
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.compiling.full_rows import letters_tokenizer
from jaxbert.data.encode_lines import encode_lines
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.encode_words import encode_words
from jaxbert.data.features import Features
from jaxbert.data.lines import LineExample
from jaxbert.data.question_windows import encode_question_windows
from jaxbert.data.questions import Answer, QAExample
from jaxbert.data.segment import make_segmenter
from jaxbert.data.template import template_of
from jaxbert.data.texts import TextExample
from jaxbert.data.words import WordsExample
from jaxbert.decoding.answers import merge_windows

FAMILIES = pytest.mark.parametrize("family", [name for name in TOKENIZERS if name != "electra"])
QUESTION = "Where is it, café?"
# A word of each kind: accents in one character and in two, emojis of several, no space after it.
PIECES = [
    "Anna",
    "café",
    "e\u0301lan",
    "\U0001f682",
    "\U0001f469\U0001f3fd\u200d\U0001f680",
    "北京",
]
PIECES += ["$5,", "25°C!", "(x)", "\u00bfque\u0301?", "a"]
SPACES = st.sampled_from([" ", "  ", "\n", " \u00a0", "\t "])


def windows(features: Features) -> list[list[int]]:
    return [
        features.tokens["input_ids"][a:b].tolist()
        for a, b in zip(features.bounds[:-1], features.bounds[1:], strict=True)
    ]


@FAMILIES
def test_texts_and_pairs_are_those_of_the_tokenizer(family: str) -> None:
    tokenizer = tokenizer_of(family)
    texts = [(SENTENCES[0], None), *itertools.pairwise(SENTENCES), (" x", "y ")]
    for length in (9, 30, 300):
        examples = [TextExample("", first, second) for first, second in texts]
        features = encode_texts(examples, tokenizer, max_length=length, targets=None)
        theirs = [
            tokenizer(first, second, truncation=True, max_length=length, return_token_type_ids=True)
            for first, second in texts
        ]
        assert windows(features) == [one["input_ids"] for one in theirs]
        types = np.concatenate([one["token_type_ids"] for one in theirs])
        assert features.tokens["token_type_ids"].tolist() == types.tolist()


@FAMILIES
def test_windows_of_questions_are_those_of_the_tokenizer(family: str) -> None:
    tokenizer, context = tokenizer_of(family), "  ".join(SENTENCES)
    theirs = tokenizer(
        QUESTION,
        context,
        truncation="only_second",
        max_length=44,
        stride=6,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    example = QAExample("1", QUESTION, context)
    ours = encode_question_windows([example], tokenizer, max_length=44, overlap=6)
    trained = encode_qa([example], tokenizer, max_length=44, stride=6)
    assert windows(ours) == windows(trained) == theirs["input_ids"]
    offsets = [
        [
            pair if owner == 1 else (0, 0)
            for pair, owner in zip(row, encoding.sequence_ids, strict=True)
        ]
        for row, encoding in zip(theirs["offset_mapping"], theirs.encodings, strict=True)
    ]
    assert ours.host["offsets"].tolist() == [list(pair) for row in offsets for pair in row]


@FAMILIES
@settings(deadline=None, derandomize=True, max_examples=25)
@given(data=st.data())
def test_answers_are_cut_exactly(family: str, data: st.DataObject) -> None:
    """From text to tokens and back: whole words come out as they went in, without spaces, with all
    of their accents and every part of an emoji."""
    words = data.draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8))
    context, places = data.draw(st.sampled_from(["", " ", "  "])), []
    for word in words:
        places.append((len(context), len(context) + len(word)))
        context += word + data.draw(SPACES)
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(words) - 1)] * 2)))
    start, end = places[first][0], places[last][1]
    example = QAExample("1", QUESTION, context, (Answer(context[start:end], start, end),))
    features = encode_qa([example], tokenizer_of(family), max_length=400, stride=8)
    token, final = (int(features.rows[f"{side}_positions"][0]) for side in ("start", "end"))
    offsets = features.host["offsets"]
    span = (int(offsets[token, 0]), int(offsets[final, 1]), 1.0)
    found = merge_windows(example, [span], 0.0, n_best_size=2, version_2=False).answer
    assert (found.text, found.start, found.end) == (context[start:end], start, end)


def test_words_are_tokenized_as_within_a_text() -> None:
    """As transformers' scripts do it, with add_prefix_space."""
    tokenizer, words = tokenizer_of("roberta"), ("Anna", "paid", "$5", "e\u0301lan", "x")
    features = encode_words(
        [WordsExample("", words, None)],
        tokenizer,
        max_length=40,
        stride=3,
        targets=None,
        inside=None,
    )
    theirs = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in words]
    assert windows(features)[0][1:-1] == [token for word in theirs for token in word]
    starts = np.flatnonzero(features.host["word"] >= 0)
    assert starts.tolist() == (1 + np.cumsum([0, *map(len, theirs[:-1])])).tolist()
    assert (features.host["offsets"][starts, 0] == 0).all()


@FAMILIES
def test_whole_words_have_their_spaces(family: str) -> None:
    """No token of a word counts as another word's, whatever spaces are between them."""
    tokenizer, text = tokenizer_of(family), " Anna  paid \U0001f682 e\u0301lan\u00a0vital"
    features = encode_lines(
        [LineExample("", text)],
        tokenizer,
        max_length=48,
        line_by_line=True,
        segmenter=make_segmenter("characters"),
    )
    encoding = tokenizer(text, return_offsets_mapping=True)
    assert windows(features)[0] == encoding["input_ids"]
    found = features.tokens["word"]
    assert (found[[0, -1]] == -1).all()
    for (start, end), word in zip(encoding["offset_mapping"], found.tolist(), strict=True):
        if text[start:end].strip():
            assert word == len(text[: start + 1].split()) - 1


def test_a_tokenizer_that_adds_nothing_has_berts_template() -> None:
    tokenizer = letters_tokenizer("ab")
    template = template_of(tokenizer)
    assert (template.first, template.between, template.last) == ([2], [3], [3])
    assert (template.second_type, template.word_prefix) == (1, "")
