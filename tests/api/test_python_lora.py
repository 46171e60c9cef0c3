"""Whole runs of adapters: resumed to the bit without the encoder in checkpoints, opened by all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from python_rows import SMALL_RUN, rows_of
from safetensors.numpy import load_file, save_file

import jaxbert
from jaxbert.errors import InputError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("compilations"),
    pytest.mark.skipif(jax.local_device_count() < 8, reason="needs 8 devices"),
]

# All at once of what the encoder's own parameters are seen by.
MANY: dict[str, Any] = {
    **{"lora_rank": 2, "lora_alpha": 4, "lora_targets": ["query", "output.dense"]},
    **{
        "lora_dropout": 0.25,
        "ema_decay": 0.5,
        "layerwise_lr_decay": 0.5,
        "gradient_accumulation_steps": 2,
    },
    **{"packing": True, "save_steps": 2, "learning_rate": 1e-2, "weight_decay": 0.01},
}


def train(model: Path, folder: Path, task: str = "classification", **more: Any) -> jaxbert.Run:
    return jaxbert.train(
        task,
        model=model,
        train_data=rows_of(task, "train"),
        validation_data=rows_of(task, "dev"),
        output_dir=folder,
        **{**SMALL_RUN, **MANY, **more},
    )


def test_a_run_resumes_to_the_bit_and_changes_what_it_names_alone(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    run = train(tiniest_folder, tmp_path / "run")
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "run", again)
    shutil.rmtree(again / "checkpoints" / "6")
    for name in ("model.safetensors", "metrics.json", "adapter/adapter_model.safetensors"):
        (again / name).unlink()
    resumed = train(tiniest_folder, again)
    assert resumed.scores == run.scores
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert (again / name).read_bytes() == (tmp_path / "run" / name).read_bytes()

    start, end = (load_file(f / "model.safetensors") for f in (tiniest_folder, tmp_path / "run"))
    of_encoder = {name for name in start if name.startswith("bert.")}
    changed = {name for name in of_encoder if not np.array_equal(start[name], end[name])}
    layer = "bert.encoder.layer.0"
    assert changed == {
        f"{layer}.{name}.weight"
        for name in ("attention.self.query", "attention.output.dense", "output.dense")
    }
    adapter = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    about = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert about["lora_dropout"] == 0.25
    module = f"base_model.model.{layer}.attention.self.query"
    change = adapter[f"{module}.lora_B.weight"] @ adapter[f"{module}.lora_A.weight"]
    name = f"{layer}.attention.self.query.weight"
    np.testing.assert_allclose(end[name], start[name] + 2 * change, atol=1e-6)
    np.testing.assert_array_equal(
        adapter["base_model.model.classifier.weight"], end["classifier.weight"]
    )

    # A folder like any other: what was evaluated is what is saved.
    held_out = rows_of("classification", "dev")
    more: dict[str, Any] = {"per_device_eval_batch_size": 1, "max_eval_samples": 4, "quiet": True}
    found = jaxbert.evaluate("classification", model=run.output_dir, data=held_out, **more)
    assert found.scores == pytest.approx(run.scores)

    # The encoder is not in the checkpoints, so it is to be the one that it was.
    saved = tmp_path / "run" / "checkpoints" / "6" / "state"
    assert '"bert"' not in (saved / "_METADATA").read_text().split('"params"', 1)[1]
    other = tmp_path / "other"
    shutil.copytree(tiniest_folder, other)
    start["bert.embeddings.LayerNorm.bias"] += 1
    save_file(start, other / "model.safetensors")
    with pytest.raises(InputError, match="the run was started with another model to adapt"):
        train(other, again, allow_changed_options=["model_name_or_path"])
    for option, value, reason in (
        ("lora_rank", 3, "the adapter's matrices have its shape"),
        ("lora_alpha", 5, "the adapter has learned with it"),
        ("lora_targets", ["key"], "the adapter is of these matrices"),
    ):
        with pytest.raises(InputError, match=reason):
            train(tiniest_folder, again, **{option: value}, allow_changed_options=[option])

    # Its dropout may change, and what is learned then does.
    shutil.rmtree(again / "checkpoints" / "6")
    (again / "metrics.json").unlink()
    train(tiniest_folder, again, lora_dropout=0.5, allow_changed_options=["lora_dropout"])
    name = "adapter/adapter_model.safetensors"
    assert (again / name).read_bytes() != (tmp_path / "run" / name).read_bytes()


@pytest.mark.parametrize("task", ["qa", "tagging", "mlm"])
@pytest.mark.slow
def test_every_head_is_trained_and_saved(task: str, tiniest_folder: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"packing": False, "max_seq_length": 64}
    if task == "qa":
        more["doc_stride"] = 16
    run = train(tiniest_folder, tmp_path / "run", task, **more)
    assert run.done
    adapter = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert any("lora_A" in name for name in adapter)
    assert all("lora" in name for name in adapter) == (task == "mlm")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lora_rank": None}, "--lora_alpha is of an adapter; give --lora_rank too"),
        (
            {"lora_rank": None, "lora_alpha": None, "lora_dropout": 0.1},
            "--lora_dropout is of an adapter; give --lora_rank too",
        ),
        ({"lora_dropout": 1.0}, "--lora_dropout 1.0: it must be from 0 to 0.99"),
        ({"lora_rank": 0}, "lora_rank"),
        ({"lora_targets": ["nope"]}, "--lora_targets nope: no matrix of a layer has a name that"),
        ({"freeze": ["layer_0"]}, "--freeze layer_0: --lora_rank has frozen the encoder"),
        ({"freeze": ["pooler"], "unfreeze_step": 2}, "--unfreeze_step is not for --lora_rank"),
        ({"model": None, "config_name": "there"}, "--lora_rank adapts a trained model; give"),
    ],
)
def test_what_contradicts_itself_is_refused_before_data_are_read(
    given: dict[str, Any], message: str, tiniest_folder: Path, tmp_path: Path
) -> None:
    call: dict[str, Any] = {"model": tiniest_folder, "lora_rank": 2, "lora_alpha": 4, **given}
    with pytest.raises(InputError, match=message):
        jaxbert.train(
            "classification", train_file=["missing.tsv"], output_dir=tmp_path / "run", **call
        )
    assert not (tmp_path / "run").exists()
