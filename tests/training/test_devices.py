"""A step gives the same result on any number of devices, under jit and pmap, in any split.

Needs 8 devices; on a machine with fewer, XLA_FLAGS=--xla_force_host_platform_device_count=8 makes
them of the CPU.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util

from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Params, init_params, make_apply
from jaxbert.training.losses import span_cross_entropy
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.parallel import Backend, make_parallel, rows_for
from jaxbert.training.step import init_state, make_train_step

Arrays = dict[str, np.ndarray]
Leaf = tuple[str, ...]
STEPS, ROWS, LENGTH, LAYERS = 5, 32, 12, 1
RATE = 1e-4
CFG = BertConfig(
    vocab_size=60,
    hidden_size=16,
    num_hidden_layers=LAYERS,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=LENGTH,
    initializer_range=0.3,
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
)

pytestmark = pytest.mark.skipif(
    jax.local_device_count() < 8,
    reason="needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8",
)


def random_batch(seed: int, weight: np.ndarray | None = None) -> Arrays:
    """(ROWS, ...) as make_batch gives it: five padding rows at the end, so on the last devices."""
    rng = np.random.default_rng(seed)
    if weight is None:
        weight = (np.arange(ROWS) < ROWS - 5).astype(np.float32)
    lengths = rng.integers(3, LENGTH + 1, ROWS) * (weight > 0)
    mask = np.arange(LENGTH) < lengths[:, None]
    ends = rng.integers(0, np.maximum(lengths, 1))
    return {
        "input_ids": np.where(mask, rng.integers(1, CFG.vocab_size, mask.shape), 0),
        "token_type_ids": np.where(mask, np.arange(LENGTH) > 4, 0),
        "attention_mask": mask.astype(np.int32),
        "start_positions": rng.integers(0, ends + 1),
        "end_positions": ends,
        "weight": weight,
        "row": np.where(weight > 0, rng.permutation(1000)[:ROWS], -1),
    }


def params_at_start() -> Params:
    return jax.device_get(jax.jit(lambda key: init_params(CFG, "qa", key))(jax.random.key(0)))


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run ended with: its parameters by path, and the metrics of every step."""

    params: dict[Leaf, np.ndarray]
    metrics: list[dict[str, float]]


def train(
    backend: Backend,
    devices: int,
    accumulate: int,
    batches: list[Arrays],
    *,
    learning_rate: float = RATE,
    eps: float = 1e-8,
) -> Run:
    parallel = make_parallel(backend, jax.local_devices()[:devices])
    rows_for(ROWS, parallel, accumulate)
    schedule = make_schedule(learning_rate, steps=2 * len(batches), warmup_steps=1)
    tx = adamw(schedule, weight_decay=0.01, clip_norm=1.0, eps=eps)
    step = make_train_step(
        make_apply(CFG, "qa"),
        span_cross_entropy,
        tx,
        accumulate=accumulate,
        axis_name=parallel.axis_name,
    )
    compiled = parallel.compile_train(step)
    state = parallel.replicate(init_state(params_at_start(), tx))
    key = jax.random.key(1)
    metrics = []
    for batch in batches:
        split = {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in batch.items()}
        state, measured = compiled(state, parallel.shard(split), key)
        metrics.append({n: float(x) for n, x in parallel.fetch(measured).items()})
    host = parallel.fetch(state)
    assert host.step == len(batches)
    return Run(traverse_util.flatten_dict(host.params), metrics)
