"""LayerNorm of a residual sum on NVIDIA GPUs, in the kernels of triton_norm.py.

B batch, T length, D hidden size.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxbert.model.dropout import Seeds, threshold
from jaxbert.model.kernel_launch import Constants, KernelCall, Launch, lanes
from jaxbert.model.token_facts import token_facts

_TOKENS, _STEPS, _WARPS = 2, 16, 4


class _Fixed(NamedTuple):
    """What a kernel is compiled for."""

    eps: float
    rate: float
    launch: Launch


def triton(
    x: Float[Array, "B T D"],
    branch: Float[Array, "B T D"],
    branch_bias: Float[Array, "D"],
    scale: Float[Array, "D"],
    bias: Float[Array, "D"],
    seeds: Seeds | None,
    *,
    eps: float,
    rate: float,
    site: int | Int[Array, ""],
    launch: Launch,
) -> Float[Array, "B T D"]:
    """LayerNorm(x + dropout(branch + branch_bias)), with the dtype of x and float32 inside.

    Args:
        launch: how kernels are run: Compiled(...), or an interpreter in tests.
    """
    rate = 0.0 if seeds is None else rate
    facts = token_facts(x.shape[0], x.shape[1], None, None, seeds, rate, site)
    return _norm(_Fixed(eps, rate, launch), x, branch, branch_bias, scale, bias, facts)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _norm(
    fixed: _Fixed,
    x: Float[Array, "B T D"],
    branch: Float[Array, "B T D"],
    branch_bias: Float[Array, "D"],
    scale: Float[Array, "D"],
    bias: Float[Array, "D"],
    facts: Int[Array, "B 8 T"],
) -> Float[Array, "B T D"]:
    return _forward(fixed, x, branch, branch_bias, scale, bias, facts)[0]


_Saved = tuple[Array, Array, Array, Array]


def _forward(
    fixed: _Fixed,
    x: Array,
    branch: Array,
    branch_bias: Array,
    scale: Array,
    bias: Array,
    facts: Array,
) -> tuple[Float[Array, "B T D"], _Saved]:
    like = jax.ShapeDtypeStruct(x.shape, x.dtype)
    call = KernelCall(
        "triton_norm.forward",
        (x, branch, branch_bias, scale, bias, facts),
        [like, like],
        grid=(-(-x.shape[0] * x.shape[1] // _TOKENS),),
        warps=_WARPS,
        constants=_constants(fixed, like),
    )
    y, total = fixed.launch(call)
    return y, (total, branch_bias, scale, facts)


def _backward(
    fixed: _Fixed, saved: _Saved, grad: Float[Array, "B T D"]
) -> tuple[Array, Array, Array, Array, Array, None]:
    total, branch_bias, scale, facts = saved
    like = jax.ShapeDtypeStruct(total.shape, total.dtype)
    programs = -(-total.shape[0] * total.shape[1] // (_TOKENS * _STEPS))
    sums = jax.ShapeDtypeStruct((programs, total.shape[2]), jnp.float32)
    call = KernelCall(
        "triton_norm.backward",
        (total, grad, scale, facts),
        [like, like, sums, sums, sums],
        grid=(programs,),
        warps=_WARPS,
        constants={**_constants(fixed, like), "STEPS": _STEPS},
    )
    dx, dbranch, *sums_of_programs = fixed.launch(call)
    dadded, dscale, dbias = (jnp.sum(x, axis=0) for x in sums_of_programs)
    return dx, dbranch, dadded.astype(branch_bias.dtype), dscale, dbias, None


def _constants(fixed: _Fixed, x: jax.ShapeDtypeStruct) -> Constants:
    rows, length, size = x.shape
    return {
        "M": rows * length,
        "T": length,
        "D": size,
        "W": lanes(size),
        "TOKENS": _TOKENS,
        "EPS": fixed.eps,
        "DROP": fixed.rate > 0,
        "THRESHOLD": threshold(fixed.rate),
        "KEEP": 1.0 / (1.0 - fixed.rate),
    }


_norm.defvjp(_forward, _backward)
