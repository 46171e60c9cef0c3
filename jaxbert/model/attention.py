"""The function attention(q, k, v, ...) and its implementations.

To add a faster kernel, add a function to kernels.py and its name to KERNELS, to choose_attention
(with what it does not support) and to --attention.
B batch, T query length, S key length, N heads, H head size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxbert.model import kernels
from jaxbert.model.dropout import Seeds, dropout
from jaxbert.model.params import AnyArray

# Low enough to absorb any score added to it, but finite, so that a row without keys gets equal
# weights instead of NaN.
_MASKED = -1e30
_PARTS = 4


def attention_mask(
    key_mask: Shaped[AnyArray, "B S"] | None, segment_ids: Int[AnyArray, "B S"] | None
) -> Bool[AnyArray, "B 1 _ S"] | None:
    """Which keys each query may attend to, (B, 1, T or 1, S) boolean, from one of two inputs.

    Args:
        key_mask: (B, S), nonzero at real tokens, or
        segment_ids: (B, S) integers; a token attends to the tokens of its segment; 0 is padding.
    """
    if key_mask is not None and segment_ids is not None:
        raise ValueError("attention takes a key mask or segment ids, not both")
    if segment_ids is not None:
        same = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
        return same & (segment_ids != 0)[:, None, None, :]
    if key_mask is not None:
        return (key_mask != 0)[:, None, None, :]
    return None


def _xla(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S N H"],
    v: Float[Array, "B S N H"],
    key_mask: Shaped[AnyArray, "B S"] | None,
    segment_ids: Int[AnyArray, "B S"] | None,
    seeds: Seeds | None,
    *,
    rate: float,
    site: int | Int[Array, ""],
) -> Float[Array, "B T N H"]:
    # With the heads moved to the front, both products are plain batched products; other forms are
    # slow on some processors (tests/model/time_step_changes.py).
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    scale = jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    scores = jnp.einsum("BNTH,BNSH->BNTS", q * scale, k, preferred_element_type=jnp.float32)
    mask = attention_mask(key_mask, segment_ids)
    if mask is not None:  # same bits as jnp.where on the scores, and no slower
        scores += jnp.where(mask, 0.0, _MASKED)
    weights = jax.nn.softmax(scores, axis=-1)
    weights = dropout(weights, rate, seeds, site).astype(v.dtype)
    return jnp.swapaxes(jnp.einsum("BNTS,BNSH->BNTH", weights, v), 1, 2)


def _xla_in_parts(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S N H"],
    v: Float[Array, "B S N H"],
    key_mask: Shaped[AnyArray, "B S"] | None,
    segment_ids: Int[AnyArray, "B S"] | None,
    seeds: Seeds | None,
    *,
    rate: float,
    site: int | Int[Array, ""],
) -> Float[Array, "B T N H"]:
    """_xla in four groups of rows, for CPUs: XLA computes each batched product on one core, but
    several products at once.
    """
    bounds = [q.shape[0] * part // _PARTS for part in range(_PARTS + 1)]
    arrays = (q, k, v, key_mask, segment_ids, seeds)
    parts = []
    for start, end in itertools.pairwise(bounds):
        if start < end:
            group = jax.tree.map(lambda x, start=start, end=end: x[start:end], arrays)
            parts.append(_xla(*group, rate=rate, site=site))
    return jnp.concatenate(parts)


KERNELS: dict[str, Callable[..., Array]] = {
    "cudnn": kernels.cudnn,
    "pallas": kernels.pallas,
}


def attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S N H"],
    v: Float[Array, "B S N H"],
    *,
    key_mask: Shaped[AnyArray, "B S"] | None = None,
    segment_ids: Int[AnyArray, "B S"] | None = None,
    dropout_rate: float = 0.0,
    seeds: Seeds | None = None,
    site: int | Int[Array, ""] = 0,
    backend: str = "xla",
    platform: str | None = None,
) -> Float[Array, "B T N H"]:
    """Scaled dot-product attention, softmax(q k^T / sqrt(H)) v (Vaswani et al. 2017, 3.2.1).

    Scores and softmax are float32, whatever the dtype of the inputs.

    Args:
        q: (B, T, N, H). k, v: (B, S, N, H).
        key_mask: (B, S), nonzero where a key is a real token; or
        segment_ids: (B, S) for packed rows, where S = T; 0 is padding.
        dropout_rate, seeds, site: dropout of the attention weights; see `dropout`.
        backend: xla, or a name in KERNELS; those apply no dropout (see kernels).
        platform: "cpu", "gpu" or "tpu", what it is computed on; by default the default device.

    Returns:
        (B, T, N, H), with the dtype of v.
    """
    platform = platform or jax.default_backend()
    if backend == "xla":
        in_xla = _xla_in_parts if platform == "cpu" else _xla
        return in_xla(q, k, v, key_mask, segment_ids, seeds, rate=dropout_rate, site=site)
    return KERNELS[backend](q, k, v, key_mask, segment_ids, platform=platform)
