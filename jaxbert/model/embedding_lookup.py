"""Rows of a table whose gradient is added up in a fixed order, for GPUs.

There XLA's gradient of a lookup adds rows with atomics, whose order differs from run to run. Its
own remedy sorts single elements, at several times the cost of a layer.

M looked-up rows, V rows of the table, D columns, C of a block.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxbert.model.by_rows import by_rows
from jaxbert.model.params import AnyArray
from jaxbert.runtime.target import Platform

_BLOCK = 128
_FEW = 16  # of a table that has no more, one product gives all sums


@dataclasses.dataclass(frozen=True)
class Lookup:
    """Rows of a table by their numbers.

    Attributes:
        platform: what the program is compiled for.
        mesh: see Attention.
    """

    platform: Platform
    mesh: Mesh | None

    def __call__(
        self, table: Float[AnyArray, "V D"], ids: Int[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """table[ids]."""
        if self.platform != "gpu":
            return jnp.take(table, ids, axis=0)
        return by_rows(lambda ids, table: _lookup(table, ids), self.mesh, ids, jnp.asarray(table))

    def places(
        self, table: Float[AnyArray, "V D"], ids: Int[Array, "B T"]
    ) -> Float[AnyArray, "T D"] | Float[Array, "B T D"]:
        """The table's first rows, one for each place of a row of ids.

        Their gradient is a plain sum. On a CPU they are looked up: the sum has other bits there
        than in earlier versions.
        """
        if self.platform == "cpu":
            return self(table, jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape))
        return table[: ids.shape[1]]


@jax.custom_vjp
def _lookup(table: Float[Array, "V D"], ids: Int[Array, "*M"]) -> Float[Array, "*M D"]:
    """table[ids]."""
    return jnp.take(table, ids, axis=0)


def _forward(
    table: Float[Array, "V D"], ids: Int[Array, "*M"]
) -> tuple[Float[Array, "*M D"], tuple[Int[Array, "*M"], Float[Array, "V 0"]]]:
    return _lookup(table, ids), (ids, table[:, :0])


def _backward(
    saved: tuple[Int[Array, "*M"], Float[Array, "V 0"]], grad: Float[Array, "*M D"]
) -> tuple[Float[Array, "V D"], None]:
    ids, empty = saved
    return sums_by_id(grad.reshape(-1, grad.shape[-1]), ids.reshape(-1), empty.shape[0]), None


_lookup.defvjp(_forward, _backward)


def sums_by_id(x: Float[Array, "M D"], ids: Int[Array, "M"], rows: int) -> Float[Array, "V D"]:
    """Row i of the result is the sum of the rows of x that have id i.

    The rows are sorted by id. In each block of C rows a product with zeros and ones adds up those
    of an id. What an id has in later blocks is added to the block where it begins, by a second
    product. Every id is then written once.
    """
    if rows <= _FEW:
        return _products("cp,cd->pd", jax.nn.one_hot(ids, rows, dtype=x.dtype), x)
    size = -(-len(ids) // _BLOCK) * _BLOCK
    ids = jnp.pad(ids, (0, size - len(ids)), constant_values=rows)  # no row of the table
    ids, order = jax.lax.sort_key_val(ids, jnp.arange(size, dtype=jnp.int32))
    blocks = ids.reshape(-1, _BLOCK)
    x = jnp.take(x, order, axis=0, mode="clip").reshape(*blocks.shape, -1)

    begins = jnp.pad(blocks[:, 1:] != blocks[:, :-1], ((0, 0), (1, 0)))
    place = jnp.cumsum(begins, axis=1)  # of a row's id among those of its block
    at_place = jax.nn.one_hot(place, _BLOCK, dtype=x.dtype)
    sums = _products("kcp,kcd->kpd", at_place, x)
    id_of_place = jnp.max(jnp.where(at_place == 1, blocks[:, :, None], -1), axis=1)

    numbers, last = jnp.arange(len(blocks)), place[:, -1]
    is_continued = jnp.pad(blocks[1:, 0] == blocks[:-1, -1], (1, 0))
    # For each block, the last one up to it whose last id begins in it.
    home = jax.lax.cummax(jnp.where(is_continued & (last == 0), 0, numbers))
    home = jnp.pad(home[:-1], (1, 0))
    continued = jnp.where(is_continued[:, None], sums[:, 0], 0)
    later = _products("kh,kd->hd", jax.nn.one_hot(home, len(blocks), dtype=x.dtype), continued)
    sums += jnp.where(jax.nn.one_hot(last, _BLOCK, dtype=bool)[..., None], later[:, None], 0)

    is_head = id_of_place >= 0
    is_head &= ~(is_continued[:, None] & (jnp.arange(_BLOCK) == 0))
    beyond = rows + jnp.arange(blocks.size).reshape(blocks.shape)  # dropped, and each another
    target = jnp.where(is_head & (id_of_place < rows), id_of_place, beyond).reshape(-1)
    table = jnp.zeros((rows, x.shape[-1]), x.dtype)
    return table.at[target].set(sums.reshape(-1, x.shape[-1]), mode="drop", unique_indices=True)


def _products(form: str, x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """A product whose terms are added in full float32."""
    return jnp.einsum(form, x, y, precision=jax.lax.Precision.HIGHEST)
