"""The scripts of docs/research: each at most 40 lines, each trains; parameters of a loss resume."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY
from python_rows import SMALL_RUN, rows_of
from safetensors.numpy import load_file
from test_resume_by_command import interrupt

from jaxbert.data.task_shares import TaskShares

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

FOLDER = REPOSITORY / "docs" / "research"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if path.stem != "two_tasks")


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"research_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(model: Path, folder: Path) -> dict[str, Any]:
    small = {**SMALL_RUN, "model_name_or_path": str(model), "output_dir": folder}
    return {**small, "max_steps": 4, "eval_steps": 4, "max_train_samples": 40}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_trains(
    path: Path, tiniest_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(path.read_text().splitlines()) <= 40
    more = {"per_device_train_batch_size": 2} if path.stem == "two_views" else {}
    with caplog.at_level(logging.WARNING, "jaxbert"):
        run = load(path).main(**{**settings(tiniest_folder, tmp_path / "run"), **more})
    assert run.done
    assert "accuracy" in run.scores
    assert "does not read" not in caplog.text
    losses = [record["loss"] for record in run.history if "loss" in record]
    assert len(losses) == 4
    assert all(0 < loss < 100 for loss in losses)


def test_a_loss_with_parameters_resumes_to_the_bit(tiniest_folder: Path, tmp_path: Path) -> None:
    """Model and loss.safetensors, after an interrupt and without one."""
    script = load(FOLDER / "hidden_states.py")
    whole = script.main(**settings(tiniest_folder, tmp_path / "whole"))
    call = settings(tiniest_folder, tmp_path / "part")
    assert not script.main(**call, callbacks=[interrupt]).done
    resumed = script.main(**call)
    for name in ("model.safetensors", "loss.safetensors"):
        one, other = ((run.output_dir / name).read_bytes() for run in (whole, resumed))
        assert one == other
    own = load_file(whole.output_dir / "loss.safetensors")
    assert {name: x.shape for name, x in own.items()} == {"Deep.kernel": (1, 16, 2)}


def test_two_tasks_stopped_anywhere_share_one_encoder_to_the_bit(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are scored, have an equal encoder, and are what they would be without the stop."""
    path = FOLDER / "two_tasks.py"
    assert len(path.read_text().splitlines()) <= 40
    script = load(path)
    parts = {"train_file": ("train", 24), "validation_file": ("dev", 8)}
    few = {
        task: {name: rows_of(task, part)[:count] for name, (part, count) in parts.items()}
        for task in script.DEMOS
    }
    monkeypatch.setattr(script, "DEMOS", few)
    call: dict[str, Any] = {"model": tiniest_folder, "steps": 6, "every": 2}
    whole = script.main(tmp_path / "whole", **call)
    assert "accuracy" in whole["classification"]
    assert {"f1", "accuracy"} <= set(whole["tagging"])

    class Stopping(TaskShares):
        def draw(self, step: int) -> tuple[str, int]:
            if step == 5:
                raise KeyboardInterrupt
            return super().draw(step)

    shares = script.TURNS.shares
    monkeypatch.setattr(script, "TURNS", Stopping(shares, 0))
    with pytest.raises(KeyboardInterrupt):
        script.main(tmp_path / "part", **call)
    monkeypatch.setattr(script, "TURNS", TaskShares(shares, 0))
    assert script.main(tmp_path / "part", **call) == whole
    models = {}
    for task in shares:
        one, other = (tmp_path / run / task / "model.safetensors" for run in ("whole", "part"))
        assert one.read_bytes() == other.read_bytes()
        models[task] = load_file(one)
    trained = load_file(tiniest_folder / "model.safetensors")
    for name in models["classification"].keys() & models["tagging"].keys():
        same = np.array_equal(models["classification"][name], models["tagging"][name])
        assert same == name.startswith("bert.")
        assert name not in trained or not np.array_equal(trained[name], models["tagging"][name])
