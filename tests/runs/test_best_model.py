"""Which checkpoint is the result: said where it is not the best, or not what was asked for."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from conftest import DEMO
from scripts import call, refuses

from jaxbert.training.step_folders import fault

pytestmark = pytest.mark.integration


def test_the_saved_model_is_named_where_it_is_not_the_best(
    tiniest_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a learning rate of 0 all evaluations are equal, so that the first one is the best."""
    run = tmp_path / "run"
    words = ["--model_name_or_path", str(tiniest_folder), "--output_dir", str(run)]
    for name in ("train", "validation"):
        words += [f"--{name}_file", str(DEMO / "classification_train.tsv")]
    words += ["--max_train_samples", "24", "--max_eval_samples", "4", "--learning_rate", "0"]
    words += ["--per_device_train_batch_size", "2", "--eval_steps", "1", "--max_steps", "9"]
    words += ["--max_seq_length", "32", "--early_stopping_patience", "2"]

    def told(*more: str) -> list[tuple[int, str]]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "jaxbert"):
            call("train/classification.py", *words, *more)
        return [(r.levelno, r.getMessage()) for r in caplog.records]

    advice = "--load_best_model_at_end --allow_changed_options load_best_model_at_end"
    line = "the saved model is that of step 3; the best was step 1; the same command with "
    assert (logging.WARNING, f"{line}{advice} saves that") in told()
    lines = told(*advice.split())
    assert (logging.INFO, "the best checkpoint is step 1") in lines
    assert not any(line in message for _, message in lines)
    best = run / "checkpoints" / "1"
    assert fault(best) is None
    shutil.rmtree(best)
    (missing,) = (m for level, m in told(*advice.split()) if level == logging.WARNING)
    assert str(best) in missing
    assert missing.endswith("so the result is the last step, not the best")


@pytest.mark.parametrize(
    "given",
    ["--load_best_model_at_end", "--early_stopping_patience 2", "--metric_for_best_model f1"],
)
def test_what_is_best_needs_validation_data(
    tiniest_folder: Path, tmp_path: Path, given: str
) -> None:
    words = ["--model_name_or_path", str(tiniest_folder), "--output_dir", str(tmp_path / "run")]
    words += ["--train_file", str(DEMO / "classification_train.tsv"), *given.split()]
    message = refuses("train/classification.py", *words)
    assert message == f"{given.split()[0]} needs validation data to tell what is better"
    assert not (tmp_path / "run").exists()
