"""The checks of --gpu_report, with the kernel for TPUs in its interpreter, and a wrong kernel."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from conftest import DEMO

from jaxbert.benchmark import gpu_report
from jaxbert.benchmark.device_checks import Check, equal_bits, kernels
from jaxbert.cli import benchmark_command
from jaxbert.errors import InputError
from jaxbert.model.attention import Attention

pytestmark = pytest.mark.integration


def test_a_kernel_that_is_right_passes() -> None:
    found = list(kernels(Attention("pallas"), lengths=[37], sizes=[64]))
    assert [one.name for one in found if not one.passed] == []
    assert len(found) == 4
    assert found[0] == Check("masks: 37 tokens, heads of 64", True, "0 weights differ")


class Dropping(Attention):
    """It drops other weights."""

    def __call__(self, *qkv: jax.Array, **how: Any) -> jax.Array:
        return super().__call__(*qkv, **how | {"site": how["site"] + 1})


class Shrinking(Attention):
    """Its values are 5 % too small."""

    def __call__(self, *qkv: jax.Array, **how: Any) -> jax.Array:
        return super().__call__(*qkv, **how) * jnp.asarray(0.95, qkv[0].dtype)


@pytest.mark.parametrize(
    ("wrong", "passed"),
    [(Dropping("pallas"), [False] * 4), (Shrinking("pallas"), [True, False] * 2)],
)
def test_a_kernel_that_is_wrong_is_found(wrong: Attention, passed: list[bool]) -> None:
    assert [one.passed for one in kernels(wrong, lengths=[37], sizes=[64])] == passed


@pytest.mark.slow
def test_a_run_that_is_stopped_and_resumed_is_compared_with_one_that_is_not(tmp_path: Path) -> None:
    tiny = ("--max_train_samples", "40", "--max_eval_samples", "8", "--max_seq_length", "16")
    found = equal_bits(tmp_path, [sys.executable], *tiny)
    assert found == Check("a resumed run has equal bits", True, "equal")
    assert not equal_bits(tmp_path / "other", [sys.executable], "--nonsense").passed


def test_what_is_not_right_ends_the_report(tmp_path: Path) -> None:
    checks = [Check("masks", False, "3 differ"), Check("bits", True, "equal")]
    with pytest.raises(InputError, match="not right on this device: masks; see"):
        gpu_report.check(tmp_path, checks)
    assert "| masks | **no** | 3 differ |" in (tmp_path / "checks.md").read_text()
    assert len(json.loads((tmp_path / "checks.json").read_text())) == 2


@pytest.mark.slow
def test_both_are_trained_and_their_scores_stand_side_by_side(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    words = ["--model_name_or_path", str(tiniest_folder), "--max_steps", "2"]
    words += ["--train_file", str(DEMO / "qa_en_train.json"), "--max_train_samples", "8"]
    words += ["--validation_file", str(DEMO / "qa_en_dev.json"), "--max_eval_samples", "8"]
    words += ["--max_seq_length", "64", "--doc_stride", "20", "--learning_rate", "0"]
    gpu_report.train(tmp_path, words)
    found = json.loads((tmp_path / "training.json").read_text())
    assert found.keys() == {"jaxbert", "PyTorch"}
    ours, theirs = found["jaxbert"], found["PyTorch"]
    del ours["scores"]["eval_loss"]
    assert ours["scores"] == theirs["scores"]  # of the same drawn head, at a learning rate of 0
    assert ours["seconds"] > 0 < theirs["seconds"]
    table = (tmp_path / "training.md").read_text().splitlines()
    assert table[0] == "| | seconds | joules | exact_match | f1 |"
    assert [line.split(" |")[0] for line in table[2:]] == ["| jaxbert", "| PyTorch"]
    with pytest.raises(InputError, match="jaxbert train qa: the training failed"):
        gpu_report.train(tmp_path, ["--train_file", str(tmp_path / "none.json")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpu_report", "a"], "JAX computes on a CPU here, not on a GPU"),
        (["--gpu_report", "a", "--output_dir", "b"], "give --gpu_report or --output_dir"),
    ],
)
def test_it_is_for_an_accelerator(words: list[str], said: str, tmp_path: Path) -> None:
    words = [str(tmp_path / w) if len(w) == 1 else w for w in words]
    with pytest.raises(InputError, match=said):
        benchmark_command.run(words)
    assert not list(tmp_path.iterdir())
