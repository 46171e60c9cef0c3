"""The order of a run's batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jaxbert.data.packing import PackedSampler
from jaxbert.options.task_settings import TaggingTrainOptions
from jaxbert.runs.plan import make_sampler
from jaxbert.runs.record import RunRecord

OPTIONS = TaggingTrainOptions(
    max_seq_length=384, length_bucket=64, per_device_train_batch_size=16, packing=True
)
SHORT = np.random.default_rng(0).integers(5, 31, 600)  # rows of 64 cost least


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


@pytest.mark.parametrize("change", [{"length_bucket": 32}, {"max_seq_length": 48}])
def test_rows_of_another_length_are_another_number_of_rows(change: dict) -> None:
    record = record_of(OPTIONS, order_of())
    changed = dataclasses.replace(OPTIONS, **change)
    order = order_of(changed, record)
    assert (order.capacity, order.rows) == (order_of(changed).capacity, order_of(changed).rows)
    assert abs(len(SHORT) / order.steps_per_epoch - 16) < 2  # windows of a batch, as asked
