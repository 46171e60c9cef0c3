"""Losses: pure functions (outputs, batch) -> (loss_sum, weight_sum), never means.

Whoever calls a loss divides once, by the weight of the whole global batch. So the result does not
depend on the number of devices, on padding rows, or on how a batch is split for accumulation.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Arrays = dict[str, jax.Array]
Measure = Callable[[Arrays, Arrays], dict[str, tuple[jax.Array, jax.Array]]]
Loss = Callable[[Arrays, Arrays], tuple[jax.Array, jax.Array]]


def masked_log_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """log softmax over the last axis, float32, as if positions with mask 0 were not there.

    >>> import jax.numpy as jnp
    >>> masked_log_softmax(jnp.array([1.0, 1.0, 9.0]), jnp.array([1, 1, 0]))[:2].round(4).tolist()
    [-0.6930999755859375, -0.6930999755859375]
    """
    return jax.nn.log_softmax(jnp.where(mask != 0, logits.astype(jnp.float32), -1e30), axis=-1)
