"""Windows of lines: nothing is lost, where [SEP] stands, and which tokens are one word."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jaxbert.data.encode_lines import encode_lines
from jaxbert.data.features import Features
from jaxbert.data.questions import read_qa
from jaxbert.data.sampling import make_batch
from jaxbert.data.segment import make_segmenter
from jaxbert.data.stored_lines import LineExample
from jaxbert.errors import InputError
from jaxbert.model.tokenizer import load_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["the", "mask", "##ing", "##s", "cat", ",", "25", "##°", "##c", *"中国人民大学"]
CLS, SEP = 2, 3


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("vocab")
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *PIECES]), encoding="utf-8")
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("中国\n人民大学\n", encoding="utf-8")
    return str(path)


def encode(tokenizer: Any, texts: Sequence[str], words: str = "characters", **more: Any) -> Any:
    examples = [LineExample(f"line {n}", text) for n, text in enumerate(texts, 1)]
    options = {"max_length": 8, "line_by_line": False, "segmenter": make_segmenter(words), **more}
    return encode_lines(examples, tokenizer, **options)


def windows(features: Features, name: str) -> list[list[int]]:
    column, bounds = features.tokens[name], features.bounds.tolist()
    return [column[a:b].tolist() for a, b in itertools.pairwise(bounds)]


def shown(tokenizer: Any, features: Features) -> list[str]:
    return [
        " ".join(tokenizer.convert_ids_to_tokens(ids)) for ids in windows(features, "input_ids")
    ]


LINES = ["The masking cats", "25°C, the masks", "", "中国人民大学", "the"]


def test_packed_by_hand(tokenizer: Any, words: str) -> None:
    features = encode(tokenizer, LINES, words)
    assert shown(tokenizer, features) == [
        # The line's own [SEP] would be the seventh token: it is the window's.
        "[CLS] the mask ##ing cat ##s [SEP]",
        "[CLS] 25 ##° ##c , the mask [SEP]",
        "[CLS] ##s [SEP] 中 国 人 民 [SEP]",
        "[CLS] 大 学 [SEP] the [SEP]",
    ]
    assert windows(features, "word") == [
        [-1, 0, 1, 1, 2, 2, -1],
        [-1, 0, 0, 0, 1, 2, 3, -1],
        [-1, 0, -1, 1, 1, 2, 2, -1],  # the rest of "masks" is a word of its own
        [-1, 0, 0, -1, 1, -1],
    ]
    assert features.example.tolist() == [0, 1, 1, 3]
    assert {n: c.dtype.name for n, c in features.tokens.items()} == {
        "input_ids": "int32",
        "token_type_ids": "int32",
        "word": "int32",
    }
    assert not features.tokens["token_type_ids"].any()
    assert (features.example.dtype, features.bounds.dtype, features.rows) == ("int32", "int64", {})
    assert features.notes == (
        "4 windows of 5 lines (max_seq_length 8, packed), 7.2 tokens on average",
        f"3.0 words a window (Chinese: 2 words of {words})",
    )


def test_a_full_window_that_ends_with_its_line(tokenizer: Any) -> None:
    """The line's [SEP] is behind the room for tokens, and would begin the next window."""
    features = encode(tokenizer, ["the cat the cat the cat", "the cat"])
    assert shown(tokenizer, features) == [
        "[CLS] the cat the cat the cat [SEP]",
        "[CLS] the cat [SEP]",
    ]


def test_line_by_line_by_hand(tokenizer: Any, words: str) -> None:
    features = encode(tokenizer, LINES, words, line_by_line=True, max_length=7)
    assert shown(tokenizer, features) == [
        "[CLS] the mask ##ing cat ##s [SEP]",
        "[CLS] 25 ##° ##c , the [SEP]",
        "[CLS] mask ##s [SEP]",
        "[CLS] 中 国 人 民 大 [SEP]",
        "[CLS] 学 [SEP]",
        "[CLS] the [SEP]",
    ]
    assert windows(features, "word") == [
        [-1, 0, 1, 1, 2, 2, -1],
        [-1, 0, 0, 0, 1, 2, -1],
        [-1, 0, 0, -1],
        [-1, 0, 0, 1, 1, 1, -1],
        [-1, 0, -1],
        [-1, 0, -1],
    ]
    assert features.example.tolist() == [0, 1, 1, 3, 3, 4]
    assert "line by line" in features.notes[0]


def test_characters_are_words_without_a_segmentation(tokenizer: Any) -> None:
    features = encode(tokenizer, ["中国masks国"])
    assert windows(features, "word") == [[-1, 0, 1, 2, 2, 3, -1]]
    assert features.notes[1].endswith("(Chinese: single characters)")


def test_special_tokens_that_the_text_names_are_no_words_but_unknown_ones_are(
    tokenizer: Any,
) -> None:
    features = encode(tokenizer, ["the [MASK] cat [SEP]", "[CLS]dogs"], line_by_line=True)
    assert shown(tokenizer, features) == [
        "[CLS] the [MASK] cat [SEP] [SEP]",
        "[CLS] [CLS] [UNK] [SEP]",
    ]
    assert windows(features, "word") == [[-1, 0, -1, 1, -1, -1], [-1, -1, 0, -1]]


TEXTS = st.lists(
    st.text("abc中国人民大, \u200b\x0b°s", max_size=12)
    | st.sampled_from(["masks the cat", "[SEP]", "[MASK]中国[PAD]", "25°C, 25°C", "\u00e9"]),
    max_size=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(["the", "[SEP]", "the"], 3, False)
@example(["the the the", "the", ""], 5, False)
@given(TEXTS, st.integers(3, 12), st.booleans())
def test_windows_hold_all_tokens_in_order(
    tokenizer: Any, words: str, texts: list[str], max_length: int, line_by_line: bool
) -> None:
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in [*texts, "the"]]
    features = encode(
        tokenizer, [*texts, "the"], words, max_length=max_length, line_by_line=line_by_line
    )
    lines = [(n, line) for n, line in enumerate(ids) if line]
    found, named = windows(features, "input_ids"), windows(features, "word")
    assert all(w[0] == CLS and w[-1] == SEP and 3 <= len(w) <= max_length for w in found)
    if line_by_line:
        room = max_length - 2
        pieces = [(n, x[a : a + room]) for n, x in lines for a in range(0, len(x), room)]
        assert [w[1:-1] for w in found] == [piece for _, piece in pieces]
        assert features.example.tolist() == [n for n, _ in pieces]
    else:
        # A text without [SEP] can be put together again: one stands between any two lines, and at
        # the end of each window, where it is a line's or the window's own.
        if not any(SEP in line for _, line in lines):
            assert [i for w in found for i in w if i not in (CLS, SEP)] == [
                i for _, line in lines for i in line if i != CLS
            ]
            assert all(SEP not in (w[1], w[-2]) for w in found)
        assert all(len(w) >= max_length - 1 for w in found[:-1])
        assert (np.diff(features.example) >= 0).all()
    for w, number in zip(found, named, strict=True):
        ordinary = [k for k in number if k >= 0]
        assert [k < 0 for k in number] == [i in (0, CLS, SEP, 4) for i in w]
        # Numbered from 0 without a gap.
        assert sorted(set(ordinary)) == list(range(len(set(ordinary))))
        assert ordinary == sorted(ordinary)


def test_packing_by_a_slow_loop(tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    texts = [e.context for e in read_qa([str(DEMO / "qa_en_dev.json")]).examples[::3]]
    features = encode(tokenizer, texts, max_length=64)
    stream: list[int] = []
    for text in texts:
        stream += [*tokenizer(text, add_special_tokens=False)["input_ids"], SEP]
    expected = []
    while stream:
        part, stream = stream[:62], stream[62:]
        if part[-1] == SEP:
            part = part[:-1]
        elif stream[:1] == [SEP]:
            stream = stream[1:]
        expected.append([CLS, *part, SEP])
    assert windows(features, "input_ids") == expected
    # The words of a window are those of BERT: sub-words begin with ##, and no others do.
    for ids, number in zip(expected, windows(features, "word"), strict=True):
        tokens = tokenizer.convert_ids_to_tokens(ids)
        for k in range(2, len(ids) - 1):
            if number[k] >= 0 and number[k - 1] >= 0:
                assert tokens[k].startswith("##") == (number[k] == number[k - 1])


def test_in_a_batch_words_are_padded(tokenizer: Any) -> None:
    features = encode(tokenizer, ["masks", "the cat"], line_by_line=True)
    batch = make_batch(features, np.array([1, 0]), 6, 3)
    assert batch["word"].tolist() == [[-1, 0, 1, -1, 0, 0], [-1, 0, 0, -1, 0, 0], [0] * 6]


@pytest.mark.parametrize("line_by_line", [False, True])
def test_unusable(tokenizer: Any, line_by_line: bool) -> None:
    with pytest.raises(InputError, match=r"^--max_seq_length 2 leaves no room"):
        encode(tokenizer, ["the"], max_length=2, line_by_line=line_by_line)
    for texts in (["\u200b", " "], ["[SEP]"]):
        with pytest.raises(InputError, match=r"^line 1: no token in \d lines"):
            encode(tokenizer, texts, line_by_line=line_by_line)


def test_nothing_can_be_learned_from_unknown_tokens_alone(tokenizer: Any) -> None:
    """[UNK] is a word of the text, and never masked; a special token in the text is not either."""
    texts = ["dog", "the dog", "[SEP] dog [MASK]", "cat"]
    features = encode(tokenizer, texts, line_by_line=True)
    assert features.learnable.tolist() == [False, True, False, True]
    assert features.left_out == (
        "2 of 4 windows are left out of training: all tokens are [UNK] or special",
    )
    learned, only = features.to_learn(), encode(tokenizer, texts[1::2], line_by_line=True)
    assert learned.fingerprint() == only.fingerprint()
    assert (only.learnable, only.left_out) == (None, ())
    assert encode(tokenizer, texts).learnable is None  # packed, all are in windows with words
