"""Encodes questions with the windows of transformers' question-answering pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

from jaxbert.data.features import Features
from jaxbert.data.questions import QAExample
from jaxbert.data.template import template_of
from jaxbert.errors import InputError
from jaxbert.model.tokenizer import PreTrainedTokenizerFast  # checks first that it can be imported


def encode_question_windows(
    examples: Sequence[QAExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    overlap: int,
) -> Features:
    """Encode windows [CLS] question [SEP] part of the paragraph [SEP], never cutting the question.

    Training uses the windows of `encode_qa`, which, unlike the pipeline, cuts long questions.

    Args:
        tokenizer: a fast tokenizer; its [CLS], [SEP], offsets and words are used.
        max_length: maximum tokens of a window.
        overlap: tokens of the paragraph that two windows share.

    Returns:
        Features with tokens input_ids, token_type_ids int32, and on the host offsets (total, 2)
        int32, the characters of the paragraph's tokens in the paragraph; words (total,) int32, the
        word index of each; and context (total,) bool, True at the paragraph's tokens.

    Raises:
        InputError: a question leaves no room for the paragraph.
    """
    questions = _encode(tokenizer, [e.question for e in examples])
    contexts = _encode(tokenizer, [e.context for e in examples])
    template = template_of(tokenizer)
    ids: list[np.ndarray | list[int]] = []
    offsets: list[np.ndarray] = []
    words: list[np.ndarray] = []
    context_starts: list[int] = []
    lengths: list[int] = []
    owner: list[int] = []
    for index, example in enumerate(examples):
        question, context = questions[example.question], contexts[example.context]
        context_start = len(question.ids) + template.before_second
        room = max_length - context_start - 1
        total = len(context.ids)
        if total > room and (room < 1 or overlap >= room):
            raise InputError(
                f"question {index} has {len(question.ids)} tokens and leaves {max(room, 0)} of a "
                f"window of {max_length} to the context, which must be more than the {overlap} "
                "that windows share; give a shorter question, a smaller doc_stride or a "
                "larger max_seq_len"
            )
        prefix = (template.first, question.ids, template.between)
        context_offsets = np.asarray(context.offsets, np.int32).reshape(-1, 2)
        context_words = _word_indices(context.word_ids)
        starts = [0]
        while starts[-1] + room < total:
            starts.append(starts[-1] + room - overlap)
        for first in starts:
            part = slice(first, min(first + room, total))
            ids += (*prefix, context.ids[part], template.last)
            blank = np.zeros((context_start, 2), np.int32)
            offsets += (blank, context_offsets[part], blank[:1])
            words += (blank[:, 0], context_words[part], blank[:1, 0])
            context_starts.append(context_start)
            lengths.append(context_start + part.stop - first + 1)
            owner.append(index)
    bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    position = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
    in_second = position >= np.repeat(context_starts, lengths)
    context_mask = in_second.copy()
    context_mask[bounds[1:] - 1] = False
    return Features(
        bounds=bounds,
        tokens={
            "input_ids": np.concatenate(ids).astype(np.int32),
            "token_type_ids": in_second * np.int32(template.second_type),
        },
        rows={},
        example=np.asarray(owner, np.int32),
        host={
            "offsets": np.concatenate(offsets),
            "words": np.concatenate(words),
            "context": context_mask,
        },
    )


def _encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> dict[str, Encoding]:
    """Encode each distinct text once."""
    unique = list(dict.fromkeys(texts))
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return dict(zip(unique, backend.encode_batch(unique, add_special_tokens=False), strict=True))


def _word_indices(word_ids: Sequence[int | None]) -> np.ndarray:
    """(T,) int32, ascending; if the tokenizer does not report words, each token is one."""
    indices = [index for index in word_ids if index is not None]
    known = len(indices) == len(word_ids)
    return np.asarray(indices, np.int32) if known else np.arange(len(word_ids), dtype=np.int32)
