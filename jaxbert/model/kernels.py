"""Attention with existing fused kernels, and the choice between them.

A kernel takes the arguments of `attention` except dropout. No kernel drops attention weights:
cuDNN's dropout keeps its state in host memory, which checkpoints do not save, so a resumed run
would not reproduce the same bits. B batch, T query length, S key length, N heads, H head size.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from jaxbert.errors import InputError
from jaxbert.model.params import AnyArray

# Block size of the Pallas kernels in tokens; row lengths must be multiples of it.
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
    """cuDNN's flash attention, for bfloat16 on NVIDIA GPUs; padding must come last in each row.

    It is given lengths, because JAX would turn a mask into a bias and compute its gradient.
    """
    if segment_ids is not None:
        raise ValueError("cuDNN's attention has no segments")
    if platform not in ("gpu", "cuda"):
        raise ValueError(f"cuDNN's attention is for NVIDIA GPUs, not {platform}")
    lengths = None
    if key_mask is not None:  # a row of padding counts as one token, to have a defined softmax
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
    """JAX's flash attention in Pallas, for TPUs and NVIDIA GPUs (Triton), with segments.

    Args:
        platform: "tpu" or "gpu"; by default that of the default device.
        interpret: run the NVIDIA kernel on a CPU, for tests.
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
    requested: str,
    *,
    dtype: DTypeLike,
    head_size: int,
    multiple: int,
    packed: bool,
    dropout: float,
    platform: str | None = None,
    capability: float | None = None,
) -> tuple[str, str]:
    """The backend to use, and the reason as text.

    auto never changes results: with dropout of attention weights it chooses xla. A kernel requested
    by name skips that dropout, and the reason says so.

    Args:
        requested: auto, or the name of a backend.
        multiple: all row lengths are multiples of this.
        packed: whether rows have segments.
        dropout: the dropout rate of attention weights.
        platform: by default that of the default device.
        capability: NVIDIA's compute capability, by default that of the default device.

    Raises:
        InputError: the backend cannot compute this here.
    """
    platform = platform or jax.default_backend()
    ampere = False
    if platform in ("gpu", "cuda"):
        if capability is None:
            capability = float(getattr(jax.local_devices()[0], "compute_capability", 0))
        ampere = capability >= 8.0
    obstacles = {
        "xla": "",
        "cudnn": _unfit_for_cudnn(dtype, head_size, ampere=ampere, packed=packed),
        "pallas": _unfit_for_pallas(platform, multiple),
    }
    if requested != "auto":
        if obstacles[requested]:
            raise InputError(f"--attention {requested} {obstacles[requested]}; give auto or xla")
        skips_dropout = requested != "xla" and dropout > 0
        return requested, "as asked; it drops no attention weights" if skips_dropout else "as asked"
    if dropout > 0:
        usable = [name for name, obstacle in obstacles.items() if name != "xla" and not obstacle]
        hint = f"; --attention {usable[0]} trains without that" if usable else ""
        return "xla", f"attention weights are dropped, which no fused kernel does exactly{hint}"
    for name in ("cudnn", "pallas"):
        if not obstacles[name]:
            return name, "fused, and exact without dropout"
    return "xla", "; ".join(
        f"{name} {obstacle}" for name, obstacle in obstacles.items() if obstacle
    )


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
