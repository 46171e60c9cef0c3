"""A training that loses hosts goes on with fewer, and with all again when they come back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from conftest import REPOSITORY
from faults.runs import WORDS, environment, write_questions

from jaxbert.runtime.meeting import free_port

pytestmark = pytest.mark.integration

# train/qa.py, which writes down the examples of its devices, and waits at some steps for a file.
SCRIPT = """
import json, os, pathlib, runpy, sys, time
sys.path.insert(0, {repository!r})
here = pathlib.Path({here!r})
ids = os.open(here / f"ids-{{os.getpid()}}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
import numpy as np
from jaxbert.runs import run_phases
fit = run_phases.fit

def waiting(state, progress, source, program, *given):
    step = int(state.step)
    def train_step(state, batch, key):
        nonlocal step
        while step in (4, 8) and not (here / f"go-{{step}}").exists():
            time.sleep(0.02)
        windows = np.concatenate([np.ravel(x.data) for x in batch["row"].addressable_shards])
        found = source.features.example[windows[windows >= 0]].tolist()
        os.write(ids, f"{{json.dumps([step, found])}}\\n".encode())
        step += 1
        return program.step(state, batch, key)
    return fit(state, progress, source, program._replace(step=train_step), *given)

run_phases.fit = waiting
sys.argv[0] = {script!r}
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.mark.faults
def test_four_hosts_then_two_then_four_train_as_four(tiniest_folder: Path, tmp_path: Path) -> None:
    """The same examples at every step, and the same loss within 1e-6. Two of four are killed; then
    two devices do the work of four in twice as many micro-batches."""
    rows = ["--save_steps", "1", "--parallel", "jit", "--per_device_train_batch_size", "1"]
    rows += ["--num_train_epochs", "4"]  # a signal is heard up to five steps later
    folder, script = tmp_path / "run", tmp_path / "train.py"
    script.write_text(
        SCRIPT.format(
            repository=str(REPOSITORY),
            here=str(tmp_path),
            script=str(REPOSITORY / "train/qa.py"),
        )
    )
    words = [*WORDS, *rows, "--model_name_or_path", str(tiniest_folder)]
    words += ["--train_file", str(write_questions(tmp_path / "questions.jsonl"))]
    words += ["--output_dir"]
    meet = f"127.0.0.1:{free_port()}"
    launch = ["-m", "jaxbert.launch", "-n", "1", "--hosts", "2:4", "--meet", meet]
    launch += ["--join_timeout", "0.5"]
    said = tmp_path / "said"
    hosts: list[subprocess.Popen[bytes]] = []

    def start(count: int) -> None:
        for _ in range(count):
            with said.open("ab") as out:
                hosts.append(
                    subprocess.Popen(
                        [sys.executable, *launch, "--", str(script), *words, str(folder)],
                        env=environment(),
                        stdout=out,
                        stderr=subprocess.STDOUT,
                    )
                )
            until("hosts are there" if len(hosts) == 1 else "", 0)

    def until(text: str, steps: int) -> None:
        """Until the launchers have said it, and so many steps are done."""
        end = time.monotonic() + 200
        log = folder / "train_log.jsonl"
        while not (
            re.search(text, said.read_text())
            and (not steps or (log.exists() and len(log.read_text().splitlines()) >= steps))
        ):
            assert time.monotonic() < end, said.read_text()[-4000:]
            time.sleep(0.02)

    try:
        start(4)
        until("4 hosts, 4 processes", 4)
        for host in hosts[2:]:
            host.kill()
        until("2 hosts, 2 processes", 4)
        (tmp_path / "go-4").touch()
        until("2 hosts, 2 processes", 8)
        start(2)
        until("the processes save, and begin again", 8)
        (tmp_path / "go-8").touch()
        statuses = [host.wait(200) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
            host.wait()
    text = said.read_text()
    assert statuses == [0, 0, -9, -9, 0, 0], text[-4000:]
    assert re.search(r"4 hosts, 4(.*\n)*.*2 hosts, 2(.*\n)*.*4 hosts, 4", text)
    resumed = [int(step) for step in re.findall(r"resuming from step (\d+) of 24", text)]
    assert resumed[0] in (3, 4)
    assert 8 < resumed[1] < 16
    assert text.count("2 micro-batches") == 1
    found = examples(tmp_path)
    alone = [sys.executable, str(script), *words, str(tmp_path / "alone")]
    subprocess.run(alone, env=environment(4), check=True, timeout=200)
    assert losses(folder) == pytest.approx(losses(tmp_path / "alone"), abs=1e-6)
    assert found == examples(tmp_path)
    assert [len(ids) for ids in found] == [4] * 24


def examples(folder: Path) -> list[list[int]]:
    """Of each step, all that it was trained on, and those of its repetitions; the files go."""
    trained: defaultdict[int, set[int]] = defaultdict(set)
    for path in folder.glob("ids-*"):
        for line in path.read_text().splitlines():
            step, ids = json.loads(line)
            trained[step].update(ids)
        path.unlink()
    return [sorted(ids) for _, ids in sorted(trained.items())]


def losses(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "train_log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines]
