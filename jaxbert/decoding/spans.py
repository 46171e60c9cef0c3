"""The span decoder: start and end scores -> the exactly k best valid spans, as a pure function."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32


class Spans(NamedTuple):
    """Spans of tokens, best first. Where there are fewer than k, start and end are -1.

    start, end: both inclusive. score: -inf where there is none.
    """

    start: Int32[Array, "*B k"]
    end: Int32[Array, "*B k"]
    score: Float[Array, "*B k"]


def decode_spans(
    start_logits: Float[Array, "T"],
    end_logits: Float[Array, "T"],
    mask: Bool[Array, "T"],
    *,
    max_answer_length: int,
    k: int,
) -> Spans:
    """The k best spans (i, j) by start_logits[i] + end_logits[j] (Devlin et al. 2019, section 4.2).

    A span is valid when i <= j < i + max_answer_length and the mask is True at every token from i
    to j. Each valid span comes once. Equal scores are ordered by i, then by j, so the result is
    deterministic. For a batch, `jax.vmap` it; it is jittable with both keywords static.

    Args:
        start_logits, end_logits: of one window.
        mask: where an answer may have a token.
        max_answer_length: the most tokens of a span.
        k: how many spans to return.

    Returns:
        Spans with (k,) arrays.
    """
    length = start_logits.shape[0]
    width = min(max_answer_length, length)
    start_logits = start_logits.astype(jnp.float32)
    end_logits = end_logits.astype(jnp.float32)
    # scores[i, w] is the span (i, i + w): a band of the (T, T) matrix, `width` wide. It is valid
    # while i + w lies before the first position from i on where the mask is False.
    position = jnp.arange(length)
    stop = jax.lax.cummin(jnp.where(mask, length, position), reverse=True)
    last = position[:, None] + jnp.arange(width)
    scores = start_logits[:, None] + end_logits[jnp.minimum(last, length - 1)]
    scores = jnp.where(last < stop[:, None], scores, -jnp.inf)
    scores = jnp.where(scores == 0.0, 0.0, scores)  # top_k would put -0.0 behind 0.0

    # The k best spans lie in the k starts whose best span is best: any other start has k spans
    # before its own. So the second search is over k * width spans instead of T * width. top_k
    # prefers the lower index among equals, and ascending starts keep that order of (i, j).
    starts = jnp.sort(jax.lax.top_k(scores.max(axis=1), min(k, length))[1])
    best, flat = jax.lax.top_k(scores[starts].reshape(-1), min(k, starts.shape[0] * width))
    start = starts[flat // width].astype(jnp.int32)
    end = start + (flat % width).astype(jnp.int32)
    found = best > -jnp.inf
    missing = k - best.shape[0]
    return Spans(
        jnp.pad(jnp.where(found, start, -1), (0, missing), constant_values=-1),
        jnp.pad(jnp.where(found, end, -1), (0, missing), constant_values=-1),
        jnp.pad(best, (0, missing), constant_values=-jnp.inf),
    )
