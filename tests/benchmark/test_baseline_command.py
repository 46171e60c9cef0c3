"""`jaxbert baseline`: PyTorch's run has jaxbert's weights, batches, decoding and scores."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import DEMO
from scripts import call, read, refuses

FILES = {
    "qa": ("qa_en", "json"),
    "regression": ("regression", "tsv"),
    "tagging": ("tagging", "conll"),
    "mlm": ("mlm", "txt"),
}

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]


@pytest.mark.parametrize(
    "task",
    [
        *("regression", "mlm"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("qa", "tagging")),
    ],
)
def test_a_model_that_learns_nothing_has_the_scores_that_jaxbert_finds(
    task: str, tiniest_folder: Path, tmp_path: Path
) -> None:
    """At a learning rate of 0 both score the same drawn head, one by PyTorch."""
    name, suffix = FILES[task]
    words = [
        "--model_name_or_path",
        str(tiniest_folder),
        "--learning_rate",
        "0",
        "--max_steps",
        "1",
    ]
    words += ["--length_bucket", "0", "--per_device_eval_batch_size", "8"]
    for split in ("train", "dev"):
        text = (DEMO / f"{name}_{split}.{suffix}").read_text(encoding="utf-8")
        (tmp_path / f"{split}.{suffix}").write_text(text, encoding="utf-8")
    words += ["--train_file", str(tmp_path / f"train.{suffix}"), "--max_train_samples", "8"]
    words += ["--validation_file", str(tmp_path / f"dev.{suffix}"), "--max_eval_samples", "8"]
    words += ["--max_seq_length", "64", *(["--doc_stride", "20"] if task == "qa" else [])]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert call(f"train/{task}.py", *words, "--output_dir", str(ours)) == 0
    assert call("eval/baseline.py", task, *words, "--output_dir", str(theirs)) == 0
    expected = read(ours / "metrics.json")
    del expected["eval_loss"]
    # A drawn head gives texts almost one number: their correlation has three digits in float32.
    assert read(theirs / "metrics.json") == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_what_the_baseline_does_not_have_is_refused(tmp_path: Path) -> None:
    words = ["eval/baseline.py", "qa", "--output_dir", str(tmp_path)]
    assert "--packing is not for the baseline" in refuses(*words, "--packing")
    assert "--dtype float16 is not for the baseline" in refuses(*words, "--dtype", "float16")
    assert "the baseline has cross_entropy only" in refuses(*words, "--loss", "focal")
    windows = ["classification", "--output_dir", str(tmp_path), "--long_texts", "windows"]
    assert "--long_texts is not for the baseline" in refuses("eval/baseline.py", *windows)
    assert not list(tmp_path.iterdir())
