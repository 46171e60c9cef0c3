"""Rows of a table whose gradient is added up in a fixed order."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxbert.model.embedding_lookup import Lookup, sums_by_id

SUMS = jax.jit(sums_by_id, static_argnums=2)


@given(
    count=st.sampled_from([1, 5, 127, 128, 129, 640, 1500]),
    rows=st.sampled_from([1, 2, 16, 17, 700]),
    kinds=st.integers(1, 700),
    seed=st.integers(0, 99),
)
def test_sums_are_those_of_numpy(count: int, rows: int, kinds: int, seed: int) -> None:
    """Whole numbers, whose sums are exact in any order; few kinds make runs over several blocks."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, min(kinds, rows), count)
    x = rng.integers(-8, 9, (count, 3)).astype(np.float32)
    expected = np.zeros((rows, 3), np.float32)
    np.add.at(expected, ids, x)
    np.testing.assert_array_equal(SUMS(x, ids, rows), expected)


def gradient(lookup: Lookup, table: jax.Array, ids: jax.Array) -> jax.Array:
    return jax.grad(lambda table: jnp.sum(jnp.sin(lookup(table, ids))))(table)


def is_the_sum(found: jax.Array, table: jax.Array, ids: jax.Array) -> None:
    """The gradient is that of float64, but for the rounding of float32's sums in any order.

    Its bound is (n - 1) u sum |x| for n terms; each term, a cosine, is rounded too.
    """
    terms = np.cos(np.asarray(table, np.float64))[np.asarray(ids).reshape(-1)]
    exact, sizes, counts = (np.zeros(table.shape) for _ in range(3))
    for sums, x in ((exact, terms), (sizes, np.abs(terms)), (counts, np.ones_like(terms))):
        np.add.at(sums, np.asarray(ids).reshape(-1), x)
    bound = (counts + 3) * 2.0**-24 * sizes
    assert (np.abs(np.asarray(found, np.float64) - exact) <= bound).all()


@pytest.mark.parametrize("rows", [2, 300])
def test_on_a_gpu_values_and_gradients_are_those_of_a_plain_lookup(rows: int) -> None:
    table = jax.random.normal(jax.random.key(0), (rows, 8))
    ids = jax.random.randint(jax.random.key(1), (4, 96), 0, rows)
    ordered, plain = Lookup("gpu", None), Lookup("cpu", None)
    np.testing.assert_array_equal(ordered(table, ids), plain(table, ids))
    is_the_sum(gradient(ordered, table, ids), table, ids)
    is_the_sum(gradient(plain, table, ids), table, ids)
    # The first rows of the table, one for each place, and their gradient.
    first, wanted = ordered.places(table, ids[:, :2]), plain.places(table, ids[:, :2])
    np.testing.assert_array_equal(jnp.broadcast_to(first, wanted.shape), wanted)


@pytest.mark.integration
def test_devices_that_share_the_rows_of_ids_add_up_one_gradient() -> None:
    mesh = Mesh(np.array(jax.devices()[:4]), ("devices",))
    table = jax.random.normal(jax.random.key(0), (300, 8))
    ids = jax.random.randint(jax.random.key(1), (8, 32), 0, 300)
    parted = jax.device_put(ids, NamedSharding(mesh, PartitionSpec("devices")))
    on_four = jax.jit(partial(gradient, Lookup("gpu", mesh)))
    is_the_sum(on_four(table, parted), table, ids)
    assert "all-gather" not in on_four.lower(table, parted).compile().as_text()
