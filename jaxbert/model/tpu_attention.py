"""Attention for TPUs in one kernel, forward and backward, with dropout of the weights.

Scores and weights never leave the chip. The mask of dropout is drawn where it is used, and drawn
again in the backward pass, by the function that `dropout` uses: nothing random is saved, and
results differ from those of the XLA path by rounding alone. Written in Pallas
(https://docs.jax.dev/en/latest/pallas); what it keeps for the backward pass is each
softmax's greatest score and denominator (Dao et al. 2022).

One program computes a row's heads that fill 128 lanes. All of their scores fit on the chip at once
(T <= 512), so there is no loop over blocks, and each gradient is one sum in a fixed order. Scores
are transposed, keys along sublanes and queries along lanes: sums over keys are rows then. A head is
chosen by zeros in the lanes of the others, which the matrix unit pads to 128 lanes anyway.

B batch, T query length, S key length (S = T), N heads, H head size, D = N H.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.ref import Ref
from jaxtyping import Array, Float, Int, Shaped

from jaxbert.model.dropout import STRIDE, Seeds, head_words, kept
from jaxbert.model.params import AnyArray
from jaxbert.model.token_facts import (
    HIGH,
    KEY_SEGMENT,
    LOW,
    POSITION,
    QUERY_SEGMENT,
    token_facts,
)

_LANES = 128
_MASKED = -1e30  # as in attention.py
_OUTSIDE = -2e30  # a key that only fills up the row: weight 0 beside masked keys, too


class _Fixed(NamedTuple):
    """What a kernel is compiled for."""

    heads: int
    rate: float
    by_segment: bool  # queries see the keys of their segment, otherwise all real keys
    interpret: bool


def pallas(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S N H"],
    v: Float[Array, "B S N H"],
    key_mask: Shaped[AnyArray, "B S"] | None,
    segment_ids: Int[AnyArray, "B S"] | None,
    seeds: Seeds | None,
    *,
    rate: float,
    site: int | Int[Array, ""],
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """The arguments of `attention`, with T = S.

    Args:
        interpret: compute it operation by operation on any device, for tests.
    """
    rows, length, heads, size = q.shape
    rate = 0.0 if seeds is None else rate
    facts = token_facts(rows, length, key_mask, segment_ids, seeds, rate, site)
    padding = -length % _LANES
    flat = [jnp.pad(x.reshape(rows, length, -1), ((0, 0), (0, padding), (0, 0))) for x in (q, k, v)]
    facts = jnp.pad(facts, ((0, 0), (0, 0), (0, padding)), constant_values=-1)
    out = _attention(_Fixed(heads, rate, segment_ids is not None, interpret), *flat, facts)
    return out[:, :length].reshape(rows, length, heads, size)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(
    fixed: _Fixed,
    q: Float[Array, "B T D"],
    k: Float[Array, "B T D"],
    v: Float[Array, "B T D"],
    facts: Int[Array, "B 8 T"],
) -> Float[Array, "B T D"]:
    return _forward(fixed, q, k, v, facts)[0]


_Saved = tuple[Array, Array, Array, Array, Array]


def _forward(
    fixed: _Fixed, q: Array, k: Array, v: Array, facts: Array
) -> tuple[Float[Array, "B T D"], _Saved]:
    rows, length, width = q.shape
    block, per_block = _block(fixed, width)
    out, sums = _call(
        fixed,
        _forward_kernel,
        (q, k, v, facts),
        [
            jax.ShapeDtypeStruct(q.shape, v.dtype),
            jax.ShapeDtypeStruct((rows, width // block, 2 * per_block, length), jnp.float32),
        ],
    )
    return out, (q, k, v, facts, sums)


def _backward(
    fixed: _Fixed, saved: _Saved, grad: Float[Array, "B T D"]
) -> tuple[Array, Array, Array, None]:
    q, k, v, facts, sums = saved
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, k, v)]
    dq, dk, dv = _call(fixed, _backward_kernel, (q, k, v, facts, sums, grad), shapes)
    return dq, dk, dv, None


_attention.defvjp(_forward, _backward)


def _block(fixed: _Fixed, width: int) -> tuple[int, int]:
    """The lanes of one program and its heads: 128 lanes, or all where heads do not fill those."""
    size = width // fixed.heads
    block = _LANES if width % _LANES == 0 and _LANES % size == 0 else width
    return block, block // size


def _call(
    fixed: _Fixed,
    kernel: Callable[..., None],
    inputs: Sequence[Array],
    outputs: Sequence[jax.ShapeDtypeStruct],
) -> list[Array]:
    """Run a kernel on each row and each group of heads."""
    rows, length, width = inputs[0].shape
    block, per_block = _block(fixed, width)
    tokens = pl.BlockSpec((None, length, block), lambda b, n: (b, 0, n))
    sums = pl.BlockSpec((None, None, 2 * per_block, length), lambda b, n: (b, n, 0, 0))
    facts = pl.BlockSpec((None, 8, length), lambda b, n: (b, 0, 0))

    def spec(x: Array | jax.ShapeDtypeStruct) -> pl.BlockSpec:
        if x.ndim == 4:
            return sums
        return facts if x.dtype == jnp.int32 else tokens

    made: list[Array] = pl.pallas_call(
        functools.partial(kernel, fixed, width // fixed.heads),
        grid=(rows, width // block),
        in_specs=[spec(x) for x in inputs],
        out_specs=[spec(x) for x in outputs],
        out_shape=outputs,
        interpret=fixed.interpret,
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
    )(*inputs)
    return made


class _Program:
    """What one program computes with: its tokens' facts, and products on the matrix unit."""

    def __init__(
        self, fixed: _Fixed, size: int, q: Float[Array, "T D"], facts: Int[Array, "8 T"]
    ) -> None:
        self.rate, self.size = fixed.rate, size
        self.per_block = q.shape[1] // size
        self.lanes = jax.lax.broadcasted_iota(jnp.int32, q.shape, 1)
        self.scale = jnp.asarray(size**-0.5, q.dtype)
        # float32 is multiplied as float32: the unit's single pass would be bfloat16.
        self.precision = jax.lax.Precision.HIGHEST if q.dtype == jnp.float32 else None
        by_key = facts.T
        key_segment = by_key[:, KEY_SEGMENT : KEY_SEGMENT + 1]
        seen = key_segment > 0
        if fixed.by_segment:
            seen &= key_segment == facts[QUERY_SEGMENT : QUERY_SEGMENT + 1]
        self.bias = jnp.where(seen, 0.0, jnp.where(key_segment < 0, _OUTSIDE, _MASKED))
        words = jax.lax.bitcast_convert_type(facts, jnp.uint32)
        self.low, self.high = words[LOW : LOW + 1], words[HIGH : HIGH + 1]
        self.position = words[POSITION : POSITION + 1] * jnp.uint32(STRIDE)
        self.position += jax.lax.bitcast_convert_type(by_key, jnp.uint32)[
            :, POSITION : POSITION + 1
        ]

    def of_head(self, x: Shaped[Array, "T D"], index: int) -> Shaped[Array, "T D"]:
        """x with zeros in the lanes of the other heads."""
        start = index * self.size
        mine = (self.lanes >= start) & (self.lanes < start + self.size)
        return x if self.per_block == 1 else jnp.where(mine, x, jnp.zeros((), x.dtype))

    def dot(self, x: Array, y: Array, contract: tuple[int, int]) -> Float[Array, "..."]:
        axes = (((contract[0],), (contract[1],)), ((), ()))
        return jax.lax.dot_general(
            x, y, axes, precision=self.precision, preferred_element_type=jnp.float32
        )

    def scores(self, q: Float[Array, "T D"], k: Float[Array, "S D"]) -> Float[Array, "S T"]:
        return self.dot(k, q * self.scale, (1, 1)) + self.bias

    def dropped(self, x: Float[Array, "S T"], index: int) -> Float[Array, "S T"]:
        """x with dropout: `dropout` of the transposed."""
        if self.rate == 0:
            return x
        head = (pl.program_id(1) * self.per_block + index).astype(jnp.uint32)
        low, high = head_words(self.low, self.high, head)
        mask = kept(self.position, low, high, self.rate)
        return jnp.where(mask, x * jnp.float32(1.0 / (1.0 - self.rate)), 0.0)


def _forward_kernel(
    fixed: _Fixed, size: int, q_ref: Ref, k_ref: Ref, v_ref: Ref, facts: Ref, out: Ref, sums: Ref
) -> None:
    q, k, v = q_ref[...], k_ref[...], v_ref[...]
    program = _Program(fixed, size, q, facts[...])
    total = jnp.zeros(q.shape, jnp.float32)
    for index in range(program.per_block):
        scores = program.scores(program.of_head(q, index), k)
        largest = jnp.max(scores, axis=0, keepdims=True)
        weights = jnp.exp(scores - largest)
        norm = jnp.sum(weights, axis=0, keepdims=True)
        weights = program.dropped(weights / norm, index).astype(v.dtype)
        total += program.dot(weights, program.of_head(v, index), (0, 0))
        sums[2 * index : 2 * index + 1, :] = largest
        sums[2 * index + 1 : 2 * index + 2, :] = norm
    out[...] = total.astype(out.dtype)


def _backward_kernel(
    fixed: _Fixed,
    size: int,
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    facts: Ref,
    sums: Ref,
    grad_ref: Ref,
    dq_ref: Ref,
    dk_ref: Ref,
    dv_ref: Ref,
) -> None:
    q, k, v, grad = q_ref[...], k_ref[...], v_ref[...], grad_ref[...]
    program = _Program(fixed, size, q, facts[...])
    dq = dk = dv = jnp.zeros(q.shape, jnp.float32)
    for index in range(program.per_block):
        q_head = program.of_head(q, index)
        largest, norm = sums[2 * index : 2 * index + 1, :], sums[2 * index + 1 : 2 * index + 2, :]
        weights = jnp.exp(program.scores(q_head, k) - largest) / norm
        kept_weights = program.dropped(weights, index)
        dv += program.dot(kept_weights.astype(v.dtype), program.of_head(grad, index), (1, 0))
        dweights = program.dropped(program.dot(program.of_head(v, index), grad, (1, 1)), index)
        # d softmax: weights * (dweights - sum of weights * dweights over the keys).
        mean = jnp.sum(weights * dweights, axis=0, keepdims=True)
        dscores = (weights * (dweights - mean)).astype(q.dtype)
        dk += program.dot(dscores, q_head * program.scale, (1, 0))
        dq += program.dot(dscores, program.of_head(k, index), (0, 0)) * size**-0.5
    dq_ref[...] = dq.astype(dq_ref.dtype)
    dk_ref[...] = dk.astype(dk_ref.dtype)
    dv_ref[...] = dv.astype(dv_ref.dtype)
