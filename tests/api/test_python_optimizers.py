"""Whole runs with other optimizers: resumed to the bit, and what a resume may not change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from python_rows import SMALL_RUN, rows_of
from safetensors.numpy import load_file

import jaxbert
from jaxbert.errors import InputError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("compilations"),
    pytest.mark.skipif(jax.local_device_count() < 8, reason="needs 8 devices"),
]

POWER = 0.5


def by_power(learning_rate, weight_decay, mask, momentum=0.9):  # type: ignore[no-untyped-def]
    """A user's optimizer: the gradient's root, with momentum."""
    return optax.chain(
        optax.stateless(
            lambda g, _: jax.tree.map(lambda x: abs(x) ** POWER * jax.numpy.sign(x), g)
        ),
        optax.trace(momentum),
        optax.add_decayed_weights(weight_decay, mask=mask),
        optax.scale_by_learning_rate(learning_rate),
    )


AROUND: dict[str, dict[str, Any]] = {
    "lamb": {"ema_decay": 0.8, "layerwise_lr_decay": 0.5, "head_learning_rate": 1e-2},
    "adafactor": {
        **{"swa_start": 3, "freeze": ["embeddings"], "unfreeze_step": 4},
        **{"shard_optimizer": True},
    },
    "lion": {"freeze": ["embeddings"], "ema_decay": 0.5},
    "sgd": {"optim_args": {"momentum": 0.9}, "swa_start": 0.5},
    "by_power": {"optim": by_power, "optim_args": {"momentum": 0.5}},
}


def train(model: Path, folder: Path, **more: Any) -> jaxbert.Run:
    given = {**SMALL_RUN, "save_steps": 2, "learning_rate": 1e-3, "weight_decay": 0.01, **more}
    return jaxbert.train(
        "classification",
        model=model,
        train_data=rows_of("classification", "train"),
        validation_data=rows_of("classification", "dev"),
        output_dir=folder,
        **given,
    )


def settings_of(name: str) -> dict[str, Any]:
    return {"optim": name, **AROUND[name]}


def interrupted(run: Path, folder: Path) -> Path:
    """A copy of a run as if it had been killed after step 4."""
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "checkpoints" / "6")
    for name in ("model.safetensors", "metrics.json"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize(
    "name",
    ["adafactor", *(pytest.param(n, marks=pytest.mark.slow) for n in ("lamb", "lion", "sgd"))],
)
def test_a_run_that_is_resumed_has_equal_bits(
    name: str, tiniest_folder: Path, tmp_path: Path
) -> None:
    run = train(tiniest_folder, tmp_path / "run", **settings_of(name))
    again = train(
        tiniest_folder, interrupted(tmp_path / "run", tmp_path / "again"), **settings_of(name)
    )
    assert again.scores == run.scores
    models = [tmp_path / name / "model.safetensors" for name in ("run", "again")]
    assert models[0].read_bytes() == models[1].read_bytes()
    # What was evaluated is what was saved.
    held_out = rows_of("classification", "dev")
    more: dict[str, Any] = {"per_device_eval_batch_size": 1, "max_eval_samples": 4, "quiet": True}
    found = jaxbert.evaluate("classification", model=run.output_dir, data=held_out, **more)
    assert found.scores == pytest.approx(run.scores)
    record = json.loads((tmp_path / "run" / "options.json").read_text())["options"]
    assert record["optim"] == name


@pytest.mark.slow
def test_a_resume_may_have_the_state_whole_again(tiniest_folder: Path, tmp_path: Path) -> None:
    divided = settings_of("adafactor")
    train(tiniest_folder, tmp_path / "run", **divided, parallel="jit")
    other = interrupted(tmp_path / "run", tmp_path / "whole")
    whole = train(tiniest_folder, other, **{**divided, "shard_optimizer": False, "parallel": "jit"})
    assert whole.done
    one = load_file(tmp_path / "run" / "model.safetensors")
    for key, x in load_file(other / "model.safetensors").items():
        np.testing.assert_allclose(x, one[key], rtol=1e-4, atol=1e-6)


def test_a_function_of_a_program_is_recorded_and_compared(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tiniest_folder, tmp_path / "run", **settings_of("by_power"))
    record = json.loads((tmp_path / "run" / "options.json").read_text())
    assert record["options"]["optim"] == "function by_power"
    assert record["functions"]["optim"]["values"]["global POWER"] == "0.5"
    assert run.done
    start = load_file(tiniest_folder / "model.safetensors")
    end = load_file(tmp_path / "run" / "model.safetensors")
    shared = start.keys() & end.keys()
    assert len(shared) > 10
    assert not any(np.array_equal(start[key], end[key]) for key in shared)
    folder = interrupted(tmp_path / "run", tmp_path / "again")
    monkeypatch.setitem(globals(), "POWER", 0.7)
    with pytest.raises(InputError) as caught:
        train(tiniest_folder, folder, **settings_of("by_power"))
    assert "optim: global POWER was 0.5 and is 0.7; give --allow_changed_options optim" in str(
        caught.value
    )
    for changed, message in (
        (
            {"optim": "lamb", "optim_args": None},
            "the state of one optimizer is not that of another; give the former",
        ),
        ({**settings_of("by_power"), "ema_decay": 0.9}, "the average is of all steps of a run"),
        (
            {**settings_of("by_power"), "layerwise_lr_decay": 0.9},
            "--layerwise_lr_decay: 1.0 -> 0.9",
        ),
    ):
        with pytest.raises(InputError, match=message):
            train(tiniest_folder, folder, **{"optim_args": {"momentum": 0.5}, **changed})
