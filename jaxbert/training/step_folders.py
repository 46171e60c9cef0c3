"""Step folders: the checkpoints of a run as folders that verify themselves, wherever they lie.

<step>/state/...        Orbax
<step>/progress.json    score history, options and what else the run must remember
<step>/manifest.json    name -> [size, SHA-256] of every other file, written last
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path
from typing import Protocol

from jaxbert.io.files import digest_of, sync, write_text

MANIFEST = "manifest.json"


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)


def _digest(path: Path) -> list[int | str]:
    return [path.stat().st_size, digest_of(path)]


def seal(folder: Path) -> None:
    """Write the manifest of a step folder whose other files are complete.

    It is on the disk after all that it names, so that a power cut leaves no step that looks whole.
    """
    for path in folder.rglob("*"):
        sync(path)
    manifest = {p.relative_to(folder).as_posix(): _digest(p) for p in _files(folder)}
    # Not a byte is spare: a manifest cut anywhere is no JSON any more.
    write_text(folder / MANIFEST, json.dumps(manifest))


def fault(folder: Path) -> str | None:
    """What is wrong with a step folder, in a few words; None when every file verifies."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or not manifest:
            return "its manifest is empty"
        for name, expected in manifest.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if _digest(path) != expected:
                return f"{name} is damaged"
    except FileNotFoundError:
        return "unfinished: it has no manifest"
    except OSError as error:
        return f"{error.filename or folder} cannot be read ({error.strerror or error})"
    except ValueError as error:
        return f"its manifest cannot be read ({error})"
    return None


def clear(folder: Path) -> None:
    """Remove what a failed save left: its room is needed, though without a manifest it is no step.

    TensorStore's other writes of that save may still arrive for a moment and create it again.
    """
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)
        if not folder.exists():
            return


class StepFolders(Protocol):
    """Where the steps of a run lie."""

    @property
    def place(self) -> str:
        """The folder of all of them, for messages."""
        ...

    def numbers(self) -> list[int]:
        """Of the steps, whole or not, ascending."""
        ...

    def is_sealed(self, step: int) -> bool:
        """Whether a step has a manifest, right or wrong."""
        ...

    def prepare(self, step: int) -> Path:
        """An empty folder on this machine to write a step in; what is there of it is removed."""
        ...

    def publish(self, step: int) -> None:
        """Seal the step that has been written; when this returns, no power cut loses it.

        Raises:
            OSError: the folder of all steps is another than it was.
            InputError: a bucket does not take it, or the run has lost it to another.
        """
        ...

    def abandon(self, step: int) -> None:
        """Remove what a failed save left: its room is needed, though without a manifest it is no
        step."""
        ...

    def fetch(self, step: int) -> Path:
        """A step's folder on this machine, to be verified and read."""
        ...

    def remove(self, step: int) -> None:
        """Remove a step."""
        ...

    def close(self) -> None:
        """End the use of the folder."""
        ...


def step_numbers(names: list[str]) -> list[int]:
    """The names that are step numbers, as numbers, ascending.

    >>> step_numbers(["12", "7", "07", "x"])
    [7, 12]
    """
    return sorted({int(n) for n in names if n.isascii() and n.isdecimal() and str(int(n)) == n})


class LocalSteps:
    """Step folders on a disk of this machine.

    Args:
        folder: of all steps; made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        # Held open, so that another folder of this name cannot be taken for it.
        self._held = os.open(self._folder, os.O_RDONLY)

    @property
    def place(self) -> str:
        return str(self._folder)

    def numbers(self) -> list[int]:
        return step_numbers([p.name for p in self._folder.iterdir()])

    def is_sealed(self, step: int) -> bool:
        return (self._folder / str(step) / MANIFEST).exists()

    def prepare(self, step: int) -> Path:
        self._check_there()
        folder = self._folder / str(step)
        if folder.exists():  # an unfinished or damaged step of this number
            shutil.rmtree(folder)
        folder.mkdir()
        return folder

    def publish(self, step: int) -> None:
        self._check_there()  # Orbax would make it again, without what was in it
        seal(self._folder / str(step))
        sync(self._folder)

    def abandon(self, step: int) -> None:
        clear(self._folder / str(step))

    def fetch(self, step: int) -> Path:
        return self._folder / str(step)

    def remove(self, step: int) -> None:
        shutil.rmtree(self._folder / str(step), ignore_errors=True)

    def close(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def _check_there(self) -> None:
        """Raise FileNotFoundError when the folder has been removed, or another one is there."""
        if not os.path.samestat(os.fstat(self._held), self._folder.stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._folder))
