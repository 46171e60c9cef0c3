"""float16: the scale of the loss, beside PyTorch's GradScaler, and steps that overflow."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.loss_scale import LossScale, first_scale
from jaxbert.training.step import TrainState, init_state, make_train_step
from jaxbert.training.step_folders import LocalSteps

TX = optax.adam(1e-2)


@functools.cache
def _after() -> Any:
    def one(scale: LossScale, finite: jax.Array) -> tuple[LossScale, jax.Array]:
        scale = scale.after(finite)
        return scale, scale.value

    return jax.jit(lambda flags: jax.lax.scan(one, first_scale(), flags)[1])


@given(st.lists(st.integers(0, 4999), max_size=12, unique=True))
def test_the_scale_is_that_of_pytorch(overflows: list[int]) -> None:
    flags = np.ones(5000, bool)
    flags[overflows] = False
    scale, good = torch.tensor(2.0**16), torch.tensor(0, dtype=torch.int32)
    expected = []
    for finite in flags:
        torch._amp_update_scale_(scale, good, torch.tensor(float(not finite)), 2.0, 0.5, 2000)
        expected.append(float(scale))
    np.testing.assert_array_equal(_after()(flags), expected)


def apply(params: Any, batch: Any, **given: Any) -> Any:
    return {"y": batch["x"].astype(params["w"].dtype) @ params["w"]}


def loss(outputs: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
    error = outputs["y"].astype(jnp.float32) - batch["x"].sum(1)
    return jnp.sum(error**2 * batch["weight"]), batch["weight"].sum()


def batch(rows: int = 12) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((1, rows, 5)).astype(np.float32),
        "weight": np.ones((1, rows), np.float32),
    }


STEP = jax.jit(make_train_step(apply, loss, TX))


def state(scale: float | None, w: float = 0.3) -> TrainState:
    made = init_state({"w": np.full(5, w, np.float32)}, TX)
    if scale is None:
        return made
    return made._replace(scale=LossScale(jnp.int32(0), jnp.float32(scale)))


@pytest.mark.parametrize("scale", [1.0, 2.0**7, 2.0**30])
@pytest.mark.parametrize("rows", [1, 12, 5000])
def test_a_scale_that_neither_over_nor_underflows_changes_no_bit(scale: float, rows: int) -> None:
    plain, metrics = STEP(state(None), batch(rows), jax.random.key(0))
    scaled, reported = STEP(state(scale), batch(rows), jax.random.key(0))
    assert scaled.params["w"].tobytes() == plain.params["w"].tobytes()
    assert float(reported["loss_scale"]) == scale
    assert "loss_scale" not in metrics
    for name, value in metrics.items():
        assert reported[name].tobytes() == value.tobytes(), name


@given(st.floats(1, 1e6))
def test_a_factor_is_a_power_of_two(weight: float) -> None:
    factor = float(first_scale().factor(jnp.float32(weight)))
    assert np.frexp(factor)[0] == 0.5
    assert 2**15 / weight <= factor <= 2**16 / weight * (1 + 1e-6)


def test_a_loss_that_is_not_finite_leaves_the_scale() -> None:
    wrong = batch()
    wrong["x"][0, 0, 0] = np.inf
    begun = state(2.0**16)
    after, metrics = STEP(begun, wrong, jax.random.key(0))
    assert float(metrics["skipped"]) == 1
    assert not np.isfinite(metrics["loss"])
    assert after.scale is not None
    assert float(after.scale.value) == 2.0**16


def test_a_step_that_overflows_is_skipped_and_halves_the_scale() -> None:
    begun = state(2.0**127, w=9.0)
    after, metrics = STEP(begun, batch(), jax.random.key(0))
    assert float(metrics["skipped"]) == 1
    assert np.isfinite(metrics["loss"])
    np.testing.assert_array_equal(after.params["w"], begun.params["w"])
    assert after.scale is not None
    assert float(after.scale.value) == 2.0**126


def test_a_checkpoint_keeps_the_scale(tmp_path: Any) -> None:
    saved = jax.tree.map(np.array, state(2.0**9)._replace(step=jnp.int32(3)))
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    checkpoints.save(saved, {})
    checkpoints.close()
    again = Checkpoints(LocalSteps(tmp_path))
    restored, _ = again.restore(3, state(2.0**16))
    again.close()
    assert restored.scale is not None
    assert float(restored.scale.value) == 2.0**9
    assert jax.tree.structure(restored) == jax.tree.structure(saved)


@pytest.mark.parametrize(("before", "now"), [(None, 2.0**16), (2.0**9, None)])
def test_a_run_whose_dtype_changes_has_a_new_scale_or_none(
    before: float | None, now: float | None, tmp_path: Any
) -> None:
    """--allow_changed_options dtype."""
    saved = jax.tree.map(np.array, state(before, w=0.7)._replace(step=jnp.int32(3)))
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    checkpoints.save(saved, {})
    checkpoints.close()
    again = Checkpoints(LocalSteps(tmp_path))
    restored, _ = again.restore(3, state(now))
    again.close()
    np.testing.assert_array_equal(restored.params["w"], saved.params["w"])
    assert (None if restored.scale is None else float(restored.scale.value)) == now
