"""Every option of a training at a resume: may it change, and is what the refusal advises true?"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from conftest import DEMO
from scripts import call, weights

from jaxbert.errors import InputError
from jaxbert.options.fields import settings_of
from jaxbert.options.settings import EvaluationOptions, TrainingOptions
from jaxbert.options.task_settings import QATrainOptions
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.record import RunRecord
from jaxbert.runtime import host
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.optim import adamw
from jaxbert.training.step import TrainState, init_state
from jaxbert.training.step_folders import LocalSteps

pytestmark = pytest.mark.integration

# Another value of each option that decides on what a run computes, and whether it may change.
OTHERS: dict[str, tuple[Any, str]] = {
    "max_train_samples": (7, "a run keeps its examples, which depend on --max_train_samples"),
    "train_fraction": (
        0.5,
        "a run keeps its examples, which depend on --train_fraction",
    ),
    "seed": (1, ""),
    "num_train_epochs": (5.0, ""),
    "max_steps": (4, ""),
    "per_device_train_batch_size": (2, ""),
    "packing": (True, ""),
    "gradient_accumulation_steps": (2, ""),
    "learning_rate": (1e-4, ""),
    "lr_scheduler_type": ("cosine", ""),
    "warmup_ratio": (0.5, ""),
    "warmup_steps": (1, ""),
    "weight_decay": (0.1, ""),
    "adam_beta1": (0.8, ""),
    "adam_beta2": (0.99, ""),
    "adam_epsilon": (1e-6, ""),
    "max_grad_norm": (0.0, ""),
    "freeze": (["layer_0"], "what is frozen cannot be changed"),
    "layerwise_lr_decay": (0.9, ""),
    "head_learning_rate": (1e-3, ""),
    "optim": ("sgd", "the state of one optimizer is not that of another"),
    "unfreeze_step": (1, "the optimizer's state of what is frozen depends on it"),
    "lora_rank": (4, "the adapter's matrices have its shape"),
    "lora_alpha": (4.0, "the adapter has learned with it"),
    "lora_targets": (["key"], "the adapter is of these matrices"),
    "lora_dropout": (0.1, ""),
    "ema_decay": (0.9, "the average is of all steps of a run"),
    "swa_start": (0.5, "the average is of all steps of a run"),
    "loss": ("focal", ""),
    "loss_args": ('{"gamma": 1.0}', ""),
    "gradient_checkpointing": (True, ""),
    "scan_layers": (True, ""),
    "eval_steps": (1, ""),
    "metric_for_best_model": ("exact_match", ""),
    "load_best_model_at_end": (True, ""),
    "early_stopping_patience": (3, ""),
}


# Of other data, or of another optimizer or loss than this run's; their own tests hold them.
ELSEWHERE = {"extra_columns", "weight_column", "view_column", "optim_args", "loss_weights"}


def test_the_table_has_every_option() -> None:
    shared = {setting.name for setting in settings_of(EvaluationOptions)}
    named = {s.name for s in settings_of(TrainingOptions) if s.facts.resume != "free"}
    assert named - shared - ELSEWHERE == OTHERS.keys()


def resume(
    options: QATrainOptions, data: dict[str, str] | None = None, loss: str | None = None
) -> RunRecord | None:
    """What is found in the folder of the options, with the checks before a run begins."""
    now = RunRecord.of("qa", options, loss=loss or "", rows_per_step=8)
    with RunFolder.open(Path(options.output_dir or ""), writes=True) as run:
        previous = run.find(now)
        now = dataclasses.replace(now, data=data or {})
        run.check(now, user_loss=loss is not None)
    return previous


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_refusal_advises_is_taken(tmp_path: Path, name: str) -> None:
    value, refusal = OTHERS[name]
    before = QATrainOptions(output_dir=str(tmp_path))
    RunRecord.of("qa", before, rows_per_step=8).write(tmp_path)
    changed = dataclasses.replace(before, **{name: value})
    with pytest.raises(InputError) as caught:
        resume(changed)
    message = str(caught.value)
    assert f"--{name}: {getattr(before, name)} -> {value}" in message
    assert "\n" not in message
    advised = re.findall(r"--allow_changed_options (\w+)", message)
    assert advised == ([] if refusal else [name])
    allowed = dataclasses.replace(changed, allow_changed_options=[name])
    if not refusal:
        assert resume(allowed) is not None
        return
    assert refusal in message
    if name == "freeze":  # named all the same, it is refused all the same
        with pytest.raises(InputError, match=refusal):
            resume(allowed)


def small_state(options: QATrainOptions, seed: int) -> TrainState:
    rng = np.random.default_rng(seed)
    params = {"a": {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}}
    params = jax.tree.map(np.float32, params)
    tx = adamw(
        lambda step: options.learning_rate,
        weight_decay=options.weight_decay,
        clip_norm=options.max_grad_norm,
        frozen=options.freeze or (),
    )
    state = init_state(params, tx)
    grads = jax.tree.map(np.cos, params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    state = TrainState(np.int32(1), optax.apply_updates(params, updates), opt_state)
    return jax.tree.map(np.array, state)


CHAINS = [{"weight_decay": d, "max_grad_norm": c} for d in (0.0, 0.1) for c in (0.0, 1.0)]


@pytest.mark.parametrize("before", CHAINS)
def test_decay_and_clipping_change_no_array_of_the_optimizer(
    tmp_path: Path, before: dict[str, float]
) -> None:
    """Its arrays come back with their bits whatever the chain of transformations was."""
    saved = small_state(QATrainOptions(**before), 0)
    checkpoints = Checkpoints(LocalSteps(tmp_path))
    checkpoints.save(saved, {})
    checkpoints.wait()
    for now in CHAINS:
        like = small_state(QATrainOptions(**now), 1)
        found, _ = checkpoints.restore(1, like)
        assert jax.tree.structure(found) == jax.tree.structure(like)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(saved), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    frozen = dataclasses.replace(QATrainOptions(**before), freeze=["a"])
    with pytest.raises(InputError, match="its arrays are not those of this model and optimizer"):
        checkpoints.restore(1, small_state(frozen, 1))
    checkpoints.close()


def test_another_teacher_may_be_allowed_with_the_options_that_name_it(tmp_path: Path) -> None:
    options = QATrainOptions(output_dir=str(tmp_path))
    record = RunRecord.of("qa", options, rows_per_step=8)
    dataclasses.replace(record, data={"train": "1", "teacher": "a"}).write(tmp_path)
    with pytest.raises(InputError, match="another teacher"):
        resume(options, {"train": "1", "teacher": "b"})
    for name in ("loss", "loss_args"):
        allowed = dataclasses.replace(options, allow_changed_options=[name])
        assert resume(allowed, {"train": "1", "teacher": "b"}) is not None
        with pytest.raises(InputError, match="other train data"):
            resume(allowed, {"train": "2", "teacher": "b"})


def test_another_text_of_a_users_loss_may_be_allowed_with_its_name(tmp_path: Path) -> None:
    options = QATrainOptions(output_dir=str(tmp_path), loss="mine.py:mine")
    data = {"train": "1"}
    record = dataclasses.replace(RunRecord.of("qa", options, rows_per_step=8), data=data)
    record.write(tmp_path)  # by an older version, which kept no text
    raw = json.loads((tmp_path / "options.json").read_text())
    del raw["loss"]
    (tmp_path / "options.json").write_text(json.dumps(raw))
    assert resume(options, data, loss="two") is not None
    dataclasses.replace(record, loss="one").write(tmp_path)
    assert resume(options, data, loss="one") is not None
    with pytest.raises(InputError, match=r"the file of --loss mine\.py:mine is not the one that"):
        resume(options, data, loss="two")
    assert resume(options, data) is not None  # the library's own may change with its version
    for name, refused in (("loss", False), ("loss_args", True)):
        allowed = dataclasses.replace(options, allow_changed_options=[name])
        with pytest.raises(InputError) if refused else contextlib.nullcontext():
            resume(allowed, data, loss="two")


def test_a_run_is_resumed_with_all_of_them_at_once(
    tiniest_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All that may change does, in one resume, whose steps are then those asked for."""
    words = ["--model_name_or_path", str(tiniest_folder), "--output_dir", str(tmp_path / "run")]
    words += ["--train_file", str(DEMO / "qa_en_dev.json"), "--max_train_samples", "8"]
    words += ["--validation_file", str(DEMO / "qa_en_dev.json"), "--max_eval_samples", "4"]
    words += ["--max_seq_length", "384", "--per_device_train_batch_size", "1"]
    call("train/qa.py", *words, "--max_steps", "2", "--save_steps", "1")
    before = weights(tmp_path / "run")
    # Not --packing, and not what only a run of an adapter has (tests/api/test_python_lora.py).
    left = "packing", "lora_dropout"
    changes = {n: x for n, (x, refusal) in OTHERS.items() if not refusal and n not in left}
    given = [w for n, x in changes.items() if x is not True for w in (f"--{n}", str(x))]
    given += [f"--{n}" for n, x in changes.items() if x is True]
    call("train/qa.py", *words, *given, "--allow_changed_options", *changes)
    log = (tmp_path / "run" / "train_log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4]
    assert weights(tmp_path / "run") != before


# --- versions and machines ----------------------------------------------------------------------


def test_what_the_bits_depend_on_is_recorded_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = QATrainOptions(output_dir=str(tmp_path))
    RunRecord.of("qa", options, rows_per_step=8).write(tmp_path)
    record = json.loads((tmp_path / "options.json").read_text())
    assert {"numpy", "ml_dtypes", "jax", "jaxlib"} <= record["versions"].keys()
    names = {"platform", "architecture", "device", "devices", "cores", "XLA_FLAGS"}
    assert record["machine"].keys() == names
    assert record["machine"]["cores"] == host.cores()
    with caplog.at_level(logging.WARNING, "jaxbert"):
        resume(options)
        assert not caplog.records
        versions, before = dict(record["versions"]), dict(record["machine"])
        versions["numpy"], before["cores"], before["XLA_FLAGS"] = "1.0", 96, ""
        record |= {"versions": versions, "machine": before}
        (tmp_path / "options.json").write_text(json.dumps(record))
        resume(options)
    (told,) = (r.getMessage() for r in caplog.records)
    now = np.__version__
    assert told == (
        f"the run was started with numpy 1.0, now {now}; XLA_FLAGS none, now "
        f"{os.environ['XLA_FLAGS']}; cores 96, now {host.cores()}; it resumes, but may not end "
        "with the same bits"
    )
    caplog.clear()
    del versions["numpy"], versions["ml_dtypes"], record["machine"]  # an older version's record
    record["versions"] = versions
    (tmp_path / "options.json").write_text(json.dumps(record))
    resume(options)
    assert not caplog.records
    assert "cores" not in host.describe("gpu")  # they decide on nothing there
