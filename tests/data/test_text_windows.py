"""Windows of texts: no token is lost, a text that fits is what truncation gives, a text counts
once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY, tiny_vocabulary
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.row_columns import RowColumns
from jaxbert.data.text_windows import encode_text_windows
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.model.tokenizer import load_tokenizer

Text = functools.partial(TextExample, "data.csv: row 3")

WORDS = tiny_vocabulary()[5:16]
LONG = st.lists(st.sampled_from(WORDS), max_size=90).map(" ".join)
SHORT = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=TINY.vocab_size)


def windows_of(features: Features, example: int) -> list[tuple[list[int], list[int]]]:
    """The ids and types of each of an example's windows."""
    parts = [
        slice(features.bounds[m], features.bounds[m + 1])
        for m in np.flatnonzero(features.example == example)
    ]
    names = ("input_ids", "token_type_ids")
    return [tuple(features.tokens[name][part].tolist() for name in names) for part in parts]  # type: ignore[misc]


@given(
    st.lists(st.tuples(LONG, st.none() | SHORT, st.booleans()), min_size=1, max_size=6),
    st.integers(16, 40),
    st.none() | st.integers(0, 2),
)
def test_every_token_is_in_some_window(
    tokenizer: Any,
    texts: list[tuple[str, str | None, bool]],
    max_length: int,
    stride: int | None,
) -> None:
    examples = []
    for first, second, swapped in texts:
        examples.append(Text(second, first) if swapped and second else Text(first, second))
    found = encode_text_windows(
        examples, tokenizer, max_length=max_length, stride=stride, targets=None
    )
    cut = encode_texts(examples, tokenizer, max_length=max_length, targets=None)
    assert int(found.lengths.max()) <= max_length
    assert np.array_equal(np.unique(found.example), np.arange(len(examples)))
    for number, e in enumerate(examples):
        windows = windows_of(found, number)
        texts_of = [
            tokenizer(t, add_special_tokens=False)["input_ids"] for t in (e.text, e.pair or "")
        ]
        special = 2 if e.pair is None else 3
        if sum(map(len, texts_of)) + special <= max_length:
            assert windows == windows_of(cut, number)  # to the bit
            continue
        divides_first = len(texts_of[0]) > len(texts_of[1])
        divided, whole = texts_of if divides_first else texts_of[::-1]
        room = max_length - special - len(whole)
        shared = room // 4 if stride is None else stride
        rebuilt: list[int] = []
        for ids, types in windows:
            # [CLS] and the last [SEP] are of the first and the last text's type.
            parts = [[x for x, t in zip(ids, types, strict=True) if t == n] for n in (0, 1)]
            first, second = parts[0][1:-1], parts[1][:-1]
            assert (second if divides_first else first) == whole
            part = first if divides_first else second
            assert not rebuilt or rebuilt[-shared:] == part[:shared] or not shared
            rebuilt += part[shared if rebuilt else 0 :]
        assert rebuilt == divided
    sums = np.bincount(found.example, found.rows["weight"])
    np.testing.assert_allclose(sums, 1, rtol=1e-6)  # a text counts once


def test_of_a_single_text_that_is_too_long_the_types_are_zero(tokenizer: Any) -> None:
    found = encode_text_windows(
        [Text("the of and in what")], tokenizer, max_length=5, stride=1, targets=None
    )
    the, of, and_, in_, what = range(5, 10)
    cls, sep = 2, 3
    assert windows_of(found, 0) == [
        ([cls, the, of, and_, sep], [0] * 5),
        ([cls, and_, in_, what, sep], [0] * 5),
    ]


def test_targets_and_weights_are_those_of_the_windows_texts(tokenizer: Any) -> None:
    examples = [Text("the " * 20), Text("who"), Text("the " * 9, "of")]
    targets = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    found = encode_text_windows(examples, tokenizer, max_length=12, stride=2, targets=targets)
    counts = np.bincount(found.example)
    assert counts.tolist() == [3, 1, 2]
    assert np.array_equal(found.rows["labels"], targets[found.example])
    assert found.rows["weight"].dtype == np.float32
    assert found.notes == (
        "6 windows of 3 texts, 8.7 tokens on average (max_seq_length 12, doc_stride 2)",
        "2 of 3 texts are longer than a window",
    )
    # A weight of rows is shared by the windows, and other columns are those of the text.
    columns = RowColumns({"weight": np.array([3, 1, 0.5], np.float32), "own": np.arange(3)})
    added = columns.added_to(found)
    sums = np.bincount(added.example, added.rows["weight"])
    np.testing.assert_allclose(sums, [3, 1, 0.5], rtol=1e-6)
    assert added.rows["weight"].dtype == np.float32
    assert np.array_equal(added.rows["own"], found.example)


def test_what_leaves_no_room_is_refused_by_name(tokenizer: Any) -> None:
    def encode(*texts: str, stride: int | None = None) -> Features:
        return encode_text_windows(
            [Text("who"), Text(*texts)], tokenizer, max_length=13, stride=stride, targets=None
        )

    with pytest.raises(InputError, match=r"--doc_stride 6 .* from 0 to 5"):
        encode("the", stride=6)
    assert len(encode("the", stride=5)) == 2
    with pytest.raises(InputError) as raised:
        encode("the " * 8, "of " * 6)
    assert str(raised.value) == (
        "data.csv: row 3: the shorter text of the pair has 6 tokens, and of a window of "
        "--max_seq_length 13 that leaves 4 for the longer one; at least 5 are needed: give a "
        "greater --max_seq_length, or --long_texts truncate"
    )
    assert len(encode("the " * 8, "of " * 5)) == 3
    with pytest.raises(InputError, match=r"leaves 5 .* at least 7 .* a smaller --doc_stride, or"):
        encode("the " * 8, "of " * 5, stride=3)
    assert len(encode("the " * 5, "of " * 5, stride=3)) == 2  # it fits, whatever the stride
