"""Parts of the encoder that are computed in two ways, or that stand in for Flax's."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.model.config import BertConfig
from jaxbert.model.dense import Dense, joint
from jaxbert.model.encoder import LayerNorm

CFG = BertConfig(hidden_size=24, num_attention_heads=4, layer_norm_eps=1e-12)
NAMES = ("query", "key", "value")


class Projections(nn.Module):
    """Queries, keys and values as one array, (B, T, 3, N, H)."""

    as_one: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        parts = [Dense(CFG, (4, 6), jnp.float32, name=name) for name in NAMES]
        if not self.as_one:
            return jnp.stack([part(x) for part in parts], axis=2)
        [y], bias = joint(parts, x)
        return y + (bias - jax.lax.stop_gradient(bias))  # the gradient that a kernel finds


def test_one_product_is_that_of_three_with_the_same_parameters() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 5, 24))
    params = Projections(False).init(jax.random.key(1), x)
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases too
    assert jax.tree.structure(Projections(True).init(jax.random.key(1), x)) == jax.tree.structure(
        params
    )

    def values(as_one: bool) -> Any:
        def total(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = Projections(as_one).apply(params, x)
            return jnp.sum(jnp.sin(y)), y

        return jax.grad(total, (0, 1), has_aux=True)(params, x)

    for ours, expected in zip(
        jax.tree.leaves(values(True)), jax.tree.leaves(values(False)), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layer_norm_is_that_of_flax(dtype: Any) -> None:
    x = jax.random.normal(jax.random.key(0), (2, 5, 24)).astype(dtype)
    flax = nn.LayerNorm(epsilon=1e-12, use_fast_variance=False, dtype=dtype)
    params = jax.tree.map(lambda p: p + jnp.linspace(-1, 1, 24), flax.init(jax.random.key(1), x))
    ours = LayerNorm(CFG, dtype).apply(params, x)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, flax.apply(params, x))
