"""Attention by ready-made fused kernels, and which one is taken where.

A kernel has the arguments of `attention` without its dropout. None drops attention weights: cuDNN's
dropout keeps its state in host memory, where no checkpoint sees it, so a resumed run would not end
with equal bits. B batch, T query length, S key length, N heads, H head size.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from jaxbert.errors import InputError
from jaxbert.model.params import AnyArray

# Tokens of a block of the Pallas kernels: rows are multiples of it.
BLOCK = 128


def cudnn(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S N H"],
    v: Float[Array, "B S N H"],
    key_mask: Shaped[AnyArray, "B S"] | None,
    segment_ids: Int[AnyArray, "B S"] | None,
    *,
    platform: str = "gpu",
) -> Float[Array, "B T N H"]:
    """cuDNN's flash attention, for bfloat16 on NVIDIA; rows are real tokens and then padding.

    Lengths instead of a mask: JAX makes a bias of a mask, and computes its gradient.
    """
    if segment_ids is not None:
        raise ValueError("cuDNN's attention has no segments")
    if platform not in ("gpu", "cuda"):
        raise ValueError(f"cuDNN's attention is for NVIDIA GPUs, not {platform}")
    lengths = None
    if key_mask is not None:  # a row of padding has one token, so that its softmax is defined
        lengths = jnp.maximum(jnp.sum(key_mask != 0, axis=-1, dtype=jnp.int32), 1)
    return jax.nn.dot_product_attention(
        q, k, v, query_seq_lengths=lengths, key_value_seq_lengths=lengths, implementation="cudnn"
    )


def pallas(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S N H"],
    v: Float[Array, "B S N H"],
    key_mask: Shaped[AnyArray, "B S"] | None,
    segment_ids: Int[AnyArray, "B S"] | None,
    *,
    platform: str | None = None,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """JAX's own flash attention in Pallas, for TPU and for NVIDIA (Triton), with segments.

    Args:
        platform: "tpu" or "gpu"; by default that of the default device.
        interpret: of the NVIDIA kernel, compute it on a CPU, for tests.
    """
    segments = segment_ids if key_mask is None else (key_mask != 0).astype(jnp.int32)
    if segments is None:
        segments = jnp.ones(q.shape[:2], jnp.int32)
    scale = q.shape[-1] ** -0.5
    if (platform or jax.default_backend()) == "gpu":
        from jax.experimental.pallas.ops.gpu.attention import mha

        return mha(q, k, v, segments, sm_scale=scale, interpret=interpret)
    from jax.experimental.pallas.ops.tpu import flash_attention as flash

    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    ids = flash.SegmentIds(jnp.asarray(segments), jnp.asarray(segments))
    return jnp.swapaxes(flash.flash_attention(q, k, v, segment_ids=ids, sm_scale=scale), 1, 2)


def choose_attention(
    asked: str,
    *,
    dtype: DTypeLike,
    head_size: int,
    multiple: int,
    packed: bool,
    dropout: float,
    platform: str | None = None,
    capability: float | None = None,
) -> tuple[str, str]:
    """The backend to use, and why, in words.

    auto never changes what is computed: where attention weights are dropped it is xla. A kernel
    that is asked for by name leaves that dropout out, and the words say so.

    Args:
        asked: auto, or the name of a backend.
        multiple: of which the lengths of all rows are.
        packed: rows have segments.
        dropout: of attention weights, in what is to be computed.
        platform: by default that of the default device.
        capability: NVIDIA's compute capability, by default that of the default device.

    Raises:
        InputError: the backend cannot compute this here.
    """
    platform = platform or jax.default_backend()
    if capability is None:
        capability = float(getattr(jax.local_devices()[0], "compute_capability", 0))
    ampere = platform in ("gpu", "cuda") and capability >= 8.0
    unfit = {
        "xla": "",
        "cudnn": _unfit_for_cudnn(dtype, head_size, ampere=ampere, packed=packed),
        "pallas": _unfit_for_pallas(platform, multiple),
    }
    if asked != "auto":
        if unfit[asked]:
            raise InputError(f"--attention {asked} {unfit[asked]}; give auto or xla")
        lost = asked != "xla" and dropout > 0
        return asked, "as asked; it drops no attention weights" if lost else "as asked"
    if dropout > 0:
        fit = [name for name, why in unfit.items() if name != "xla" and not why]
        hint = f"; --attention {fit[0]} trains without that" if fit else ""
        return "xla", f"attention weights are dropped, which no fused kernel does exactly{hint}"
    for name in ("cudnn", "pallas"):
        if not unfit[name]:
            return name, "fused, and exact without dropout"
    return "xla", "; ".join(f"{name} {why}" for name, why in unfit.items() if why)


def _unfit_for_cudnn(dtype: DTypeLike, head_size: int, *, ampere: bool, packed: bool) -> str:
    if not ampere:
        return "needs an NVIDIA GPU of compute capability 8.0 or more"
    if jnp.dtype(dtype) != jnp.bfloat16:
        return "needs --dtype bfloat16"
    if head_size % 8 or head_size > 128:
        return f"needs a head size that is a multiple of 8, up to 128, not {head_size}"
    return "has no packed rows" if packed else ""


def _unfit_for_pallas(platform: str, multiple: int) -> str:
    if platform not in ("gpu", "cuda", "tpu"):
        return "needs a TPU or an NVIDIA GPU"
    if multiple % BLOCK:
        return f"needs --max_seq_length and --length_bucket to be multiples of {BLOCK}"
    return ""
