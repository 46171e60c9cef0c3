"""Logits of windows -> the answers and scores of transformers' question-answering pipeline.

Source: `QuestionAnsweringPipeline.postprocess` of transformers 4.57, the last of its kind. Its
score is the product of two softmaxes, of the first token and of the last one, within one window.
Answers of equal text, in small letters, are one answer, and their scores are added. See
decoding.answers for the scores of eval/qa.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypedDict

import numpy as np


class Answer(TypedDict):
    """A probability, and context[start:end] == answer; all plain Python."""

    score: float
    start: int
    end: int
    answer: str


class Window(NamedTuple):
    """What is known of one window with n tokens of the paragraph.

    Attributes:
        start_logits, end_logits: (1 + n,) floats, those of [CLS] and of the n tokens.
        offsets: (n, 2) int, their characters in the paragraph.
        words: (n,) int, ascending: the number of the word that each is of.
    """

    start_logits: np.ndarray
    end_logits: np.ndarray
    offsets: np.ndarray
    words: np.ndarray


def pipeline_answers(
    context: str,
    windows: Iterable[Window],
    *,
    top_k: int,
    max_answer_len: int,
    handle_impossible_answer: bool,
    align_to_words: bool,
) -> list[Answer]:
    """The answers of one question, best first.

    Args:
        top_k: how many at most.
        max_answer_len: the most tokens of an answer, before it is widened.
        handle_impossible_answer: "" is an answer too, with the least probability that any of the
            windows gives to [CLS].
        align_to_words: widen each to whole words, as far as its window goes.

    Returns:
        At most top_k answers. Only where the paragraph has no token it is the empty one alone,
        with the score 0.
    """
    # Some have equal text once they are widened; so the pipeline looks at more.
    most = 2 * top_k + 10 if align_to_words else top_k
    found: dict[str, Answer] = {}
    null = 1_000_000.0
    for window in windows:
        start, end = _softmax(window.start_logits), _softmax(window.end_logits)
        null = min(null, float(start[0] * end[0]))
        first, last, scores = best_spans(start[1:], end[1:], max_answer_len=max_answer_len, k=most)
        if align_to_words:
            first = np.searchsorted(window.words, window.words[first], side="left")
            last = np.searchsorted(window.words, window.words[last], side="right") - 1
        starts, ends = window.offsets[first, 0], window.offsets[last, 1]
        for a, b, score in zip(starts.tolist(), ends.tolist(), scores.tolist(), strict=True):
            text = context[a:b]
            same = found.setdefault(text.lower(), Answer(score=0.0, start=a, end=b, answer=text))
            same["score"] += score
    answers = list(found.values())
    if handle_impossible_answer:
        answers.append(Answer(score=null, start=0, end=0, answer=""))
    answers.sort(key=lambda answer: -answer["score"])  # stable: of equals the first found
    return answers[:top_k] or [Answer(score=0.0, start=0, end=0, answer="")]


def best_spans(
    start: np.ndarray, end: np.ndarray, *, max_answer_len: int, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k best spans (i, j), i <= j < i + max_answer_len, by start[i] * end[j], best first.

    Args:
        start, end: (n,) probabilities.

    Returns:
        First tokens, last tokens, scores, (<= k,) each; equal scores in the order of (i, j).
    """
    tokens = len(start)
    width = min(max_answer_len, tokens)
    i, more = np.indices((tokens, width)).reshape(2, -1)
    inside = i + more < tokens
    i, j = i[inside], (i + more)[inside]
    scores = start[i] * end[j]
    if k < len(scores):
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
        i, j, scores = i[kept], j[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:k]
    return i[order], j[order], scores[order]


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(weights / weights.sum())
