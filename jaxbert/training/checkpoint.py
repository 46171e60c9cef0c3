"""Checkpoints that verify themselves: Orbax writes, a SHA-256 manifest written last seals.

Orbax commits a step atomically but holds no checksum of its data: a flipped bit can be restored
without an error, as a wrong value. So a step counts here only when its manifest is there and every
file that it names has the size and hash that it says; see jaxbert.training.step_folders.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
import optax

from jaxbert.errors import InputError
from jaxbert.io.bucket_lock import LockLostError
from jaxbert.io.files import Json, write_text
from jaxbert.model.lora import LORA
from jaxbert.runtime.messages import root_handlers_kept
from jaxbert.training.step import TrainState
from jaxbert.training.step_folders import StepFolders, fault

with root_handlers_kept():
    import orbax.checkpoint as ocp


def _parts(state: TrainState) -> dict[str, optax.OptState]:
    """What is kept of a state, by name; without a loss scale it is as before there was one.

    Of an adapted model the encoder is left out: it is as the model that the run began with has it.
    """
    parts = {name: part for name, part in state._asdict().items() if part is not None}
    if LORA in state.params:
        parts["params"] = {name: x for name, x in state.params.items() if name != "bert"}
    return parts


def _names(tree: Mapping[str, optax.OptState]) -> list[str]:
    """Of each leaf the names on the way to it, without places in sequences: opt_state/mu/..."""
    found = []
    for path, _ in jax.tree_util.tree_leaves_with_path(tree):
        keys = [getattr(part, "key", getattr(part, "name", None)) for part in path]
        found.append("/".join(str(key) for key in keys if key is not None))
    return found


def _as_written(tree: optax.OptState) -> optax.OptState:
    """A tree as Orbax gives it back: named tuples are dicts, whose leaves are in another order."""
    if isinstance(tree, tuple) and hasattr(tree, "_asdict"):
        return {name: _as_written(part) for name, part in tree._asdict().items()}
    if isinstance(tree, Mapping):
        return {name: _as_written(part) for name, part in tree.items()}
    if isinstance(tree, tuple | list):
        return [_as_written(part) for part in tree]
    return tree


def _reason(error: Exception) -> str:
    """The part of an error that says why, in one line: of TensorStore's, the system's own words."""
    text = " ".join(str(error).split())
    words = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)]
    return next((word for word in words if word in text), text[:200])


class Checkpoints:
    """The checkpoints of one run.

    Saving returns at once: a thread of its own writes through Orbax, seals, and removes old steps
    while training goes on. What was written of a save that failed is removed, and its error raised
    by the next call of `save` or `wait`.

    Args:
        folders: where they lie.
        keep: how many of the newest verified steps are kept, at least two; the best one, as
            `save` was told, is kept beside them.
        retry_on_error: a save that failed is reported by `say` when the next one begins, which
            tries again; `wait` raises the last one all the same.
    """

    def __init__(
        self,
        folders: StepFolders,
        keep: int = 2,
        say: Callable[[str], None] = print,
        *,
        retry_on_error: bool = False,
    ) -> None:
        self._folders = folders
        self._keep = max(2, keep)
        self._say = say
        self._retry_on_error = retry_on_error
        self._verified: set[int] = set()
        self._pending: Future[None] | None = None
        # Orbax's own asynchronous writer would leave sealing to a later call; a step that is
        # whole but not sealed does not count when the run is killed.
        self._thread = ThreadPoolExecutor(max_workers=1)
        # Every process of a run has the whole state, so the first one saves it alone; a save by
        # all would have barriers, at which a run hangs when one of them dies.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0}, barrier_sync_key_prefix="first"
        )
        self._orbax = ocp.Checkpointer(
            ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            multiprocessing_options=alone,
        )

    def steps(self) -> list[int]:
        """Numbers of the step folders, whole or not, ascending."""
        return self._folders.numbers()

    def save(
        self, state: TrainState, progress: dict[str, Json], *, best_step: int | None = None
    ) -> None:
        """Start to write a step.

        Args:
            state: numpy arrays that nobody will change, as Parallel.fetch returns them.
            progress: JSON to be given back by `restore`.
            best_step: the step that is never removed.

        Raises:
            InputError: the save before this one failed, and is not to be tried again; the run's
                lock is another's.
        """
        try:
            self.wait()
        except LockLostError:
            raise
        except InputError as error:
            if not self._retry_on_error:
                raise
            self._say(str(error))
        # To text now: the caller goes on changing the progress.
        text = json.dumps(progress, indent=2, allow_nan=False)
        self._pending = self._thread.submit(self._write, state, text, best_step)

    def _write(self, state: TrainState, progress: str, best_step: int | None) -> None:
        step = int(state.step)
        ours = False
        try:
            self._verified.discard(step)
            folder = self._folders.prepare(step)
            ours = True
            write_text(folder / "progress.json", progress)
            self._orbax.save(folder / "state", args=ocp.args.StandardSave(_parts(state)))
            self._folders.publish(step)
        except LockLostError:
            self._folders.abandon(step)
            raise
        except Exception as error:  # Orbax and TensorStore have many of their own
            if ours:
                self._folders.abandon(step)
            whole = ", ".join(map(str, sorted(self._verified))) or "none"
            raise InputError(
                f"{self._place(step)}: the checkpoint could not be written ({_reason(error)}); "
                f"whole steps before it: {whole}; fix the problem and start the same command again"
            ) from error
        self._verified.add(step)
        kept = set(sorted(self._verified)[-self._keep :]) | {best_step}
        for old in self.steps():
            # Steps of unknown worth go only when enough verified ones are there.
            if old not in kept and len(self._verified) >= self._keep:
                self._verified.discard(old)
                self._folders.remove(old)

    def _place(self, step: int) -> str:
        return f"{self._folders.place}/{step}"

    def wait(self) -> None:
        """Wait until the step being written is whole and sealed."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def newest(self) -> int | None:
        """The newest step that verifies; those that do not are named and passed over.

        Raises:
            InputError: steps have been sealed, and none of them verifies: whoever resumes from
                nothing loses them.
        """
        sealed = 0
        for step in reversed(self.steps()):
            wrong = fault(self._folders.fetch(step))
            if wrong is None:
                self._verified.add(step)
                return step
            self._say(f"checkpoint {step} passed over: {wrong}")
            sealed += self._folders.is_sealed(step)
        if sealed:
            raise InputError(
                f"{self._folders.place}: no checkpoint verifies, and {sealed} had been whole; "
                "bring one back, or give --overwrite_output_dir to start over"
            )
        return None

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Json]]:
        """A verified step as numpy arrays, and its progress.

        Arrays are found by their names, without their places in optax's chain: an optimizer that
        clips, or decays weights, has a longer chain than one that does not, and the same arrays.

        Args:
            like: a state of the same shapes and dtypes; abstract arrays serve, but for what is not
                kept of it.

        Raises:
            InputError: the step is damaged, or its arrays are not those of this model.
        """
        folder = self._folders.fetch(step)
        wrong = fault(folder)
        if wrong is not None:
            raise InputError(f"{self._place(step)}: {wrong}")
        wanted = _parts(like)
        try:
            there = self._orbax.metadata(folder / "state").item_metadata.tree
            # A run whose dtype was changed has a loss scale that the saved one had not, or had.
            shared = {n: x for n, x in wanted.items() if n in there or n != "scale"}
            taken = {n: x for n, x in there.items() if n in shared or n != "scale"}
            leaves, form = jax.tree.flatten(shared)
            # Of each saved array the place among the leaves of the state.
            places = jax.tree.leaves(_as_written(jax.tree.unflatten(form, range(len(leaves)))))
            names = _names(shared)
            given, asked = _names(taken), [names[place] for place in places]
            if given != asked:
                alone = min(set(given) ^ set(asked), default="another order")
                raise ValueError(f"{alone} is in one of them alone")
            for name, x, place in zip(given, jax.tree.leaves(taken), places, strict=True):
                y = leaves[place]
                if x.shape != y.shape or x.dtype != y.dtype:
                    raise ValueError(
                        f"{name} is {x.dtype}{list(x.shape)} instead of {y.dtype}{list(y.shape)}"
                    )
            target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), there)
            found = self._orbax.restore(folder / "state", args=ocp.args.StandardRestore(target))
            for place, x in zip(places, jax.tree.leaves({n: found[n] for n in taken}), strict=True):
                leaves[place] = x
            tree = wanted | jax.tree.unflatten(form, leaves)
            tree["params"] = {**like.params, **tree["params"]}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self._place(step)}: its arrays are not those of this model and optimizer "
                f"({str(error).splitlines()[0]}); give the model and options that the run was "
                "started with, or --overwrite_output_dir to start over"
            ) from None
        try:
            progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(
                f"{self._place(step)}/progress.json: cannot be read as JSON ({error})"
            ) from None
        return TrainState(**tree), progress

    def close(self) -> None:
        """Wait for what is being written, and end the threads."""
        self.wait()
        self._thread.shutdown()
        self._orbax.close()
        self._folders.close()
