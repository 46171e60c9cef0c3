"""Which windows are in which batch, and the arrays of a batch against a slow reference."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbert.data.features import Features
from jaxbert.data.sampling import BucketSampler, bucket_lengths, by_length, make_batch

# A busy machine is no fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40).map(np.array)
SIZES = st.integers(1, 12)
BUCKETS = st.sampled_from([0, 1, 7, 16, 60, 64]).map(lambda n: bucket_lengths(n, 60))
SEEDS = st.integers(0, 2**31)


def walk(order: BucketSampler, epoch: int) -> list[tuple[list[int], int]]:
    """All batches of an epoch, as lists."""
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    return [(windows.tolist(), length) for windows, length in map(order.batch, steps)]


@unhurried
@given(LENGTHS, SIZES, SEEDS, BUCKETS, st.integers(0, 3))
def test_every_window_once_in_every_epoch(
    lengths: np.ndarray, size: int, seed: int, buckets: tuple[int, ...], epoch: int
) -> None:
    order = BucketSampler(lengths, size, seed, buckets)
    batches = walk(order, epoch)
    assert len(batches) == order.steps_per_epoch == int(np.ceil(len(lengths) / size))
    assert sorted(m for windows, _ in batches for m in windows) == list(range(len(lengths)))
    assert sum(len(windows) < size for windows, _ in batches) <= 1
    assert all(0 < len(windows) <= size for windows, _ in batches)
    for windows, length in batches:
        assert length in buckets
        assert length >= lengths[windows].max()


@unhurried
@given(LENGTHS, SIZES, SEEDS, BUCKETS, st.integers(0, 200))
def test_a_step_is_a_function_of_seed_and_step(
    lengths: np.ndarray, size: int, seed: int, buckets: tuple[int, ...], step: int
) -> None:
    walked = BucketSampler(lengths, size, seed, buckets)
    epochs = step // walked.steps_per_epoch
    there = [batch for epoch in range(min(epochs, 3) + 1) for batch in walk(walked, epoch)]
    step = min(step, len(there) - 1)
    windows, length = BucketSampler(lengths.copy(), size, seed, buckets).batch(step)
    assert (windows.tolist(), length) == there[step]


def test_epochs_and_seeds_differ() -> None:
    lengths = np.arange(1, 101)
    order = BucketSampler(lengths, 8, 42, bucket_lengths(32, 100))
    epochs = [walk(order, epoch) for epoch in range(4)]
    others = [walk(BucketSampler(lengths, 8, seed, order.buckets), 0) for seed in range(4)]
    assert len({str(batches) for batches in epochs + others}) == 8
    # Not the batches alone are in another order: their windows are others.
    assert len({str(sorted(sorted(w) for w, _ in batches)) for batches in epochs}) == 4


def test_batches_are_mixed_over_lengths() -> None:
    """Short windows do not all come first, nor the batch that is not full always last."""
    order = BucketSampler(np.arange(1, 100), 8, 42, bucket_lengths(16, 100))
    padded = [[length for _, length in walk(order, epoch)] for epoch in range(8)]
    assert all(lengths != sorted(lengths) for lengths in padded)
    places = {[len(w) for w, _ in walk(order, epoch)].index(3) for epoch in range(8)}
    assert len(places) > 1


def test_the_order_is_this_one() -> None:
    """Golden: a resumed run must see the batches that it would have seen."""
    lengths = np.array([3, 9, 4, 12, 7, 2, 16, 5, 8, 11])
    batches = walk(BucketSampler(lengths, 4, 42, (8, 16)), 0)
    assert batches == [([5, 0, 7, 2], 8), ([9, 1], 16), ([4, 8, 6, 3], 16)]


def test_buckets_pad_little() -> None:
    lengths = np.array([10] * 32 + [60] * 32)
    batches = walk(BucketSampler(lengths, 8, 0, bucket_lengths(16, 60)), 0)
    assert sorted(length for _, length in batches) == [16] * 4 + [60] * 4


@unhurried
@given(LENGTHS, SIZES, BUCKETS)
def test_in_order_covers_every_window_once(
    lengths: np.ndarray, size: int, buckets: tuple[int, ...]
) -> None:
    batches = by_length(lengths, size, buckets)
    assert len(batches) == int(np.ceil(len(lengths) / size))
    windows = np.concatenate([w for w, _ in batches])
    assert sorted(windows.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[windows]) >= 0).all()
    for part, length in batches:
        # The smallest bucket that is enough.
        assert length == min(b for b in buckets if b >= lengths[part].max())
    assert all(len(w) == size for w, _ in batches[:-1])


@unhurried
@given(LENGTHS, SIZES, BUCKETS, st.integers(1, 200))
def test_in_order_keeps_to_the_tokens_by_halves(
    lengths: np.ndarray, size: int, buckets: tuple[int, ...], tokens: int
) -> None:
    batches = by_length(lengths, size, buckets, tokens)
    windows = np.concatenate([w for w, _ in batches])
    assert windows.tolist() == np.argsort(lengths, kind="stable").tolist()
    halves = {size >> n for n in range(size.bit_length())}
    for part, length in batches[:-1]:
        assert len(part) in halves
        assert len(part) == 1 or len(part) * length <= tokens
    # With room for all it is as without a limit.
    whole = by_length(lengths, size, buckets, size * buckets[-1])
    assert [w.tolist() for w, _ in whole] == [
        w.tolist() for w, _ in by_length(lengths, size, buckets)
    ]


def test_in_order_of_nothing() -> None:
    assert by_length(np.zeros(0, int), 4, (8,)) == []


@unhurried
@given(st.integers(0, 70), st.integers(1, 70))
def test_bucket_lengths(multiple: int, longest: int) -> None:
    buckets = bucket_lengths(multiple, longest)
    assert buckets[-1] == longest
    assert list(buckets) == sorted(set(buckets))
    assert all(b % multiple == 0 for b in buckets[:-1])
    for length in range(1, longest + 1):
        if multiple:
            assert min(b for b in buckets if b >= length) - length < multiple


@pytest.fixture(scope="module")
def features() -> Features:
    rng = np.random.default_rng(0)
    lengths = np.array([5, 1, 9, 3, 7, 9])
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    total, count = int(bounds[-1]), len(lengths)
    return Features(
        bounds=bounds,
        tokens={
            "input_ids": rng.integers(1, 99, total).astype(np.int32),
            "context_mask": rng.integers(0, 2, total).astype(bool),
            "choices": rng.integers(1, 99, (total, 2)).astype(np.int32),
            "labels": rng.integers(-100, 9, total).astype(np.int32),
        },
        rows={
            "start_positions": rng.integers(1, 9, count).astype(np.int32),
            "scores": rng.normal(size=(count, 3)).astype(np.float32),
        },
        example=np.zeros(count, np.int32),
        host={"offsets": np.zeros((total, 2), np.int32)},
    )


def slow_batch(
    features: Features, windows: list[int], length: int, size: int
) -> dict[str, list[Any]]:
    def row(m: int, values: np.ndarray) -> list[Any]:
        return [values[k].tolist() for k in range(features.bounds[m], features.bounds[m + 1])]

    expected: dict[str, list[Any]] = {}
    empty = size - len(windows)
    for name, column in features.tokens.items():
        padding = np.zeros_like(column[0]).tolist() if name != "labels" else -100
        rows = [row(m, column) for m in windows]
        padded = [r + [padding] * (length - len(r)) for r in rows]
        expected[name] = padded + [[padding] * length for _ in range(empty)]
    for name, column in features.rows.items():
        zeros = np.zeros_like(column[0]).tolist()
        expected[name] = [column[m].tolist() for m in windows] + [zeros] * empty
    masks = [[1] * n + [0] * (length - n) for n in (int(features.lengths[m]) for m in windows)]
    expected["attention_mask"] = masks + [[0] * length for _ in range(empty)]
    expected["weight"] = [1.0] * len(windows) + [0.0] * empty
    expected["row"] = windows + [-1] * empty
    return expected


@pytest.mark.parametrize(
    ("windows", "length", "size"),
    [
        ([2, 0, 3], 9, 3),
        ([4, 1], 16, 5),
        ([1], 1, 8),
        ([5, 2, 4, 3, 0, 1], 12, 6),
        ([3, 3], 3, 2),
    ],
)
def test_batch_against_a_slow_one(
    features: Features, windows: list[int], length: int, size: int
) -> None:
    batch = make_batch(features, np.array(windows), length, size)
    expected = slow_batch(features, windows, length, size)
    assert {name: array.tolist() for name, array in batch.items()} == expected
    assert {name: array.dtype.name for name, array in batch.items()} == {
        "input_ids": "int32",
        "context_mask": "bool",
        "choices": "int32",
        "labels": "int32",
        "start_positions": "int32",
        "scores": "float32",
        "attention_mask": "int32",
        "weight": "float32",
        "row": "int32",
    }


def test_the_mask_of_the_features_is_the_mask_of_the_batch(features: Features) -> None:
    own = np.arange(2 * features.bounds[-1], dtype=np.int32).reshape(-1, 2) % 3 % 2
    tokens = {**features.tokens, "attention_mask": own}
    batch = make_batch(dataclasses.replace(features, tokens=tokens), np.array([3, 1]), 4, 3)
    third, second = (own[features.bounds[m] : features.bounds[m + 1]].tolist() for m in (3, 1))
    nothing = [0, 0]
    assert batch["attention_mask"].dtype == np.int32
    assert batch["attention_mask"].tolist() == [
        [*third, nothing],
        [*second, nothing, nothing, nothing],
        [nothing] * 4,
    ]
