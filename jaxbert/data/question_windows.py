"""Questions -> Features as transformers' question-answering pipeline cuts them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

from jaxbert.data.features import Features
from jaxbert.data.questions import QAExample
from jaxbert.errors import InputError
from jaxbert.model.tokenizer import PreTrainedTokenizerFast  # which says first how to import it


def encode_question_windows(
    examples: Sequence[QAExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    overlap: int,
) -> Features:
    """Windows [CLS] question [SEP] part of the paragraph [SEP]; the question is never cut.

    `encode_qa` makes the windows that are trained on. It cuts long questions, which the pipeline
    does not.

    Args:
        tokenizer: a fast tokenizer; its [CLS], [SEP], offsets and words are used.
        max_length: the most tokens of a window.
        overlap: the tokens of the paragraph that two windows share.

    Returns:
        Features with tokens input_ids, token_type_ids int32, and on the host offsets (total, 2)
        int32, the characters of the paragraph's tokens in the paragraph, words (total,) int32, the
        number of the word that each is of, and context (total,) bool, True at them.

    Raises:
        InputError: a question leaves no room for the paragraph.
    """
    questions = _encode(tokenizer, [e.question for e in examples])
    contexts = _encode(tokenizer, [e.context for e in examples])
    cls, sep = ([tokenizer.cls_token_id], [tokenizer.sep_token_id])
    ids: list[list[int]] = []
    offsets: list[np.ndarray] = []
    words: list[np.ndarray] = []
    heads: list[int] = []
    lengths: list[int] = []
    owner: list[int] = []
    for number, example in enumerate(examples):
        question, context = questions[example.question], contexts[example.context]
        head = len(question.ids) + 2
        room = max_length - head - 1
        total = len(context.ids)
        if total > room and (room < 1 or overlap >= room):
            raise InputError(
                f"question {number} has {head - 2} tokens and leaves {max(room, 0)} of a window of "
                f"{max_length} to the context, which must be more than the {overlap} that windows "
                "share; give a shorter question, a smaller doc_stride or a larger max_seq_len"
            )
        prefix = cls + question.ids + sep
        places = np.asarray(context.offsets, np.int32).reshape(-1, 2)
        numbers = _word_numbers(context.word_ids)
        starts = [0]
        while starts[-1] + room < total:
            starts.append(starts[-1] + room - overlap)
        for first in starts:
            part = slice(first, min(first + room, total))
            ids += (prefix, context.ids[part], sep)
            blank = np.zeros((head, 2), np.int32)
            offsets += (blank, places[part], blank[:1])
            words += (blank[:, 0], numbers[part], blank[:1, 0])
            heads.append(head)
            lengths.append(head + part.stop - first + 1)
            owner.append(number)
    bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    position = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
    second = position >= np.repeat(heads, lengths)
    context_mask = second.copy()
    context_mask[bounds[1:] - 1] = False
    return Features(
        bounds=bounds,
        tokens={
            "input_ids": np.concatenate(ids).astype(np.int32),
            "token_type_ids": second.astype(np.int32),
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
    """Every different text once."""
    unique = list(dict.fromkeys(texts))
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return dict(zip(unique, backend.encode_batch(unique, add_special_tokens=False), strict=True))


def _word_numbers(found: Sequence[int | None]) -> np.ndarray:
    """(T,) int32, ascending; where the tokenizer knows no words, each token is one."""
    numbers = [number for number in found if number is not None]
    known = len(numbers) == len(found)
    return np.asarray(numbers, np.int32) if known else np.arange(len(found), dtype=np.int32)
