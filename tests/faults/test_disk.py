"""Disks that are full, short, gone or locked: what was saved stays whole, and the run says why."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY
from faults.runs import EVERY_STEP, result, said, send, start, stopped, until, wait, whole
from scripts import environment

from jaxbert.training.step_folders import fault

pytestmark = pytest.mark.integration

# From nothing to nearly all that a step of the tiny model takes in one file.
LIMITS = [0, 1, 100, 1_000, 3_000, 8_000, 12_000, 20_000, 40_000, 60_000]
STEPS = [2, 3, 4, 7, 10]
# (bytes, the step at whose beginning the disk is full)
SHORT = [
    pytest.param(
        size,
        step,
        marks=pytest.mark.nightly if step != 4 else [] if size == 20_000 else pytest.mark.faults,
    )
    for step in STEPS
    for size in LIMITS
]


@pytest.fixture(scope="module")
def unbroken(tiniest_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return result(whole(tiniest_folder, folder, *EVERY_STEP))


def line(folder: Path) -> str:
    """The one line with which the run ended."""
    lines = [x for x in said(folder).read_text().splitlines() if x.startswith("error: ")]
    assert len(lines) == 1, said(folder).read_text()[-2000:]
    # No traceback with a frame of ours; TensorStore prints one of asyncio's for each other write
    # that finds the loop of the failed save closed.
    assert str(REPOSITORY / "jaxbert") not in said(folder).read_text()
    return lines[0]


def sealed_are_whole(folder: Path) -> bool:
    """Some steps are sealed, and each of them verifies.

    What a failed save left is no step: a write still under way may come after its removal.
    """
    sealed = [p for p in (folder / "checkpoints").iterdir() if (p / "manifest.json").exists()]
    return bool(sealed) and all(fault(p) is None for p in sealed)


def break_in_the_middle(
    model: Path, folder: Path, harm: Callable[[int], object], step: int = 4
) -> int:
    """Start a run, harm it when so many steps are done; returns its exit status."""
    child = start(model, folder, *EVERY_STEP, STOP_AT=step)
    until(lambda: stopped(child), [child])
    harm(child.pid or 0)
    send([child], signal.SIGCONT)
    return wait(child)


def limit(size: int) -> Callable[[int], object]:
    """No file may grow beyond so many bytes: writes end short, and then fail."""
    return lambda pid: resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.parametrize(("size", "step"), SHORT)
def test_a_write_that_ends_short(
    size: int, step: int, tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert break_in_the_middle(tiniest_folder, folder, limit(size), step=step) == 2
    assert "File too large" in line(folder)
    assert sealed_are_whole(folder)
    assert result(whole(tiniest_folder, folder, *EVERY_STEP)) == unbroken


def test_room_that_comes_back_is_used_when_that_was_chosen(
    tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    """The checkpoints of a few steps are cut, and lines of the log wait."""
    folder = tmp_path / "run"
    more = ("--save_errors", "retry")
    child = start(tiniest_folder, folder, *EVERY_STEP, *more, STOP_AT=3)
    until(lambda: stopped(child), [child])
    assert child.pid is not None
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (3_000, resource.RLIM_INFINITY))
    send([child], signal.SIGCONT)
    until(lambda: "could not be written" in said(folder, "out").read_text(), [child])
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, unlimited)
    assert wait(child) == 0, said(folder).read_text()[-2000:]
    assert sealed_are_whole(folder)
    assert result(folder) == unbroken


def test_a_folder_that_vanishes(tiniest_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    status = break_in_the_middle(tiniest_folder, folder, lambda pid: shutil.rmtree(folder))
    assert status == 2
    assert str(folder) in line(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permission_that_is_taken_away(
    tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    saved = folder / "checkpoints"
    assert break_in_the_middle(tiniest_folder, folder, lambda pid: saved.chmod(0o500)) == 2
    assert "Permission denied" in line(folder)
    saved.chmod(0o700)
    assert result(whole(tiniest_folder, folder, *EVERY_STEP)) == unbroken


# A small file system that none but this process and its children see.
SMALL_DISK = """
import subprocess, sys, time
from pathlib import Path
import numpy as np
from jaxbert.errors import InputError
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.step_folders import LocalSteps, fault
from jaxbert.training.step import TrainState

place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=True)
checkpoints = Checkpoints(LocalSteps(place / "c"))

def save(step):
    x = np.random.default_rng(step).normal(size=(64, 1024)).astype(np.float32)
    try:
        checkpoints.save(TrainState(np.int32(step), {"w": x}, {"m": x}), {})
        checkpoints.wait()
    except InputError as error:
        print(error)
    time.sleep(1)  # a failed save's other writes may come after its removal
    sealed = sorted(int(p.parent.name) for p in (place / "c").glob("*/manifest.json"))
    print(step, sealed, fault(place / "c" / "1"))

save(1)
(place / "other").write_bytes(bytes(2 << 20))
save(2)
(place / "other").unlink()
subprocess.run(["mount", "-o", "remount,ro", place], check=True)
save(3)
subprocess.run(["mount", "-o", "remount,rw", place], check=True)
save(4)
"""


def test_a_disk_without_room_and_one_that_is_read_only(tmp_path: Path) -> None:
    alone = ["unshare", "--mount"]
    mount = [*alone, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("no permission to mount a small disk")
    done = subprocess.run(
        [*alone, sys.executable, "-c", SMALL_DISK, str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 6, done.stderr[-2000:]
    assert lines[0] == "1 [1] None"
    assert "No space left on device" in lines[1]
    assert "whole steps before it: 1" in lines[1]
    assert lines[2] == "2 [1] None"
    assert "Read-only file system" in lines[3]
    assert lines[4] == "3 [1] None"
    assert lines[5] == "4 [1, 4] None"


def test_two_runs_on_one_folder(
    tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    """The second is refused; after kill -9 of the first it is not."""
    folder = tmp_path / "run"
    first = start(tiniest_folder, folder, *EVERY_STEP, STOP_AT=2)
    until(lambda: stopped(first), [first])
    second = start(tiniest_folder, folder, *EVERY_STEP, name="second")
    assert wait(second) == 2
    assert "another run is writing there" in said(folder, name="second").read_text()
    send([first], signal.SIGKILL)
    assert wait(first) == -signal.SIGKILL
    assert result(whole(tiniest_folder, folder, *EVERY_STEP)) == unbroken
