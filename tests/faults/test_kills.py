"""Killed or stopped anywhere, a run that is started again ends with equal bits."""

from __future__ import annotations

import functools
import random
import re
import signal
import time
from pathlib import Path

import pytest
from faults.runs import (
    EVERY_STEP,
    STEPS,
    often,
    result,
    said,
    send,
    start,
    stopped,
    trained,
    until,
    wait,
    whole,
    write_questions,
)

from jaxbert.training.step_folders import fault

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def unbroken(tiniest_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return result(whole(tiniest_folder, folder, *EVERY_STEP))


@pytest.fixture(scope="module")
def evaluated(tiniest_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run that evaluates after every epoch."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    return result(whole(tiniest_folder, folder, *held_out(folder)))


def held_out(folder: Path) -> tuple[str, ...]:
    return "--validation_file", str(write_questions(folder.parent / "held_out.jsonl"))


def kill(model: Path, folder: Path, step: int, number: signal.Signals, *words: str) -> int:
    """Start a run, and send it a signal when the step after `step` ones begins, where it is stopped
    (SIGSTOP) meanwhile; returns its exit status."""
    child = start(model, folder, *words, STOP_AT=step)
    until(lambda: stopped(child), [child])
    send([child], number)
    send([child], signal.SIGCONT)
    return wait(child)


def kill_in_a_save(model: Path, folder: Path, step: int, *words: str) -> int:
    """The same by SIGKILL at a moment at which a step is half saved.

    A save takes milliseconds and may be over when the child is stopped; then at the next one.
    """
    child = start(model, folder, *words, STOP_AT=step)
    until(lambda: stopped(child), [child])
    while child.exitcode is None and not (stopped(child) and unsealed(folder)):
        send([child], signal.SIGCONT)
        until(functools.partial(unsealed, folder), [child])
        send([child], signal.SIGSTOP)
        until(functools.partial(stopped, child), [child])
    send([child], signal.SIGKILL)
    return wait(child)


def unsealed(folder: Path) -> bool:
    """Whether a step is being saved: its folder is there, its manifest is not."""
    saved = folder / "checkpoints"
    return saved.exists() and any(not (p / "manifest.json").exists() for p in saved.iterdir())


@pytest.mark.parametrize("seed", often(2, 20, 200))
def test_sigkill(seed: int, tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    """Every other one inside a save; there are four at least after the last moment drawn."""
    step = random.Random(seed).randrange(0, STEPS - 3)
    if seed % 2 == 0:
        folder = tmp_path / "run"
        assert kill(tiniest_folder, folder, step, signal.SIGKILL, *EVERY_STEP) == -signal.SIGKILL
    else:
        for attempt in range(5):  # one that misses all saves that are left has ended
            folder = tmp_path / str(attempt) / "run"
            if kill_in_a_save(tiniest_folder, folder, step, *EVERY_STEP) == -signal.SIGKILL:
                break
        assert unsealed(folder)
    assert result(whole(tiniest_folder, folder, *EVERY_STEP)) == unbroken


@pytest.fixture(scope="module")
def seconds(
    tiniest_folder: Path, evaluated: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> float:
    """How long a run takes whose programs have been compiled before."""
    folder = tmp_path_factory.mktemp("seconds") / "run"
    began = time.monotonic()
    assert result(whole(tiniest_folder, folder, *EVERY_STEP, *held_out(folder))) == evaluated
    return time.monotonic() - began


@pytest.mark.parametrize("seed", often(1, 5, 50))
def test_sigkill_whatever_the_run_is_doing(
    seed: int, seconds: float, tiniest_folder: Path, evaluated: dict[str, str], tmp_path: Path
) -> None:
    """Reading, compiling, restoring, evaluating, writing the result: twice, at any moment."""
    folder = tmp_path / "run"
    words = (*EVERY_STEP, *held_out(folder))
    rng = random.Random(400 + seed)
    for _ in range(2):
        child = start(tiniest_folder, folder, *words)
        time.sleep(rng.uniform(0, seconds))
        send([child], signal.SIGKILL)
        assert wait(child) in (-signal.SIGKILL, 0)
    assert result(whole(tiniest_folder, folder, *words)) == evaluated


@pytest.mark.parametrize("seed", often(1, 4, 40))
def test_sigkill_between_saves_and_evaluations(
    seed: int, tiniest_folder: Path, evaluated: dict[str, str], tmp_path: Path
) -> None:
    """Steps since the last save are trained again, on the same examples."""
    folder = tmp_path / "run"
    words = ("--save_steps", "5", *held_out(folder))
    for step in sorted(random.Random(300 + seed).sample(range(1, STEPS), 2)):
        kill(tiniest_folder, folder, step, signal.SIGKILL, *words)
    assert result(whole(tiniest_folder, folder, *words)) == evaluated


@pytest.mark.parametrize("seed", often(1, 5, 50))
def test_sigterm(seed: int, tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    """The step is finished and saved, though no save is due: none is trained twice."""
    folder = tmp_path / "run"
    words = ("--save_steps", "100")
    step = random.Random(100 + seed).randrange(1, STEPS - 5)  # batches made before have no stop
    number = signal.SIGINT if seed % 2 else signal.SIGTERM
    assert kill(tiniest_folder, folder, step, number, *words) == 75
    told = said(folder).read_text()
    assert f"{number.name}: saving and leaving" in told
    assert "Traceback" not in told
    done = trained(folder)
    assert step <= done < STEPS
    assert fault(folder / "checkpoints" / str(done)) is None
    whole(tiniest_folder, folder, *words)
    found = re.findall(r"resuming from step (\d+) of 12", said(folder, "out").read_text())
    assert found == [str(done)]
    assert trained(folder) == STEPS
    assert result(folder) == unbroken


@pytest.mark.parametrize("seed", often(0, 3, 20))
def test_five_kills_in_one_run(
    seed: int, tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    number = signal.SIGKILL if seed % 2 else signal.SIGTERM
    rng = random.Random(200 + seed)
    for _ in range(5):
        saved = [int(p.parent.name) for p in folder.glob("checkpoints/*/manifest.json")]
        step = max(saved, default=0) + rng.randrange(2)
        status = kill(tiniest_folder, folder, step, number, *EVERY_STEP)
        assert status == (-number if number == signal.SIGKILL else 75)
    assert result(whole(tiniest_folder, folder, *EVERY_STEP)) == unbroken
