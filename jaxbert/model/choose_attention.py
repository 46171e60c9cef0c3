"""Which implementation computes attention, and why: `--attention auto` never changes results.

cuDNN is given no dropout: it keeps that state in host memory, which checkpoints do not save, so a
resumed run would not have the same bits.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxbert.errors import InputError
from jaxbert.runtime.target import Target

LONGEST = 512  # tokens of a row whose scores a TPU core holds at once


def choose_attention(
    requested: str,
    *,
    dtype: DTypeLike,
    heads: int,
    head_size: int,
    lengths: Sequence[int],
    packed: bool,
    dropout: float,
    target: Target | None = None,
) -> tuple[str, str]:
    """The backend to use, and the reason as text.

    Args:
        requested: auto, or the name of a backend.
        lengths: of the rows, in tokens.
        packed: whether rows have segments.
        dropout: the dropout rate of attention weights.
        target: by default the devices that are here.

    Raises:
        InputError: the backend cannot compute this there.
    """
    target = target or Target.here()
    obstacles = {
        "xla": "",
        "pallas": _unfit_for_pallas(target, heads, head_size, max(lengths)),
        "triton": _unfit_for_triton(target, head_size),
        "cudnn": _unfit_for_cudnn(target, dtype, head_size, packed=packed),
    }
    if requested != "auto":
        if obstacles[requested]:
            raise InputError(f"--attention {requested} {obstacles[requested]}; give auto or xla")
        skips_dropout = requested == "cudnn" and dropout > 0
        return requested, "as asked; it drops no attention weights" if skips_dropout else "as asked"
    for name in ("pallas", "triton"):
        if not obstacles[name]:
            return name, "fused and exact, with dropout too"
    if not obstacles["cudnn"] and dropout == 0:
        return "cudnn", "fused, and exact without dropout"
    if target.platform == "cpu":
        return "xla", "fused kernels are for GPUs and TPUs"
    hint = ""
    if not obstacles["cudnn"]:
        obstacles["cudnn"] = "drops no attention weights"
        hint = "; --attention cudnn trains without that dropout"
    return "xla", "; ".join(f"{n} {why}" for n, why in obstacles.items() if why) + hint


def _unfit_for_pallas(target: Target, heads: int, head_size: int, longest: int) -> str:
    if target.platform != "tpu":
        return "needs a TPU"
    if 128 % head_size or heads * head_size % 128:
        return f"needs heads that fill 128 lanes, not {heads} of {head_size}"
    return f"has rows of up to {LONGEST} tokens, not {longest}" if longest > LONGEST else ""


def _unfit_for_triton(target: Target, head_size: int) -> str:
    if target.capability is None or target.capability < 80:
        return "needs an NVIDIA GPU of compute capability 8.0 or more"
    if head_size > 128:
        return f"needs a head size of up to 128, not {head_size}"
    if not importlib.util.find_spec("jax_triton"):
        return "needs the package jax-triton (pip install 'jaxbert[cuda]')"
    return ""


def _unfit_for_cudnn(target: Target, dtype: DTypeLike, head_size: int, *, packed: bool) -> str:
    if target.capability is None or target.capability < 80:
        return "needs an NVIDIA GPU of compute capability 8.0 or more"
    if jnp.dtype(dtype) != jnp.bfloat16:
        return "needs --dtype bfloat16"
    if head_size % 8 or head_size > 128:
        return f"needs a head size that is a multiple of 8, up to 128, not {head_size}"
    return "has no packed rows" if packed else ""
