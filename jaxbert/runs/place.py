"""Where a run lies: in a folder of this machine, or in a bucket."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from jaxbert.errors import InputError
from jaxbert.io.bucket import Bucket, is_address, joined
from jaxbert.io.bucket_copy import BucketCopy
from jaxbert.io.bucket_lock import BucketLock
from jaxbert.io.fetched import scratch
from jaxbert.runs.run_files import CHECKPOINTS, RUN_FILES
from jaxbert.runtime.signal_listener import when_leaving
from jaxbert.sharing.card import CARD
from jaxbert.training.bucket_steps import BucketSteps
from jaxbert.training.step_folders import LocalSteps, StepFolders


class Place(Protocol):
    """The directory of a run. As a string it is what the user gave."""

    @property
    def path(self) -> Path:
        """The folder of this machine that its files are written in and read from."""
        ...

    def check_writable(self, flag: str = "--output_dir") -> None:
        """Raise InputError where it is a file, or cannot be made or written.

        Args:
            flag: that named it, for the message.
        """
        ...

    def is_where(self, given: str) -> bool:
        """Whether a path or an address is this place, and something is there."""
        ...

    def bring(self, names: Sequence[str]) -> None:
        """Have these files in `path`, where they are there."""
        ...

    def named(self, name: str) -> Path | str:
        """The path or the address of a file or a folder in it."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a file or a folder of this name."""
        ...

    def is_locked(self) -> bool:
        """Whether this run holds the lock."""
        ...

    def lock(self) -> None:
        """Take the lock.

        Raises:
            InputError: another run has it.
        """
        ...

    def steps(self, name: str) -> StepFolders:
        """The folders of the checkpoints."""
        ...

    def publish(self) -> None:
        """Have what was written in `path` where the run lies.

        Raises:
            InputError: a bucket does not take it.
        """
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove files and folders, in this order."""
        ...

    def leave(self) -> None:
        """Give the lock back, and what was needed on this machine."""
        ...


def place_of(given: str | Path, parts: Sequence[str] = ()) -> Place:
    """The place of a path or an address.

    Args:
        parts: folders in it that the run writes too; see PartPlace.
    """
    if is_address(given):
        return BucketPlace(str(given), parts)
    return LocalPlace(Path(given).expanduser())


class LocalPlace:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # It ends with the process, however that does: the operating system holds it, and the file
        # that is left means nothing.
        self._lock = FileLock(path / ".lock")

    def __str__(self) -> str:
        return str(self._path)

    @property
    def path(self) -> Path:
        return self._path

    def check_writable(self, flag: str = "--output_dir") -> None:
        check_writable(self._path, flag)

    def is_where(self, given: str) -> bool:
        if is_address(given) or not self._path.exists():
            return False
        return Path(given).expanduser().resolve() == self._path.resolve()

    def bring(self, names: Sequence[str]) -> None:
        pass

    def named(self, name: str) -> Path:
        return self._path / name

    def has(self, name: str) -> bool:
        return (self._path / name).exists()

    def is_locked(self) -> bool:
        return self._lock.is_locked

    def lock(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"--output_dir {self}: another run is writing there; wait for its end, or "
                "give another folder"
            ) from None

    def steps(self, name: str) -> StepFolders:
        return LocalSteps(self._path / name)

    def publish(self) -> None:
        pass

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            path = self._path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def leave(self) -> None:
        self._lock.release(force=True)


_FIRST_ANSWER = 15.0  # seconds for a bucket that nothing is known of


class BucketPlace:
    """A folder in a bucket, whose files are written in a folder of this machine and copied.

    Checkpoints are copied when they are whole, the log and all else with them, before their
    manifests.
    """

    def __init__(self, address: str, parts: Sequence[str] = ()) -> None:
        self._bucket = Bucket(address, "--output_dir")
        self._lock = BucketLock(self._bucket, f"--output_dir {self._bucket.address}")
        self._scratch = Path(tempfile.mkdtemp(dir=scratch()))
        self._path = self._scratch / "run" / self._bucket.address.rpartition("/")[2]
        self._path.mkdir(parents=True)
        names = {*RUN_FILES, CARD, *parts} - {CHECKPOINTS}
        self._copy = BucketCopy(self._bucket, self.path, names, self._lock.check)

    def __str__(self) -> str:
        return self._bucket.address

    @property
    def path(self) -> Path:
        return self._path

    def check_writable(self, flag: str = "--output_dir") -> None:
        bucket = Bucket(self._bucket.address, flag, seconds=_FIRST_ANSWER)
        name = f".{self._scratch.name}"
        bucket.write(name, b"")  # nothing but a write tells whether one is allowed
        bucket.remove([name])

    def is_where(self, given: str) -> bool:
        return is_address(given) and given.rstrip("/") == str(self)

    def bring(self, names: Sequence[str]) -> None:
        for name in names:
            self._copy.pull(name)

    def named(self, name: str) -> str:
        return joined(str(self), name)

    def has(self, name: str) -> bool:
        return self._bucket.stat(name) is not None or bool(self._bucket.names(name))

    def is_locked(self) -> bool:
        return self._lock.is_held

    def lock(self) -> None:
        self._lock.acquire()
        when_leaving(self._lock.release)

    def steps(self, name: str) -> StepFolders:
        scratch = self._scratch / "steps"
        return BucketSteps(self._bucket, name, scratch, self._lock.check, self._copy.push)

    def publish(self) -> None:
        self._copy.push()

    def remove(self, names: Sequence[str]) -> None:
        self._copy.remove(names)

    def leave(self) -> None:
        self._lock.release()
        shutil.rmtree(self._scratch, ignore_errors=True)


class PartPlace:
    """A folder in the directory of a run, which has its lock."""

    def __init__(self, whole: Place, name: str) -> None:
        self._whole, self._name = whole, name

    def __str__(self) -> str:
        return str(self._whole.named(self._name))

    @property
    def path(self) -> Path:
        return self._whole.path / self._name

    def check_writable(self, flag: str = "--output_dir") -> None:
        self._whole.check_writable(flag)

    def is_where(self, given: str) -> bool:
        if is_address(str(self)):
            return given.rstrip("/") == str(self)
        return LocalPlace(self.path).is_where(given)

    def bring(self, names: Sequence[str]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self._whole.bring(self._within(names))

    def named(self, name: str) -> Path | str:
        return self._whole.named(f"{self._name}/{name}")

    def has(self, name: str) -> bool:
        return self._whole.has(f"{self._name}/{name}")

    def is_locked(self) -> bool:
        return self._whole.is_locked()

    def lock(self) -> None:
        self._whole.lock()

    def steps(self, name: str) -> StepFolders:
        return self._whole.steps(f"{self._name}/{name}")

    def publish(self) -> None:
        self._whole.publish()

    def remove(self, names: Sequence[str]) -> None:
        self._whole.remove(self._within(names))

    def leave(self) -> None:
        """Nothing: the whole has the lock."""

    def _within(self, names: Sequence[str]) -> list[str]:
        return [f"{self._name}/{name}" for name in names]


def check_writable(folder: Path, flag: str = "--output_dir") -> None:
    """Raise InputError when the folder is a file, or cannot be made or written.

    Args:
        flag: that named it, for the message.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{flag} {folder}: {place} is a file; give a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{flag} {folder}: no permission to write in {place}")
