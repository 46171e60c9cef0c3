"""Encodes questions as windows of question and paragraph, with the gold span of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jaxbert.data.features import Features, Line, Tokenized, tokenize, window_starts
from jaxbert.data.questions import QAExample
from jaxbert.data.template import template_of
from jaxbert.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_MAX_ANSWERS = 16  # reference answers kept per question

StrideMode = Literal["overlap", "step"]

# Why nothing can be learned from a question, by the name of the sum.
_UNLEARNABLE = {
    "absent": "the answer is not in the paragraph",
    "empty": 'the answer is empty; if there is none, give "answers": []',
    "too_long": "the answer fits in no window",
    "no_token": "the answer has no token",
    "unknown": "nothing says whether there is an answer",
}


def encode_qa(
    examples: Sequence[QAExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int = 384,
    stride: int = 128,
    stride_mode: StrideMode = "overlap",
) -> Features:
    """Encode questions as encode_qa_part does; without answer_starts and answer_ends where no
    question has several different answers."""
    return without_lone_answers(
        encode_qa_part(
            examples, tokenizer, max_length=max_length, stride=stride, stride_mode=stride_mode
        )
    )


def without_lone_answers(features: Features) -> Features:
    """The features without the columns of all answers, if start_positions says as much."""
    if features.rows["answer_starts"].shape[1] > 1:
        return features
    rows = {n: x for n, x in features.rows.items() if n not in ("answer_starts", "answer_ends")}
    return dataclasses.replace(features, rows=rows)


def encode_qa_part(
    examples: Sequence[QAExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    stride: int,
    stride_mode: StrideMode,
) -> Features:
    """Encode windows [CLS] question [SEP] part of the paragraph [SEP], with the gold span of each.

    Args:
        examples: the gold answer of each is the first that is in its paragraph and fits in one of
            its windows.
        tokenizer: a fast tokenizer; its [CLS], [SEP] and offsets are used.
        max_length: maximum tokens of a window.
        stride: with "overlap" (Hugging Face) the number of tokens that two windows share; with
            "step" (google-research/bert, run_squad.py) the distance between their starts.

    Returns:
        Features with these columns:

        - tokens input_ids, token_type_ids int32, and context_mask bool, True at tokens that can be
          part of an answer;
        - rows start_positions, end_positions int32: inclusive token positions in the window, 0
          ([CLS]) where the window does not hold the complete gold answer;
        - rows answer_starts, answer_ends (M, G) int32 with all different answers: -1 for one that
          is not in the window, and 0 first if none is;
        - on the host, offsets (total, 2) int32: the characters of the paragraph's tokens in the
          paragraph, (0, 0) for all other tokens.

        A question whose answer is in no window is not learnable: its windows would all say that
        there is no answer. If one window holds the answer, the others are labelled [CLS], as in
        Hugging Face's scripts.

    Raises:
        InputError: max_length leaves no room for a question and a paragraph at this stride.
    """
    template = template_of(tokenizer)
    least = stride + max(1, stride // 2) if stride_mode == "overlap" else stride
    longest_question = max_length - template.pair - least
    if stride < 1 or longest_question < 1:
        raise InputError(
            f"--max_seq_length {max_length} with --doc_stride {stride} ({stride_mode}) leaves no "
            f"room for a question; give a --doc_stride of at most {max(1, (max_length - 12) // 2)}"
        )
    questions = tokenize(tokenizer, [e.question for e in examples])
    contexts = tokenize(tokenizer, [e.context for e in examples])

    ids: list[np.ndarray] = []
    offsets: list[np.ndarray] = []
    windows: list[_Windows] = []
    cut = 0
    for example in examples:
        question, context = questions[example.question].ids, contexts[example.context]
        if len(question) > longest_question:
            question, cut = question[:longest_question], cut + 1
        room = max_length - len(question) - template.pair
        step = room - stride if stride_mode == "overlap" else min(stride, room)
        prefix = np.concatenate([template.first, question, template.between])
        of_question = _windows_of(example, context, len(prefix), room, step)
        windows.append(of_question)
        blank = np.zeros((len(prefix), 2), np.int32)
        for first, last in zip(of_question.firsts, of_question.lasts, strict=True):
            ids += (prefix, context.ids[first:last], template.last)
            offsets += (
                blank,
                np.stack([context.starts[first:last], context.ends[first:last]], 1),
                blank[:1],
            )
    counts_of_windows = [len(w.firsts) for w in windows]
    lengths = np.concatenate([w.context_start + w.lasts - w.firsts + 1 for w in windows])
    context_starts = np.repeat([w.context_start for w in windows], counts_of_windows)
    bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    # Find the second segment and the paragraph by position, for all windows at once.
    position = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
    in_second = position >= np.repeat(context_starts, lengths)
    is_last = np.zeros(len(position), bool)
    is_last[bounds[1:] - 1] = True
    learnable = np.repeat([w.unlearnable is None for w in windows], counts_of_windows)
    return Features(
        bounds=bounds,
        tokens={
            "input_ids": np.concatenate(ids).astype(np.int32),
            "token_type_ids": in_second * np.int32(template.second_type),
            "context_mask": in_second & ~is_last,
        },
        rows=_answer_rows(windows),
        example=np.repeat(np.arange(len(examples), dtype=np.int32), counts_of_windows),
        host={"offsets": np.concatenate(offsets)},
        learnable=None if learnable.all() else learnable,
        lines=_lines(
            f"max_seq_length {max_length}, doc_stride {stride}: {stride_mode}", longest_question
        ),
        sums={
            "windows": len(lengths),
            "examples": len(examples),
            "answerable": sum(w.has_answer for w in windows),
            "unanswerable": sum(e.labelled and not e.answers for e in examples),
            "complete": sum(w.is_complete for w in windows),
            "cut": cut,
            **{name: sum(w.unlearnable == name for w in windows) for name in _UNLEARNABLE},
        },
    )


def _lines(how: str, longest_question: int) -> tuple[Line, ...]:
    """Lines of the log about encoded questions."""
    return (
        Line(f"{{windows}} windows of {{examples}} questions ({how})"),
        Line("{complete} of {answerable} gold answers fit in a window", "answerable"),
        Line(f"{{cut}} questions cut to {longest_question} tokens", "cut"),
        *(
            Line(
                f"{{{name}}} of {{examples}} questions {{are}} left out of training: {reason}",
                name,
                left_out=True,
            )
            for name, reason in _UNLEARNABLE.items()
        ),
    )


class _Windows(NamedTuple):
    """The W windows of a question.

    Attributes:
        context_start: tokens before the paragraph's part.
        firsts, lasts: (W,), the part of the paragraph's tokens in each window.
        places: (W, G, 2) token positions of the answers, the gold one first; -1 where the window
            does not hold the complete answer.
        has_answer: whether some answer is in the paragraph.
        is_complete: whether a window holds a complete one.
        unlearnable: why nothing can be learned from them, a name of _UNLEARNABLE; None if
            something can.
    """

    context_start: int
    firsts: np.ndarray
    lasts: np.ndarray
    places: np.ndarray
    has_answer: bool
    is_complete: bool
    unlearnable: str | None


def _windows_of(
    example: QAExample, context: Tokenized, context_start: int, room: int, step: int
) -> _Windows:
    """The windows of a question, each with `room` tokens of the paragraph, at steps of `step`."""
    firsts = window_starts(len(context.ids), room, step)
    lasts = np.minimum(firsts + room, len(context.ids))
    golds = _gold_tokens(example, context)
    places = np.array(golds, np.int64).reshape(1, -1, 2) - firsts[:, None, None] + context_start
    inside = (places[..., 0] >= context_start) & (
        places[..., 1] < (lasts - firsts + context_start)[:, None]
    )
    places[~inside] = -1
    complete = np.flatnonzero(inside.any(0))
    if len(complete):  # the gold answer comes first
        gold = int(complete[0])
        places = np.concatenate(
            [places[:, gold : gold + 1], np.delete(places, gold, axis=1)], axis=1
        )
    return _Windows(
        context_start,
        firsts,
        lasts,
        places,
        has_answer=bool(golds),
        is_complete=bool(len(complete)),
        unlearnable=None if len(complete) else _unlearnable_reason(example, golds),
    )


def _answer_rows(windows: Sequence[_Windows]) -> dict[str, np.ndarray]:
    """start_positions, end_positions, answer_starts and answer_ends of all windows."""
    most = max(1, *(w.places.shape[1] for w in windows))
    answers = np.full((sum(len(w.places) for w in windows), most, 2), -1, np.int32)
    row = 0
    for places in (w.places for w in windows):
        answers[row : row + len(places), : places.shape[1]] = places
        row += len(places)
    gold = np.maximum(answers[:, 0], 0)
    answers[(answers < 0).all((1, 2)), 0] = 0
    return {
        "start_positions": gold[:, 0].copy(),
        "end_positions": gold[:, 1].copy(),
        "answer_starts": answers[..., 0].copy(),
        "answer_ends": answers[..., 1].copy(),
    }


def _unlearnable_reason(example: QAExample, golds: Sequence[tuple[int, int]]) -> str | None:
    """Why a question whose answer is in no window is not learnable, a name of _UNLEARNABLE; None
    if it is unanswerable."""
    if not example.labelled:
        return "unknown"
    if not example.answers:
        return None
    if all(not answer.text.strip() for answer in example.answers):
        return "empty"
    if all(answer.start is None for answer in example.answers):
        return "absent"
    return "too_long" if golds else "no_token"


def _gold_tokens(example: QAExample, context: Tokenized) -> list[tuple[int, int]]:
    """First and last token of each different answer that is in the paragraph and has a token there,
    in order."""
    spans: dict[tuple[int, int], None] = {}
    for answer in [a for a in example.answers if a.start is not None][:_MAX_ANSWERS]:
        assert answer.start is not None
        assert answer.end is not None
        first = int(np.searchsorted(context.ends, answer.start, side="right"))
        last = int(np.searchsorted(context.starts, answer.end, side="left")) - 1
        if first <= last:
            spans[first, last] = None
    return list(spans)
