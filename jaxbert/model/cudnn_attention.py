"""cuDNN's flash attention for NVIDIA GPUs, through JAX, without dropout and segments."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxbert.model.params import AnyArray


def cudnn(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S N H"],
    v: Float[Array, "B S N H"],
    key_mask: Shaped[AnyArray, "B S"] | None,
) -> Float[Array, "B T N H"]:
    """Attention in bfloat16; padding must come last in each row.

    It is given lengths, because JAX would turn a mask into a bias and compute its gradient.
    """
    lengths = None
    if key_mask is not None:  # a row of padding counts as one token, to have a defined softmax
        lengths = jnp.maximum(jnp.sum(key_mask != 0, axis=-1, dtype=jnp.int32), 1)
    return jax.nn.dot_product_attention(
        q, k, v, query_seq_lengths=lengths, key_value_seq_lengths=lengths, implementation="cudnn"
    )
