"""How JAX starts its devices, in processes of their own: what it warns of, and that it has none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from conftest import DEMO, REPOSITORY
from scripts import environment

pytestmark = pytest.mark.integration

# A machine with a device that the installed JAX cannot use, as JAX itself looks for it.
GPU = "from jax._src import hardware_utils as h; h.has_visible_nvidia_gpu = lambda: True"
TPU = (
    "from jax._src import hardware_utils as h; "
    "h.num_available_tpu_chips_and_device_id = lambda: (4, h.TpuVersion.v5e)"
)
# A CUDA plugin that cannot start: JAX logs it with a traceback, and goes on.
PLUGIN = """
import sys, types
plugin = types.ModuleType("jax_plugins.broken")
def initialize():
    raise RuntimeError("Unable to load CUDA.\\nIs it installed?")
plugin.initialize = initialize
sys.modules["jax_plugins.broken"] = plugin
from importlib import metadata
point = metadata.EntryPoint("broken", "jax_plugins.broken", "jax_plugins")
found = metadata.entry_points
metadata.entry_points = lambda **k: [point] if k == {"group": "jax_plugins"} else found(**k)
"""
CODE = """
from jaxbert.cli import command_line
import jax
{change}
command_line.main(lambda: print(jax.devices()), quiet={quiet})
"""
CUDA, TPUS = 'pip install -e ".[cuda]"', 'pip install -e ".[tpu]"'

End = tuple[int, str, list[str]]


def run(words: Sequence[str], platforms: str | None = None, **more: str) -> End:
    """Status, standard output and the lines on standard error of a process."""
    variables = environment() | more
    del variables["JAX_PLATFORMS"]
    if platforms is not None:
        variables["JAX_PLATFORMS"] = platforms
    done = subprocess.run(
        [sys.executable, *words],
        env=variables,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout, [x for x in done.stderr.splitlines() if x.strip()]


def together(calls: list[Callable[[], End]]) -> list[End]:
    """The ends of all, which mostly wait for their imports."""
    with ThreadPoolExecutor(4) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_a_device_that_is_not_used() -> None:
    if any(Path(place).exists() for place in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")):
        pytest.skip("there is a GPU")
    cases = [
        (GPU, True, ("An NVIDIA GPU may be present", "Falling back to cpu;", CUDA)),
        (GPU, False, ("An NVIDIA GPU may be present", "Falling back to cpu;", CUDA)),
        (TPU, True, ("A Google TPU may be present", TPUS)),
        (PLUGIN, True, ("jax_plugins.broken", "Unable to load CUDA. Is it installed?", CUDA)),
        ("", False, None),
    ]
    ends = together([partial(run, ["-c", CODE.format(change=c, quiet=q)]) for c, q, _ in cases])
    for (status, output, lines), (_, _, expected) in zip(ends, cases, strict=True):
        assert status == 0, lines
        assert "CpuDevice" in output
        if expected is None:  # an ordinary machine
            assert lines == []
            continue
        (line,) = lines
        assert line.startswith("warning: ")
        assert all(part in line for part in expected)


def test_scripts_say_once_that_a_device_is_not_used(tiniest_folder: Path, tmp_path: Path) -> None:
    """By a module that Python imports before the script, for what JAX sees of the machine."""
    (tmp_path / "sitecustomize.py").write_text(GPU)
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    model = ["--model_name_or_path", str(tiniest_folder)]
    data = ["--validation_file", str(DEMO / "qa_en_dev.json"), "--max_eval_samples", "2"]
    small = ["--max_seq_length", "64", "--doc_stride", "16", "--per_device_train_batch_size", "2"]
    train = ["--train_file", str(DEMO / "qa_en_train.json"), "--max_train_samples", "2", *data]
    train += ["--output_dir", str(tmp_path / "run"), "--max_steps", "1", *small]
    ends = [run(["train/qa.py", *model, *train], PYTHONPATH=path)]
    model = ["--model_name_or_path", str(tmp_path / "run")]
    ask = ["eval/ask.py", *model, "--question", "who", "--context", "the"]
    evaluate = ["eval/qa.py", *model, *data, "--output_dir", str(tmp_path / "scores")]
    scripts = (evaluate, ask)
    ends += together([partial(run, words, PYTHONPATH=path) for words in scripts])
    for status, _, lines in ends:
        assert status == 0, lines[-5:]
        found = [line for line in lines if "NVIDIA" in line]
        assert len(found) == 1
        assert found[0].startswith("warning: An NVIDIA GPU may be present")
        assert CUDA in found[0]


def test_platforms_that_are_not_there(tiniest_folder: Path, tmp_path: Path) -> None:
    command = ["-c", CODE.format(change="", quiet=True)]
    model = ["--model_name_or_path", str(tiniest_folder)]
    train = ["train/qa.py", *model, "--train_file", str(DEMO / "qa_en_train.json")]
    train += ["--validation_file", str(DEMO / "qa_en_dev.json")]
    train += ["--output_dir", str(tmp_path / "run")]
    ask = ["eval/ask.py", *model, "--question", "who", "--context", "the"]
    cases = [
        ("tpu", command, (TPUS,)),
        ("rocm", command, ("rocm", "check the name")),
        ("gpuu", command, ("'gpuu'", "check the name")),
        ("cuda,tpu", command, (CUDA, TPUS)),
        ("cuda", train, (CUDA,)),
        ("cuda", ask, (CUDA,)),
        ("cuda", ["eval/benchmark.py", "--quick"], (CUDA,)),
    ]
    ends = together([partial(run, words, platforms) for platforms, words, _ in cases])
    for (status, _, lines), (platforms, _, parts) in zip(ends, cases, strict=True):
        assert status == 2, lines[-5:]
        (line,) = lines
        assert line.startswith(f"error: JAX_PLATFORMS={platforms}: ")
        assert line.endswith(", or unset JAX_PLATFORMS")
        assert all(part in line for part in parts)
    assert not (tmp_path / "run" / "options.json").exists()


def test_the_launcher_ends_with_the_same_line(tmp_path: Path, tiniest_folder: Path) -> None:
    words = ["-m", "jaxbert.launch", "-n", "2", "--", "train/qa.py"]
    words += ["--model_name_or_path", str(tiniest_folder), "--output_dir", str(tmp_path / "run")]
    words += ["--train_file", str(DEMO / "qa_en_train.json")]
    words += ["--validation_file", str(DEMO / "qa_en_dev.json")]
    status, _, lines = run(words, "gpuu")
    assert status == 2
    # The first process to fail ends the others, which may not have come to their own line.
    said = re.compile(r"\[[01]\] error: JAX_PLATFORMS=gpuu: .*, or unset JAX_PLATFORMS")
    assert any(said.fullmatch(line) for line in lines), lines
    assert not any("Traceback" in line for line in lines)
    assert any("not started again" in line for line in lines), lines  # the others may end later


def test_other_faults_keep_their_traceback() -> None:
    """Also those of the same types, where JAX has its devices."""
    code = (
        "from jaxbert.cli import command_line\ndef fail(): raise RuntimeError('a fault of ours')\n"
    )
    status, _, lines = run(["-c", f"{code}command_line.main(fail)"], "cpu")
    assert status == 1
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "RuntimeError: a fault of ours"
