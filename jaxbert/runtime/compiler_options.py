"""What XLA is told where a program is compiled."""

from __future__ import annotations

from jaxbert.runtime.target import Platform

# On a GPU equal inputs have equal bits, on every run:
# - no sums whose order is left open;
# - products by cuBLAS's own choice for a shape, not by what was fastest when this process began.
#   PyTorch takes the same, and cuBLAS adds biases as it writes, which XLA's Triton products do not.
_GPU: dict[str, bool | str] = {
    "xla_gpu_exclude_nondeterministic_ops": True,
    "xla_gpu_enable_triton_gemm": False,
    "xla_gpu_autotune_level": "0",
}


def compiler_options(platform: Platform) -> dict[str, bool | str] | None:
    """Options by name, for `jax.jit`; None where there are none."""
    return dict(_GPU) if platform == "gpu" else None
