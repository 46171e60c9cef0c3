"""Tagger against transformers' token-classification pipeline, and texts of many windows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import POSITIONS, assert_near, tiny_model

from jaxbert import InputError, Tagger
from jaxbert.data.encode_words import encode_words
from jaxbert.data.words import WordsExample
from jaxbert.options.task_settings import TaggingOptions
from jaxbert.runs.record import RunRecord

pytestmark = pytest.mark.integration

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "NOUN")
TEXTS = [
    "Who is Ada Lovelace's friend?",
    "Zoë met 北京 (in 京) at 25°C, café — naïve!",
    "\U0001f682 to the north \u2603, \U0001f468\u200d\U0001f469 of  the\u00a0scaly-foot\n\ttrain.",
    "the",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tagging"), "tagging", LABELS)


@pytest.fixture(scope="module")
def tagger(folder: Path) -> Tagger:
    return Tagger.from_pretrained(folder, batch_size=2)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return transformers.pipeline("token-classification", model=str(folder))


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
@pytest.mark.parametrize("ignored", [["O"], [], ["PER", "NOUN"]])
def test_entities_are_those_of_the_pipeline(
    tagger: Tagger, pipeline: Any, strategy: Any, ignored: list[str]
) -> None:
    options = {"aggregation_strategy": strategy, "ignore_labels": ignored}
    theirs = pipeline(TEXTS, **options)
    assert_near(tagger(TEXTS, **options), theirs)
    assert_near(tagger(TEXTS[1], **options), theirs[1])
    assert_near(tagger(TEXTS[:1], **options), theirs[:1])


def test_tokens_by_default(tagger: Tagger, pipeline: Any) -> None:
    found = tagger(TEXTS)
    assert_near(found, pipeline(TEXTS))
    assert {one["entity"] for tokens in found for one in tokens} == set(LABELS) - {"O"}


# Characters of every kind, and what the tokenizer takes out, takes apart or takes for its own.
PARTS = ["the", "of", " ", "Ada", "e\u0301", "\u0301", "\u200d", "İ", "한", "北", "\U0001f682"]
PARTS += ["[SEP]", "[PAD]", "[UNK]", "##s", "25°C", "…", "\n", "\u3000", "\x00", "-"]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.sampled_from(PARTS) | st.characters(exclude_categories=["Cs"]), max_size=14).map(
        "".join
    )
)
def test_any_text_has_the_tokens_of_the_pipeline(tagger: Tagger, pipeline: Any, text: str) -> None:
    """All tokens and not their groups: those differ where an accent is stripped, see below."""
    assert_near(tagger(text, ignore_labels=()), pipeline(text, ignore_labels=[]))
    simple = tagger(text, aggregation_strategy="simple", ignore_labels=())
    assert_near(simple, pipeline(text, aggregation_strategy="simple", ignore_labels=[]))


def test_a_word_with_a_stripped_accent_inside_is_a_word(tagger: Tagger, pipeline: Any) -> None:
    """The pipeline takes "is" for a part of "which", as it is shorter than its characters."""
    text = "which i\u0301s"
    options: dict[str, Any] = {"aggregation_strategy": "first", "ignore_labels": ()}
    (both,) = pipeline(text, aggregation_strategy="first", ignore_labels=[])
    assert (both["start"], both["end"]) == (0, len(text))
    plain = tagger("which is", **options)
    assert [one["word"] for one in plain] == ["which", "is"]
    ours = tagger(text, **options)
    assert_near(ours, [plain[0], {**plain[1], "end": len(text)}])


@pytest.mark.parametrize("strategy", ["none", "simple", "first"])
def test_texts_without_a_token(tagger: Tagger, pipeline: Any, strategy: Any) -> None:
    """In a list and alone as the pipeline; of no text at all, which it refuses, no result."""
    texts = ["", " \n", "the of", "\u200b"]
    theirs = pipeline(texts, aggregation_strategy=strategy, ignore_labels=[])
    assert_near(tagger(texts, aggregation_strategy=strategy, ignore_labels=()), theirs)
    assert [bool(found) for found in theirs] == [False, False, True, False]
    assert tagger("", aggregation_strategy=strategy) == []
    assert tagger([], aggregation_strategy=strategy) == []


# --- many windows -----------------------------------------------------------------------------

WORDS = ["Ada", "the", "scaly-foot", "train", "北京", "to", "Lovelace's", "\u2603", "25°C", "café."]


def by_window(
    model: Any, tokenizer: Any, text: str, *, max_length: int, stride: int
) -> list[dict[str, Any]]:
    """Label and score of every token, from the windows that the task makes, one by one in torch."""
    pieces = tokenizer.backend_tokenizer.pre_tokenizer
    words = [w for part in text.split() for w, _ in pieces.pre_tokenize_str(part)]
    words = [w for word in words for w in (word if word == "北京" else [word])]
    features = encode_words(
        [WordsExample("text", tuple(words), None)],
        tokenizer,
        max_length=max_length,
        stride=stride,
        targets=None,
        inside=None,
    )
    assert len(features) > 3
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for m in range(len(features)):
        part = slice(*features.bounds[m : m + 2])
        ids, numbers = features.tokens["input_ids"][part], features.host["word"][part]
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(ids.astype(np.int64)[None])).logits[0]
        scores, labels = logits.softmax(-1).max(-1)
        names = tokenizer.convert_ids_to_tokens(ids.tolist())
        word, piece = -1, 0
        for place, name in enumerate(names):
            if not name.startswith("##"):
                word, piece = int(numbers[place]), 0
            if word >= 0:
                assert (word, piece) not in found
                label, score = LABELS[int(labels[place])], scores[place].numpy()[()]
                found[word, piece] = {"entity": label, "score": score}
            piece += 1
    return [found[key] for key in sorted(found)]


@pytest.mark.parametrize("length", [POSITIONS, 20])
def test_long_texts_have_every_token_once_in_order(
    folder: Path, tagger: Tagger, pipeline: Any, tmp_path: Path, length: int
) -> None:
    """With the windows of the model's positions, and with those that options.json says."""
    stride = POSITIONS // 4
    if length < POSITIONS:
        shutil.copytree(folder, tmp_path / "run")
        stride = 5
        options = TaggingOptions(max_seq_length=length, doc_stride=stride)
        RunRecord.of("tagging", options, rows_per_step=1).write(tmp_path / "run")
        tagger = Tagger.from_pretrained(tmp_path / "run", batch_size=1)
    order = np.random.default_rng(0).integers(0, len(WORDS), 70)
    text = " ".join(WORDS[n] for n in order)
    whole = pipeline.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    found, short = tagger([text, "the of"], ignore_labels=())
    assert [one["index"] for one in found] == [*range(1, len(whole["input_ids"]) + 1)]
    assert [(one["start"], one["end"]) for one in found] == whole["offset_mapping"]
    theirs = by_window(pipeline.model, pipeline.tokenizer, text, max_length=length, stride=stride)
    assert_near([{"entity": one["entity"], "score": one["score"]} for one in found], theirs)
    assert_near(short, pipeline("the of", ignore_labels=[]))
    groups = tagger(text, aggregation_strategy="first", ignore_labels=())
    ends = [0, *(group["end"] for group in groups)]
    starts = [*(group["start"] for group in groups), len(text)]
    gaps = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    assert set(gaps) <= {"", " "}
    assert len(groups) > 20


def test_a_word_longer_than_a_window(tagger: Tagger) -> None:
    """Its sub-words behind the window have the label of the last one that is in it."""
    word = "ab" * 30  # 60 sub-words, and room for 46
    found = tagger(f"the {word} of", ignore_labels=())
    assert [(one["start"], one["end"]) for one in found] == [
        (0, 3),
        *((4 + n, 5 + n) for n in range(60)),
        (65, 67),
    ]
    tail = {(one["entity"], one["score"]) for one in found[1:][POSITIONS - 3 : 60]}
    assert len(tail) == 1
    assert len({one["score"] for one in found}) > 40


# --- wrong input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "more", "message"),
    [
        (["the", None], {}, "text 1 is not a string"),
        ([["the", "of"]], {}, "text 0 is not a string"),
        (None, {}, "inputs has the wrong type: NoneType"),
        ({"text": "the"}, {}, "inputs has the wrong type: dict"),
        ("the", {"aggregation_strategy": "last"}, "'last': give none, simple, first, average, max"),
    ],
)
def test_wrong_input_is_named(
    tagger: Tagger, inputs: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tagger(inputs, **more)


def test_lone_surrogates_do_no_harm(tagger: Tagger) -> None:
    assert tagger("Ada \ude82 left", ignore_labels=()) == tagger(
        "Ada \ufffd left", ignore_labels=()
    )
