"""A step gives the same result on any number of devices, under jit and pmap, in any split.

Needs 8 devices; on a machine with fewer, XLA_FLAGS=--xla_force_host_platform_device_count=8 makes
them of the CPU.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL
from flax import traverse_util

from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.heads import Params, init_params, make_apply
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.parallel import Backend, Parallel, make_parallel
from jaxbert.training.step import init_state, make_train_step

Arrays = dict[str, np.ndarray]
Leaf = tuple[str, ...]
STEPS, ROWS, LENGTH, LAYERS = 5, 32, 12, 1
RATE = 1e-4
CFG = dataclasses.replace(SMALL, num_hidden_layers=LAYERS, max_position_embeddings=LENGTH)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        jax.local_device_count() < 8,
        reason="needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8",
    ),
]


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


@functools.cache
def params_at_start() -> Params:
    return jax.device_get(jax.jit(lambda key: init_params(CFG, "qa", key))(jax.random.key(0)))


TX = adamw(make_schedule(RATE, steps=2 * STEPS, warmup_steps=1), weight_decay=0.01, clip_norm=1.0)


@functools.cache
def compiled_step(backend: Backend, devices: int, accumulate: int) -> tuple[Parallel, Any]:
    """Compiled once for all tests."""
    parallel = make_parallel(backend, jax.local_devices()[:devices])
    step = make_train_step(
        make_apply(CFG, "qa"),
        span_cross_entropy,
        TX,
        accumulate=accumulate,
        axis_name=parallel.axis_name,
        mesh=parallel.mesh,
    )
    return parallel, parallel.compile_train(step)


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run ended with: its parameters by path, and the metrics of every step."""

    params: dict[Leaf, np.ndarray]
    metrics: list[dict[str, float]]


def train(backend: Backend, devices: int, accumulate: int, batches: list[Arrays]) -> Run:
    parallel, step = compiled_step(backend, devices, accumulate)
    state = parallel.replicate(init_state(params_at_start(), TX))
    key = jax.random.key(1)
    metrics = []
    for batch in batches:
        split = {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in batch.items()}
        state, measured = step(state, parallel.shard(split), key)
        metrics.append({n: float(x) for n, x in parallel.fetch(measured).items()})
    host = parallel.fetch(state)
    assert host.step == len(batches)
    return Run(traverse_util.flatten_dict(host.params), metrics)


def is_noise(leaf: Leaf) -> bool:
    """Whether a leaf's gradient is exactly 0 in mathematics.

    The key's bias adds one number to all scores of a query; the head's bias, and the bias of the
    last LayerNorm before it, one number to all logits of a row, which no softmax sees. AdamW
    divides the rounding noise that is left by its own size, and so walks at random, by up to the
    learning rate a step.
    """
    last_norm = ("bert", f"layer_{LAYERS - 1}", "mlp_norm")
    return leaf[-1] == "bias" and (
        leaf[-2] == "key" or leaf[0] == "qa_outputs" or leaf[:-1] == last_norm
    )


def gap(a: np.ndarray, b: np.ndarray) -> float:
    assert np.isfinite(a).all()
    return float(np.abs(a - b).max())


def assert_equal_runs(run: Run, expected: Run) -> None:
    for ours, theirs in zip(run.metrics, expected.metrics, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    walk = 2 * RATE * len(run.metrics)
    for leaf, value in expected.params.items():
        assert gap(run.params[leaf], value) <= (walk if is_noise(leaf) else 1e-6), leaf


@functools.cache
def plain_run() -> Run:
    return train("jit", 1, 1, [random_batch(seed) for seed in range(STEPS)])


# Every number of devices, and each backend with and without accumulation; all others are slow.
USUAL = [("jit", 2, 4), ("pmap", 4, 1), ("pmap", 8, 4), ("jit", 8, 1)]
REST = [
    (backend, devices, accumulate)
    for backend in ("jit", "pmap")
    for devices in (1, 2, 4, 8)
    for accumulate in (1, 4)
    if (backend, devices, accumulate) not in [*USUAL, ("jit", 1, 1)]
]


@pytest.mark.parametrize(
    ("backend", "devices", "accumulate"),
    [*USUAL, *(pytest.param(*case, marks=pytest.mark.slow) for case in REST)],
)
def test_five_steps_equal_those_of_one_device(
    backend: Backend, devices: int, accumulate: int
) -> None:
    batches = [random_batch(seed) for seed in range(STEPS)]
    assert_equal_runs(train(backend, devices, accumulate, batches), plain_run())


def test_the_run_moves_every_leaf_and_uses_dropout() -> None:
    """Else the comparisons above would say little."""
    start = traverse_util.flatten_dict(params_at_start())
    for leaf, value in plain_run().params.items():
        assert is_noise(leaf) or gap(value, start[leaf]) > 1e-4, leaf
    batch = random_batch(0)
    renamed = train("jit", 1, 1, [{**batch, "row": batch["row"] + 1}])
    assert renamed.metrics[0]["loss"] != pytest.approx(plain_run().metrics[0]["loss"], rel=1e-3)


@pytest.mark.parametrize("backend", ["pmap", "jit"])
def test_devices_add_gradients_in_float32(backend: Backend) -> None:
    """Though in bfloat16 the products give them: as PyTorch's DistributedDataParallel does."""
    parallel = make_parallel(backend, jax.local_devices()[:4])
    step = make_train_step(
        make_apply(CFG, "qa", dtype=jnp.bfloat16),
        span_cross_entropy,
        TX,
        axis_name=parallel.axis_name,
        mesh=parallel.mesh,
    )
    batch = {n: x[None] for n, x in random_batch(0).items()}
    shapes = parallel.described(init_state(params_at_start(), TX), batch)
    lowered = parallel.compile_train(step).lower(*shapes, jax.random.key(0)).as_text()
    summed = re.findall(r"stablehlo.all_reduce.*?\}\) : \((.*?)\) ->", lowered, re.DOTALL)
    dtypes = collections.Counter(
        found for types in summed for found in re.findall(r"tensor<(?:[\dx]*x)?(\w+)>", types)
    )
    assert dtypes["f32"] >= len(jax.tree.leaves(params_at_start()))
    assert set(dtypes) == {"f32"}
    assert "bf16" in lowered


@pytest.mark.parametrize(("backend", "devices", "accumulate"), [("pmap", 8, 4), ("jit", 8, 1)])
def test_unequal_weights_are_not_averaged_by_device(
    backend: Backend, devices: int, accumulate: int
) -> None:
    """A mean of the devices' means, or of the micro-batches', would be another number."""
    weight = np.zeros(ROWS, np.float32)  # one row is nearly all; most devices have no row at all
    weight[:9] = [1000, 1, 1, 1, 1, 1, 1, 1, 0.5]
    batch = random_batch(7, weight)
    batches = [batch, batch]  # the first step has a learning rate of 0
    plain = train("jit", 1, 1, batches)
    assert_equal_runs(train(backend, devices, accumulate, batches), plain)
    per_row = ROWS // (devices * accumulate)
    parts = []
    for a in range(0, 9, per_row):
        alone = np.zeros_like(weight)
        alone[a : a + per_row] = weight[a : a + per_row]
        # The masks of dropout are the rows' own, so a part's loss is the same beside other rows.
        parts.append(train("jit", 1, 1, [{**batch, "weight": alone}]).metrics[0])
    total = sum(part["loss"] * part["weight"] for part in parts)
    assert plain.metrics[0]["loss"] == pytest.approx(total / weight.sum(), rel=1e-5)
    assert plain.metrics[0]["weight"] == weight.sum()
    mean_of_means = np.mean([part["loss"] for part in parts])
    assert abs(mean_of_means - plain.metrics[0]["loss"]) > 0.05


def test_a_batch_without_any_weight_changes_nothing_but_by_decay() -> None:
    run = train("jit", 1, 1, [random_batch(8, np.zeros(ROWS, np.float32))] * 2)
    assert all(m["loss"] == m["grad_norm"] == m["weight"] == 0 for m in run.metrics)
    for leaf, value in traverse_util.flatten_dict(params_at_start()).items():
        if leaf[-1] in ("bias", "scale"):
            np.testing.assert_array_equal(run.params[leaf], value)
            continue
        expected = value.astype(np.float64) * (1 - RATE * 0.01)
        assert np.all(np.abs(run.params[leaf] - expected) <= np.spacing(np.abs(value))), leaf
        assert not np.array_equal(run.params[leaf], value), leaf
