"""What must not change a step, whatever its loss: the unit of the weights, a split of the batch,
the order of its rows, what is in padding rows. Of all losses of all tasks, over all bases."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_training import KEY, LOSSES, PLAIN, REAL, ROWS, batch_of, loss_of, model, parameters

from jaxbert.losses.forms import required_parameters
from jaxbert.training.parallel import make_parallel
from jaxbert.training.step import init_state, make_train_step

pytestmark = pytest.mark.integration

CASES = [
    (task, loss, base)
    for task, losses in LOSSES.items()
    for loss in losses
    for base in ([None] if loss in PLAIN[task] else PLAIN[task])
]
# One of each kind every time; all of them with -m slow.
SAMPLE = {
    ("qa", "joint_span", None),
    ("classification", "r_drop", "cross_entropy"),
    ("classification", "pgd", "supervised_contrastive"),
    ("tagging", "distillation", "cross_entropy"),
    ("soft", "r_drop", "label_smoothing"),
}


class Step(NamedTuple):
    """What a step gave: its measures, and minus the gradient."""

    measures: dict[str, float]
    gradient: np.ndarray


@functools.cache
def compiled(task: str, name: str, base: str | None, devices: int, accumulate: int) -> Any:
    parallel = make_parallel("pmap" if devices > 1 else "jit", jax.devices()[:devices])
    loss = loss_of(task, name, base)
    assert required_parameters(loss) in (2, 4)
    step = make_train_step(
        model,
        loss,
        optax.sgd(1.0),
        accumulate=accumulate,
        axis_name=parallel.axis_name,
        mesh=parallel.mesh,
    )
    program = parallel.compile_train(step)

    def run(params: Any, batch: Any, weights: np.ndarray, unit: float) -> Step:
        given = {
            **batch,
            "class_weights": np.tile(weights, (ROWS, 1)),
            "unit": np.full(ROWS, unit, np.float32),
        }
        split = {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in given.items()}
        state = parallel.replicate(jax.device_get(init_state(params, optax.sgd(1.0))))
        after, metrics = program(state, parallel.shard(split), KEY)
        measures = {n: float(x) for n, x in parallel.fetch(metrics).items()}
        assert measures.pop("skipped") == 0
        measures["weight"] /= unit
        new = jax.tree.leaves(parallel.fetch(after).params)
        old = jax.tree.leaves(params)
        moved = [np.ravel(np.asarray(x) - y) for x, y in zip(new, old, strict=True)]
        return Step(measures, np.concatenate(moved))

    return run


def assert_same(found: Step, wanted: Step) -> None:
    assert found.measures == pytest.approx(wanted.measures, rel=3e-4, abs=1e-5)
    size = np.abs(wanted.gradient).max()
    np.testing.assert_allclose(found.gradient, wanted.gradient, rtol=0, atol=1e-3 * size + 1e-6)


@pytest.mark.skipif(jax.local_device_count() < 2, reason="needs 2 devices")
@pytest.mark.parametrize(
    ("task", "name", "base"),
    [pytest.param(*case, marks=[] if case in SAMPLE else pytest.mark.slow) for case in CASES],
)
def test_nothing_of_this_changes_a_step(task: str, name: str, base: str | None) -> None:
    whole = compiled(task, name, base, 1, 1)
    parts = compiled(task, name, base, 2, 2)

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        seed=st.integers(0, 2**20),
        weights=st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0, 30.0]), min_size=3, max_size=3),
        unit=st.sampled_from([1e-12, 1e-7, 1e-3, 0.1, 10.0, 1e4, 1e9]),
        order=st.permutations(range(REAL // 2)),
    )
    def held(seed: int, weights: list[float], unit: float, order: list[int]) -> None:
        params, batch = parameters(seed), batch_of(task, seed)
        given_weights = np.array(weights, np.float32)
        wanted = whole(params, batch, given_weights, 1.0)
        assert_same(whole(params, batch, given_weights, unit), wanted)
        assert_same(parts(params, batch, given_weights, 1.0), wanted)
        # Two by two: supervised_contrastive has groups of two.
        rows = np.array([2 * n + k for n in order for k in (0, 1)] + list(range(REAL, ROWS)))
        moved = {n: x[rows] for n, x in batch.items()}
        assert_same(whole(params, moved, given_weights, 1.0), wanted)
        other = batch_of(task, seed + 1)
        kept = ("weight", "row")
        stuffed = {
            n: x if n in kept else np.concatenate([x[:REAL], other[n][REAL:]])
            for n, x in batch.items()
        }
        assert_same(whole(params, stuffed, given_weights, 1.0), wanted)

    held()
