"""Words in windows: every word in one place, transformers' ids, and the awkward words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO, TINY
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.data.encode_words import encode_words
from jaxbert.data.features import Features
from jaxbert.data.questions import read_qa
from jaxbert.data.sampling import make_batch
from jaxbert.data.words import WordsExample
from jaxbert.errors import InputError
from jaxbert.model.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=TINY.vocab_size)


def encoded(tokenizer: Any, *sentences: str | tuple[str, ...], **options: Any) -> Features:
    """Sentences as words with spaces between; targets 10, 11, ... in each, if not given."""
    examples = [
        WordsExample("row", tuple(s.split()) if isinstance(s, str) else s, None) for s in sentences
    ]
    defaults: dict[str, Any] = {
        "max_length": 8,
        "stride": 2,
        "targets": [np.arange(10, 10 + len(e.words)) for e in examples],
        "inside": None,
    }
    return encode_words(examples, tokenizer, **{**defaults, **options})


def windows(features: Features, column: np.ndarray) -> list[list[Any]]:
    return [part.tolist() for part in np.split(column, features.bounds[1:-1])]


def text(tokenizer: Any, features: Features) -> list[str]:
    ids = windows(features, features.tokens["input_ids"])
    return [" ".join(tokenizer.convert_ids_to_tokens(i)) for i in ids]


def test_one_window_by_hand(tokenizer: Any) -> None:
    features = encoded(tokenizer, "The cat is", "of")
    assert text(tokenizer, features) == ["[CLS] the c ##a ##t is [SEP]", "[CLS] of [SEP]"]
    assert features.example.tolist() == [0, 1]
    labels = windows(features, features.tokens["labels"])
    assert labels == [[-100, 10, 11, -100, -100, 12, -100], [-100, 10, -100]]
    assert windows(features, features.host["word"]) == [[-1, 0, 1, -1, -1, 2, -1], [-1, 0, -1]]
    assert windows(features, features.host["offsets"])[0] == [
        [0, 0],
        [0, 3],
        *([n, n + 1] for n in range(3)),
        [0, 2],
        [0, 0],
    ]
    assert features.notes == ("2 windows of 2 sentences (max_seq_length 8, doc_stride 2)",)


def test_windows_by_hand(tokenizer: Any) -> None:
    """Six tokens a window, two shared: in those the first has the more context in one window."""
    features = encoded(tokenizer, "the of and in what which who is was to at")
    assert text(tokenizer, features) == [
        "[CLS] the of and in what which [SEP]",
        "[CLS] what which who is was to [SEP]",
        "[CLS] was to at [SEP]",
    ]
    assert windows(features, features.host["word"]) == [
        [-1, 0, 1, 2, 3, 4, -1, -1],
        [-1, -1, 5, 6, 7, 8, -1, -1],
        [-1, -1, 9, 10, -1],
    ]
    assert windows(features, features.tokens["labels"])[1] == [
        -100,
        -100,
        *range(15, 19),
        -100,
        -100,
    ]
    assert features.example.tolist() == [0, 0, 0]


def test_without_overlap(tokenizer: Any) -> None:
    features = encoded(tokenizer, "the of and in what which who", stride=0, max_length=5)
    assert text(tokenizer, features) == [
        "[CLS] the of and [SEP]",
        "[CLS] in what which [SEP]",
        "[CLS] who [SEP]",
    ]
    assert features.host["word"][features.host["word"] >= 0].tolist() == list(range(7))


def test_a_long_word_makes_the_shared_part_shorter(tokenizer: Any) -> None:
    """The five sub-words of a word do not fit behind two shared tokens, but behind one."""
    features = encoded(tokenizer, "the of and in what hours at")
    assert text(tokenizer, features) == [
        "[CLS] the of and in what [SEP]",
        "[CLS] what h ##o ##u ##r ##s [SEP]",
        "[CLS] at [SEP]",
    ]


def test_all_tokens_of_owned_words_may_have_the_label(tokenizer: Any) -> None:
    sentence = "the cat of a cat"
    features = encoded(tokenizer, sentence, inside=np.arange(1000))
    assert text(tokenizer, features) == [
        "[CLS] the c ##a ##t of a [SEP]",
        "[CLS] of a c ##a ##t [SEP]",
    ]
    assert windows(features, features.tokens["labels"]) == [
        [-100, 10, 11, 11, 11, 12, -100, -100],
        [-100, -100, 13, 14, 14, 14, -100],
    ]
    assert features.host["word"].tolist() == encoded(tokenizer, sentence).host["word"].tolist()


def test_words_without_a_token_have_a_place(tokenizer: Any) -> None:
    words = ("the", "\u200b", "", "\x07\x08", "of", "\u200b", " ")
    features = encoded(tokenizer, words, max_length=16)
    assert text(tokenizer, features) == ["[CLS] the [UNK] [UNK] [UNK] of [UNK] [UNK] [SEP]"]
    assert features.host["word"].tolist() == [-1, *range(7), -1]
    assert features.tokens["labels"].tolist() == [-100, *range(10, 17), -100]
    assert features.host["offsets"][:, 1].tolist() == [0, 3, 1, 0, 2, 2, 1, 1, 0]
    assert features.notes[1:] == ("5 words without a token became [UNK]",)


def test_words_that_do_not_fit_are_cut(tokenizer: Any) -> None:
    features = encoded(tokenizer, "of abcdefghij at abcdef abcdefg")
    assert text(tokenizer, features) == [
        "[CLS] of [SEP]",
        "[CLS] a ##b ##c ##d ##e ##f [SEP]",
        "[CLS] at [SEP]",
        *["[CLS] a ##b ##c ##d ##e ##f [SEP]"] * 2,
    ]
    assert features.host["word"][features.host["word"] >= 0].tolist() == list(range(5))
    assert features.notes[1:] == ("2 words cut to 6 sub-words",)


def test_without_targets(tokenizer: Any) -> None:
    sentences = "the of and in what which who", "is"
    features = encoded(tokenizer, *sentences, targets=None)
    assert set(features.tokens) == {"input_ids", "token_type_ids"}
    other = encoded(tokenizer, *sentences)
    assert features.host["word"].tolist() == other.host["word"].tolist()


def test_sentences_of_the_demo_are_the_call_of_transformers(tokenizer: Any) -> None:
    contexts = [e.context for e in read_qa([str(DEMO / "qa_en_dev.json")]).examples]
    sentences = [tuple(c.split()) for c in contexts]
    assert max(len(words) for words in sentences) > 60
    features = encoded(tokenizer, *sentences, max_length=2000)
    expected = tokenizer(
        [list(words) for words in sentences],
        is_split_into_words=True,
        return_token_type_ids=True,
        return_offsets_mapping=True,
    )
    for name in ("input_ids", "token_type_ids"):
        assert windows(features, features.tokens[name]) == expected[name]
    offsets = windows(features, features.host["offsets"])
    assert [[tuple(pair) for pair in o] for o in offsets] == expected["offset_mapping"]
    for m, own in enumerate(windows(features, features.host["word"])):
        ids = expected.word_ids(m)
        first = [-1 if i is None or i == ids[t - 1] else i for t, i in enumerate(ids)]
        assert own == first


# A word of n letters has n sub-words here.
SIZES = st.sampled_from([(1,), (1, 1, 1, 2, 3), (1, 9), (2, 5, 30), tuple(range(1, 40))])


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(1, 60) | st.integers(61, 3500), min_size=1, max_size=2),
    sizes=SIZES,
    room=st.integers(1, 60) | st.integers(61, 510),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31),
    label_all=st.booleans(),
)
def test_every_word_has_one_place(
    tokenizer: Any,
    counts: list[int],
    sizes: tuple[int, ...],
    room: int,
    share: float,
    seed: int,
    label_all: bool,
) -> None:
    rng = np.random.default_rng(seed)
    stride = int(share * ((room - 1) // 2))
    lengths = [rng.choice(sizes, n) for n in counts]
    examples = [WordsExample("row", tuple("a" * n for n in one), None) for one in lengths]
    targets = [rng.integers(0, 99, n) for n in counts]
    features = encode_words(
        examples,
        tokenizer,
        max_length=room + 2,
        stride=stride,
        targets=targets,
        inside=np.arange(1000) if label_all else None,
    )
    assert features.lengths.max() <= room + 2
    assert (np.diff(features.example) >= 0).all()
    parts = list(
        zip(
            windows(features, features.tokens["input_ids"]),
            windows(features, features.tokens["labels"]),
            windows(features, features.host["word"]),
            strict=True,
        )
    )
    for example, target in enumerate(targets):
        kept = np.minimum(lengths[example], room)
        ends = np.concatenate([[0], np.cumsum(kept)])
        best: dict[int, int] = {}
        owner: dict[int, int] = {}
        seen: list[int] = []
        last = None
        for m in np.flatnonzero(features.example == example):
            ids, labels, words = parts[m]
            assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
            assert (words[0], words[-1]) == (-1, -1)
            places = [t for t, w in enumerate(words) if w >= 0]
            seen += [words[t] for t in places]
            # The place of an owned word tells which tokens of the sentence the window has: those
            # of whole words, with not more than the stride of the window before.
            start = ends[words[places[0]]] - (places[0] - 1)
            stop = start + len(ids) - 2
            assert {start, stop} <= set(ends.tolist())
            assert last is None or last - stride <= start <= last < stop
            last = stop
            expected = [-100] * len(ids)
            for t in places:
                sub_words = int(kept[words[t]]) if label_all else 1
                expected[t : t + sub_words] = [int(target[words[t]])] * sub_words
            assert labels == expected
            for w in range(*np.searchsorted(ends, [start, stop])):
                context = int(min(ends[w] - start, stop - ends[w + 1]))
                if context > best.get(w, -1):
                    best[w], owner[w] = context, m
        assert seen == list(range(len(target)))
        # By the definition: the window with the most context, the first of them.
        windows_of = [m for m, (_, _, words) in enumerate(parts) for w in words if w >= 0]
        of_example = [m for m in windows_of if features.example[m] == example]
        assert of_example == [owner[w] for w in range(len(target))]


def test_padding_of_labels_in_a_batch(tokenizer: Any) -> None:
    features = encoded(tokenizer, "the of", "who")
    batch = make_batch(features, np.array([1, 0]), 6, 3)
    assert batch["labels"].tolist() == [
        [-100, 10, -100, -100, -100, -100],
        [-100, 10, 11, -100, -100, -100],
        [-100] * 6,
    ]
    assert batch["attention_mask"].sum(1).tolist() == [3, 4, 0]


def test_dtypes_and_shapes(tokenizer: Any) -> None:
    features = encoded(tokenizer, "the cat \u200b of and in", "what which")
    total = int(features.bounds[-1])
    described = {n: (c.dtype.name, c.shape) for n, c in (features.tokens | features.host).items()}
    assert described == {
        "input_ids": ("int32", (total,)),
        "token_type_ids": ("int32", (total,)),
        "labels": ("int32", (total,)),
        "word": ("int32", (total,)),
        "offsets": ("int32", (total, 2)),
    }
    assert (features.bounds.dtype, features.example.dtype) == (np.int64, np.int32)
    assert features.rows == {}


@pytest.mark.parametrize(
    ("max_length", "stride", "message"),
    [
        (2, 0, r"--max_seq_length 2 leaves no room for a word; give at least 3"),
        (3, 1, r"--doc_stride 1 is .* --max_seq_length 3; give a --doc_stride from 0 to 0"),
        (8, 3, r"--doc_stride 3 is .* --max_seq_length 8; give a --doc_stride from 0 to 2"),
        (9, -1, r"--doc_stride -1 .* from 0 to 3"),
    ],
)
def test_no_room(tokenizer: Any, max_length: int, stride: int, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        encoded(tokenizer, "the of", max_length=max_length, stride=stride)
