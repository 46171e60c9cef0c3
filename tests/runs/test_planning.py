"""The order of a run's batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jaxbert.data.batch_source import BatchSource
from jaxbert.data.features import Features
from jaxbert.data.packing import PackedSampler, Sampler
from jaxbert.options.task_settings import TaggingTrainOptions
from jaxbert.runs.plan import make_sampler, micro_batches
from jaxbert.runs.record import RunRecord

OPTIONS = TaggingTrainOptions(
    max_seq_length=384, length_bucket=64, per_device_train_batch_size=16, packing=True
)
SHORT = np.random.default_rng(0).integers(5, 31, 600)  # rows of 64 cost least
FEATURES = Features(
    bounds=np.concatenate([[0], np.cumsum(SHORT)]),
    tokens={},
    rows={},
    example=np.arange(len(SHORT), dtype=np.int32),
)


def order_of(
    options: TaggingTrainOptions = OPTIONS,
    record: RunRecord | None = None,
    parts: int = 1,
    platform: str = "cpu",
) -> PackedSampler:
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "packing")
    names += ("max_seq_length", "length_bucket", "seed")
    asked = {name: getattr(options, name) for name in names}
    order = make_sampler(SHORT, width=768, parts=parts, record=record, platform=platform, **asked)
    assert isinstance(order, PackedSampler)
    return order


def record_of(options: TaggingTrainOptions, order: PackedSampler) -> RunRecord:
    record = RunRecord.of("tagging", options, rows_per_step=order.rows)
    return dataclasses.replace(record, row_length=order.capacity)


def test_a_run_keeps_the_length_of_its_rows_wherever_it_is_resumed() -> None:
    begun = order_of()
    record = record_of(OPTIONS, begun)
    assert begun.capacity == 64
    assert order_of(platform="tpu").capacity == 128  # a TPU's registers
    again = order_of(record=record, parts=4, platform="tpu")
    assert (again.capacity, again.rows) == (64, begun.rows)
    assert again.steps_per_epoch == begun.steps_per_epoch
    for step in range(begun.steps_per_epoch + 2):
        np.testing.assert_array_equal(again.batch(step)[0], begun.batch(step)[0])


def test_a_run_from_before_rows_had_lengths_keeps_those_of_max_seq_length() -> None:
    old = RunRecord.of("tagging", OPTIONS, rows_per_step=2)
    order = order_of(record=old)
    assert (order.capacity, order.rows) == (384, 2)


@pytest.mark.parametrize("packing", [False, True])
def test_fewer_devices_have_more_micro_batches_of_no_more_rows(packing: bool) -> None:
    """As many as the run has, on the devices that it began with."""
    begun_on, accumulation = 4, 2
    options = dataclasses.replace(
        OPTIONS, packing=packing, gradient_accumulation_steps=accumulation, length_bucket=0
    )

    def sampler(parts: int, record: RunRecord | None = None) -> Sampler:
        return make_sampler(
            SHORT,
            width=768,
            parts=parts,
            per_device_train_batch_size=16,
            max_seq_length=384,
            record=record,
            platform="cpu",
            **options.batches(),
        )

    begun = sampler(begun_on * accumulation)
    record = dataclasses.replace(
        RunRecord.of("tagging", options, rows_per_step=begun.rows), row_length=max(begun.buckets)
    )
    most = begun.rows // (begun_on * accumulation)
    for devices, expected in {1: 8, 2: 4, 3: 3, 4: 2, 7: 2, 8: 1, 16: 1}.items():
        again = sampler(devices * accumulation, record)
        found = micro_batches(again, devices=devices, per_device_train_batch_size=16)
        assert (again.rows, found) == (begun.rows, expected)
        source = BatchSource(FEATURES, again, accumulation=found, devices=devices)
        assert source.rows / (devices * found) <= most


@pytest.mark.parametrize("change", [{"length_bucket": 32}, {"max_seq_length": 48}])
def test_rows_of_another_length_are_another_number_of_rows(change: dict) -> None:
    record = record_of(OPTIONS, order_of())
    changed = dataclasses.replace(OPTIONS, **change)
    order = order_of(changed, record)
    assert (order.capacity, order.rows) == (order_of(changed).capacity, order_of(changed).rows)
    assert abs(len(SHORT) / order.steps_per_epoch - 16) < 2  # windows of a batch, as asked
