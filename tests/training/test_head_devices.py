"""A step of every other head equals that of one device, with labels that are spread unevenly.

The mean of the devices' means would be far off here: most labels are in the first rows.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SMALL

from jaxbert.losses.label_losses import label_accuracy, label_cross_entropy, squared_error
from jaxbert.model.heads import init_params, make_apply
from jaxbert.training.parallel import Backend, make_parallel
from jaxbert.training.step import init_state, make_train_step

ROWS, LENGTH, CHOICES, SLOTS = 16, 8, 3, 4
CFG = dataclasses.replace(SMALL, max_position_embeddings=LENGTH)
WEIGHTS = np.array([0.2, 1.0, 5.0], np.float32)
LOSSES: dict[str, Any] = {
    "classification": functools.partial(label_cross_entropy, class_weights=jnp.asarray(WEIGHTS)),
    "regression": squared_error,
    "multiple_choice": label_cross_entropy,
    "tagging": label_cross_entropy,
    "mlm": label_cross_entropy,
}

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        jax.local_device_count() < 8,
        reason="needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8",
    ),
]


def random_batch(head: str) -> dict[str, np.ndarray]:
    """Three padding rows at the end, and of tokens' labels nearly all in the first four rows."""
    rng = np.random.default_rng(3)
    weight = (np.arange(ROWS) < ROWS - 3).astype(np.float32)
    wide = [CHOICES] if head == "multiple_choice" else []
    lengths = rng.integers(3, LENGTH + 1, (ROWS, *wide))
    mask = np.moveaxis(np.arange(LENGTH) < lengths[..., None], -1, 1)
    batch = {
        "input_ids": np.where(mask, rng.integers(1, 40, mask.shape), 0).astype(np.int32),
        "token_type_ids": np.zeros(mask.shape, np.int32),
        "attention_mask": mask.astype(np.int32),
        "weight": weight,
        "row": np.where(weight > 0, rng.permutation(100)[:ROWS], -1).astype(np.int32),
    }
    many = rng.random((ROWS, LENGTH)) < np.where(np.arange(ROWS) < 4, 0.9, 0.1)[:, None]
    if head == "regression":
        batch["labels"] = rng.normal(2, 3, ROWS).astype(np.float32)
    elif head == "tagging":
        batch["labels"] = np.where(many, rng.integers(0, 3, many.shape), -100).astype(np.int32)
    elif head == "mlm":
        batch["masked_positions"] = rng.integers(1, 3, (ROWS, SLOTS)).astype(np.int32)
        labels = rng.integers(0, 40, (ROWS, SLOTS))
        batch["labels"] = np.where(many[:, :SLOTS], labels, -100).astype(np.int32)
    else:
        batch["labels"] = rng.integers(0, 3, ROWS).astype(np.int32)
    return batch


def step_of(head: str, backend: Backend, devices: int, accumulate: int) -> Any:
    """Parameters and metrics after one step of plain gradient descent, dropout on."""
    parallel = make_parallel(backend, jax.local_devices()[:devices])
    tx = optax.sgd(0.1)
    step = parallel.compile_train(
        make_train_step(
            make_apply(CFG, head),
            LOSSES[head],
            tx,
            accumulate=accumulate,
            measure=None if head == "regression" else label_accuracy,
            axis_name=parallel.axis_name,
            mesh=parallel.mesh,
        )
    )
    params = jax.jit(functools.partial(init_params, CFG, head))(jax.random.key(0))
    state = parallel.replicate(init_state(jax.device_get(params), tx))
    batch = random_batch(head)
    split = {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in batch.items()}
    state, metrics = step(state, parallel.shard(split), jax.random.key(1))
    return parallel.fetch(state).params, {n: float(x) for n, x in parallel.fetch(metrics).items()}


# Of tokens' labels the counts differ most; the others, whose labels are one a row, are slow ones.
@pytest.mark.parametrize(
    "head",
    [h if h in ("tagging", "mlm") else pytest.param(h, marks=pytest.mark.slow) for h in LOSSES],
)
def test_a_step_equals_that_of_one_device(head: str) -> None:
    params, metrics = step_of(head, "jit", 1, 1)
    other, measured = step_of(head, "pmap", 4, 2)
    assert measured == pytest.approx(metrics, rel=2e-6)
    for ours, theirs in zip(jax.tree.leaves(other), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6, rtol=0)


def test_the_means_of_devices_would_be_another_number() -> None:
    """Else the comparison above would say little."""
    batch = random_batch("tagging")
    counts = (batch["labels"] >= 0).reshape(4, -1).sum(1)
    assert counts.max() > 4 * counts.min()
    assert dataclasses.replace(CFG).hidden_dropout_prob > 0
