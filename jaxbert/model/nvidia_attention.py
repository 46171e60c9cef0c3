"""Attention for NVIDIA GPUs in fused kernels, from compute capability 8.0 on.

The kernels are those of triton_kernels.py, called through jax-triton: Triton's own language runs on
every card from Ampere on, compiles for a card that is not there, and has an interpreter for CPUs.
(Pallas's Triton backend is deprecated since JAX 0.11, and its Mosaic GPU needs Hopper.)

B batch, T query length, S key length (S = T), N heads, H head size.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from jaxbert.model.dropout import Seeds, threshold
from jaxbert.model.params import AnyArray
from jaxbert.model.token_facts import token_facts

Constants: TypeAlias = dict[str, int | float | bool | str]


class Launch(Protocol):
    """Runs a kernel of triton_kernels on a grid, and gives its outputs."""

    def __call__(
        self,
        kernel: str,
        inputs: Sequence[Array],
        outputs: Sequence[jax.ShapeDtypeStruct],
        *,
        grid: tuple[int, int],
        constants: Constants,
    ) -> list[Array]: ...


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Runs kernels as Triton compiles them for NVIDIA cards.

    Attributes:
        capability: the card's, 80 for 8.0 and so on; by default that of the first device.
    """

    capability: int | None = None

    def __call__(
        self,
        kernel: str,
        inputs: Sequence[Array],
        outputs: Sequence[jax.ShapeDtypeStruct],
        *,
        grid: tuple[int, int],
        constants: Constants,
    ) -> list[Array]:
        import jax_triton

        from jaxbert.model import triton_kernels

        made: list[Array] = jax_triton.triton_call(
            *inputs,
            kernel=getattr(triton_kernels, kernel),
            out_shape=list(outputs),
            grid=grid,
            num_warps=4,
            num_stages=2,
            compute_capability=self.capability,
            **constants,
        )
        return made


class _Fixed(NamedTuple):
    """What a kernel is compiled for."""

    rate: float
    by_segment: bool  # queries see the keys of their segment, otherwise all real keys
    launch: Launch


def triton(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S N H"],
    v: Float[Array, "B S N H"],
    key_mask: Shaped[AnyArray, "B S"] | None,
    segment_ids: Int[AnyArray, "B S"] | None,
    seeds: Seeds | None,
    *,
    rate: float,
    site: int | Int[Array, ""],
    launch: Launch,
) -> Float[Array, "B T N H"]:
    """The arguments of `attention`, with T = S.

    Args:
        launch: how kernels are run: Compiled(), or an interpreter in tests.
    """
    rate = 0.0 if seeds is None else rate
    facts = token_facts(q.shape[0], q.shape[1], key_mask, segment_ids, seeds, rate, site)
    return _attention(_Fixed(rate, segment_ids is not None, launch), q, k, v, facts)


def tile(dtype: DTypeLike, *, backward: bool) -> int:
    """The queries, and the keys, of a tile; a backward kernel keeps more tiles at a time."""
    return (64 if backward else 128) if jnp.dtype(dtype).itemsize == 2 else 32


def _launch(
    fixed: _Fixed,
    kernel: str,
    inputs: Sequence[Array],
    outputs: Sequence[jax.ShapeDtypeStruct],
    block: int,
) -> list[Array]:
    rows, length, heads, size = inputs[0].shape
    return fixed.launch(
        kernel,
        inputs,
        outputs,
        grid=(-(-length // block), rows * heads),
        constants={
            "T": length,
            "N": heads,
            "H": size,
            "W": max(16, 1 << (size - 1).bit_length()),
            "QUERIES": block,
            "KEYS": min(block, 64),
            "SCALE": size**-0.5,
            "BY_SEGMENT": fixed.by_segment,
            "DROP": fixed.rate > 0,
            "THRESHOLD": threshold(fixed.rate),
            "KEEP": 1.0 / (1.0 - fixed.rate),
            # float32 is multiplied as float32, not as TF32.
            "DOT": "ieee" if inputs[0].dtype == jnp.float32 else "tf32",
        },
    )


class KernelCost(NamedTuple):
    """What a kernel does for one head of a row.

    Attributes:
        flops: of its products.
        reread: elements that it reads beyond reading each input once.
    """

    flops: float
    reread: float


def cost(kernel: str, blocks: int, length: int, size: int) -> KernelCost:
    """The cost of a kernel of triton_kernels.

    Args:
        blocks: its programs for a head of a row; each reads two inputs (T, H) as a whole.
        size: H.
    """
    products = {"forward": 2, "backward_queries": 3, "backward_keys": 4}[kernel]
    return KernelCost(2 * products * length**2 * size, 2 * (blocks - 1) * length * size)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(
    fixed: _Fixed,
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T N H"],
    v: Float[Array, "B T N H"],
    facts: Int[Array, "B 8 T"],
) -> Float[Array, "B T N H"]:
    return _forward(fixed, q, k, v, facts)[0]


_Saved: TypeAlias = tuple[Array, ...]


def _forward(
    fixed: _Fixed, q: Array, k: Array, v: Array, facts: Array
) -> tuple[Float[Array, "B T N H"], _Saved]:
    rows, length, heads, _ = q.shape
    by_query = jax.ShapeDtypeStruct((rows, heads, length), jnp.float32)
    outputs = [jax.ShapeDtypeStruct(q.shape, v.dtype), by_query, by_query]
    block = tile(q.dtype, backward=False)
    out, largest, norm = _launch(fixed, "forward", (q, k, v, facts), outputs, block)
    return out, (q, k, v, facts, largest, norm, out)


def _backward(
    fixed: _Fixed, saved: _Saved, grad: Float[Array, "B T N H"]
) -> tuple[Array, Array, Array, None]:
    *inputs, out = saved
    q, k, v, *_, largest, _ = inputs
    like = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, largest, k, v)]
    block = tile(q.dtype, backward=True)
    dq, mean = _launch(fixed, "backward_queries", (*inputs, out, grad), like[:2], block)
    dk, dv = _launch(fixed, "backward_keys", (*inputs, mean, grad), like[2:], block)
    return dq, dk, dv, None


_attention.defvjp(_forward, _backward)
