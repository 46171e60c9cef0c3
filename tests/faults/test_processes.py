"""Several processes: equal to one with as many devices; one that dies or hangs loses nothing."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from conftest import REPOSITORY
from faults.runs import (
    WORDS,
    environment,
    examples,
    result,
    said,
    send,
    start,
    state_of,
    trained,
    until,
    wait,
    whole,
    write_questions,
)

pytestmark = pytest.mark.integration

ROWS = ("--save_steps", "1", "--parallel", "jit")


def batch(devices: int) -> tuple[str, str]:
    """The same batch of 4 rows on so many devices."""
    return "--per_device_train_batch_size", str(4 // devices)


def together(
    model: Path, folder: Path, count: int, *more: str, hosts: str = ""
) -> list[BaseProcess]:
    """Start the processes of one run, with a device each.

    Args:
        hosts: a letter for each, its machine's name.
    """
    with socket.socket() as probe:
        probe.bind(("", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    job = ("--coordinator_address", address, "--num_processes", str(count))
    return [
        start(
            *(model, folder, *ROWS, *batch(count), *job, "--process_id", str(rank), *more),
            name=str(rank),
            **({"HOST": hosts[rank]} if hosts else {}),
        )
        for rank in range(count)
    ]


def all_whole(model: Path, folder: Path, count: int, *more: str) -> None:
    """Run them to the end."""
    for rank, child in enumerate(together(model, folder, count, *more)):
        assert wait(child) == 0, said(folder, name=str(rank)).read_text()[-3000:]


@pytest.fixture(scope="module")
def unbroken(tiniest_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs of one process on 1, 2 and 4 devices."""
    base = tmp_path_factory.mktemp("unbroken")
    return {n: whole(tiniest_folder, base / str(n), *ROWS, *batch(n), devices=n) for n in (1, 2, 4)}


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.faults)])
def test_processes_equal_one_process_with_as_many_devices(
    count: int, tiniest_folder: Path, unbroken: dict[int, Path], tmp_path: Path
) -> None:
    """Two to the last bit; the sums of four are in another order. A dropout mask is that of its
    row of the whole batch, wherever that is.
    """
    folder = tmp_path / "run"
    all_whole(tiniest_folder, folder, count)
    assert examples(folder) == examples(unbroken[count])
    if count == 2:
        assert result(folder) == result(unbroken[count])
    for ours, theirs in zip(losses(folder), losses(unbroken[count]), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    assert "model and results" in said(folder, "out", "0").read_text()
    others = said(folder, "out", "1").read_text().splitlines()
    assert all(line.startswith("[Gloo]") for line in others)  # JAX's own, by C++


def test_hosts_that_share_a_cache_encode_together(
    tiniest_folder: Path, unbroken: dict[int, Path], tmp_path: Path
) -> None:
    """To the bit what is learned without; and a row that cannot be read ends both in one line."""
    folder, cache = tmp_path / "run", tmp_path / "cache"
    children = together(tiniest_folder, folder, 2, "--cache_dir", str(cache), hosts="ab")
    assert [wait(child) for child in children] == [0, 0], said(folder, name="1").read_text()[-3000:]
    assert result(folder) == result(unbroken[2])
    kept = [path.name for path in cache.iterdir() if path.name.startswith("qa-")]
    assert len(kept) == 2  # the examples, and their features
    locks = {path.name for path in cache.glob(".qa-*.lock")}
    assert len(locks) == 4  # of both, and of each host
    assert not list(cache.glob(".qa-*.parts"))


@pytest.mark.faults
def test_data_that_cannot_be_read_end_all_that_share_a_cache(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "questions.jsonl").write_text('{"id": "q", "question": "who?"\n')
    folder, cache = tmp_path / "run", tmp_path / "cache"
    children = together(tiniest_folder, folder, 2, "--cache_dir", str(cache), hosts="ab")
    assert [wait(child) for child in children] == [2, 2]
    for rank in "01":
        [line] = said(folder, name=rank).read_text().splitlines()
        assert "questions.jsonl: not JSON at line 1" in line


def losses(folder: Path) -> list[float]:
    lines = (folder / "train_log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.faults
def test_a_signal_to_one_stops_all_at_the_same_step(
    tiniest_folder: Path, unbroken: dict[int, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    children = together(tiniest_folder, folder, 2)
    until(lambda: trained(folder) >= 2, children)
    send(children[1:], signal.SIGTERM)
    assert [wait(child) for child in children] == [75, 75]
    saved = max(int(p.name) for p in (folder / "checkpoints").iterdir())
    assert 2 <= saved < 12
    for child in together(tiniest_folder, folder, 2):
        assert wait(child) == 0
    assert result(folder) == result(unbroken[2])


NOT_FINITE = """
import jax.numpy as jnp
from jaxbert.losses.span_losses import span_cross_entropy

def spoiled(outputs, batch):
    total, weight = span_cross_entropy(outputs, batch)
    return jnp.where(jnp.any(batch["input_ids"] == 1), jnp.nan, total), weight  # 1 is [UNK]
"""


@pytest.mark.faults
def test_a_step_that_is_not_finite_in_one_is_skipped_by_all(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    write_questions(tmp_path / "questions.jsonl", {20})
    (tmp_path / "spoiled.py").write_text(NOT_FINITE)
    more = ("--loss", f"{tmp_path / 'spoiled.py'}:spoiled")
    alone = whole(tiniest_folder, tmp_path / "alone", *ROWS, *batch(2), *more, devices=2)
    folder = tmp_path / "run"
    all_whole(tiniest_folder, folder, 2, *more)
    assert [loss is None for loss in losses(folder)].count(True) == 2  # once an epoch
    assert result(folder) == result(alone)


@pytest.mark.faults
def test_too_many_steps_that_are_not_finite_end_all(tiniest_folder: Path, tmp_path: Path) -> None:
    write_questions(tmp_path / "questions.jsonl", {20})
    (tmp_path / "spoiled.py").write_text(NOT_FINITE)
    more = ("--loss", f"{tmp_path / 'spoiled.py'}:spoiled", "--max_nonfinite_steps", "1")
    children = together(tiniest_folder, tmp_path / "run", 2, *more)
    assert [wait(child) for child in children] == [2, 2]
    for rank in "01":
        text = said(tmp_path / "run", name=rank).read_text()
        assert "at 1 step in a row" in text
        assert "q20" in text


@pytest.mark.faults
@pytest.mark.parametrize(
    "more",
    [
        ("--load_best_model_at_end", "--early_stopping_patience", "1"),
        ("--packing",),
        ("--gradient_accumulation_steps", "2"),
    ],
    ids=lambda words: words[0],
)
def test_processes_equal_one_whatever_is_computed(
    more: tuple[str, ...], tiniest_folder: Path, tmp_path: Path
) -> None:
    """Evaluations, packed rows, micro-batches."""
    if "--load_best_model_at_end" in more:
        more += "--validation_file", str(write_questions(tmp_path / "held_out.jsonl"))
    alone = whole(tiniest_folder, tmp_path / "alone", *ROWS, *batch(2), *more, devices=2)
    folder = tmp_path / "run"
    all_whole(tiniest_folder, folder, 2, *more)
    assert state_of(folder) == state_of(alone)


@pytest.mark.faults
def test_a_save_that_fails_ends_all(
    tiniest_folder: Path, unbroken: dict[int, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    children = together(tiniest_folder, folder, 2)
    until(lambda: trained(folder) >= 3, children)
    assert children[0].pid is not None
    resource.prlimit(children[0].pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    assert wait(children[0], 30) == 2
    assert "File too large" in said(folder, name="0").read_text()
    assert wait(children[1], 30) != 0
    assert "Traceback" not in said(folder, name="1").read_text()
    all_whole(tiniest_folder, folder, 2)
    assert result(folder) == result(unbroken[2])


CASES = [
    (2, 1, signal.SIGKILL),
    pytest.param(2, 0, signal.SIGKILL, marks=pytest.mark.faults),
    pytest.param(4, 2, signal.SIGSTOP, marks=pytest.mark.faults),
]
NIGHTLY = [
    pytest.param(count, rank, number, marks=pytest.mark.nightly)
    for count in (2, 4)
    for rank in range(count)
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGABRT)
]


@pytest.mark.parametrize(("count", "rank", "number"), [*CASES, *NIGHTLY])
def test_the_launcher_starts_again_what_died_or_hangs(
    count: int,
    rank: int,
    number: signal.Signals,
    tiniest_folder: Path,
    unbroken: dict[int, Path],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    data = write_questions(tmp_path / "questions.jsonl")
    words = [
        "--model_name_or_path",
        str(tiniest_folder),
        "--output_dir",
        str(folder),
        *WORDS,
        *ROWS,
    ]
    # With --overwrite_output_dir the job is resumed all the same when it is started again.
    words += [*batch(count), "--train_file", str(data), "--overwrite_output_dir"]
    launch = ["-m", "jaxbert.launch", "-n", str(count), "--stall_timeout", "15", "--"]
    job = subprocess.Popen(
        [sys.executable, *launch, str(REPOSITORY / "train/qa.py"), *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert job.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(job.stdout,), daemon=True)
    reader.start()
    end = time.monotonic() + 120
    while not any(folder.glob("checkpoints/*/manifest.json")) and time.monotonic() < end:
        time.sleep(0.01)
    victim = pid_of(folder, rank)
    os.kill(victim, number)
    killed = time.monotonic()
    while not any("starting again" in line for line in lines) and job.poll() is None:
        time.sleep(0.05)
        assert time.monotonic() - killed < 30, "".join(lines)[-3000:]
    assert job.wait(200) == 0, "".join(lines)[-3000:]
    reader.join(10)
    job.stdout.close()
    text = "".join(lines)
    assert re.search(r"launch: process(es)? .*; starting again \(1 of 3\)", text)
    assert re.search(r"\[0\] resuming from step [1-9]\d* of 12", text)
    if count == 4:  # whose sums are in another order than those of one process
        for child in together(tiniest_folder, tmp_path / "four", count):
            assert wait(child) == 0
    assert state_of(folder) == state_of(tmp_path / "four" if count == 4 else unbroken[count])
    assert losses(folder) == pytest.approx(losses(unbroken[count]), abs=1e-6)


def pid_of(folder: Path, rank: int) -> int:
    """The process of a launched job, by its command line."""
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        try:
            words = (place / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if str(folder) in words and words[-3:-1] == ["--process_id", str(rank)]:
            return int(place.name)
    raise AssertionError(f"no process {rank}")


PAIRS = [
    (2, 4),
    pytest.param(1, 2, marks=pytest.mark.faults),
    pytest.param(4, 3, marks=pytest.mark.faults),  # 8 rows are two micro-batches of 6, 4 rows empty
    pytest.param(4, 8, marks=pytest.mark.faults),
    pytest.param(8, 1, marks=pytest.mark.faults),
]
OTHERS = [(1, 4), (1, 8), (2, 1), (2, 8), (4, 1), (4, 2), (8, 2), (8, 4)]


@pytest.mark.parametrize(
    ("before", "after"),
    [*PAIRS, *(pytest.param(*pair, marks=pytest.mark.nightly) for pair in OTHERS)],
)
def test_a_run_is_resumed_on_other_numbers_of_devices(
    before: int, after: int, tiniest_folder: Path, tmp_path: Path
) -> None:
    """With the same examples at every step, and the same loss within 1e-6."""
    rows = ("--per_device_train_batch_size", str(8 // before), "--save_steps", "1")
    alone = whole(tiniest_folder, tmp_path / "alone", *rows, devices=before)
    folder = tmp_path / "run"
    child = start(tiniest_folder, folder, *rows, devices=before)
    until(lambda: trained(folder) >= 2, [child])
    send([child], signal.SIGTERM)
    assert wait(child) == 75
    whole(tiniest_folder, folder, *rows, devices=after)
    assert examples(folder) == examples(alone)
    for ours, theirs in zip(losses(folder), losses(alone), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
