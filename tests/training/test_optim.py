"""Schedule, AdamW and frozen modules against plain Python and NumPy."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SMALL
from flax import traverse_util

from jaxbert.losses.span_losses import span_accuracy, span_cross_entropy
from jaxbert.model.heads import Params, init_params, make_apply
from jaxbert.model.pretrained import name_table
from jaxbert.training.optim import Decay, adamw, is_decayed, is_frozen, make_schedule, name_mask
from jaxbert.training.step import init_state, make_train_step

Arrays = dict[str, np.ndarray]
CFG = dataclasses.replace(SMALL, num_hidden_layers=2)

# --- schedule ---------------------------------------------------------------------------------


def plain_rate(decay: Decay, step: int, steps: int, warmup: int) -> float:
    """The multipliers of transformers' schedules with warmup; constant has none."""
    if step < warmup and decay != "constant":
        return step / max(1, warmup)
    if decay == "linear":
        return max(0.0, (steps - step) / max(1, steps - warmup))
    if decay == "cosine":
        return max(0.0, 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))))
    return 1.0


@pytest.mark.parametrize("decay", ["linear", "cosine", "constant", "constant_with_warmup"])
@pytest.mark.parametrize(("steps", "warmup"), [(10, 0), (10, 3), (7, 7), (1, 0), (997, 99)])
def test_schedule_equals_the_formulas(decay: Decay, steps: int, warmup: int) -> None:
    schedule = make_schedule(3e-5, steps=steps, warmup_steps=warmup, decay=decay)
    at = np.arange(steps)  # the steps of a run; its last one is steps - 1
    expected = [3e-5 * plain_rate(decay, int(t), steps, warmup) for t in at]
    np.testing.assert_allclose(schedule(at), expected, rtol=1e-5, atol=3e-12)
    if decay in ("linear", "cosine") and warmup < steps:
        np.testing.assert_allclose(schedule(np.array([steps, steps + 5])), 0.0, atol=3e-12)


# --- AdamW ------------------------------------------------------------------------------------


@functools.cache
def model_params() -> Params:
    """Every leaf random, and none zero: biases and scales too."""
    rng = np.random.default_rng(3)
    params = jax.eval_shape(lambda: init_params(CFG, "qa", jax.random.key(0)))
    return jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), params)


def paths(tree: Any) -> list[tuple[str, ...]]:
    """The names on the way to every leaf of a tree of optimizer state."""
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [tuple(str(part.key) for part in path if hasattr(part, "key")) for path, _ in found]


def test_decay_is_by_name_as_in_transformers() -> None:
    for entry in name_table(CFG, "qa"):
        plain = entry.name.endswith(".bias") or "LayerNorm" in entry.name
        assert is_decayed(entry.leaf) == (not plain), entry
    assert is_decayed(("bert", "embeddings", "position_embeddings", "embedding"))
    assert not is_decayed(("bert", "layer_0", "attention", "query", "bias"))  # of two axes
    mask = traverse_util.flatten_dict(name_mask(model_params(), is_decayed))
    assert mask == {leaf: is_decayed(leaf) for leaf in mask}


def test_without_gradients_only_decayed_leaves_shrink() -> None:
    params = model_params()
    tx = adamw(make_schedule(0.1, steps=10, decay="constant"), weight_decay=0.5)
    zero = jax.tree.map(np.zeros_like, params)
    updates = jax.jit(lambda params: tx.update(zero, tx.init(params), params)[0])(params)
    flat = traverse_util.flatten_dict(params)
    for leaf, update in traverse_util.flatten_dict(updates).items():
        expected = -0.1 * 0.5 * flat[leaf] if is_decayed(leaf) else np.zeros_like(flat[leaf])
        np.testing.assert_allclose(update, expected, rtol=1e-6)


def plain_adamw(
    params: Arrays, gradients: list[Arrays], rates: list[float], *, decay: float, clip: float
) -> Arrays:
    """Algorithm 2 of Loshchilov & Hutter 2019 in float64, after clipping."""
    b1, b2, eps = 0.9, 0.999, 1e-6
    theta = {n: x.astype(np.float64) for n, x in params.items()}
    m = {n: np.zeros_like(x) for n, x in theta.items()}
    v = {n: np.zeros_like(x) for n, x in theta.items()}
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        norm = math.sqrt(sum(float(np.sum(g.astype(np.float64) ** 2)) for g in gradient.values()))
        for n in theta:
            g = gradient[n] * min(1.0, clip / norm)
            m[n] = b1 * m[n] + (1 - b1) * g
            v[n] = b2 * v[n] + (1 - b2) * g**2
            step = m[n] / (1 - b1**t) / (np.sqrt(v[n] / (1 - b2**t)) + eps)
            theta[n] = theta[n] - rate * (
                step + (decay * theta[n] if is_decayed((n.split("/")[-1],)) else 0)
            )
    return theta


def test_adamw_equals_the_algorithm_with_and_without_clipping() -> None:
    rng = np.random.default_rng(4)
    params = {n: rng.normal(size=(4, 3)).astype(np.float32) for n in ("kernel", "bias", "scale")}
    # Norms of about 6, 0.06 and so on: clipping must act in every other step only.
    gradients = [
        {n: (rng.normal(size=(4, 3)) * 10.0 ** -(2 * (t % 2))).astype(np.float32) for n in params}
        for t in range(8)
    ]
    schedule = make_schedule(1e-2, steps=8, warmup_steps=2)
    tx = adamw(schedule, weight_decay=0.1, clip_norm=1.0, eps=1e-6)
    update = jax.jit(tx.update)
    ours: Any = jax.tree.map(jnp.asarray, params)
    state = tx.init(ours)
    for gradient in gradients:
        updates, state = update(gradient, state, ours)
        ours = optax.apply_updates(ours, updates)
    rates = [1e-2 * plain_rate("linear", t, 8, 2) for t in range(8)]
    expected = plain_adamw(params, gradients, rates, decay=0.1, clip=1.0)
    unclipped = plain_adamw(params, gradients, rates, decay=0.1, clip=math.inf)
    for name in params:
        np.testing.assert_allclose(ours[name], expected[name], atol=1e-6)
        assert np.abs(unclipped[name] - expected[name]).max() > 1e-3


@pytest.mark.parametrize("clip_norm", [None, 0.0, 1.0, 50.0])
def test_clipping_scales_the_whole_gradient(clip_norm: float | None) -> None:
    gradient = {"a": np.full(4, 5.0, np.float32), "b": np.zeros(2, np.float32)}  # norm 10
    # Adam's first step is g / (|g| + eps): with a large eps it shows the size of g.
    tx = adamw(make_schedule(1.0, steps=9, decay="constant"), clip_norm=clip_norm, eps=1e3)
    updates, _ = tx.update(gradient, tx.init(gradient), gradient)
    g = 0.5 if clip_norm == 1.0 else 5.0
    np.testing.assert_allclose(updates["a"], -g / (g + 1e3), rtol=1e-5)
    assert not np.any(updates["b"])


@pytest.mark.parametrize("frozen", [("bert",), ("layer_1", "end"), ("weights",)])
def test_frozen_modules_have_no_state_and_no_update(frozen: tuple[str, ...]) -> None:
    params = model_params()
    schedule = make_schedule(1e-2, steps=9, decay="constant")
    tx = adamw(schedule, weight_decay=0.1, eps=1e-6, frozen=frozen)
    state = tx.init(params)
    leaves = traverse_util.flatten_dict(params)
    trained = {leaf for leaf in leaves if not is_frozen(leaf, frozen)}
    assert 0 < len(trained) < len(leaves)
    of_leaves = [
        p[-len(leaf) :] for p in paths(state) for leaf in leaves if p[-len(leaf) :] == leaf
    ]
    assert sorted(of_leaves) == sorted([*trained, *trained])  # m and v of each, and no others

    rng = np.random.default_rng(5)
    gradient = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params)
    updates, _ = tx.update(gradient, state, params)
    # The gradient's norm is of what is trained: as if the frozen modules were not in the model.
    part = {"/".join(leaf): leaves[leaf] for leaf in trained}
    flat = traverse_util.flatten_dict(gradient)
    gradients = {"/".join(leaf): flat[leaf] for leaf in trained}
    after = plain_adamw(part, [gradients], [1e-2], decay=0.1, clip=1.0)
    for leaf, update in traverse_util.flatten_dict(updates).items():
        if leaf in trained:
            name = "/".join(leaf)
            np.testing.assert_allclose(update, after[name] - part[name], rtol=1e-5, atol=1e-8)
        else:
            assert not np.any(update), leaf


@pytest.mark.parametrize("frozen", [("embeddings", "layer_0"), ("weights",)])
def test_training_leaves_frozen_modules_bitwise_as_they_are(frozen: tuple[str, ...]) -> None:
    params = model_params()
    tx = adamw(make_schedule(1e-2, steps=9, decay="constant"), weight_decay=0.1, frozen=frozen)
    train_step = jax.jit(
        make_train_step(
            make_apply(CFG, "qa"), span_cross_entropy, tx, measure=span_accuracy, frozen=frozen
        )
    )
    ids = np.random.default_rng(6).integers(1, CFG.vocab_size, (1, 6, 9))
    batch = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "start_positions": ids[..., 0] % 9,
        "end_positions": ids[..., 1] % 9,
        "weight": np.ones(ids.shape[:2], np.float32),
    }
    state = init_state(params, tx)
    for _ in range(3):
        state, metrics = train_step(state, batch, jax.random.key(0))
    assert int(state.step) == 3
    accuracies = {"start_accuracy", "end_accuracy"}
    assert set(metrics) == {"loss", "weight", "grad_norm", "skipped", *accuracies}
    after = traverse_util.flatten_dict(state.params)
    for leaf, value in traverse_util.flatten_dict(params).items():
        assert np.array_equal(after[leaf], value) == is_frozen(leaf, frozen), leaf
