"""A run that a former version began (make_begun_run.py) is resumed, and ends with equal bits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from make_begun_run import FOLDER, STOPPED, WORDS, XLA_FLAGS
from safetensors.numpy import load_file
from scripts import environment, passed, weights

from jaxbert.runs.record import RunRecord

pytestmark = pytest.mark.integration


def same_machine(begun: RunRecord, ended: RunRecord) -> bool:
    """Whether both were computed by the same libraries, processor and cores."""
    versions = [{n: v for n, v in r.versions.items() if n != "jaxbert"} for r in (begun, ended)]
    machine = {name: ended.machine[name] for name in begun.machine}  # later records have more
    return versions[0] == versions[1] and begun.machine == machine


def losses(folder: Path) -> dict[int, float]:
    lines = map(json.loads, (folder / "train_log.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines}


def test_a_run_of_a_former_version_is_resumed_with_its_bits(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "begun")
    run, unbroken = tmp_path / "begun" / "run", tmp_path / "begun" / "unbroken"
    begun = RunRecord.read(run)
    result = subprocess.run(
        [sys.executable, REPOSITORY / "train/classification.py", *WORDS, "--output_dir", "run"],
        cwd=tmp_path / "begun",
        env=environment() | {"XLA_FLAGS": XLA_FLAGS, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert f"resuming from step {STOPPED} of 6" in passed(result)
    found, expected = (load_file(p / "model.safetensors") for p in (run, unbroken))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if name.endswith("key.bias"):
            # Softmax does not depend on it: its gradient is rounding alone, another on another
            # machine, and AdamW makes steps of full size of it.
            continue
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-6, err_msg=name)
    assert list(losses(run)) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(
        list(losses(run).values()), list(losses(unbroken).values()), atol=1e-6
    )
    newest = json.loads((run / "checkpoints" / "6" / "progress.json").read_text())
    assert [record["step"] for record in newest["evaluations"]] == [1, 2, 3, 4, 5]
    ended = RunRecord.read(run)
    assert begun is not None
    assert ended is not None
    assert ended.data == begun.data
    if same_machine(begun, ended):
        assert weights(run) == weights(unbroken)
        assert losses(run) == losses(unbroken)
        scores = [json.loads((p / "metrics.json").read_text()) for p in (run, unbroken)]
        assert scores[0] == scores[1]
