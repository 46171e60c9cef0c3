"""Processes that meet: what is given or found, and what is told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from scripts import environment

from jaxbert.errors import InputError
from jaxbert.runtime import processes

pytestmark = pytest.mark.integration

SCRIPT = """
from jaxbert.runtime import processes
processes.join(None, None, None)
import jax, numpy as np
print(jax.process_index(), jax.process_count(), processes.from_first(lambda: [jax.process_index()]))
x = np.float32([-0.0, np.nan, 1e-45]) if processes.is_first() else np.ones(3, np.float32)
print(processes.arrays_from_first(x).tobytes().hex())
def refuse():
    raise processes.InputError("no")
try:
    processes.from_first(refuse)
except processes.InputError as error:
    print("refused:", error)
"""


def test_slurms_processes_find_each_other_and_hear_the_first() -> None:
    """Equal to the last bit, the sign of a zero and the bits of a NaN included."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    children = []
    for rank in ("0", "1"):
        own = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_STEP_NODELIST": "localhost"}
        children.append(
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT],
                env=environment() | job | own,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [child.communicate(timeout=120) for child in children]
    for rank, (out, err) in enumerate(said):
        lines = [line for line in out.splitlines() if not line.startswith("[Gloo]")]
        bits = "00000080" + "0000c07f" + "01000000"
        assert lines == [f"{rank} 2 [0]", bits, "refused: no"], err[-2000:]


def test_a_batch_script_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """sbatch gives it the number of tasks that srun would start."""
    batch = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name, value in batch.items():
        monkeypatch.setenv(name, value)
    assert not processes._detected()
    monkeypatch.setenv("SLURM_STEP_NODELIST", "localhost")
    assert processes._detected()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("127.0.0.1:1", None, None), "go together"),
        ((None, 2, 1), "go together"),
        (("127.0.0.1:1", 2, 2), "--process_id 2: there are 0 to 1"),
        (("127.0.0.1:1", 2, -1), "--process_id -1: there are 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(given: tuple[str, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        processes.join(*given)
