"""Checkpoints that verify themselves: Orbax writes, a SHA-256 manifest written last seals.

Orbax commits a step atomically but holds no checksum of its data: of 60 single-bit flips in a saved
step, 59 restored without an error and with wrong values. So a step counts here only when its
manifest is there and every file that it names has the size and hash that it says.

    checkpoints/<step>/state/...        Orbax
    checkpoints/<step>/progress.json    score history and what else the run must remember
    checkpoints/<step>/manifest.json    name -> [size, SHA-256] of every other file
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxbert.errors import InputError
from jaxbert.files import write_json, write_text
from jaxbert.training.step import TrainState

_MANIFEST = "manifest.json"


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / _MANIFEST)


def _digest(path: Path) -> list[Any]:
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def seal(folder: Path) -> None:
    """Write the manifest of a step folder whose other files are complete."""
    manifest = {p.relative_to(folder).as_posix(): _digest(p) for p in _files(folder)}
    # Not a byte is spare: a manifest cut anywhere is no JSON any more.
    write_text(folder / _MANIFEST, json.dumps(manifest))


def fault(folder: Path) -> str | None:
    """What is wrong with a step folder, in a few words; None when every file verifies."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
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
    except (OSError, ValueError) as error:
        return f"its manifest cannot be read ({error})"
    return None


class Checkpoints:
    """The checkpoints of one run, in one folder.

    Saving copies the state to host memory and returns; Orbax writes while training goes on. A save
    that failed is raised by the next call of `save` or `wait`.

    Args:
        folder: made when it is not there.
        keep: how many of the newest verified steps are kept, at least two; the best one, as
            `save` was told, is kept beside them.
    """

    def __init__(self, folder: Path, keep: int = 2, say: Callable[[str], None] = print) -> None:
        self._folder = folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._keep = max(2, keep)
        self._say = say
        self._pending: tuple[Path, int | None] | None = None
        self._verified: set[int] = set()
        self._writer = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())

    def steps(self) -> list[int]:
        """Numbers of the step folders, whole or not, ascending."""
        return sorted(int(p.name) for p in self._folder.iterdir() if p.name.isdigit())

    def save(
        self, state: TrainState, progress: dict[str, Any], *, best_step: int | None = None
    ) -> None:
        """Start to write a step.

        Args:
            state: numpy arrays that nobody will change, as Parallel.fetch returns them.
            progress: JSON to be given back by `restore`.
            best_step: the step that is never removed.
        """
        self.wait()
        folder = self._folder / str(int(state.step))
        if folder.exists():  # an unfinished or damaged step of this number
            shutil.rmtree(folder)
        folder.mkdir()
        write_json(folder / "progress.json", progress)
        self._writer.save(folder / "state", args=ocp.args.StandardSave(state._asdict()))
        self._pending = (folder, best_step)

    def wait(self) -> None:
        """Wait until the step being written is whole and sealed; then remove the old ones."""
        self._writer.wait_until_finished()
        if self._pending is None:
            return
        folder, best_step = self._pending
        self._pending = None
        seal(folder)
        self._verified.add(int(folder.name))
        kept = set(sorted(self._verified)[-self._keep :]) | {best_step}
        for step in self.steps():
            # Steps of unknown worth go only when enough verified ones are there.
            if step not in kept and len(self._verified) >= self._keep:
                self._verified.discard(step)
                shutil.rmtree(self._folder / str(step), ignore_errors=True)

    def newest(self) -> int | None:
        """The newest step that verifies; those that do not are named and passed over."""
        for step in reversed(self.steps()):
            wrong = fault(self._folder / str(step))
            if wrong is None:
                self._verified.add(step)
                return step
            self._say(f"checkpoint {step} passed over: {wrong}")
        return None

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """A verified step as numpy arrays, and its progress.

        Args:
            like: a state of the same shapes and dtypes; abstract arrays serve.

        Raises:
            InputError: the step is damaged, or its arrays are not those of this model.
        """
        folder = self._folder / str(step)
        wrong = fault(folder)
        if wrong is not None:
            raise InputError(f"{folder}: {wrong}")
        target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like._asdict())
        try:
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
                tree = reader.restore(folder / "state", args=ocp.args.StandardRestore(target))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder}: its arrays are not those of this model and optimizer "
                f"({str(error).splitlines()[0]}); give --overwrite_output_dir to start anew"
            ) from None
        progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        return TrainState(**tree), progress

    def close(self) -> None:
        """Wait for what is being written, and end Orbax's threads."""
        self.wait()
        self._writer.close()
