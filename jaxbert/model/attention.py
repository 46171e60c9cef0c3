"""One function, attention(q, k, v, ...), and the ways it can be computed.

A faster kernel is a function in kernels.py with a name in KERNELS, a word there on what it lacks
(choose_attention), and its name in --attention.
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

# So low that any score added to it is lost, and still finite: a row without any key gets equal
# weights instead of NaN.
_MASKED = -1e30
_PARTS = 4


def attention_mask(
    key_mask: Shaped[AnyArray, "B S"] | None, segment_ids: Int[AnyArray, "B S"] | None
) -> Bool[AnyArray, "B 1 _ S"] | None:
    """Which key each query may see, (B, 1, T or 1, S) boolean, from one of two descriptions.

    Args:
        key_mask: (B, S), nonzero at real tokens, or
        segment_ids: (B, S) integers; a token sees the tokens of its own segment, and 0 is padding.
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
    # With the heads moved in front, both products are plain batched ones; on some processors the
    # others are slow (tests/model/time_step_changes.py).
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    scale = jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    scores = jnp.einsum("BNTH,BNSH->BNTS", q * scale, k, preferred_element_type=jnp.float32)
    mask = attention_mask(key_mask, segment_ids)
    if mask is not None:  # the same bits as a choice between both, in no more time
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
    """The same in four groups of rows, for a CPU: XLA computes each batched product on one core,
    and some of several at once.
    """
    bounds = [q.shape[0] * part // _PARTS for part in range(_PARTS + 1)]
    arrays = (q, k, v, key_mask, segment_ids, seeds)
    parts = []
    for a, b in itertools.pairwise(bounds):
        if a < b:
            of_rows = jax.tree.map(lambda x, a=a, b=b: x[a:b], arrays)
            parts.append(_xla(*of_rows, rate=rate, site=site))
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

    Scores and softmax are float32 whatever the dtype of the inputs.

    Args:
        q: (B, T, N, H). k, v: (B, S, N, H).
        key_mask: (B, S), nonzero where a key is a real token; or
        segment_ids: (B, S) for packed rows, where S = T; 0 is padding.
        dropout_rate, seeds, site: dropout of the attention weights; see `dropout`.
        backend: xla, or a name in KERNELS, which compute without dropout; see kernels.
        platform: "cpu", "gpu" or "tpu", what it is computed on; by default the default device.

    Returns:
        (B, T, N, H), in the dtype of v.
    """
    platform = platform or jax.default_backend()
    if backend == "xla":
        in_xla = _xla_in_parts if platform == "cpu" else _xla
        return in_xla(q, k, v, key_mask, segment_ids, seeds, rate=dropout_rate, site=site)
    return KERNELS[backend](q, k, v, key_mask, segment_ids, platform=platform)
