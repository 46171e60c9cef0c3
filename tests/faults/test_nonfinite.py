"""NaN and infinity: a step that has them changes nothing, and too many in a row end the run."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import TINIEST
from faults.runs import write_questions

from jaxbert.benchmark.synthetic import full_batch
from jaxbert.errors import InputError
from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.heads import init_params, make_apply
from jaxbert.options.task_settings import QATrainOptions
from jaxbert.runs.train import train
from jaxbert.tasks.qa import QA
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.parallel import make_parallel
from jaxbert.training.step import TrainState, init_state, make_train_step

pytestmark = pytest.mark.integration

UNKNOWN = 1  # the id of [UNK]; a batch that has it is a bad one here


# (the loss, whether the batch is a bad one) -> the loss
HARMS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "loss nan": lambda x, bad: jnp.where(bad, jnp.nan, x),
    "loss infinite": lambda x, bad: jnp.where(bad, jnp.inf, x),
    "gradient nan": lambda x, bad: x + jnp.sqrt(jnp.where(bad, x * 0, 1)),  # infinity times 0
    "gradient infinite": lambda x, bad: x * jnp.where(bad, 1e30, 1),  # its norm is
}


def spoiled(harm: str) -> Callable[[Any, Any], Any]:
    """The span loss, harmed in batches with an unknown word."""

    def loss(outputs: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
        total, weight = span_cross_entropy(outputs, batch)
        return HARMS[harm](total, jnp.any(batch["input_ids"] == UNKNOWN)), weight

    return loss


SPLITS = [(1, 1), (1, 2), (4, 1)]  # devices, micro-batches
AT_NIGHT = list(itertools.product((1, 2, 4, 8), (1, 2, 4)))
USUAL = {("gradient nan", 4, 1), *((harm, 1, 1) for harm in HARMS)}


def when(harm: str, split: tuple[int, int]) -> Any:
    """The mark that says when this is tested."""
    if split not in SPLITS:
        return pytest.mark.nightly
    return [] if (harm, *split) in USUAL else pytest.mark.faults


@pytest.mark.parametrize(
    ("harm", "devices", "accumulate"),
    [pytest.param(harm, *at, marks=when(harm, at)) for harm in HARMS for at in AT_NIGHT],
)
def test_a_step_that_is_not_finite_changes_nothing(
    harm: str, devices: int, accumulate: int
) -> None:
    parallel = make_parallel("auto", jax.local_devices()[:devices])
    tx = adamw(make_schedule(1e-3, steps=10), weight_decay=0.01, clip_norm=1.0)
    apply = make_apply(TINIEST, "qa")
    step = parallel.compile_train(
        make_train_step(
            apply,
            spoiled(harm),
            tx,
            accumulate=accumulate,
            axis_name=parallel.axis_name,
            mesh=parallel.mesh,
        )
    )
    good = {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in full_batch(512, 32, 16).items()}
    bad = {n: x.copy() for n, x in good.items()}
    bad["input_ids"][-1, -1, 3] = UNKNOWN  # in one row of one device and micro-batch
    key = jax.random.key(0)
    params = init_params(TINIEST, "qa", jax.random.key(1))
    first = jax.device_get(init_state(params, tx))
    state, metrics = step(parallel.replicate(first), parallel.shard(good), key)
    assert parallel.fetch(metrics)["skipped"] == 0
    before: TrainState = parallel.fetch(state)
    state, metrics = step(state, parallel.shard(bad), key)
    after: TrainState = parallel.fetch(state)
    found = parallel.fetch(metrics)
    assert found["skipped"] == 1
    assert not (np.isfinite(found["loss"]) and np.isfinite(found["grad_norm"]))
    assert (before.step, after.step) == (1, 2)
    jax.tree.map(np.testing.assert_array_equal, before[1:], after[1:])
    state, metrics = step(state, parallel.shard(good), key)
    assert parallel.fetch(metrics)["skipped"] == 0
    moved = jax.tree.map(np.subtract, parallel.fetch(state).params, after.params)
    assert optax.tree.norm(moved) > 0


def options(model: Path, folder: Path, data: Path, **changed: Any) -> QATrainOptions:
    return QATrainOptions(
        model_name_or_path=str(model),
        output_dir=str(folder),
        train_file=[str(data)],
        per_device_train_batch_size=4,
        num_train_epochs=2,
        save_steps=1,
        max_seq_length=64,
        doc_stride=16,
        length_bucket=0,
        parallel="jit",
        **changed,
    )


@pytest.fixture(autouse=True)
def one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "jaxbert.runs.inputs.make_parallel",
        lambda *_, **__: make_parallel("jit", jax.devices()[:1]),
    )


def test_a_run_continues_without_the_step_and_tells_of_it(
    tiniest_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_questions(tmp_path / "q.jsonl", {5})

    class Spoiled(QA):
        losses: ClassVar = {"cross_entropy": spoiled("loss nan")}

    trained = train(Spoiled, options(tiniest_folder, tmp_path / "run", data))
    assert trained.done
    log = [json.loads(line) for line in (tmp_path / "run/train_log.jsonl").read_text().splitlines()]
    without = [line["step"] for line in log if line["loss"] is None]
    assert len(without) == 2  # once an epoch
    rates = [line["learning_rate"] for line in log]
    step = without[0]
    assert rates[step] == rates[step - 1]  # of the step itself and of the next
    progress = json.loads((tmp_path / "run/checkpoints/12/progress.json").read_text())
    assert (progress["skipped"], progress["skipped_now"]) == (
        2,
        without[1:] if without[1] == 12 else [],
    )


def test_too_many_in_a_row_end_the_run_and_are_named(tiniest_folder: Path, tmp_path: Path) -> None:
    data = write_questions(tmp_path / "q.jsonl", set(range(24)))

    class Spoiled(QA):
        losses: ClassVar = {"cross_entropy": spoiled("gradient nan")}

    given = options(
        tiniest_folder, tmp_path / "run", data, max_nonfinite_steps=4, save_total_limit=20
    )
    with pytest.raises(InputError) as caught:
        train(Spoiled, given)
    message = str(caught.value)
    assert "at 4 steps in a row, 1, 2, 3, 4, of the examples q" in message
    assert len(re.findall(r"\bq\d+", message)) == 8
    assert "and 8 more" in message
    # Started again it ends at the same step: what was skipped before is remembered.
    with pytest.raises(InputError, match="at 4 steps in a row, 1, 2, 3, 4, "):
        train(Spoiled, given)


def test_no_checkpoint_holds_what_is_not_finite(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finite gradient, and an optimizer that carries the parameters away."""
    monkeypatch.setattr(
        "jaxbert.runs.run_step.make_optimizer", lambda *_, **__: optax.scale(np.inf)
    )
    data = write_questions(tmp_path / "q.jsonl")
    with pytest.raises(InputError, match="parameters are not finite any more"):
        train(QA, options(tiniest_folder, tmp_path / "run", data))
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
