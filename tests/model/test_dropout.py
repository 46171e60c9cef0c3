"""The hash dropout: its rate, its independence in every direction, and what it must not depend on.

Masks are a fixed function, so each statistic here is one fixed number; the bounds are four standard
deviations of what coin flips would give.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.model.dropout import Seeds, dropout, keep_mask, row_seeds

KEY = jax.random.key(2024)


@functools.partial(jax.jit, static_argnames=("site", "shape", "rate"))
def compiled_mask(
    key: jax.Array, rows: jax.Array, *, site: int, shape: tuple[int, ...], rate: float
) -> jax.Array:
    return keep_mask(row_seeds(key, rows), site, shape, rate)


def mask_of(
    shape: tuple[int, ...],
    *,
    key: jax.Array = KEY,
    rows: np.ndarray | None = None,
    site: int = 0,
    rate: float = 0.1,
) -> np.ndarray:
    rows = np.arange(shape[0]) if rows is None else rows
    return np.asarray(compiled_mask(key, rows, site=site, shape=shape, rate=rate))


def deviations(a: np.ndarray, b: np.ndarray, rate: float) -> float:
    """Correlation of two masks in standard deviations: sum of products / sqrt(n), about N(0, 1)."""
    p = 1 - rate
    products = (a.astype(np.float32) - p) * (b.astype(np.float32) - p)
    return float(products.sum(dtype=np.float64) / (p * rate) / products.size**0.5)


# --- rate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(8, 128, 1024), (4, 8, 180, 180)], ids=["hidden", "attention"])
def test_rate(rate: float, shape: tuple[int, ...]) -> None:
    mask = mask_of(shape, rate=rate)
    assert mask.size >= 1e6
    deviation = np.sqrt(rate * (1 - rate) / mask.size)
    assert abs(mask.mean() - (1 - rate)) <= 4 * deviation
    # In every row too: no seed is a bad one.
    of_rows = mask.reshape(shape[0], -1).mean(1)
    assert np.abs(of_rows - (1 - rate)).max() <= 4 * deviation * shape[0] ** 0.5


def test_columns_and_lines_have_the_rate() -> None:
    mask = mask_of((4, 512, 1024), rate=0.1)
    for axis in (1, 2):
        means = mask.mean(axis=(0, axis))
        count = mask.size / len(means)
        chi_square = np.sum((means - 0.9) ** 2) * count / (0.9 * 0.1)
        assert abs(chi_square - len(means)) <= 4 * np.sqrt(2 * len(means))


@pytest.mark.parametrize("shape", [(16, 256, 512), (2, 8, 256, 512)], ids=["hidden", "attention"])
def test_bytes_of_the_mask_are_uniform(shape: tuple[int, ...]) -> None:
    """At rate 0.5, eight neighbours make any byte equally often: chi-square of 255 degrees."""
    mask = mask_of(shape, rate=0.5)
    for axis in (-1, -2):
        values = np.packbits(np.moveaxis(mask, axis, -1), axis=-1).ravel()
        counts = np.bincount(values, minlength=256)
        expected = len(values) / 256
        chi_square = np.sum((counts - expected) ** 2) / expected
        assert abs(chi_square - 255) <= 4 * np.sqrt(2 * 255)


# --- independence -----------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_keys_rows_and_places_are_independent(rate: float) -> None:
    shape = (8, 256, 256)
    mask = functools.partial(mask_of, shape, rate=rate)
    first = mask()
    for key in (jax.random.key(2025), *(jax.random.fold_in(KEY, step) for step in (0, 1, 2))):
        assert abs(deviations(first, mask(key=key), rate)) <= 4
    for site in (1, 2, 3, 36, 37):
        assert abs(deviations(first, mask(site=site), rate)) <= 4
    for shift in (8, 256, 1 << 16, 1 << 30):
        other = mask(rows=np.arange(8) + shift)
        assert abs(deviations(first, other, rate)) <= 4
    for shift in (1, 2, 4):
        assert abs(deviations(first[:-shift], first[shift:], rate)) <= 4


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_heads_are_independent(rate: float) -> None:
    mask = mask_of((4, 12, 128, 128), rate=rate)
    for a in range(12):
        for b in range(a):
            assert abs(deviations(mask[:, a], mask[:, b], rate)) <= 4, (a, b)


def test_no_mask_is_another_one_shifted() -> None:
    """With one word a row, two rows' masks were one mask, shifted by the words' difference."""
    mask = mask_of((4, 128, 512), rate=0.5).reshape(4, -1).astype(np.float64) * 2 - 1
    spectrum = np.fft.rfft(mask, axis=1)
    for a in range(4):
        for b in range(a):
            # All cyclic shifts at once; the largest of 65,536 normal values is below 6.
            shifted = np.fft.irfft(spectrum[a] * spectrum[b].conj()) / mask.shape[1] ** 0.5
            assert np.abs(shifted).max() <= 6, (a, b)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_neighbours_and_lagged_positions_are_independent(rate: float) -> None:
    mask = mask_of((4, 512, 512), rate=rate)
    for lag in range(1, 65):
        assert abs(deviations(mask[:, lag:], mask[:, :-lag], rate)) <= 4, lag
        assert abs(deviations(mask[:, :, lag:], mask[:, :, :-lag], rate)) <= 4, lag
    assert abs(deviations(mask[:, 1:, 1:], mask[:, :-1, :-1], rate)) <= 4
    assert abs(deviations(mask[:, 1:, :-1], mask[:, :-1, 1:], rate)) <= 4
    above = np.triu_indices(512, 1)
    assert abs(deviations(mask[:, *above], mask.swapaxes(1, 2)[:, *above], rate)) <= 4


def test_the_longest_axes_do_not_collide() -> None:
    """65,536 is the most positions that a config may have; the next position is another line's."""
    longest = 1 << 16
    wide = mask_of((1, 8, longest), rate=0.5)[0]
    tall = mask_of((1, longest, 8), rate=0.5)[0]
    for mask in (wide, tall.T):
        for a in range(8):
            for b in range(a):
                assert abs(deviations(mask[a], mask[b], 0.5)) <= 4, (a, b)
    assert abs(deviations(wide[1:, :64], wide[:-1, -64:], 0.5)) <= 4
    for lag in (1 << 8, 1 << 12, 1 << 15):  # a power of two moves only high bits of the position
        assert abs(deviations(tall[lag:], tall[:-lag], 0.5)) <= 4, lag
        assert abs(deviations(wide[:, lag:], wide[:, :-lag], 0.5)) <= 4, lag


def test_many_rows_have_different_seeds() -> None:
    rows = np.concatenate([np.arange(200_000), [-1]])
    for key in (KEY, jax.random.fold_in(KEY, 1), jax.random.key(0)):
        seeds = jax.jit(row_seeds)(key, rows)
        pairs = np.asarray(seeds.low, np.uint64) << np.uint64(32) | np.asarray(seeds.high)
        assert len(np.unique(pairs)) == len(rows)


# --- what a mask does not depend on -----------------------------------------------------------


@pytest.mark.parametrize(
    ("short", "long"),
    [((3, 20, 24), (3, 27, 24)), ((3, 4, 20, 20), (3, 4, 27, 27)), ((3, 20, 24), (3, 20, 31))],
)
def test_padding_does_not_renumber_positions(short: tuple[int, ...], long: tuple[int, ...]) -> None:
    prefix = tuple(slice(0, n) for n in short)
    np.testing.assert_array_equal(mask_of(short), mask_of(long)[prefix])


@pytest.mark.parametrize("shape", [(6, 20, 24), (6, 4, 20, 20)])
def test_a_row_keeps_its_mask_wherever_it_is(shape: tuple[int, ...]) -> None:
    rows = np.array([5, 0, 77, -1, 3, 123_456])
    mask = mask_of(shape, rows=rows)
    order = np.array([3, 1, 5, 0, 2, 4])
    np.testing.assert_array_equal(mask_of(shape, rows=rows[order]), mask[order])
    np.testing.assert_array_equal(mask_of((1, *shape[1:]), rows=rows[2:3])[0], mask[2])


def test_typed_and_raw_keys_give_the_same_seeds() -> None:
    rows = np.arange(5)
    typed, raw = row_seeds(KEY, rows), row_seeds(jax.random.key_data(KEY), rows)
    jax.tree.map(np.testing.assert_array_equal, typed, raw)


# --- dropout ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def x() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(3, 20, 24)).astype(np.float32))


@pytest.fixture(scope="module")
def seeds() -> Seeds:
    return row_seeds(KEY, jnp.arange(3))


def test_off_returns_the_input(x: jax.Array, seeds: Seeds) -> None:
    assert dropout(x, 0.1, None, site=0) is x
    assert dropout(x, 0.0, seeds, site=0) is x


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_kept_elements_are_scaled_and_others_are_zero(
    x: jax.Array, seeds: Seeds, dtype: jnp.dtype
) -> None:
    x = x.astype(dtype)
    y = dropout(x, 0.25, seeds, site=2)
    assert y.dtype == dtype
    keep = mask_of(x.shape, site=2, rate=0.25)
    np.testing.assert_array_equal(y, np.where(keep, x * jnp.asarray(1 / 0.75, dtype), 0))
    assert 0 < keep.sum() < keep.size


def test_jit_changes_nothing(x: jax.Array, seeds: Seeds) -> None:
    compiled = jax.jit(lambda x, seeds: dropout(x, 0.1, seeds, site=1))
    np.testing.assert_array_equal(compiled(x, seeds), dropout(x, 0.1, seeds, site=1))


def test_gradient_is_the_mask(x: jax.Array, seeds: Seeds) -> None:
    gradient = jax.grad(lambda x: dropout(x, 0.1, seeds, site=1).sum())(x)
    expected = np.where(mask_of(x.shape, site=1), np.float32(1 / 0.9), 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-7)
