"""The MLP of a layer on NVIDIA GPUs: two products, and GELU between them by triton_gelu.py.

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
    x: Float[Array, "B T D"],
    kernel_in: Float[Array, "D F"],
    bias_in: Float[Array, "F"],
    kernel_out: Float[Array, "F D"],
    *,
    launch: Launch,
    mesh: Mesh | None = None,
) -> Float[Array, "B T D"]:
    """GELU(x @ kernel_in + bias_in) @ kernel_out with the erf, in the dtype of x.

    Only x and the first product are kept for the backward pass. It computes the GELU again where it
    computes its gradient, which writes it once more; to keep it takes as much memory as all else of
    the MLP.

    Args:
        launch: how kernels are run: Compiled(...), or an interpreter in tests.
        mesh: of the devices that share the rows; see by_rows.
    """
    return _mlp(_Fixed(launch, mesh), x, kernel_in, bias_in, kernel_out)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mlp(
    fixed: _Fixed,
    x: Float[Array, "B T D"],
    kernel_in: Float[Array, "D F"],
    bias_in: Float[Array, "F"],
    kernel_out: Float[Array, "F D"],
) -> Float[Array, "B T D"]:
    return _forward(fixed, x, kernel_in, bias_in, kernel_out)[0]


_Saved = tuple[Array, Array, Array, Array, Array]


def _forward(
    fixed: _Fixed, x: Array, kernel_in: Array, bias_in: Array, kernel_out: Array
) -> tuple[Float[Array, "B T D"], _Saved]:
    product = _times(x, kernel_in)

    def gelu(product: Array, bias: Array) -> Float[Array, "B T F"]:
        like = jax.ShapeDtypeStruct(product.shape, product.dtype)
        [y] = fixed.launch(_call("forward", (product, bias), [like]))
        return y

    y = by_rows(gelu, fixed.mesh, product, bias_in)
    return _times(y, kernel_out), (x, kernel_in, bias_in, kernel_out, product)


def _backward(
    fixed: _Fixed, saved: _Saved, grad: Float[Array, "B T D"]
) -> tuple[Array, Array, Array, Array]:
    x, kernel_in, bias_in, kernel_out, product = saved

    def gelu(rows: tuple[Array, Array], bias: Array) -> tuple[Array, Array, Array]:
        product, grad = rows
        like = jax.ShapeDtypeStruct(product.shape, product.dtype)
        sums = jax.ShapeDtypeStruct((_programs(product), product.shape[-1]), jnp.float32)
        y, dproduct, dbias = fixed.launch(
            _call("backward", (product, bias, grad), [like, like, sums])
        )
        return y, dproduct, dbias

    y, dproduct, dbias = by_rows(gelu, fixed.mesh, (product, _times(grad, kernel_out.T)), bias_in)
    return (
        _times(dproduct, kernel_in.T),
        _matrix(x).T @ _matrix(dproduct),
        jnp.sum(dbias, axis=0).astype(bias_in.dtype),
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
