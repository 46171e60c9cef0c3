"""What must not change a step, whatever its optimizer: devices, a split of the batch, a division of
its state, a checkpoint between two steps. Of all optimizers, and of what is put around them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_training import KEY, LOSSES, PLAIN, ROWS, WIDTH, batch_of, loss_of, model, parameters

from jaxbert.errors import InputError
from jaxbert.model.lora import LORA, adapted
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.optimizers import make_optimizer
from jaxbert.training.parallel import make_parallel
from jaxbert.training.step import TrainState, init_state, make_train_step
from jaxbert.training.step_folders import LocalSteps
from jaxbert.training.update_rules import RULES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(jax.local_device_count() < 8, reason="needs 8 devices"),
]

RATE = 1e-2
SCHEDULE = make_schedule(RATE, steps=9, warmup_steps=1)
# What is put around an optimizer: each of it once.
AROUND: dict[str, dict[str, Any]] = {
    "nothing": {},
    "average": {"ema_decay": 0.9, "layer_decay": 0.5, "head_factor": 3.0},
    "thawed": {"swa_start": 2, "frozen": ("embeddings",), "unfreeze_step": 1},
    "adapter": {"ema_decay": 0.9, "frozen": ("bert",)},
}
SAMPLE = [
    ("adamw", "average", "classification", "cross_entropy"),
    ("lion", "average", "classification", "pgd"),
    ("adafactor", "thawed", "tagging", "cross_entropy"),
    ("lamb", "adapter", "qa", "fgm"),
]
CASES = [
    (rule, around, task, loss)
    for rule in RULES
    for around in AROUND
    for task, losses in LOSSES.items()
    for loss in losses
]


def optimizer(rule: str, around: str) -> optax.GradientTransformation:
    return make_optimizer(RULES[rule], SCHEDULE, weight_decay=0.1, **AROUND[around])


def wide(seed: int) -> Any:
    """The toy's parameters, and one that is used nowhere, which eight devices divide."""
    rng = np.random.default_rng(seed)
    return {**parameters(seed), "wide": rng.normal(size=(32, 40)).astype(np.float32)}


@functools.cache
def program(
    rule: str, around: str, task: str, loss: str, backend: Any, devices: int, accumulate: int
) -> Any:
    """(state, seed of the batch) -> state and metrics, on the host; `backend` may be "sharded"."""
    sharded = backend == "sharded"
    parallel = make_parallel(
        "jit" if sharded else backend, jax.devices()[:devices], shard_optimizer=sharded
    )
    tx = optimizer(rule, around)
    base = PLAIN[task][0] if loss not in PLAIN[task] else None
    step = make_train_step(
        adapted(model, 2.0) if around == "adapter" else model,
        loss_of(task, loss, base),
        parallel.placed(tx),
        accumulate=accumulate,
        frozen=AROUND[around].get("frozen", ()),
        unfreeze_step=AROUND[around].get("unfreeze_step"),
        axis_name=parallel.axis_name,
        mesh=parallel.mesh,
    )
    compiled = parallel.compile_train(step)

    def run(state: TrainState, seed: int) -> tuple[TrainState, dict[str, float]]:
        batch = {
            **batch_of(task, seed),
            "class_weights": np.ones((ROWS, 3), np.float32),
            "unit": np.ones(ROWS, np.float32),
        }
        split = {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in batch.items()}
        after, metrics = compiled(parallel.spread(state), parallel.shard(split), KEY)
        return parallel.fetch(after), {n: float(x) for n, x in parallel.fetch(metrics).items()}

    return run


def start(rule: str, around: str, seed: int) -> TrainState:
    params = wide(seed)
    if around == "adapter":
        rng = np.random.default_rng(seed)
        a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((WIDTH, 2), (2, WIDTH)))
        params[LORA] = {"dense": {"a": a, "b": b}}
    return jax.device_get(init_state(params, optimizer(rule, around)))


def assert_same_bits(found: TrainState, wanted: TrainState) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def assert_close(found: TrainState, wanted: TrainState, steps: int) -> None:
    """Equal but for rounding, and for what an optimizer makes of a gradient that is rounding alone:
    a step of its own size in any direction."""
    walk, off, count = 2 * 3 * RATE * steps, 0, 0
    for x, y in zip(jax.tree.leaves(found.result), jax.tree.leaves(wanted.result), strict=True):
        gap = np.abs(x - y)
        assert gap.max() <= walk * max(1.0, float(np.linalg.norm(y)))
        off, count = off + int((gap > 1e-4).sum()), count + gap.size
    assert off <= 0.01 * count


@pytest.mark.parametrize(
    ("rule", "around", "task", "loss"),
    [*SAMPLE, *(pytest.param(*c, marks=pytest.mark.slow) for c in CASES if c not in SAMPLE)],
)
def test_nothing_of_this_changes_a_run(rule: str, around: str, task: str, loss: str) -> None:
    whole = program(rule, around, task, loss, "jit", 1, 1)
    parts = program(rule, around, task, loss, "pmap", 2, 2)
    divided = program(rule, around, task, loss, "sharded", 8, 1)

    @settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**20))
    def held(seed: int) -> None:
        runs = [start(rule, around, seed)] * 3
        for step in range(3):
            found = [
                each(state, seed + step)
                for each, state in zip((whole, parts, divided), runs, strict=True)
            ]
            runs = [state for state, _ in found]
            for _, measures in found[1:]:
                if step == 0:
                    assert measures == pytest.approx(found[0][1], rel=3e-4, abs=1e-5)
            assert_close(runs[1], runs[0], step + 1)
            assert_close(runs[2], runs[0], step + 1)

    held()


# --- a divided state ----------------------------------------------------------------------------

# Of these every element is computed from its own gradient alone, but for the global norm.
BY_ELEMENT = ("adamw", "lion", "sgd")


@pytest.mark.parametrize(
    ("rule", "around", "task", "loss"),
    [SAMPLE[0], *(pytest.param(*c, marks=pytest.mark.slow) for c in CASES if c[0] in BY_ELEMENT)],
)
def test_a_divided_state_has_equal_bits(rule: str, around: str, task: str, loss: str) -> None:
    """As these tests compile: an optimizing compiler may contract a product and a sum into one
    operation with one rounding in one of the programs and not in the other."""
    whole = program(rule, around, task, loss, "jit", 8, 1)
    divided = program(rule, around, task, loss, "sharded", 8, 1)
    one = other = start(rule, around, 3)
    for step in range(4):
        one, metrics = whole(one, step)
        other, measured = divided(other, step)
        assert metrics == measured
        assert_same_bits(other, one)


@pytest.mark.parametrize("rule", ["adafactor", pytest.param("lamb", marks=pytest.mark.slow)])
def test_a_divided_state_whose_rule_sums_differs_by_rounding(rule: str) -> None:
    whole = program(rule, "thawed", "tagging", "cross_entropy", "jit", 8, 1)
    divided = program(rule, "thawed", "tagging", "cross_entropy", "sharded", 8, 1)
    one, _ = whole(start(rule, "thawed", 3), 0)
    one, _ = whole(one, 1)
    other, _ = divided(start(rule, "thawed", 3), 0)
    other, _ = divided(other, 1)
    for x, y in zip(jax.tree.leaves(other), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


def test_each_device_has_its_part_of_the_state_and_all_parameters() -> None:
    parallel = make_parallel("auto", jax.devices()[:8], shard_optimizer=True)
    assert parallel.name == "jit"
    state = parallel.spread(start("adamw", "average", 0))

    def share(tree: Any) -> float:
        held = sum(x.addressable_shards[5].data.nbytes for x in jax.tree.leaves(tree))
        return float(held / sum(x.nbytes for x in jax.tree.leaves(tree)))

    assert share(state.params) == 1
    mu = state.opt_state.inner[0][1][0].mu  # type: ignore[attr-defined]
    assert share(mu["wide"]) == share(state.opt_state.average["wide"]) == 1 / 8  # type: ignore[attr-defined]
    assert share(mu["dense"]) == 1  # of 5 times 5: eight devices do not divide it
    whole = parallel.whole(state.result)
    assert share(whole) == 1
    for x, y in zip(jax.tree.leaves(whole), jax.tree.leaves(wide(0)), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_divided_state_goes_by_jit() -> None:
    with pytest.raises(InputError, match="--shard_optimizer goes by jit; leave --parallel pmap"):
        make_parallel("pmap", shard_optimizer=True)


# --- checkpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("around", ["nothing", "thawed"])
def test_a_state_comes_back_bit_for_bit(tmp_path: Path, rule: str, around: str) -> None:
    rng = np.random.default_rng(0)
    empty = start(rule, around, 0)
    # Other values in every array: one in another's place would be seen.
    saved = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), empty)
    saved = saved._replace(step=np.int32(3))
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    checkpoints.save(saved, {})
    checkpoints.wait()
    state, _ = checkpoints.restore(3, empty)
    checkpoints.close()
    assert_same_bits(state, saved)


def test_a_checkpoint_of_an_adapted_model_is_without_the_encoder(tmp_path: Path) -> None:
    saved, other = (start("adamw", "adapter", seed) for seed in (0, 1))
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    checkpoints.save(saved._replace(step=np.int32(3)), {})
    checkpoints.wait()
    state, _ = checkpoints.restore(3, other)
    checkpoints.close()
    for name in ("dense", LORA):
        jax.tree.map(np.testing.assert_array_equal, state.params[name], saved.params[name])
    jax.tree.map(np.testing.assert_array_equal, state.params["bert"], other.params["bert"])
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, saved.opt_state)
    # Averaged, too, is only what is trained; a result has all.
    assert len(jax.tree.leaves(state.opt_state.average)) == len(jax.tree.leaves(saved.params)) - 1  # type: ignore[attr-defined]
    assert jax.tree.structure(state.result) == jax.tree.structure(saved.params)


def test_a_checkpoint_of_adamw_before_there_were_others_is_taken(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    before = adamw(SCHEDULE, weight_decay=0.1)  # as earlier versions made it
    state = jax.device_get(init_state(wide(0), before))
    state = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), state)
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    checkpoints.save(state._replace(step=np.int32(1)), {})
    checkpoints.wait()
    taken, _ = checkpoints.restore(1, start("adamw", "nothing", 0))
    checkpoints.close()
    for x, y in zip(
        jax.tree.leaves(taken.opt_state), jax.tree.leaves(state.opt_state), strict=True
    ):
        np.testing.assert_array_equal(x, y)


def test_a_step_that_is_not_finite_leaves_all_of_the_state() -> None:
    run = program(*SAMPLE[0], "jit", 1, 1)
    state, _ = run(start("adamw", "average", 0), 0)
    broken = state._replace(
        params={**state.params, "head": np.full_like(state.params["head"], np.nan)}
    )
    after, metrics = run(broken, 1)
    assert metrics["skipped"] == 1
    assert_same_bits(after._replace(step=broken.step), broken)
