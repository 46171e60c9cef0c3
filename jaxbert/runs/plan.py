"""What a run's options come to: the order of its batches, its steps, the score it is judged by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np

from jaxbert.compiling.full_rows import stretched
from jaxbert.data.batch_source import BatchSource, Corruption
from jaxbert.data.features import Features
from jaxbert.data.packing import PackedSampler, Sampler, row_length
from jaxbert.data.rows_of_windows import row_lengths
from jaxbert.data.sampling import BucketSampler, bucket_lengths
from jaxbert.errors import InputError
from jaxbert.metrics.scores import LOSS, Metric
from jaxbert.runs.record import RunRecord
from jaxbert.training.progress import Plan


def make_sampler(
    lengths: np.ndarray,
    *,
    width: int,
    parts: int,
    per_device_train_batch_size: int,
    max_seq_length: int,
    length_bucket: int,
    seed: int,
    windows_in_row: int = 1,
    packing: bool = False,
    gradient_accumulation_steps: int = 1,
    record: RunRecord | None = None,
    platform: str | None = None,
) -> Sampler:
    """The batches of a run.

    Args:
        lengths: (M,) tokens of each window.
        windows_in_row: where rows have several windows; see data.rows_of_windows.
        width: of the encoder.
        parts: micro-batches of a batch, over all devices.
        record: of the run that is resumed, if any: it keeps its rows, how many and how long, on
            other devices. Where the options differ that the rows come from, they are made again.
        platform: "cpu", "gpu" or "tpu", what the rows are for; by default the default device.
    """
    requested: dict[str, int] = {
        "per_device_train_batch_size": per_device_train_batch_size,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "packing": packing,
    }
    if packing:
        requested |= {"max_seq_length": max_seq_length, "length_bucket": length_bucket}
    before = {"packing": False, **record.options} if record else {}
    if any(before.get(name) != value for name, value in requested.items()):
        record = None
    rows = record.rows_per_step if record else None
    windows = per_device_train_batch_size * parts
    if not packing:
        lengths_of_rows = row_lengths(length_bucket, max_seq_length, windows_in_row)
        return BucketSampler(lengths, rows or windows, seed, lengths_of_rows)
    buckets = bucket_lengths(length_bucket, max_seq_length)
    if record:  # before rows had lengths of their own, they had max_seq_length
        buckets = (record.row_length or max_seq_length,)
    elif (platform or jax.default_backend()) != "cpu":  # a TPU's registers have 128 lanes
        buckets = tuple(n for n in buckets if n % 128 == 0) or buckets[-1:]
    capacity = row_length(lengths, buckets, width)
    return PackedSampler(lengths, windows, seed, capacity, parts, rows)


def micro_batches(sampler: Sampler, *, devices: int, per_device_train_batch_size: int) -> int:
    """Micro-batches of a step: as few as give no device more rows in one than it was asked for.

    Of a run that begins they are --gradient_accumulation_steps. One that is resumed keeps its rows
    of a step, so that on half as many devices there are twice as many.
    """
    most = per_device_train_batch_size
    if isinstance(sampler, PackedSampler):
        most = sampler.part_rows
    return -(-sampler.rows // (most * devices))


def full_rows(
    features: Features,
    lengths: np.ndarray,
    *,
    rows: int,
    width: int,
    parts: int,
    gradient_accumulation_steps: int,
    packing: bool,
    max_seq_length: int,
    windows_in_row: int,
    length_bucket: int,
    seed: int,
    platform: str,
    corruption: Corruption | None,
) -> BatchSource:
    """Batches of windows of other lengths, to have their shapes.

    Args:
        features: any windows of the task.
        lengths: (M,) tokens of each window; rows that are not packed are as long as they can be.
        rows: of a micro-batch on each device.
        width, parts, windows_in_row, platform: see make_sampler.
        length_bucket: of packed rows, whose length it decides.
    """
    if not packing:
        lengths = np.full(rows * parts, max_seq_length * windows_in_row)
    stretched_features = stretched(features, lengths)
    sampler = make_sampler(
        stretched_features.lengths,
        width=width,
        parts=parts,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=gradient_accumulation_steps,
        packing=packing,
        max_seq_length=max_seq_length,
        windows_in_row=windows_in_row,
        length_bucket=length_bucket if packing else 0,
        seed=seed,
        platform=platform,
    )
    return BatchSource(stretched_features, sampler, corruption, gradient_accumulation_steps)


def make_plan(
    *,
    steps_per_epoch: int,
    metrics: Sequence[Metric],
    added: Sequence[Metric] = (),
    judged_by: Sequence[str] | None = None,
    metric_for_best_model: str | None,
    num_train_epochs: float,
    max_steps: int,
    logging_steps: int,
    eval_steps: int | None,
    save_steps: int | None,
    early_stopping_patience: int | None,
    max_nonfinite_steps: int,
    load_best_model_at_end: bool,
) -> Plan:
    """When a run does what.

    Args:
        metrics: the scores that there may be.
        added: scores beside these, which an evaluation leaves out where they are not finite.
        judged_by: of which the first that there is tells the best checkpoint, where none is named;
            by default the metrics.
    """
    lower = {m.name for m in (*metrics, *added) if m.lower_is_better}
    return Plan(
        total=total_steps(num_train_epochs, max_steps, steps_per_epoch),
        log_every=logging_steps,
        eval_every=eval_steps or steps_per_epoch,
        save_every=save_steps or steps_per_epoch,
        patience=early_stopping_patience,
        max_skipped=max_nonfinite_steps,
        metrics=best_metrics(judged_by or [m.name for m in metrics], metric_for_best_model),
        lower_is_better=frozenset({LOSS, *lower}),
        may_lack=frozenset({LOSS, *(m.name for m in added)}),
        keeps_best=load_best_model_at_end,
    )


def total_steps(num_train_epochs: float, max_steps: int, steps_per_epoch: int) -> int:
    """Steps of a run: max_steps where it is above 0, else those of the epochs.

    >>> total_steps(1.5, -1, steps_per_epoch=5), total_steps(1.5, 3, steps_per_epoch=5)
    (8, 3)
    """
    total = max_steps if max_steps > 0 else math.ceil(num_train_epochs * steps_per_epoch)
    if total < 1:
        raise InputError("--num_train_epochs and --max_steps leave no step to train")
    return total


def warmup_of(warmup_steps: int, warmup_ratio: float, total: int) -> int:
    """The steps, of all, in which the learning rate rises."""
    return warmup_steps or math.ceil(warmup_ratio * total)


def best_metrics(metrics: Sequence[str], metric_for_best_model: str | None) -> tuple[str, ...]:
    """Scores of which the first that there is tells the best checkpoint.

    Args:
        metrics: the task's own, for when none is named.
        metric_for_best_model: eval_f1 is f1, as in Hugging Face's Trainer, and loss is eval_loss.

    >>> best_metrics(("f1", "accuracy"), None), best_metrics(("f1",), "eval_f1")
    (('f1', 'accuracy'), ('f1',))
    """
    if not metric_for_best_model:
        return tuple(metrics)
    name = metric_for_best_model.removeprefix("eval_")
    return (LOSS if name == LOSS.removeprefix("eval_") else name,)
