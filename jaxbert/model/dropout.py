"""Dropout whose mask is a hash of (key, row, site, position), not a stream of generated bits.

The hash fuses into the multiplication that applies it, so the mask never reaches memory; with
`jax.random.bernoulli` a complete training step takes a third longer on a CPU (BENCHMARKS.md).
Because a row's mask depends only on the row's id, a training step gives the same result on any
number of devices, with any split for accumulation, and with any padding.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, UInt32

from jaxbert.model.params import AnyArray

# Positions are numbered with this row length, at least that of any sequence or hidden state, so
# padding a sequence does not renumber them. Two axes then fill 32 bits without collisions.
STRIDE = 1 << 16


class Seeds(NamedTuple):
    """Two 32-bit words per row, `low` and `high`, (B,) uint32.

    In packed rows they are (B, T), from each token's window, and `positions` (B, T) int32 are the
    tokens' positions in their windows.
    """

    low: UInt32[Array, B * T]
    high: UInt32[Array, B * T]
    positions: Int[Array, "B T"] | None = None


def _mix(x: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """A bijective 32-bit finaliser ("lowbias32", Wellons 2018, https://nullprogram.com)."""
    x = x ^ (x >> 16)
    x = x * jnp.uint32(0x7FEB352D)
    x = x ^ (x >> 15)
    x = x * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def row_seeds(key: Array, rows: Integer[AnyArray, "B"]) -> Seeds:
    """Seeds for the rows of a batch: a pure function of the key and each row's id.

    Args:
        key: a JAX key, typed or raw.
        rows: (B,) integers, the ids of the rows.
    """
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    words = data.astype(jnp.uint32).reshape(-1)
    ids = jnp.asarray(rows).astype(jnp.uint32)
    low = _mix(_mix(ids ^ words[0]) + jnp.uint32(0x9E3779B9))
    high = _mix(_mix(ids + words[-1]) ^ low)
    return Seeds(low, high)


def keep_mask(
    seeds: Seeds, site: int | Int[Array, ""], shape: tuple[int, ...], rate: float
) -> Bool[Array, "..."]:
    """Which elements are kept: (B, ...) boolean of `shape`, True with probability 1 - `rate`.

    Args:
        seeds: the rows' seeds.
        site: the index of the dropout in the model; each has an independent mask.
        shape: (B, T, D) or (B, N, T, S).
        rate: the probability of False, in steps of 2**-32.
    """
    low, high = (x.reshape(shape[0], -1, 1) for x in site_words(seeds, site))
    if len(shape) == 4:
        heads = jnp.arange(shape[1], dtype=jnp.uint32)[:, None, None]
        low, high = head_words(low[:, None], high[:, None], heads)
    return kept(_positions(seeds.positions, shape), low, high, rate)


Words = UInt32[Array, "..."]


def site_words(seeds: Seeds, site: int | Int[Array, ""]) -> tuple[Words, Words]:
    """The seeds' two words at one dropout of the model."""
    low = _mix(seeds.low + jnp.uint32(site) * jnp.uint32(0x9E3779B1))
    return low, _mix(seeds.high ^ (jnp.uint32(site) * jnp.uint32(0x85EBCA77)))


def head_words(low: Words, high: Words, head: Words) -> tuple[Words, Words]:
    """The two words of a head, from those of the site."""
    return _mix(low + head * jnp.uint32(0xC2B2AE3D)), _mix(high ^ (head * jnp.uint32(0x27D4EB2F)))


def kept(position: Words, low: Words, high: Words, rate: float) -> Bool[Array, "..."]:
    """Whether the element at `position`, first index * STRIDE + second, is kept."""
    # The two words are mixed in at different points: with only one, rows whose seeds differ by d
    # would have the same mask shifted by d.
    bits = _mix((position * jnp.uint32(0x9E3779B1)) ^ low) + high
    bits = bits ^ (bits >> 15)
    bits = bits * jnp.uint32(0x2C1B3C6D)
    bits = bits ^ (bits >> 12)
    return bits >= jnp.uint32(threshold(rate))


def threshold(rate: float) -> int:
    """The smallest 32-bit hash that is kept."""
    return min(round(rate * 2**32), 2**32 - 1)


def _positions(positions: Int[Array, "B T"] | None, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """The index of each element in its row or window: uint32, broadcast to `shape`."""
    stride = jnp.uint32(STRIDE)
    if positions is None:
        first = jax.lax.broadcasted_iota(jnp.uint32, shape[-2:], 0)
        return first * stride + jax.lax.broadcasted_iota(jnp.uint32, shape[-2:], 1)
    first = positions.astype(jnp.uint32)
    if len(shape) == 4:  # a query and a key
        return (first[:, :, None] * stride + first[:, None, :])[:, None]
    return first[:, :, None] * stride + jnp.arange(shape[2], dtype=jnp.uint32)


def dropout(
    x: Float[Array, "*shape"], rate: float, seeds: Seeds | None, site: int | Int[Array, ""]
) -> Float[Array, "*shape"]:
    """Zero each element with probability `rate` and divide the others by 1 - `rate`.

    Srivastava et al. 2014, section 4, in the inverted form. Without seeds or with rate 0, as in
    evaluation, it returns `x`.
    """
    if seeds is None or rate == 0.0:
        return x
    scale = jnp.asarray(1.0 / (1.0 - rate), x.dtype)
    return jnp.where(keep_mask(seeds, site, x.shape, rate), x * scale, jnp.zeros((), x.dtype))
