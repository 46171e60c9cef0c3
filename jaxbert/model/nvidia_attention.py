"""Attention for NVIDIA GPUs in fused kernels, from compute capability 8.0 on: those of
triton_attention.py, forward and backward.

B batch, T query length, S key length (S = T), N heads, H head size.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from jaxbert.model.dropout import Seeds, threshold
from jaxbert.model.kernel_launch import Constants, KernelCall, Launch, lanes
from jaxbert.model.params import AnyArray
from jaxbert.model.token_facts import token_facts


class _Fixed(NamedTuple):
    """What a kernel is compiled for."""

    rate: float
    by_segment: bool  # queries see the keys of their segment, otherwise all real keys
    launch: Launch


def triton(
    qkv: Float[Array, "B T 3 N H"],
    bias: Float[Array, "3 N H"],
    key_mask: Shaped[AnyArray, "B S"] | None,
    segment_ids: Int[AnyArray, "B S"] | None,
    seeds: Seeds | None,
    *,
    rate: float,
    site: int | Int[Array, ""],
    launch: Launch,
) -> Float[Array, "B T N H"]:
    """The arguments of `Attention`, of which queries, keys and values are one array.

    Args:
        bias: what was added to all tokens of qkv, without a gradient (stop_gradient). Its gradient
            is found here: the sum of those of qkv, added up where they are written.
        launch: how kernels are run: Compiled(), or an interpreter in tests.
    """
    rate = 0.0 if seeds is None else rate
    facts = token_facts(qkv.shape[0], qkv.shape[1], key_mask, segment_ids, seeds, rate, site)
    return _attention(_Fixed(rate, segment_ids is not None, launch), qkv, bias, facts)


class Tile(NamedTuple):
    """What a program of a kernel holds at a time."""

    queries: int
    keys: int


class Tiles(NamedTuple):
    """Of the kernels.

    Attributes:
        by_query, by_key: of the programs for gradients of queries, and of keys and values.
        warps: of 32 threads, of each program.
    """

    forward: Tile
    by_query: Tile
    by_key: Tile
    warps: int


def tiles(dtype: DTypeLike, size: int, capability: int) -> Tiles:
    """The largest tiles whose numbers stay in registers, as the compiler reports for 8.0 and 9.0
    (but 96 bytes a thread with heads of 128 on 9.0).

    Larger ones read fewer keys again, or fewer queries.

    Args:
        size: H.
    """
    if jnp.dtype(dtype).itemsize > 2:
        return Tiles(Tile(32, 32), Tile(32, 32), Tile(32, 32), 4)
    large = Tile(128, 64)
    if capability >= 90:
        return Tiles(large, large, Tile(32, 128), 8)
    if size <= 64:
        return Tiles(large, large, Tile(64, 64), 8)
    return Tiles(Tile(128, 32), Tile(64, 64), Tile(64, 64), 8)


def _constants(fixed: _Fixed, qkv: Float[Array, "B T 3 N H"]) -> Constants:
    _, length, _, heads, size = qkv.shape
    return {
        "T": length,
        "N": heads,
        "H": size,
        "W": lanes(size),
        "SCALE": size**-0.5,
        "BY_SEGMENT": fixed.by_segment,
        "DROP": fixed.rate > 0,
        "THRESHOLD": threshold(fixed.rate),
        "KEEP": 1.0 / (1.0 - fixed.rate),
        # float32 is multiplied as float32, not as TF32.
        "DOT": "ieee" if qkv.dtype == jnp.float32 else "tf32",
    }


class KernelCost(NamedTuple):
    """What a kernel does for one head of a row.

    Attributes:
        flops: of its products.
        beyond: elements that it reads beyond reading each input once.
    """

    flops: float
    beyond: float


def cost(kernel: str, blocks: int, length: int, size: int) -> KernelCost:
    """The cost of a kernel of triton_attention.

    Args:
        blocks: its programs for a head of a row. Each reads two of queries, keys, values and
            gradients as a whole, and the block of all that it is for.
        size: H.
    """
    products, beyond = {"forward": (2, 2 * (blocks - 1)), "backward": (7, 2 * blocks)}[kernel]
    return KernelCost(2 * products * length**2 * size, beyond * length * size)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(
    fixed: _Fixed,
    qkv: Float[Array, "B T 3 N H"],
    bias: Float[Array, "3 N H"],
    facts: Int[Array, "B 8 T"],
) -> Float[Array, "B T N H"]:
    return _forward(fixed, qkv, bias, facts)[0]


_Saved: TypeAlias = tuple[Array, ...]


def _forward(
    fixed: _Fixed,
    qkv: Float[Array, "B T 3 N H"],
    bias: Float[Array, "3 N H"],
    facts: Int[Array, "B 8 T"],
) -> tuple[Float[Array, "B T N H"], _Saved]:
    rows, length, _, heads, size = qkv.shape
    (queries, keys), *_, warps = tiles(qkv.dtype, size, fixed.launch.capability)
    by_query = jax.ShapeDtypeStruct((rows, heads, length), jnp.float32)
    call = KernelCall(
        "triton_attention.forward",
        (qkv, facts),
        [jax.ShapeDtypeStruct((rows, length, heads, size), qkv.dtype), by_query, by_query],
        grid=(_blocks(length, queries), rows * heads),
        warps=warps,
        constants={**_constants(fixed, qkv), "QUERIES": queries, "KEYS": keys},
    )
    out, largest, norm = fixed.launch(call)
    return out, (qkv, bias, facts, largest, norm, out)


def _backward(
    fixed: _Fixed, saved: _Saved, grad: Float[Array, "B T N H"]
) -> tuple[Float[Array, "B T 3 N H"], Float[Array, "3 N H"], None]:
    qkv, bias, facts, largest, norm, out = saved
    rows, length, _, heads, size = qkv.shape
    _, by_query, by_key, warps = tiles(qkv.dtype, size, fixed.launch.capability)
    # The sum of weights * d weights over the keys is that of out * grad over H.
    mean = jnp.sum(out.astype(jnp.float32) * grad.astype(jnp.float32), axis=-1)
    query_blocks, key_blocks = _blocks(length, by_query.queries), _blocks(length, by_key.keys)
    sums = jax.ShapeDtypeStruct((rows, heads, query_blocks + 2 * key_blocks, size), jnp.float32)
    call = KernelCall(
        "triton_attention.backward",
        (qkv, facts, largest, norm, mean, grad),
        [jax.ShapeDtypeStruct(qkv.shape, qkv.dtype), sums],
        grid=(query_blocks + key_blocks, rows * heads),
        warps=warps,
        constants={
            **_constants(fixed, qkv),
            "QUERIES": by_query.queries,
            "KEYS": by_query.keys,
            "OTHER_QUERIES": by_key.queries,
            "OTHER_KEYS": by_key.keys,
        },
    )
    dqkv, dbias = fixed.launch(call)
    of_queries, of_others = jnp.split(dbias, [query_blocks], axis=2)
    of_others = of_others.reshape(rows, heads, key_blocks, 2, size)
    of_keys, of_values = (jnp.sum(of_others[..., n, :], axis=(0, 2)) for n in (0, 1))
    total = jnp.stack([jnp.sum(of_queries, axis=(0, 2)), of_keys, of_values])
    return dqkv, total.astype(bias.dtype), None


def _blocks(length: int, size: int) -> int:
    return -(-length // size)


_attention.defvjp(_forward, _backward)
