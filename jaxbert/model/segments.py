"""Converts between packed rows and their windows on the device; see jaxbert.data.packing.

R rows of T tokens with K windows each, M = R K windows. Without packing, rows are windows and all
functions return their input.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxbert.data.batch import Batch
from jaxbert.model.dropout import Seeds
from jaxbert.model.params import AnyArray


def first_tokens(x: Float[AnyArray, "R T D"], batch: Batch[Array]) -> Float[Array, "M D"]:
    """The first token of each window: (R, T, D) -> (M, D)."""
    if "segment_starts" not in batch:
        return jnp.asarray(x[:, 0])
    starts = batch["segment_starts"].reshape(x.shape[0], -1, 1)
    return jnp.take_along_axis(x, starts, axis=1).reshape(-1, x.shape[2])


def windows(x: Float[Array, "R T C"], batch: Batch[Array]) -> Float[Array, "M T C"]:
    """Each window in a separate row, starting with its first token: (R, T, C) -> (M, T, C).

    After a window's last token comes what follows in its packed row; masks and labels exclude it.
    """
    if "segment_starts" not in batch:
        return x
    rows, length, _ = x.shape
    starts = batch["segment_starts"].reshape(rows, -1, 1)
    index = jnp.minimum(starts + jnp.arange(length), length - 1)  # (R, K, T)
    by_window = jnp.take_along_axis(x, index.reshape(rows, -1, 1), axis=1)
    return by_window.reshape(-1, length, x.shape[2])


def token_seeds(seeds: Seeds | None, batch: Batch[Array]) -> Seeds | None:
    """The encoder's seeds, from those of the windows: in packed rows, one for each token.

    So a window has the same dropout with and without packing, and whatever it is packed with.
    """
    if seeds is None or "segment_ids" not in batch:
        return seeds
    rows = batch["segment_ids"].shape[0]
    slot = jnp.maximum(batch["segment_ids"] - 1, 0)
    low, high = (jnp.take_along_axis(x.reshape(rows, -1), slot, axis=1) for x in seeds[:2])
    return Seeds(low, high, batch["position_ids"])


def sum_of_window(x: Float[Array, "R T"], batch: Batch[Array]) -> Float[Array, "R T"]:
    """The sum over each token's window, at every token: (R, T) -> (R, T)."""
    if "segment_ids" not in batch:
        return jnp.broadcast_to(jnp.sum(x, axis=1, keepdims=True), x.shape)
    segments = batch["segment_ids"]
    same = segments[:, :, None] == segments[:, None, :]
    return jnp.einsum("RTS,RS->RT", same.astype(x.dtype), x)
