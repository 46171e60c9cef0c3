"""Windows of questions: transformers' own, google-research/bert's, gold spans, and the checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO, TINY

from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.features import Features, check_ids
from jaxbert.data.questions import Answer, QAExample, read_qa
from jaxbert.data.sampling import make_batch
from jaxbert.errors import InputError
from jaxbert.model.tokenizer import load_tokenizer

# The tiny vocabulary has letters, so a question has some 40 tokens and a paragraph some 400.
SIZES = [(100, 20), (128, 32), (177, 1), (384, 128)]


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=TINY.vocab_size)


@pytest.fixture(scope="module")
def demo() -> tuple[QAExample, ...]:
    return read_qa([str(DEMO / "qa_en_dev.json")]).examples[::3]


def window(features: Features, m: int) -> slice:
    return slice(int(features.bounds[m]), int(features.bounds[m + 1]))


def columns(features: Features, m: int) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    part = window(features, m)
    return (
        features.tokens["input_ids"][part].tolist(),
        features.tokens["token_type_ids"][part].tolist(),
        [tuple(pair) for pair in features.host["offsets"][part].tolist()],
    )


def gold(example: QAExample) -> Answer:
    return next(a for a in example.answers if a.start is not None)


def check_gold(features: Features, examples: Sequence[QAExample]) -> int:
    """Every window with gold positions holds the gold text; how many there are."""
    found = 0
    for m in range(len(features)):
        start, end = (int(features.rows[f"{side}_positions"][m]) for side in ("start", "end"))
        if start == 0:
            assert end == 0
            continue
        example = examples[features.example[m]]
        offsets = features.host["offsets"][window(features, m)]
        assert features.tokens["context_mask"][window(features, m)][[start, end]].all()
        text = example.context[offsets[start, 0] : offsets[end, 1]]
        assert text == gold(example).text
        found += 1
    return found


@pytest.mark.parametrize(("max_length", "stride"), SIZES)
def test_overlap_is_the_call_of_transformers(
    tokenizer: Any, demo: tuple[QAExample, ...], max_length: int, stride: int
) -> None:
    features = encode_qa(demo, tokenizer, max_length=max_length, stride=stride)
    expected = tokenizer(
        [e.question for e in demo],
        [e.context for e in demo],
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_token_type_ids=True,
        return_offsets_mapping=True,
    )
    assert features.example.tolist() == expected["overflow_to_sample_mapping"]
    for m in range(len(features)):
        sequence = expected.sequence_ids(m)
        ids, types, offsets = columns(features, m)
        assert ids == expected["input_ids"][m]
        assert types == expected["token_type_ids"][m]
        of_context = [s == 1 for s in sequence]
        part = window(features, m)
        assert features.tokens["context_mask"][part].tolist() == of_context
        # Offsets are given for the paragraph only: nothing else may be an answer.
        assert offsets == [
            pair if s == 1 else (0, 0)
            for pair, s in zip(expected["offset_mapping"][m], sequence, strict=True)
        ]
    assert check_gold(features, demo) > 0


def doc_spans(length: int, room: int, doc_stride: int) -> list[tuple[int, int]]:
    """The loop of google-research/bert, run_squad.py, convert_examples_to_features."""
    spans = []
    start_offset = 0
    while start_offset < length:
        part = min(length - start_offset, room)
        spans.append((start_offset, part))
        if start_offset + part == length:
            break
        start_offset += min(part, doc_stride)
    return spans


@pytest.mark.parametrize(("max_length", "stride"), SIZES)
def test_step_is_the_loop_of_google(
    tokenizer: Any, demo: tuple[QAExample, ...], max_length: int, stride: int
) -> None:
    features = encode_qa(demo, tokenizer, max_length=max_length, stride=stride, stride_mode="step")
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    windows = []
    for number, example in enumerate(demo):
        question = tokenizer(example.question, add_special_tokens=False)["input_ids"]
        context = tokenizer(example.context, add_special_tokens=False)["input_ids"]
        question = question[: max_length - 3 - stride]
        for start, length in doc_spans(len(context), max_length - len(question) - 3, stride):
            part = context[start : start + length]
            windows.append((number, [cls, *question, sep, *part, sep]))
    assert [(int(e), columns(features, m)[0]) for m, e in enumerate(features.example)] == windows
    assert check_gold(features, demo) > 0


def small(tokenizer: Any, *examples: QAExample, **options: Any) -> Features:
    return encode_qa(examples, tokenizer, **{"max_length": 12, "stride": 2, **options})


def test_positions_by_hand(tokenizer: Any) -> None:
    """[CLS] who [SEP] + 8 tokens + [SEP]; windows of 8 tokens that share 2."""
    context = CONTEXT
    example = QAExample("a", "who", context, (Answer("no", None), Answer("to at", 32)))
    features = small(tokenizer, example)
    assert features.lengths.tolist() == [12, 11]
    assert features.rows["start_positions"].tolist() == [0, 5]
    assert features.rows["end_positions"].tolist() == [0, 6]
    assert columns(features, 1)[1] == [0, 0, 0, *[1] * 8]
    mask = features.tokens["context_mask"][window(features, 1)]
    assert mask.tolist() == [False] * 3 + [True] * 7 + [False]
    assert features.notes == (
        "2 windows of 1 questions (max_seq_length 12, doc_stride 2: overlap)",
        "1 of 1 gold answers fit in a window",
    )


CONTEXT = "the of and in what which is was to at the of and"  # 13 tokens; 8 are in a window
EMPTY = 'the answer is empty; if there is none, give "answers": []'


def test_answer_that_no_window_holds_points_at_cls(tokenizer: Any) -> None:
    whole = QAExample("a", "who", CONTEXT, (Answer(CONTEXT, 0),))
    fits = QAExample("b", "who", CONTEXT, (Answer("the", 0),))
    features = small(tokenizer, whole, fits, QAExample("c", "who", CONTEXT))
    assert not features.rows["start_positions"][features.example != 1].any()
    assert not features.rows["end_positions"][features.example != 1].any()
    assert features.rows["start_positions"][features.example == 1].tolist() == [3, 0]
    assert "1 of 2 gold answers fit in a window" in features.notes
    # Nor is it learned: its windows would say that there is no answer.
    assert features.learnable is not None
    assert features.learnable.tolist() == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("answers", "labelled", "why"),
    [
        ((Answer("no", None),), True, "the answer is not in the paragraph"),
        ((Answer("no", None), Answer(" ", None)), True, "the answer is not in the paragraph"),
        (
            (Answer("", None),),
            True,
            EMPTY,
        ),
        ((Answer(CONTEXT, 0),), True, "the answer fits in no window"),
        ((Answer(" ", 3),), True, EMPTY),
        ((Answer("of  and", 3, 4),), True, "the answer has no token"),
        ((), False, "nothing says whether there is an answer"),
        ((Answer("no", None), Answer("of", 4)), True, None),
        ((Answer(CONTEXT, 0), Answer("of", 4)), True, None),
        ((), True, None),
    ],
)
def test_questions_from_which_nothing_can_be_learned(
    tokenizer: Any, answers: tuple[Answer, ...], labelled: bool, why: str | None
) -> None:
    """Two windows each; a question without an answer and the window without the answer are
    learned."""
    odd = QAExample("a", "who", CONTEXT, answers, labelled)
    sound = QAExample("b", "who", CONTEXT, (Answer("of", 4),))
    features = small(tokenizer, odd, sound)
    learned = features.to_learn()
    if why is None:
        assert features.learnable is None
        assert features.left_out == ()
        assert learned is features
        return
    assert features.learnable is not None
    assert features.learnable.tolist() == [False, False, True, True]
    assert features.left_out == (f"1 of 2 questions is left out of training: {why}",)
    only = small(tokenizer, sound)
    assert learned.fingerprint() == only.fingerprint()
    assert learned.example.tolist() == [1, 1]
    np.testing.assert_array_equal(learned.host["offsets"], only.host["offsets"])
    batch = make_batch(features, np.arange(4), 12, 5)
    assert batch["weight"].tolist() == [0, 0, 1, 1, 0]


def test_reasons_are_counted_one_by_one(tokenizer: Any) -> None:
    missing = (Answer("no", None),)
    examples = [QAExample(str(n), "who", CONTEXT, missing) for n in range(2)]
    examples += [QAExample("2", "who", CONTEXT, (), labelled=False), QAExample("3", "who", CONTEXT)]
    assert small(tokenizer, *examples).left_out == (
        "2 of 4 questions are left out of training: the answer is not in the paragraph",
        "1 of 4 questions is left out of training: nothing says whether there is an answer",
    )


def test_the_gold_answer_is_the_first_that_a_window_holds(tokenizer: Any) -> None:
    answers = (Answer("no", None), Answer(CONTEXT, 0), Answer("to at", 32), Answer("of", 4))
    features = small(tokenizer, QAExample("a", "who", CONTEXT, answers))
    assert features.rows["start_positions"].tolist() == [0, 5]
    assert features.rows["end_positions"].tolist() == [0, 6]
    assert features.rows["answer_starts"].tolist() == [[-1, -1, 4], [5, -1, -1]]
    assert "1 of 1 gold answers fit in a window" in features.notes


def test_a_repaired_answer_has_the_tokens_of_the_paragraph(tokenizer: Any) -> None:
    context = "the of \n\t and  in what"
    example = QAExample("a", "who", context, (Answer("of and in", 4, 16),))
    features = small(tokenizer, example)
    offsets = features.host["offsets"]
    first, last = (int(features.rows[f"{side}_positions"][0]) for side in ("start", "end"))
    assert context[offsets[first, 0] : offsets[last, 1]] == "of \n\t and  in"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hat", "what"),  # inside of a token: the whole token
        ("f w", "of what"),
        ("  ", None),  # between tokens
        (" the", "the"),
    ],
)
def test_gold_that_does_not_end_at_tokens(tokenizer: Any, text: str, expected: str | None) -> None:
    context = "in  of what the"
    answer = Answer(text, context.index(text))
    features = small(tokenizer, QAExample("a", "who", context, (answer,)))
    first, last = (int(features.rows[f"{side}_positions"][0]) for side in ("start", "end"))
    if expected is None:
        assert (first, last) == (0, 0)
    else:
        assert (
            context[features.host["offsets"][first, 0] : features.host["offsets"][last, 1]]
            == expected
        )


def test_questions_that_are_too_long_are_cut(tokenizer: Any) -> None:
    long = QAExample("a", "who " * 50, "the of and", (Answer("of", 4),))
    features = small(tokenizer, long, QAExample("b", "who", "the"))
    assert features.notes[-1] == "1 questions cut to 6 tokens"
    ids = columns(features, 0)[0]
    assert len(ids) <= 12
    assert ids.count(tokenizer.sep_token_id) == 2
    assert check_gold(features, [long]) == 1


@pytest.mark.parametrize("mode", ["overlap", "step"])
def test_empty_paragraph_has_one_window(tokenizer: Any, mode: Any) -> None:
    for context in ("", " \n "):
        example = QAExample("a", "who", context, (Answer("x", None),))
        features = small(tokenizer, example, stride_mode=mode)
        cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        who = tokenizer.convert_tokens_to_ids("who")
        assert columns(features, 0) == ([cls, who, sep, sep], [0, 0, 0, 1], [(0, 0)] * 4)
        assert not features.tokens["context_mask"].any()
        assert len(features) == 1
        assert len(features.notes) == 1


@pytest.mark.parametrize(
    ("max_length", "stride", "mode"),
    [
        (12, 8, "overlap"),
        (12, 0, "overlap"),
        (12, 0, "step"),
        (12, 9, "step"),
        (3, 1, "step"),
        (99, 300, "step"),
    ],
)
def test_no_room(tokenizer: Any, max_length: int, stride: int, mode: Any) -> None:
    example = QAExample("a", "who", "the of")
    with pytest.raises(InputError, match=r"^--max_seq_length .* leaves no room .*$"):
        small(tokenizer, example, max_length=max_length, stride=stride, stride_mode=mode)


def test_truncation_and_padding_of_the_tokenizer_do_not_act(tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_folder)
    example = QAExample("a", "who", "the of and in what", (Answer("what", 14),))
    expected = small(tokenizer, example)
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=30)
    assert small(tokenizer, example).fingerprint() == expected.fingerprint()


def test_ids_beyond_the_tables(tokenizer: Any) -> None:
    features = small(tokenizer, QAExample("a", "who", "the of and"))
    highest = int(features.tokens["input_ids"].max())
    longest = int(features.lengths.max())
    sizes = {"vocab_size": highest + 1, "positions": longest, "types": 2}
    check_ids(features, **sizes)
    for name, least, expected in [
        (
            "vocab_size",
            highest,
            f"input_ids range from .* to {highest}, but the model has {highest}",
        ),
        (
            "positions",
            longest - 1,
            f"windows have up to {longest} tokens, but .* --max_seq_length {longest - 1} or",
        ),
        ("types", 1, "token_type_ids range from 0 to 1, but the model has 1"),
    ]:
        with pytest.raises(InputError, match=f"^{expected}.*$"):
            check_ids(features, **{**sizes, name: least})
    features.tokens["input_ids"][3] = -1
    with pytest.raises(InputError, match="input_ids range from -1 to"):
        check_ids(features, **sizes)


def test_fingerprint_is_that_of_what_training_sees(tokenizer: Any) -> None:
    context = "the of and in what which is was to at the of and"
    examples = [QAExample("a", "who", context, (Answer("of", 4),)), QAExample("b", "in", "at")]
    first, second = examples
    expected = small(tokenizer, *examples).fingerprint()
    assert small(tokenizer, dataclasses.replace(first, id="z"), second).fingerprint() == expected
    others = [
        small(tokenizer, second, first),
        small(tokenizer, first),
        small(tokenizer, dataclasses.replace(first, question="at"), second),
        small(tokenizer, dataclasses.replace(first, context=context[:-1] + "t"), second),
        small(tokenizer, dataclasses.replace(first, answers=(Answer("the of", 0),)), second),
        small(tokenizer, dataclasses.replace(first, answers=()), second),
        small(tokenizer, *examples, max_length=13),
        small(tokenizer, *examples, stride=3),
    ]
    assert len({expected, *(f.fingerprint() for f in others)}) == 1 + len(others)


def test_dtypes_and_shapes(tokenizer: Any, demo: tuple[QAExample, ...]) -> None:
    features = encode_qa(demo[:5], tokenizer, max_length=128, stride=32)
    total, count = int(features.bounds[-1]), len(features)
    answers = max(len(set(e.answers)) for e in demo[:5])
    assert features.bounds.dtype == np.int64
    assert features.bounds[0] == 0
    described = {n: (c.dtype.name, c.shape) for n, c in (features.tokens | features.rows).items()}
    assert described == {
        "input_ids": ("int32", (total,)),
        "token_type_ids": ("int32", (total,)),
        "context_mask": ("bool", (total,)),
        "start_positions": ("int32", (count,)),
        "end_positions": ("int32", (count,)),
        "answer_starts": ("int32", (count, answers)),
        "answer_ends": ("int32", (count, answers)),
    }
    assert (features.example.dtype, features.example.shape) == (np.int32, (count,))
    described = {n: (c.dtype.name, c.shape) for n, c in features.host.items()}
    assert described == {"offsets": ("int32", (total, 2))}
    assert (features.lengths > 0).all()
    assert (features.lengths <= 128).all()


def test_all_reference_answers_of_a_window_are_kept(tokenizer: Any) -> None:
    context = "The oak stands by the river, and the elm by the old oak of the hill. " * 3
    second = context.index("old oak of")
    last = context.rindex("elm by")
    answers = (
        Answer("oak", 4),
        Answer("oak", 4),  # annotators agree
        Answer("old oak of", second),
        Answer("elm by", last),
        Answer("nowhere", None),
    )
    plain = QAExample("1", "what?", context, answers[:2])
    example = QAExample("2", "what?", context, answers)
    only = encode_qa([plain], tokenizer, max_length=100, stride=20)
    assert only.rows.keys() == {"start_positions", "end_positions"}
    features = encode_qa([plain, example], tokenizer, max_length=100, stride=20)
    for name in only.rows:  # the gold span is as without them
        np.testing.assert_array_equal(features.rows[name][: len(only)], only.rows[name])
    starts, ends = features.rows["answer_starts"], features.rows["answer_ends"]
    assert starts.shape == ends.shape == (2 * len(only), 3)
    held: set[str] = set()
    for m in range(len(features)):
        offsets = features.host["offsets"][window(features, m)]
        pairs = [(int(a), int(b)) for a, b in zip(starts[m], ends[m], strict=True) if a >= 0]
        assert pairs  # [CLS] where there is none
        assert (0, 0) not in pairs[1:]
        if features.rows["start_positions"][m]:
            assert (features.rows["start_positions"][m], features.rows["end_positions"][m]) == (
                pairs[0]
            )
        texts = {context[offsets[a][0] : offsets[b][1]] for a, b in pairs if a}
        assert texts <= {a.text for a in answers}
        held |= texts if features.example[m] == 1 else set()
    assert held == {"oak", "old oak of", "elm by"}
