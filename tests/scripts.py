"""What the tests of the scripts share: a script as a process or in this one, and its output."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import COMPILER_FLAGS, REPOSITORY
from safetensors.numpy import load_file

from jaxbert.cli import main
from jaxbert.errors import InputError

# What one process has compiled another one takes: compiling is most of a tiny run's time.
_COMPILED = tempfile.TemporaryDirectory(prefix="jaxbert-compiled-")
_CACHE = {
    "JAX_COMPILATION_CACHE_DIR": _COMPILED.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}

_SCRIPT = re.compile(
    r'"""[^"]+"""\n\nfrom jaxbert.cli.main import main\n\n'
    r'if __name__ == "__main__":\n    main\((.*)\)\n'
)

# What a training writes, whatever the task; most write predictions.json too.
WRITTEN = {
    *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", ".lock"),
    *("options.json", "train_log.jsonl", "metrics.json", "checkpoints", "README.md"),
}


def environment(devices: int = 1) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices} {COMPILER_FLAGS}"
    fixed = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    return {**_CACHE, **os.environ, **fixed}


def process(*command: str, devices: int = 1, **options: Any) -> Any:
    return subprocess.run(
        command,
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **options,
    )


def script(name: str, *words: str, devices: int = 1, **options: Any) -> Any:
    return process(sys.executable, str(REPOSITORY / name), *words, devices=devices, **options)


def passed(result: Any) -> str:
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    return result.stdout


def refused(result: Any, *parts: str) -> None:
    """Status 2 and one line on standard error that has all the parts."""
    assert result.returncode == 2, (result.stdout[-500:], result.stderr[-2000:])
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


def command_of(name: str) -> list[str]:
    """The words of the command that the script is; a script is nothing else."""
    code = _SCRIPT.fullmatch((REPOSITORY / name).read_text(encoding="utf-8"))
    assert code is not None, name
    return [ast.literal_eval(word) for word in code[1].split(", ")]


def call(name: str, *words: str) -> int:
    """What the script starts, in this process, which takes no seconds to start."""
    line = [*command_of(name), *words]
    text = main.answer(line)
    if text is None:
        return main.start(line)
    print(text)
    return 0


def refuses(name: str, *words: str) -> str:
    """The one line with which the script, called in this process, ends."""
    with pytest.raises(InputError) as caught:
        call(name, *words)
    message = str(caught.value)
    assert "\n" not in message
    return message


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def weights(folder: Path) -> str:
    """A hash of the final parameters' bits."""
    tensors = load_file(folder / "model.safetensors")
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].tobytes())
    return digest.hexdigest()


def steps_of(folder: Path) -> list[int]:
    lines = (folder / "train_log.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def check_written(folder: Path, steps: int, files: set[str], fields: set[str]) -> None:
    """All of WRITTEN and these files, and a line a step with the common and these fields."""
    assert {path.name for path in folder.iterdir()} == WRITTEN | files
    assert steps_of(folder) == list(range(1, steps + 1))
    common = {"step", "epoch", "loss", "learning_rate", "grad_norm"}
    common |= {"examples_per_second", "tokens_per_second"}
    for line in (folder / "train_log.jsonl").read_text().splitlines():
        assert set(json.loads(line)) == common | fields
        assert json.loads(line)["loss"] > 0


def copy_before_its_end(folder: Path, copy: Path) -> None:
    """A copy of a finished run without its last checkpoint, as if it had been killed before."""
    shutil.copytree(folder, copy)
    last = max(int(path.name) for path in (copy / "checkpoints").iterdir())
    shutil.rmtree(copy / "checkpoints" / str(last))
