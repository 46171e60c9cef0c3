"""Texts, pairs and choices: what transformers' own call gives, what is cut, and the checks."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO, TINY, tiny_vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.data.choices import ChoiceExample
from jaxbert.data.encode_texts import encode_choices, encode_texts
from jaxbert.data.features import Features
from jaxbert.data.questions import read_qa
from jaxbert.data.sampling import make_batch
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.model.tokenizer import load_tokenizer

Text = functools.partial(TextExample, "row")
Choice = functools.partial(ChoiceExample, "row")


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=TINY.vocab_size)


def columns(features: Features, m: int) -> tuple[list[Any], list[Any]]:
    part = slice(int(features.bounds[m]), int(features.bounds[m + 1]))
    ids, types = (features.tokens[name][part].tolist() for name in ("input_ids", "token_type_ids"))
    return ids, types


def expected(tokenizer: Any, *texts: str | None, max_length: int) -> tuple[list[int], list[int]]:
    # As lists: a call with one text takes an empty second text for none.
    encoding = tokenizer(
        *([text] for text in texts if text is not None),
        truncation="longest_first",
        max_length=max_length,
        return_token_type_ids=True,
    )
    return encoding["input_ids"][0], encoding["token_type_ids"][0]


# Words are tokens of their own, and differ: it shows which of them are left.
WORDS = tiny_vocabulary()[5:16]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.none() | TEXTS), min_size=1, max_size=9), st.integers(5, 40))
def test_texts_are_the_call_of_transformers(
    tokenizer: Any, texts: list[tuple[str, str | None]], max_length: int
) -> None:
    features = encode_texts(
        [Text(*t) for t in texts], tokenizer, max_length=max_length, targets=None
    )
    assert features.example.tolist() == list(range(len(texts)))
    assert features.rows == {}
    for m, pair in enumerate(texts):
        assert columns(features, m) == expected(tokenizer, *pair, max_length=max_length)


@pytest.mark.parametrize("first", range(9))
@pytest.mark.parametrize("second", range(9))
def test_every_way_to_cut_a_pair(tokenizer: Any, first: int, second: int) -> None:
    pair = " ".join(WORDS[:first]), " ".join(WORDS[-second:] if second else [])
    for max_length in (5, 6, 9, 10):
        features = encode_texts([Text(*pair)], tokenizer, max_length=max_length, targets=None)
        assert columns(features, 0) == expected(tokenizer, *pair, max_length=max_length)


@pytest.mark.parametrize("max_length", [3, 4, 32, 177])
def test_single_texts_of_the_demo(tokenizer: Any, max_length: int) -> None:
    texts = [e.context for e in read_qa([str(DEMO / "qa_en_dev.json")]).examples]
    features = encode_texts(
        [Text(t) for t in texts], tokenizer, max_length=max_length, targets=None
    )
    for m, text in enumerate(texts):
        assert columns(features, m) == expected(tokenizer, text, max_length=max_length)


@pytest.mark.parametrize("targets", [np.array([2, 0], np.int32), np.array([0.5, 4], np.float32)])
def test_targets_dtypes_and_shapes(tokenizer: Any, targets: np.ndarray) -> None:
    examples = [Text("who"), Text("the of", "and")]
    features = encode_texts(examples, tokenizer, max_length=9, targets=targets)
    assert features.bounds.tolist() == [0, 3, 9]
    described = {
        n: (c.dtype.name, c.shape)
        for columns in (features.tokens, features.rows)
        for n, c in columns.items()
    }
    assert described == {
        "input_ids": ("int32", (9,)),
        "token_type_ids": ("int32", (9,)),
        "labels": (targets.dtype.name, (2,)),
    }
    assert (features.bounds.dtype, features.example.dtype) == (np.int64, np.int32)
    assert make_batch(features, np.array([1]), 6, 1)["labels"] == targets[1]


def test_notes(tokenizer: Any) -> None:
    examples = [Text("the " * 9), Text("the", "of " * 3), Text("the", "of " * 9), Text("who")]
    features = encode_texts(examples, tokenizer, max_length=7, targets=None)
    assert features.lengths.tolist() == [7, 7, 7, 3]
    assert features.notes == (
        "4 texts, 6.0 tokens on average (max_seq_length 7)",
        "2 of 4 sequences cut to 7 tokens",
    )
    assert len(encode_texts(examples, tokenizer, max_length=13, targets=None).notes) == 1


@pytest.mark.parametrize(("pair", "least"), [(None, 3), ("", 5), ("of", 5)])
def test_no_room(tokenizer: Any, pair: str | None, least: int) -> None:
    examples = [Text("the of"), Text("the of", pair)]
    encode_texts(examples, tokenizer, max_length=least, targets=None)
    message = rf"^--max_seq_length {least - 1} leaves no room for .*; give {least} or more$"
    with pytest.raises(InputError, match=message):
        encode_texts(examples, tokenizer, max_length=least - 1, targets=None)


@settings(deadline=None)
@given(
    st.integers(2, 4).flatmap(
        lambda k: st.lists(
            st.builds(Choice, TEXTS, st.lists(TEXTS, min_size=k, max_size=k).map(tuple)),
            min_size=1,
            max_size=5,
        )
    ),
    st.integers(5, 40),
)
def test_choices_are_padded_pairs(
    tokenizer: Any, examples: list[ChoiceExample], max_length: int
) -> None:
    count = len(examples[0].endings)
    targets = np.arange(len(examples), dtype=np.int32) % count
    features = encode_choices(examples, tokenizer, max_length=max_length, targets=targets)
    assert features.rows["labels"].tolist() == targets.tolist()
    size = len(examples) + 1
    longest = int(features.lengths.max())
    assert longest <= max_length
    batch = make_batch(features, np.arange(len(examples)), longest, size)
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert batch[name].dtype == np.int32
        assert batch[name].shape == (size, longest, count)
    for m, example in enumerate(examples):
        lengths = []
        for k, ending in enumerate(example.endings):
            ids, types = expected(tokenizer, example.context, ending, max_length=max_length)
            lengths.append(len(ids))
            padding = [0] * (longest - len(ids))
            assert batch["input_ids"][m, :, k].tolist() == ids + padding
            assert batch["token_type_ids"][m, :, k].tolist() == types + padding
            assert batch["attention_mask"][m, :, k].tolist() == [1] * len(ids) + padding
        assert features.lengths[m] == max(lengths)
    assert not batch["attention_mask"][-1].any()


def test_choices_notes_and_no_targets(tokenizer: Any) -> None:
    examples = [Choice("the of", ("who", "is was")), Choice("in", ("who", "at " * 9))]
    features = encode_choices(examples, tokenizer, max_length=8, targets=None)
    assert features.rows == {}
    assert features.lengths.tolist() == [7, 8]
    assert features.example.tolist() == [0, 1]
    assert features.notes == (
        "2 texts of 2 choices, 6.5 tokens on average (max_seq_length 8)",
        "1 of 4 sequences cut to 8 tokens",
    )


def test_no_room_for_choices(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="--max_seq_length 4 leaves no room"):
        encode_choices([Choice("the", ("of", "and"))], tokenizer, max_length=4, targets=None)


def test_nothing_can_be_learned_from_choices_that_are_alike(tokenizer: Any) -> None:
    """Of the second example that which tells its choices apart is cut off; of the third only two
    are alike."""
    examples = [
        Choice("the", ("of", "and")),
        Choice("the", ("of " * 9 + "and", "of " * 9 + "in")),
        Choice("the", ("of " * 9 + "and", "in")),
    ]
    targets = np.array([0, 1, 1], np.int32)
    features = encode_choices(examples, tokenizer, max_length=8, targets=targets)
    assert features.learnable is not None
    assert features.learnable.tolist() == [True, False, True]
    assert features.left_out == (
        "1 of 3 texts is left out of training: all choices have the same 8 tokens or fewer",
    )
    learned = features.to_learn()
    only = encode_choices(examples[::2], tokenizer, max_length=8, targets=targets[::2])
    assert learned.fingerprint() == only.fingerprint()
    assert (only.learnable, only.left_out) == (None, ())
    assert encode_choices(examples, tokenizer, max_length=16, targets=targets).learnable is None
