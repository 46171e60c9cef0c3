"""Attention: its reference in plain products, and what calls that or a fused kernel.

To add a kernel, write a module such as tpu_attention.py, call it from Attention, and add its name
to choose_attention (with what it cannot compute) and to --attention.
B batch, T query length, S key length, N heads, H head size.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxbert.model.by_rows import by_rows
from jaxbert.model.cudnn_attention import cudnn
from jaxbert.model.dropout import Seeds, dropout
from jaxbert.model.kernel_launch import Compiled
from jaxbert.model.nvidia_attention import triton
from jaxbert.model.params import AnyArray
from jaxbert.model.tpu_attention import pallas
from jaxbert.runtime.target import Target

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


def attention_weights(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S N H"],
    key_mask: Shaped[AnyArray, "B S"] | None,
    segment_ids: Int[AnyArray, "B S"] | None,
) -> Float[Array, "B N T S"]:
    """softmax(q k^T / sqrt(H)) over the keys that a query may attend to, float32, no dropout."""
    # With the heads moved to the front, both products are plain batched products; other forms are
    # slow on some processors (tests/model/time_step_changes.py).
    q, k = (jnp.swapaxes(x, 1, 2) for x in (q, k))
    scale = jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    scores = jnp.einsum("BNTH,BNSH->BNTS", q * scale, k, preferred_element_type=jnp.float32)
    mask = attention_mask(key_mask, segment_ids)
    if mask is not None:  # same bits as jnp.where on the scores, and no slower
        scores += jnp.where(mask, 0.0, _MASKED)
    return jax.nn.softmax(scores, axis=-1)


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
    weights = attention_weights(q, k, key_mask, segment_ids)
    weights = dropout(weights, rate, seeds, site).astype(v.dtype)
    return jnp.swapaxes(jnp.einsum("BNTS,BNSH->BNTH", weights, jnp.swapaxes(v, 1, 2)), 1, 2)


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


# qkv, key_mask, segment_ids, seeds
_Rows: TypeAlias = tuple[tuple[Array, ...], AnyArray | None, AnyArray | None, Seeds | None]


@dataclasses.dataclass(frozen=True)
class Attention:
    """How a model computes attention, and on what.

    Attributes:
        backend: "xla" (the reference), "pallas" (TPU), "triton" or "cudnn" (NVIDIA); see
            choose_attention for what each can compute. cuDNN's drops no weights.
        target: what the program is compiled for.
        mesh: of the devices that share the rows of one program, over its only axis. XLA cannot
            divide a kernel among them, so each device is given its rows.
    """

    backend: str = "xla"
    target: Target = dataclasses.field(default_factory=Target.here)
    mesh: Mesh | None = None

    def __call__(
        self,
        *qkv: Float[Array, "B T ..."],
        bias: Float[Array, "3 N H"] | None = None,
        key_mask: Shaped[AnyArray, "B S"] | None = None,
        segment_ids: Int[AnyArray, "B S"] | None = None,
        dropout_rate: float = 0.0,
        seeds: Seeds | None = None,
        site: int | Int[Array, ""] = 0,
    ) -> Float[Array, "B T N H"]:
        """Scaled dot-product attention, softmax(q k^T / sqrt(H)) v (Vaswani et al. 2017, 3.2.1).

        Scores and softmax are float32, whatever the dtype of the inputs.

        Args:
            qkv: queries (B, T, N, H), keys and values (B, S, N, H); or all of them as one array
                (B, T, 3, N, H), which "triton" reads without a copy.
            bias: which that one array has, without a gradient of its own; "triton" finds it.
            key_mask: (B, S), nonzero where a key is a real token; or
            segment_ids: (B, S) for packed rows, where S = T; 0 is padding.
            dropout_rate, seeds, site: dropout of the attention weights; see `dropout`.

        Returns:
            (B, T, N, H), with the dtype of v.
        """
        compute = functools.partial(self._on_one_device, rate=dropout_rate)
        mesh = None if self.backend == "xla" else self.mesh
        whole = jnp.asarray(site), bias
        return by_rows(compute, mesh, (qkv, key_mask, segment_ids, seeds), whole)

    def _on_one_device(
        self, rows: _Rows, whole: tuple[Array, Array | None], *, rate: float
    ) -> Float[Array, "B T N H"]:
        qkv, key_mask, segment_ids, seeds = rows
        site, bias = whole
        if self.backend == "triton":
            assert self.target.capability is not None  # choose_attention sees to it
            one = qkv[0] if len(qkv) == 1 else jnp.stack(qkv, axis=2)
            launch = Compiled(self.target.capability)
            if bias is None:
                bias = jnp.zeros(one.shape[2:], one.dtype)
            masks = key_mask, segment_ids, seeds
            return triton(one, bias, *masks, rate=rate, site=site, launch=launch)
        q, k, v = qkv if len(qkv) > 1 else jnp.unstack(qkv[0], axis=2)
        arguments = (q, k, v, key_mask, segment_ids, seeds)
        if self.backend == "pallas":
            # Elsewhere than on a TPU it is interpreted, slowly.
            interpret = self.target.platform != "tpu"
            return pallas(*arguments, rate=rate, site=site, interpret=interpret)
        if self.backend == "cudnn":
            if segment_ids is not None:
                raise ValueError("cuDNN's attention has no segments")
            return cudnn(q, k, v, key_mask)
        in_xla = _xla_in_parts if self.target.platform == "cpu" else _xla
        return in_xla(*arguments, rate=rate, site=site)
