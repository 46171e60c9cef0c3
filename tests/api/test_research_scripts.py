"""The scripts of docs/research: each at most 40 lines, each trains; parameters of a loss resume."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from python_rows import SMALL_RUN
from safetensors.numpy import load_file
from test_resume_by_command import interrupt

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

SCRIPTS = sorted((REPOSITORY / "docs" / "research").glob("*.py"))


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
    script = load(REPOSITORY / "docs" / "research" / "hidden_states.py")
    whole = script.main(**settings(tiniest_folder, tmp_path / "whole"))
    call = settings(tiniest_folder, tmp_path / "part")
    assert not script.main(**call, callbacks=[interrupt]).done
    resumed = script.main(**call)
    for name in ("model.safetensors", "loss.safetensors"):
        one, other = ((run.output_dir / name).read_bytes() for run in (whole, resumed))
        assert one == other
    own = load_file(whole.output_dir / "loss.safetensors")
    assert {name: x.shape for name, x in own.items()} == {"Deep.kernel": (1, 16, 2)}
