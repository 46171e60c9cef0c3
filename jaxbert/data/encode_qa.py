"""Questions -> Features: windows of question and paragraph, with the gold span of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxbert.data.features import Features, Tokenized, tokenize
from jaxbert.data.questions import QAExample
from jaxbert.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ANSWERS = 16  # reference answers of a question that are kept, at most

StrideMode = Literal["overlap", "step"]


def _window_starts(length: int, room: int, step: int) -> np.ndarray:
    """First context token of each window: until one reaches the end of the context."""
    count = 1 if length <= room else 1 + -(-(length - room) // step)
    return np.arange(count) * step


def encode_qa(
    examples: Sequence[QAExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int = 384,
    stride: int = 128,
    stride_mode: StrideMode = "overlap",
) -> Features:
    """Windows [CLS] question [SEP] part of the paragraph [SEP], with the gold span of each.

    Args:
        examples: the first answer of each that is in its paragraph, and whole in some window, is
            the gold one.
        tokenizer: a fast tokenizer; its [CLS], [SEP] and offsets are used.
        max_length: the most tokens of a window.
        stride: with "overlap" (Hugging Face) the tokens that two windows share; with "step"
            (google-research/bert, run_squad.py) how many tokens farther each window starts.

    Returns:
        Features with tokens input_ids, token_type_ids int32 and context_mask bool (True at tokens
        that an answer may have), rows start_positions, end_positions int32: inclusive token
        positions in the window, 0 ([CLS]) where the window does not hold the whole gold answer;
        where some question has several different answers, answer_starts, answer_ends (M, G) int32:
        all of them, -1 for one that the window does not hold, and 0 first where it holds none;
        and on the host offsets (total, 2) int32: the characters of the paragraph's tokens in the
        paragraph, (0, 0) for all others. Nothing can be learned from a question that is said to
        have an answer of which no window is: its windows would say that it has none. The other
        windows of an answer that one of them holds do say [CLS], as Hugging Face's do.

    Raises:
        InputError: max_length leaves no room for a question and a paragraph at this stride.
    """
    least = stride + max(1, stride // 2) if stride_mode == "overlap" else stride
    longest_question = max_length - 3 - least
    if stride < 1 or longest_question < 1:
        raise InputError(
            f"--max_seq_length {max_length} with --doc_stride {stride} ({stride_mode}) leaves no "
            f"room for a question; give a --doc_stride of at most {max(1, (max_length - 12) // 2)}"
        )
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    questions = tokenize(tokenizer, [e.question for e in examples])
    contexts = tokenize(tokenizer, [e.context for e in examples])

    ids: list[np.ndarray] = []
    offsets: list[np.ndarray] = []
    lengths: list[int] = []
    heads: list[int] = []  # tokens before the paragraph's part
    spans: list[np.ndarray] = []
    several: list[np.ndarray] = []
    owner: list[int] = []
    whys: list[str | None] = []  # nothing can be learned of each example, if so
    cut = answerable = fits = 0
    special = np.array([[cls], [sep]], np.int32)
    for number, example in enumerate(examples):
        question = questions[example.question].ids
        context = contexts[example.context]
        if len(question) > longest_question:
            question, cut = question[:longest_question], cut + 1
        head = len(question) + 2
        room = max_length - head - 1
        step = room - stride if stride_mode == "overlap" else min(stride, room)
        first = _window_starts(len(context.ids), room, step)
        last = np.minimum(first + room, len(context.ids))
        golds = _gold_tokens(example, context)
        # (windows, answers, 2), -1 where the window does not hold all of the answer.
        places = np.array(golds, np.int64).reshape(1, -1, 2) - first[:, None, None] + head
        inside = (places[..., 0] >= head) & (places[..., 1] < (last - first + head)[:, None])
        places[~inside] = -1
        span = np.zeros((len(first), 2), np.int32)
        whole = np.flatnonzero(inside.any(0))
        if len(whole):  # the gold one is the first of all
            gold = int(whole[0])
            places = np.concatenate(
                [places[:, gold : gold + 1], np.delete(places, gold, axis=1)], axis=1
            )
            span[inside[:, gold]] = places[inside[:, gold], 0]
        several.append(places)
        answerable, fits = answerable + bool(golds), fits + bool(len(whole))
        whys.append(None if len(whole) else _why_not(example, golds))
        prefix = np.concatenate([special[0], question, special[1]])
        blank = np.zeros((head, 2), np.int32)
        for a, b in zip(first, last, strict=True):
            ids += (prefix, context.ids[a:b], special[1])
            offsets += (blank, np.stack([context.starts[a:b], context.ends[a:b]], 1), blank[:1])
            lengths.append(head + int(b - a) + 1)
        heads += [head] * len(first)
        owner += [number] * len(first)
        spans.append(span)

    bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    total = int(bounds[-1])
    # Positions in the window tell segments and paragraph apart, for all windows at once.
    position = np.arange(total) - np.repeat(bounds[:-1], lengths)
    second = position >= np.repeat(np.asarray(heads), lengths)
    is_last = np.zeros(total, bool)
    is_last[bounds[1:] - 1] = True
    both = np.concatenate(spans)
    rows = {"start_positions": both[:, 0].copy(), "end_positions": both[:, 1].copy()}
    most = max(places.shape[1] for places in several)
    if most > 1:
        answers = np.full((len(lengths), most, 2), -1, np.int32)
        row = 0
        for places in several:
            answers[row : row + len(places), : places.shape[1]] = places
            row += len(places)
        answers[(answers < 0).all((1, 2)), 0] = 0
        rows |= {"answer_starts": answers[..., 0].copy(), "answer_ends": answers[..., 1].copy()}
    notes = [
        f"{len(lengths)} windows of {len(examples)} questions (max_seq_length {max_length}, "
        f"doc_stride {stride}: {stride_mode})"
    ]
    if answerable:
        notes.append(f"{fits} of {answerable} gold answers fit in a window")
    if cut:
        notes.append(f"{cut} questions cut to {longest_question} tokens")
    counts = Counter(why for why in whys if why is not None)
    left_out = [
        f"{count} of {len(examples)} questions {'is' if count == 1 else 'are'} left out of "
        f"training: {why}"
        for why, count in counts.items()
    ]
    return Features(
        bounds=bounds,
        tokens={
            "input_ids": np.concatenate(ids).astype(np.int32),
            "token_type_ids": second.astype(np.int32),
            "context_mask": second & ~is_last,
        },
        rows=rows,
        example=np.asarray(owner, np.int32),
        host={"offsets": np.concatenate(offsets)},
        notes=tuple(notes),
        learnable=np.array([whys[n] is None for n in owner]) if counts else None,
        left_out=tuple(left_out),
    )


def _why_not(example: QAExample, golds: Sequence[tuple[int, int]]) -> str | None:
    """Why nothing can be learned from a question whose answer is in no window; None where it is
    known to have no answer."""
    if not example.labelled:
        return "nothing says whether there is an answer"
    if not example.answers:
        return None
    if all(not answer.text.strip() for answer in example.answers):
        return 'the answer is empty; where there is none give "answers": []'
    if all(answer.start is None for answer in example.answers):
        return "the answer is not in the paragraph"
    return "the answer fits in no window" if golds else "the answer has no token"


def _gold_tokens(example: QAExample, context: Tokenized) -> list[tuple[int, int]]:
    """First and last token that hold characters of an answer, of all different answers that are in
    the paragraph and have a token there, in their order."""
    found: dict[tuple[int, int], None] = {}
    for answer in [a for a in example.answers if a.start is not None][:_ANSWERS]:
        assert answer.start is not None
        assert answer.end is not None
        first = int(np.searchsorted(context.ends, answer.start, side="right"))
        last = int(np.searchsorted(context.starts, answer.end, side="left")) - 1
        if first <= last:
            found[first, last] = None
    return list(found)
