"""BatchSource: any step's batch at once, the same as when all before it are made first."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbert.data.batch_source import BatchSource
from jaxbert.data.features import Features
from jaxbert.data.masking import mask_batch
from jaxbert.data.packing import PackedSampler
from jaxbert.data.sampling import BucketSampler, NumpyBatch, bucket_lengths
from jaxbert.data.shared_batches import SharedBatches, task_of
from jaxbert.data.task_shares import TaskShares

# A busy machine is no fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
LONGEST = 24


def masked(batch: NumpyBatch, step: int) -> NumpyBatch:
    return mask_batch(
        batch,
        seed=5,
        draw=step,
        probability=0.3,
        whole_words=False,
        mask_id=4,
        vocab_size=100,
        special_ids=[0, 4],
    )


def features_of(lengths: list[int]) -> Features:
    """Windows of random tokens; example n has windows 2n and 2n + 1."""
    total = sum(lengths)
    rng = np.random.default_rng(total)
    return Features(
        bounds=np.concatenate([[0], np.cumsum(lengths)]),
        tokens={
            "input_ids": rng.integers(5, 100, total).astype(np.int32),
            "token_type_ids": np.zeros(total, np.int32),
            "word": np.arange(total, dtype=np.int32),
        },
        rows={},
        example=np.arange(len(lengths), dtype=np.int32) // 2,
    )


@st.composite
def sources(draw: st.DrawFn) -> BatchSource:
    features = features_of(draw(st.lists(st.integers(2, LONGEST), min_size=1, max_size=30)))
    accumulation, seed = draw(st.integers(1, 3)), draw(st.integers(0, 2**31))
    size = accumulation * draw(st.integers(1, 3))
    sampler = draw(
        st.sampled_from(
            [
                BucketSampler(features.lengths, size, seed, bucket_lengths(8, LONGEST)),
                PackedSampler(features.lengths, size, seed, LONGEST, accumulation),
            ]
        )
    )
    return BatchSource(features, sampler, draw(st.sampled_from([None, masked])), accumulation)


@unhurried
@given(sources(), st.integers(0, 40))
def test_batches_from_a_step_are_those_that_follow_when_all_are_made(
    source: BatchSource, step: int
) -> None:
    resumed = dataclasses.replace(source, features=dataclasses.replace(source.features))
    later = itertools.islice(resumed.iter_from(step), 3)
    walked = itertools.islice(source.iter_from(0), step, step + 3)
    for a, b in zip(later, walked, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize(("rows", "given_back"), [(100, [6, 12, 18]), (1000, [1, 2, 3])])
def test_memory_is_given_back_after_as_many_rows_whatever_a_batch_has(
    rows: int, given_back: list[int]
) -> None:
    """Each row has its own pages in a file: counted in batches, large ones would keep more."""
    at: list[int] = []

    class Watched(Features):
        def forget(self) -> None:
            at.append(number)

    features = Watched(**vars(features_of([4] * rows)))
    source = BatchSource(features, BucketSampler(features.lengths, rows, 0, [8]))
    for number, _ in enumerate(source.iter_from(0)):  # noqa: B007, which forget reads
        if len(at) == 3:
            break
    assert at == [n - 1 for n in given_back]


@unhurried
@given(sources(), st.integers(0, 40))
def test_ids_are_those_of_the_windows_in_the_batch(source: BatchSource, step: int) -> None:
    names = [f"id {n}" for n in range(len(source.features))]
    named = dataclasses.replace(source, id_of=names.__getitem__)
    windows = source.batch(step)["row"]
    numbers = {int(n) // 2 for n in windows.ravel() if n >= 0}
    assert sorted(named.example_ids(step)) == sorted(names[n] for n in numbers)
    assert set(source.example_ids(step)) == {f"number {n + 1}" for n in numbers}


@unhurried
@given(sources())
def test_an_epoch_has_every_window_once_in_micro_batches_of_equal_rows(source: BatchSource) -> None:
    found, padded = [], 0
    for batch in itertools.islice(source.iter_from(0), source.steps_per_epoch):
        found += [n for n in batch["row"].ravel().tolist() if n >= 0]
        parts, rows, length = batch["input_ids"].shape
        assert (parts, parts * rows) == (source.accumulation, source.rows)
        assert length in source.row_lengths
        padded += parts * rows * length
    assert sorted(found) == list(range(len(source.features)))
    assert source.padding() == pytest.approx(1 - source.features.lengths.sum() / padded)


def test_each_step_draws_other_masks() -> None:
    features = features_of([20] * 4)
    sampler = BucketSampler(features.lengths, 4, 0, (LONGEST,))
    source = BatchSource(features, sampler, masked)
    rows = []
    for batch in itertools.islice(source.iter_from(0), 2):  # the same four windows
        rows.append(batch["masked_positions"][0][np.argsort(batch["row"][0])])
    assert not np.array_equal(*rows)


@unhurried
@given(sources(), st.integers(0, 40), st.integers(1, 8), st.integers(1, 4))
def test_rows_that_do_not_divide_are_followed_by_empty_ones(
    source: BatchSource, step: int, devices: int, accumulation: int
) -> None:
    """What is learned from, its masks too, is the same on any devices."""
    other = dataclasses.replace(source, devices=devices, accumulation=accumulation)
    assert 0 <= other.rows - source.rows < devices * accumulation
    before, now = source.batch(step), other.batch(step)
    assert now["input_ids"].shape[:2] == (accumulation, other.rows // accumulation)
    assert before.keys() == now.keys()
    for name, column in before.items():
        column = column.reshape(-1, *column.shape[2:])
        filled = now[name].reshape(-1, *now[name].shape[2:])
        np.testing.assert_array_equal(filled[: len(column)], column)
        if name in ("row", "weight", "attention_mask"):
            assert (filled[len(column) :] == (-1 if name == "row" else 0)).all()


@unhurried
@given(sources(), sources(), st.integers(1, 3), st.integers(0, 2**31), st.integers(0, 40))
def test_batches_of_several_tasks_are_their_own_and_say_whose(
    one: BatchSource, other: BatchSource, share: int, seed: int, start: int
) -> None:
    turns = TaskShares({"one": share, "other": 1}, seed)
    shared = SharedBatches({"one": one, "other": other}, turns)
    drawn = itertools.islice(shared.iter_from(start), 5)
    for step, batch in enumerate(drawn, start):
        name, number = turns.draw(step)
        assert task_of(batch) == name
        own = shared.sources[name].batch(number)
        (mark,) = batch.keys() - own.keys()
        assert batch[mark].shape == batch["row"].shape
        for key, x in own.items():
            np.testing.assert_array_equal(batch[key], x)
        assert shared.example_ids(step) == [
            f"{name} {given}" for given in shared.sources[name].example_ids(number)
        ]
    epoch = [turns.draw(step)[0] for step in range(shared.steps_per_epoch)]
    assert all(epoch.count(n) >= source.steps_per_epoch for n, source in shared.sources.items())
    before = epoch[: -sum(turns.shares.values())]  # a cycle less is not enough
    assert any(before.count(n) < source.steps_per_epoch for n, source in shared.sources.items())
