"""How kernels in Triton's language are run: as Triton compiles them, or otherwise in tests.

jax-triton calls them: Triton's own language runs on every NVIDIA card from Ampere on, compiles for
a card that is not there, and has an interpreter for CPUs. (Pallas's Triton backend is deprecated
since JAX 0.11, and its Mosaic GPU needs Hopper.)
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import jax
from jaxtyping import Array

Constants: TypeAlias = dict[str, int | float | bool | str]
Kernel: TypeAlias = Callable[..., None]  # a function in Triton's language


class KernelCall(NamedTuple):
    """A kernel with what it is given.

    Attributes:
        kernel: "file.function", of this folder.
        outputs: shapes and dtypes of the arrays that it writes, its arguments after the inputs.
        grid: numbers of programs.
        warps: of 32 threads, of a program.
        constants: the rest of its arguments, by name.
    """

    kernel: str
    inputs: Sequence[Array]
    outputs: Sequence[jax.ShapeDtypeStruct]
    grid: tuple[int, ...]
    warps: int
    constants: Constants


class Launch(Protocol):
    """Runs kernels, and gives their outputs.

    Attributes:
        capability: the card's, 80 for 8.0 and so on.
    """

    @property
    def capability(self) -> int: ...

    def __call__(self, call: KernelCall, /) -> list[Array]: ...


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Runs kernels as Triton compiles them for NVIDIA cards."""

    capability: int

    def __call__(self, call: KernelCall) -> list[Array]:
        # Products and sums are fused, as by Triton's default until 3.9. A later default is another,
        # and so would be the bits.
        os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
        import jax_triton
        from jax_triton import triton_lib

        if hasattr(triton_lib, "pe"):
            # The rule of jax-triton 0.4.1 for calls whose results are not used takes the arguments
            # of JAX 0.11; JAX 0.12 gives one more. JAX's own rule does for kernels without effects.
            triton_lib.pe.dce_rules.pop(triton_lib.triton_kernel_call_p, None)
        made: list[Array] = jax_triton.triton_call(
            *call.inputs,
            kernel=kernel_named(call.kernel),
            out_shape=list(call.outputs),
            grid=call.grid,
            num_warps=call.warps,
            num_stages=2,
            compute_capability=self.capability,
            **call.constants,
        )
        return made


def kernel_named(name: str) -> Kernel:
    """The function of a kernel, "file.function"; Triton is imported here, where it is used."""
    file, function = name.split(".")
    found: Kernel = getattr(importlib.import_module(f"jaxbert.model.{file}"), function)
    return found


def lanes(size: int) -> int:
    """Elements that a kernel has of an axis of that size: a power of 2, and 16 at least."""
    return max(16, 1 << (size - 1).bit_length())
