"""Shapes and dtypes of signatures are checked in the tests: the checker is on, and refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from conftest import SMALL
from jaxtyping import TypeCheckError

from jaxbert.decoding.spans import decode_spans
from jaxbert.losses.forms import masked_log_softmax
from jaxbert.model.attention import Attention
from jaxbert.model.encoder import Encoder

HEADS = jnp.zeros((2, 5, 3, 4))


def test_heads_of_queries_and_keys_must_be_alike() -> None:
    assert Attention()(HEADS, HEADS, HEADS).shape == HEADS.shape
    with pytest.raises(TypeCheckError, match="parameter 'k'"):
        Attention()(HEADS, HEADS[..., :2], HEADS)


def test_a_mask_of_other_rows_is_refused_under_jit() -> None:
    """Without the check it would be broadcast: every row would have the first one's mask."""
    with pytest.raises(TypeCheckError, match="key_mask"):
        jax.jit(lambda mask: Attention()(HEADS, HEADS, HEADS, key_mask=mask))(jnp.ones((1, 5)))


def test_positions_of_another_length_are_refused_by_a_module() -> None:
    ids = jnp.ones((2, 5), jnp.int32)
    with pytest.raises(TypeCheckError, match="position_ids"):
        jax.eval_shape(lambda: Encoder(SMALL).init(jax.random.key(0), ids, position_ids=ids[:, :4]))
    with pytest.raises(TypeCheckError, match="input_ids"):
        jax.eval_shape(lambda: Encoder(SMALL).init(jax.random.key(0), jnp.ones((2, 5))))


def test_a_mask_that_would_be_broadcast_is_refused_by_a_loss() -> None:
    with pytest.raises(TypeCheckError, match="mask"):
        masked_log_softmax(jnp.zeros((2, 5)), jnp.ones((1, 5)))


def test_a_batch_is_refused_where_vmap_takes_it() -> None:
    scores, mask = jnp.zeros((2, 5)), jnp.ones((2, 5), bool)
    find = lambda s, e, m: decode_spans(s, e, m, max_answer_length=3, k=2)  # noqa: E731
    assert jax.vmap(find)(scores, scores, mask).start.shape == (2, 2)
    with pytest.raises(TypeCheckError, match="start_logits"):
        find(scores, scores, mask)
