"""Killed or stopped anywhere, a run that is started again ends with equal bits."""

from __future__ import annotations

import functools
import random
import re
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from faults.runs import often, result, said, send, start, stopped, trained, until, wait, whole

EVERY_STEP = ("--save_steps", "1")


@pytest.fixture(scope="module")
def unbroken(tiniest_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return result(whole(tiniest_folder, folder, *EVERY_STEP))


def kill_and_go_on(
    model: Path, folder: Path, seed: int, number: signal.Signals, kills: int = 1
) -> list[int]:
    """Kill a run at moments drawn from the seed, some of them while a step is saved; then let it
    end.

    Returns:
        The exit statuses of the killed ones.
    """
    rng = random.Random(seed)
    statuses = []
    for _ in range(kills):
        child = start(model, folder, *EVERY_STEP)
        step = trained(folder) + rng.randrange(0, 12 // kills + 1)
        saving = rng.random() < 0.5
        until(functools.partial(reached, folder, step, saving), [child])
        if saving and number == signal.SIGKILL:
            hold_in_a_save(child, folder)
        send([child], number)
        statuses.append(wait(child))
    whole(model, folder, *EVERY_STEP)
    return statuses


def reached(folder: Path, step: int, saving: bool) -> bool:
    """Whether so many steps have been begun and, if `saving`, one is being saved."""
    return trained(folder) >= step and (not saving or unsealed(folder))


def unsealed(folder: Path) -> bool:
    """Whether a step is being saved: its folder is there, its manifest is not."""
    saved = folder / "checkpoints"
    return saved.exists() and any(not (p / "manifest.json").exists() for p in saved.iterdir())


def hold_in_a_save(child: BaseProcess, folder: Path) -> None:
    """Stop the child at a moment at which a step is half saved, if it does not end before.

    A save takes milliseconds and may be over when the signal comes; then at the next one.
    """
    while child.exitcode is None:
        send([child], signal.SIGSTOP)
        until(lambda: stopped(child), [child])
        if unsealed(folder):
            return
        send([child], signal.SIGCONT)
        until(functools.partial(unsealed, folder), [child])


@pytest.mark.parametrize("seed", often(2, 20, 200))
def test_sigkill(seed: int, tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    statuses = kill_and_go_on(tiniest_folder, tmp_path / "run", seed, signal.SIGKILL)
    assert statuses in ([-signal.SIGKILL], [0])
    assert result(tmp_path / "run") == unbroken


@pytest.mark.parametrize("seed", often(1, 5, 50))
def test_sigterm(seed: int, tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    """Before training begins there is nothing to save, and it ends as any process does."""
    folder = tmp_path / "run"
    (status,) = kill_and_go_on(tiniest_folder, folder, 100 + seed, signal.SIGTERM)
    assert status in (75, 0, -signal.SIGTERM)
    if status == 75:
        assert "SIGTERM: saving and leaving" in said(folder).read_text()
        assert re.search(r"going on from step \d+ of 12", said(folder, "out").read_text())
    assert result(folder) == unbroken


@pytest.mark.parametrize("seed", often(0, 3, 20))
def test_five_kills_in_one_run(
    seed: int, tiniest_folder: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    number = signal.SIGKILL if seed % 2 else signal.SIGTERM
    kill_and_go_on(tiniest_folder, folder, 200 + seed, number, kills=5)
    assert result(folder) == unbroken
