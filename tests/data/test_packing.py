"""Rows of several windows: every window once, hardly any padding, and each token in its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbert.data.features import Features
from jaxbert.data.masking import mask_batch
from jaxbert.data.packing import PackedSampler, best_fit, pack_batch, row_length
from jaxbert.data.sampling import make_batch

# A busy machine is no fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
CAPACITY = 24
LENGTHS = st.lists(st.integers(2, CAPACITY), min_size=1, max_size=60).map(np.array)


def features_of(lengths: np.ndarray) -> Features:
    """Windows whose tokens say which window and which position they are."""
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    total = int(bounds[-1])
    window = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(total) - bounds[window]
    return Features(
        bounds=bounds,
        tokens={
            "input_ids": (1000 * (window + 1) + position).astype(np.int32),
            "token_type_ids": (position % 2).astype(np.int32),
            "word": np.where(position > 0, position, -1).astype(np.int32),
        },
        rows={"labels": np.arange(len(lengths), dtype=np.int32)},
        example=np.arange(len(lengths), dtype=np.int32),
    )


@unhurried
@given(LENGTHS, st.integers(1, 6))
def test_rows_hold_every_window_once_and_no_more_than_they_may(
    lengths: np.ndarray, most: int
) -> None:
    descending = np.sort(lengths)[::-1].tolist()
    rows = best_fit(descending, CAPACITY, most)
    assert sorted(n for row in rows for n in row) == list(range(len(lengths)))
    for row in rows:
        assert 0 < len(row) <= most
        assert sum(descending[n] for n in row) <= CAPACITY


@unhurried
@given(LENGTHS)
def test_rows_are_those_of_a_search_through_all(lengths: np.ndarray) -> None:
    """Best fit in so many words: of the open rows that have room, one with the least."""
    descending = np.sort(lengths)[::-1].tolist()
    room: list[int] = []
    for length in descending:
        fitting = [r for r, left in enumerate(room) if left >= length]
        if fitting:
            room[min(fitting, key=lambda r: room[r])] -= length
        else:
            room.append(CAPACITY - length)
    rows = best_fit(descending, CAPACITY, len(lengths))
    found = [CAPACITY - sum(descending[n] for n in row) for row in rows]
    assert sorted(found) == sorted(room)


@unhurried
@given(LENGTHS, st.integers(1, 20), st.integers(0, 2**31), st.integers(1, 4))
def test_every_window_once_in_every_epoch(
    lengths: np.ndarray, windows: int, seed: int, multiple: int
) -> None:
    order = PackedSampler(lengths, windows, seed, CAPACITY, multiple)
    assert order.rows % multiple == 0
    for epoch in (0, 1, 5):
        first = epoch * order.steps_per_epoch
        seen = []
        for step in range(first, first + order.steps_per_epoch):
            slots, length = order.batch(step)
            assert length == CAPACITY
            assert len(slots) == order.size
            of_rows = slots.reshape(order.rows, -1)
            assert (np.where(of_rows >= 0, lengths[of_rows], 0).sum(1) <= CAPACITY).all()
            seen += slots[slots >= 0].tolist()
        assert sorted(seen) == list(range(len(lengths)))


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    lengths = np.random.default_rng(0).integers(2, CAPACITY + 1, 200)
    first = PackedSampler(lengths, 16, 7, CAPACITY)
    steps = [0, 3, first.steps_per_epoch, 5 * first.steps_per_epoch + 2]
    batches = [first.batch(step)[0] for step in steps]
    again = PackedSampler(lengths, 16, 7, CAPACITY)
    for step, batch in reversed(list(zip(steps, batches, strict=True))):  # in any order
        np.testing.assert_array_equal(again.batch(step)[0], batch)
    other = PackedSampler(lengths, 16, 8, CAPACITY)
    assert not np.array_equal(other.batch(0)[0], batches[0])
    assert not np.array_equal(batches[0], batches[2])  # another epoch, other windows together


@pytest.mark.parametrize(("longest", "mean"), [(384, 174), (128, 22), (512, 90)])
def test_little_is_padding_and_batches_have_so_many_windows(longest: int, mean: int) -> None:
    rng = np.random.default_rng(1)
    lengths = np.clip(rng.lognormal(np.log(mean), 0.35, 5000).astype(int), 5, longest)
    order = PackedSampler(lengths, 32, 0, longest)
    assert order.padding() < 0.03
    windows = len(lengths) / order.steps_per_epoch
    assert abs(windows - 32) <= 0.5 * len(lengths) / len(order._template)  # whole rows


@pytest.mark.parametrize(
    ("shortest", "longest", "width", "expected"),
    [
        (20, 384, 768, 384),  # no window may be cut
        (5, 30, 768, 64),  # many fit into the shortest rows
        (85, 126, 384, 128),  # one fits; two would leave as much of 256
        (65, 75, 768, 384),  # five fit, where one would leave half of 128
        (65, 75, 12, 192),  # a narrow model, in which attention costs more than padding
    ],
)
def test_rows_are_as_long_as_costs_least(
    shortest: int, longest: int, width: int, expected: int
) -> None:
    lengths = np.random.default_rng(0).integers(shortest, longest + 1, 3000)
    assert row_length(lengths, (64, 128, 192, 256, 320, 384), width) == expected


def test_a_run_keeps_its_rows() -> None:
    lengths = np.full(100, 6)
    assert PackedSampler(lengths, 32, 0, 24).rows == 8
    assert PackedSampler(lengths, 32, 0, 24, multiple=6).rows == 6
    assert PackedSampler(lengths, 32, 0, 24, multiple=6, fixed_rows=8).rows == 8


@unhurried
@given(LENGTHS, st.integers(1, 12), st.integers(0, 9))
def test_each_token_is_in_its_place(lengths: np.ndarray, windows: int, step: int) -> None:
    features = features_of(lengths)
    order = PackedSampler(lengths, windows, 3, CAPACITY)
    slots, length = order.batch(step)
    plain = make_batch(features, slots, length, order.size)
    packed = order.finish(plain)
    assert packed["input_ids"].shape == (order.rows, CAPACITY)
    each = order.size // order.rows
    expected = np.zeros((order.rows, CAPACITY, 4), np.int64)  # id, type, position, segment
    for row in range(order.rows):
        start = 0
        for segment in range(1, each + 1):
            slot = row * each + segment - 1
            assert packed["segment_starts"][slot] == min(start, CAPACITY - 1)
            window = slots[slot]
            if window < 0:
                continue
            for position in range(lengths[window]):
                expected[row, start] = (
                    1000 * (window + 1) + position,
                    position % 2,
                    position,
                    segment,
                )
                start += 1
    for number, name in enumerate(("input_ids", "token_type_ids", "position_ids", "segment_ids")):
        np.testing.assert_array_equal(packed[name], expected[..., number])
        assert packed[name].dtype == np.int32
    for name in ("attention_mask", "labels", "row", "weight"):  # of windows, as they were
        np.testing.assert_array_equal(packed[name], plain[name])
    np.testing.assert_array_equal(packed["row"], slots)


@unhurried
@given(LENGTHS, st.integers(1, 12), st.sampled_from([0.15, 0.5, 0.9]))
def test_masked_tokens_move_with_their_windows(
    lengths: np.ndarray, windows: int, probability: float
) -> None:
    features = features_of(lengths)
    order = PackedSampler(lengths, windows, 3, CAPACITY)
    slots, length = order.batch(0)
    masked = mask_batch(
        make_batch(features, slots, length, order.size),
        seed=0,
        draw=0,
        probability=probability,
        whole_words=True,
        mask_id=7,
        vocab_size=1000,
        special_ids=[],
    )
    packed = pack_batch(masked, order.rows)
    starts, each = packed["segment_starts"], order.size // order.rows
    expected = [
        (slot // each, starts[slot] + masked["masked_positions"][slot, n], label)
        for slot in range(order.size)
        for n, label in enumerate(masked["labels"][slot])
        if label >= 0
    ]
    row, place = np.nonzero(packed["labels"] >= 0)
    positions = packed["masked_positions"][row, place]
    found = list(zip(row, positions, packed["labels"][row, place], strict=True))
    assert found == expected
    hidden = packed["input_ids"][row, positions]
    assert ((hidden == 7) | (hidden < 1000) | (hidden == packed["labels"][row, place])).all()
    np.testing.assert_array_equal(packed["weight"], (packed["labels"] >= 0).any(1))
