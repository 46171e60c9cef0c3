"""Every loss of spans in a short run on public data, killed and resumed to equal bits."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import public_data
from faults.runs import send, start, stopped, until, wait, whole
from scripts import weights

from jaxbert.tasks.qa import QA

pytestmark = pytest.mark.integration

ARGS: dict[str, Any] = {"r_drop": {"base": "joint_span"}, "pgd": {"steps": 2}}


@pytest.mark.slow
@pytest.mark.parametrize("loss", QA.losses)
def test_a_short_run_is_resumed_with_equal_bits(
    loss: str, tiny_folder: Path, tiniest_folder: Path, tmp_path: Path
) -> None:
    args = (
        {"teacher": str(tiny_folder), "hidden": 0.1} if loss == "distillation" else ARGS.get(loss)
    )
    words = ["--train_file", str(public_data("squad_v1.1_train.json")), "--max_train_samples", "40"]
    words += ["--max_seq_length", "128", "--save_steps", "1", "--max_steps", "8", "--loss", loss]
    words += ["--loss_args", json.dumps(args)] * bool(args)
    alone = whole(tiniest_folder, tmp_path / "alone", *words)
    folder = tmp_path / "run"
    child = start(tiniest_folder, folder, *words, STOP_AT=5)
    until(lambda: stopped(child), [child])
    send([child], signal.SIGKILL)
    assert wait(child) == -signal.SIGKILL
    whole(tiniest_folder, folder, *words)
    logs = [(p / "train_log.jsonl").read_text().splitlines() for p in (alone, folder)]
    losses = [[json.loads(line)["loss"] for line in log] for log in logs]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8
    assert weights(folder) == weights(alone)
