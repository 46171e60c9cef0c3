"""What a run's options come to: the order of its batches, when it does what, and its optimizer."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import optax

from jaxbert.data.packing import PackedSampler, Sampler, row_length
from jaxbert.data.sampling import BucketSampler, bucket_lengths
from jaxbert.errors import InputError
from jaxbert.metrics.scores import LOSS
from jaxbert.model.kernels import BLOCK as KERNEL_BLOCK
from jaxbert.runs.record import RunRecord
from jaxbert.tasks.task import Task
from jaxbert.training.loop import Plan
from jaxbert.training.optim import Schedule, adamw, make_schedule


def make_sampler(
    options: Any,
    lengths: np.ndarray,
    width: int,
    parts: int,
    record: RunRecord | None = None,
) -> Sampler:
    """The batches of a run.

    Args:
        lengths: (M,) tokens of each window.
        width: of the encoder.
        parts: micro-batches of a batch, over all devices.
        record: of the run that is to go on, if any: it keeps its rows, how many and how long, on
            other devices.
    """
    names = ["per_device_train_batch_size", "gradient_accumulation_steps", "packing"]
    if options.packing:
        names += ["max_seq_length", "length_bucket"]
    before = {"packing": False, **record.options} if record else {}
    same = all(before.get(n) == getattr(options, n) for n in names)
    given = record.rows_per_step if record and same else None
    windows = options.per_device_train_batch_size * parts
    buckets = bucket_lengths(options.length_bucket, options.max_seq_length)
    if options.packing:
        if record and same:  # before rows had lengths of their own, they had max_seq_length
            buckets = (record.row_length or options.max_seq_length,)
        elif jax.default_backend() != "cpu":  # what fused kernels take, and a TPU's registers
            buckets = tuple(n for n in buckets if n % KERNEL_BLOCK == 0) or buckets[-1:]
        capacity = row_length(lengths, buckets, width)
        return PackedSampler(lengths, windows, options.seed, capacity, parts, given)
    return BucketSampler(lengths, given or windows, options.seed, buckets)


def make_plan(task: Task, options: Any, order: Sampler) -> Plan:
    """When the run trains, logs, evaluates and saves."""
    per_epoch = order.steps_per_epoch
    total = (
        options.max_steps
        if options.max_steps > 0
        else math.ceil(options.num_train_epochs * per_epoch)
    )
    if total < 1:
        raise InputError("--num_train_epochs and --max_steps leave no step to train")
    return Plan(
        total=total,
        log_every=options.logging_steps,
        eval_every=options.eval_steps or per_epoch,
        save_every=options.save_steps or per_epoch,
        patience=options.early_stopping_patience,
        max_skipped=options.max_nonfinite_steps,
        metrics=best_metrics(task, options),
        lower_is_better=task.lower_is_better | {LOSS},
    )


def best_metrics(task: Task, options: Any) -> tuple[str, ...]:
    """Scores of which the first that there is tells the best checkpoint; eval_f1 is f1, as in
    Hugging Face's Trainer, and loss is eval_loss."""
    given = options.metric_for_best_model
    if not given:
        return task.best_metrics
    name = given.removeprefix("eval_")
    return (LOSS if name == LOSS.removeprefix("eval_") else name,)


def warmup_steps(options: Any, steps: int) -> int:
    """Of so many steps, those in which the learning rate rises."""
    return options.warmup_steps or math.ceil(options.warmup_ratio * steps)


def make_optimizer(options: Any, steps: int) -> tuple[optax.GradientTransformation, Schedule]:
    """AdamW for so many steps, and its learning rate: a function of the updates made so far."""
    warmup = warmup_steps(options, steps)
    schedule = make_schedule(
        options.learning_rate, steps=steps, warmup_steps=warmup, decay=options.lr_scheduler_type
    )
    tx = adamw(
        schedule,
        weight_decay=options.weight_decay,
        clip_norm=options.max_grad_norm,
        b1=options.adam_beta1,
        b2=options.adam_beta2,
        eps=options.adam_epsilon,
        frozen=options.freeze or (),
    )
    return tx, schedule
