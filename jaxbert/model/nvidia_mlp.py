"""The MLP of a layer on NVIDIA GPUs after its first product: GELU (triton_gelu.py), the second.

B batch, T length, D hidden size, F width.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxbert.model.by_rows import by_rows
from jaxbert.model.kernel_launch import KernelCall, Launch

_TOKENS, _STEPS, _LANES, _WARPS = 8, 16, 256, 4


class _Fixed(NamedTuple):
    """What kernels are compiled for, and the devices; see Attention.mesh."""

    launch: Launch
    mesh: Mesh | None


def triton(
    product: Float[Array, "B T F"],
    bias: Float[Array, "F"],
    kernel: Float[Array, "F D"],
    *,
    launch: Launch,
    mesh: Mesh | None = None,
) -> Float[Array, "B T D"]:
    """GELU(product + bias) @ kernel with the erf, in the dtype of the product.

    The GELU is not kept for the backward pass, which computes it again where it computes its
    gradient, and writes it once more: it would take as much memory as the product.

    Args:
        launch: how kernels are run: Compiled(...), or an interpreter in tests.
        mesh: of the devices that share the rows; see by_rows.
    """
    return _mlp(_Fixed(launch, mesh), product, bias, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mlp(
    fixed: _Fixed,
    product: Float[Array, "B T F"],
    bias: Float[Array, "F"],
    kernel: Float[Array, "F D"],
) -> Float[Array, "B T D"]:
    return _forward(fixed, product, bias, kernel)[0]


_Saved = tuple[Array, Array, Array]


def _forward(
    fixed: _Fixed, product: Array, bias: Array, kernel: Array
) -> tuple[Float[Array, "B T D"], _Saved]:
    def gelu(product: Array, bias: Array) -> Float[Array, "B T F"]:
        like = jax.ShapeDtypeStruct(product.shape, product.dtype)
        [y] = fixed.launch(_call("forward", (product, bias), [like]))
        return y

    y = by_rows(gelu, fixed.mesh, product, bias)
    return _times(y, kernel), (product, bias, kernel)


def _backward(
    fixed: _Fixed, saved: _Saved, grad: Float[Array, "B T D"]
) -> tuple[Float[Array, "B T F"], Float[Array, "F"], Float[Array, "F D"]]:
    product, bias, kernel = saved

    def gelu(rows: tuple[Array, Array], bias: Array) -> tuple[Array, Array, Array]:
        product, grad = rows
        like = jax.ShapeDtypeStruct(product.shape, product.dtype)
        sums = jax.ShapeDtypeStruct((_programs(product), product.shape[-1]), jnp.float32)
        y, dproduct, dbias = fixed.launch(
            _call("backward", (product, bias, grad), [like, like, sums])
        )
        return y, dproduct, dbias

    y, dproduct, dbias = by_rows(gelu, fixed.mesh, (product, _times(grad, kernel.T)), bias)
    return (
        dproduct,
        jnp.sum(dbias, axis=0).astype(bias.dtype),
        _matrix(y).T @ _matrix(grad),
    )


def _matrix(x: Float[Array, "B T D"]) -> Float[Array, "tokens D"]:
    return x.reshape(-1, x.shape[-1])


def _times(x: Float[Array, "B T D"], kernel: Float[Array, "D F"]) -> Float[Array, "B T F"]:
    """As one product of two matrices; see Dense."""
    return (_matrix(x) @ kernel).reshape(*x.shape[:-1], kernel.shape[1])


def _programs(product: Array) -> int:
    return -(-product.shape[0] * product.shape[1] // (_TOKENS * _STEPS))


def _call(name: str, inputs: tuple[Array, ...], outputs: list[jax.ShapeDtypeStruct]) -> KernelCall:
    product = inputs[0]
    rows, length, width = product.shape
    return KernelCall(
        f"triton_gelu.{name}",
        inputs,
        outputs,
        grid=(_programs(product), -(-width // _LANES)),
        warps=_WARPS,
        constants={
            "M": rows * length,
            "F": width,
            "TOKENS": _TOKENS,
            "STEPS": _STEPS,
            "LANES": _LANES,
        },
    )


_mlp.defvjp(_forward, _backward)
