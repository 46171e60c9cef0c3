"""The best spans of a window against all of them, and how answers are merged and ordered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.decoding.pipeline_answers import Window, best_spans, pipeline_answers

# Few values, so that many spans are equal.
tokens = st.lists(st.tuples(*[st.integers(0, 3)] * 2), max_size=7)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(tokens, st.integers(1, 9), st.integers(1, 30))
def test_the_best_spans_are_those_of_all(
    values: list[tuple[int, int]], longest: int, k: int
) -> None:
    start, end = np.array(values, np.float64).reshape(-1, 2).T
    found = best_spans(start, end, max_answer_len=longest, k=k)
    every = [
        (-start[i] * end[j], i, j)
        for i in range(len(values))
        for j in range(i, min(i + longest, len(values)))
    ]
    wanted = [(i, j, -minus) for minus, i, j in sorted(every)[:k]]
    assert list(zip(*(x.tolist() for x in found), strict=True)) == wanted


def window(start: list[float], end: list[float], offsets: list[tuple[int, int]]) -> Window:
    places = np.array(offsets).reshape(-1, 2)
    with np.errstate(divide="ignore"):
        logits = np.log(np.array([start, end], np.float32))
    return Window(logits[0], logits[1], places, np.arange(len(places)))


def test_equal_texts_are_one_answer_with_the_sum() -> None:
    """Over windows too, whatever their case; the first place stays. Probabilities by hand."""
    first = window([0.5, 0.5, 0], [0.25, 0.5, 0.25], [(0, 3), (4, 7)])
    second = window([0.2, 0.8], [0.9, 0.1], [(4, 7)])
    ask = {"max_answer_len": 1, "align_to_words": False}
    found = pipeline_answers(
        "Ada ADA", [first, second], top_k=2, handle_impossible_answer=True, **ask
    )
    assert [(a["start"], a["end"], a["answer"]) for a in found] == [(0, 3, "Ada"), (0, 0, "")]
    # "" has the least of 0.5 * 0.25 and 0.2 * 0.9.
    assert [a["score"] for a in found] == pytest.approx([0.5 * 0.5 + 0.8 * 0.1, 0.125])
    assert [type(value) for value in found[0].values()] == [float, int, int, str]


def test_a_text_without_a_token_has_the_empty_answer() -> None:
    for impossible, score in ((False, 0.0), (True, 1.0)):
        found = pipeline_answers(
            " ",
            [window([1], [1], [])],
            top_k=5,
            max_answer_len=3,
            handle_impossible_answer=impossible,
            align_to_words=True,
        )
        assert found == [{"score": score, "start": 0, "end": 0, "answer": ""}]
