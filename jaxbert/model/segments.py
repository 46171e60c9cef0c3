"""Between packed rows and their windows, on the device; see jaxbert.data.packing.

R rows of T tokens with K windows each, M = R K windows. Without packing all of this is the
identity: then rows are windows.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxbert.data.batch import Batch
from jaxbert.model.dropout import Seeds
from jaxbert.model.params import AnyArray


def first_tokens(x: Float[AnyArray, "R T D"], batch: Batch[Array]) -> Float[Array, "M D"]:
    """Of each window its first token: (R, T, D) -> (M, D)."""
    if "segment_starts" not in batch:
        return jnp.asarray(x[:, 0])
    starts = batch["segment_starts"].reshape(x.shape[0], -1, 1)
    return jnp.take_along_axis(x, starts, axis=1).reshape(-1, x.shape[2])


def windows(x: Float[Array, "R T C"], batch: Batch[Array]) -> Float[Array, "M T C"]:
    """Each window in a row of its own, from its first token: (R, T, C) -> (M, T, C).

    Behind a window's last token there is what follows in its row, which masks and labels pass over.
    """
    if "segment_starts" not in batch:
        return x
    rows, length, _ = x.shape
    starts = batch["segment_starts"].reshape(rows, -1, 1)
    index = jnp.minimum(starts + jnp.arange(length), length - 1)  # (R, K, T)
    of_windows = jnp.take_along_axis(x, index.reshape(rows, -1, 1), axis=1)
    return of_windows.reshape(-1, length, x.shape[2])


def token_seeds(seeds: Seeds | None, batch: Batch[Array]) -> Seeds | None:
    """The seeds of windows as the encoder takes them: of packed rows, one for each token.

    So a window has the same dropout whether it is packed or not, and whatever it is packed with.
    """
    if seeds is None or "segment_ids" not in batch:
        return seeds
    rows = batch["segment_ids"].shape[0]
    slot = jnp.maximum(batch["segment_ids"] - 1, 0)
    low, high = (jnp.take_along_axis(x.reshape(rows, -1), slot, axis=1) for x in seeds[:2])
    return Seeds(low, high, batch["position_ids"])


def sum_of_window(x: Float[Array, "R T"], batch: Batch[Array]) -> Float[Array, "R T"]:
    """At each token the sum over its window: (R, T) -> (R, T)."""
    if "segment_ids" not in batch:
        return jnp.broadcast_to(jnp.sum(x, axis=1, keepdims=True), x.shape)
    segments = batch["segment_ids"]
    same = segments[:, :, None] == segments[:, None, :]
    return jnp.einsum("RTS,RS->RT", same.astype(x.dtype), x)
