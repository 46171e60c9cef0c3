"""decode_spans against a search over all spans."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert import decode_spans


def search(
    start: np.ndarray, end: np.ndarray, mask: np.ndarray, longest: int, k: int
) -> list[tuple[float, int, int]]:
    """Every valid span, best first; equal scores by start, then end."""
    spans = [
        (0.0 - np.float32(start[i] + end[j]), i, j)
        for i in range(len(start))
        for j in range(i, min(len(start), i + longest))
        if mask[i : j + 1].all()
    ]
    return [(float(-score), i, j) for score, i, j in sorted(spans)[:k]]


@functools.cache
def compiled(longest: int, k: int):
    return jax.jit(functools.partial(decode_spans, max_answer_length=longest, k=k))


def found(start: np.ndarray, end: np.ndarray, mask: np.ndarray, longest: int, k: int):
    spans = compiled(longest, k)(start, end, mask)
    assert [x.shape for x in spans] == [(k,)] * 3
    listed = zip(*(np.asarray(x).tolist() for x in (spans.score, spans.start, spans.end)))  # noqa: B905
    return list(listed)


LENGTHS = st.sampled_from([1, 2, 7, 16, 24])
# Few different scores, so that most cases have ties.
SCORES = st.sampled_from([-1.0, -0.0, 0.0, 1.0]) | st.integers(-(10**6), 10**6).map(
    lambda n: n / 64
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    length = draw(LENGTHS)
    lists = [draw(st.lists(SCORES, min_size=length, max_size=length)) for _ in range(2)]
    mask = draw(st.lists(st.booleans(), min_size=length, max_size=length))
    start, end = (np.array(x, np.float32) for x in lists)
    return (
        start,
        end,
        np.array(mask),
        draw(st.sampled_from([1, 3, 30])),
        draw(st.sampled_from([1, 4, 20])),
    )


def check(case: tuple[np.ndarray, np.ndarray, np.ndarray, int, int]) -> None:
    start, end, mask, longest, k = case
    expected = search(start, end, mask, longest, k)
    missing = [(-np.inf, -1, -1)] * (k - len(expected))
    assert found(*case) == expected + missing


@settings(max_examples=500, deadline=None)
@given(cases())
def test_equals_the_search_over_all_spans(case) -> None:
    check(case)


@pytest.mark.nightly
@settings(max_examples=20_000, deadline=None)
@given(cases())
def test_equals_the_search_over_all_spans_nightly(case) -> None:
    check(case)


def test_batch_by_vmap_equals_one_by_one() -> None:
    rng = np.random.default_rng(0)
    start, end = rng.standard_normal((2, 5, 40)).astype(np.float32)
    mask = rng.random((5, 40)) < 0.9
    decode = functools.partial(decode_spans, max_answer_length=6, k=8)
    batch = jax.jit(jax.vmap(decode))(start, end, mask)
    for row in range(5):
        one = decode(jnp.array(start[row]), jnp.array(end[row]), jnp.array(mask[row]))
        for many, single in zip(batch, one, strict=True):
            np.testing.assert_array_equal(many[row], single)


def test_end_is_never_before_start() -> None:
    # The best end lies before the best start: the trap of decoding the two alone.
    start = np.array([0, 0, 0, 9], np.float32)
    end = np.array([9, 0, 0, 1], np.float32)
    assert found(start, end, np.ones(4, bool), 30, 1) == [(10.0, 3, 3)]


def test_nothing_valid() -> None:
    zeros = np.zeros(7, np.float32)
    assert found(zeros, zeros, np.zeros(7, bool), 3, 4) == [(-np.inf, -1, -1)] * 4


def test_bfloat16_logits_are_added_in_float32() -> None:
    start = jnp.array([256.0, 0.0], jnp.bfloat16)
    end = jnp.array([1.0, 0.0], jnp.bfloat16)
    spans = decode_spans(start, end, jnp.ones(2, bool), max_answer_length=1, k=1)
    assert float(spans.score[0]) == 257.0  # 256 in bfloat16
