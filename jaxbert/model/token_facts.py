"""What a fused kernel of attention is told of each token: one array, read in blocks of tokens.

B batch, T length.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from jaxbert.model.dropout import Seeds, site_words
from jaxbert.model.params import AnyArray

# Rows of the array; it has 8, which a TPU reads at once. A key's segment is 0 where no query sees
# it. Positions and the two words of dropout are those of the token's window.
KEY_SEGMENT, QUERY_SEGMENT, POSITION, LOW, HIGH = range(5)


def token_facts(
    rows: int,
    length: int,
    key_mask: Shaped[AnyArray, "B S"] | None,
    segment_ids: Int[AnyArray, "B S"] | None,
    seeds: Seeds | None,
    rate: float,
    site: int | Int[Array, ""],
) -> Int[Array, "B 8 T"]:
    """The facts of each token as int32, from arguments of `attention`.

    The last three are 0 where nothing is dropped.
    """
    shape = (rows, length)
    ones = jnp.ones(shape, jnp.int32)
    key_segment, query_segment = ones, ones
    if segment_ids is not None:
        key_segment = query_segment = jnp.asarray(segment_ids, jnp.int32)
    elif key_mask is not None:
        key_segment = (jnp.asarray(key_mask) != 0).astype(jnp.int32)
    low = high = position = jnp.zeros(shape, jnp.int32)
    if seeds is not None and rate > 0:
        low, high = (
            jnp.broadcast_to(jax.lax.bitcast_convert_type(x, jnp.int32).reshape(rows, -1), shape)
            for x in site_words(seeds, site)
        )
        places = jnp.arange(length) if seeds.positions is None else seeds.positions
        position = jnp.broadcast_to(places, shape)
    zeros = jnp.zeros(shape, jnp.int32)
    known = [key_segment, query_segment, position.astype(jnp.int32), low, high]
    return jnp.stack([*known, *[zeros] * (8 - len(known))], axis=1)
