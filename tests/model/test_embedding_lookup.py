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


@pytest.mark.parametrize("rows", [2, 300])
def test_on_a_gpu_values_and_gradients_are_those_of_a_plain_lookup(rows: int) -> None:
    table = jax.random.normal(jax.random.key(0), (rows, 8))
    ids = jax.random.randint(jax.random.key(1), (4, 96), 0, rows)
    ordered, plain = Lookup("gpu", None), Lookup("cpu", None)
    np.testing.assert_array_equal(ordered(table, ids), plain(table, ids))
    np.testing.assert_allclose(
        gradient(ordered, table, ids), gradient(plain, table, ids), rtol=0, atol=1e-5
    )
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
    found = on_four(table, parted)
    np.testing.assert_allclose(found, gradient(Lookup("cpu", None), table, ids), rtol=0, atol=1e-5)
    assert "all-gather" not in on_four.lower(table, parted).compile().as_text()
