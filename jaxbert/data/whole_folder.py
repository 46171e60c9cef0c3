"""Folders that are kept for later starts: each written whole or not at all, by one process."""

from __future__ import annotations

import contextlib
import functools
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock, Timeout

from jaxbert.io.files import digest_of, sync
from jaxbert.io.known_files import stamp_of
from jaxbert.runtime.signal_listener import when_leaving

logger = logging.getLogger("jaxbert")

# Of each file its size, the time of its last change, and the SHA-256 of its content.
Seals: TypeAlias = dict[str, tuple[int, int, str]]


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in, which becomes `folder` when it is left; where one is there, it stays.

    Raises:
        OSError: it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    when_leaving(functools.partial(shutil.rmtree, partial, ignore_errors=True))
    try:
        yield partial
        for path in partial.iterdir():
            sync(path)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same
                raise
        sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def one_at_a_time(folder: Path, *, quiet: bool = False) -> Iterator[None]:
    """Entered by one process at a time for this folder, on all machines that see it, where the
    file system has locks; a lock ends with its process.

    Args:
        quiet: without a line of the log where another process has to be waited for.
    """
    with unless_taken(folder) as entered:
        if entered:
            yield
            return
    if not quiet:
        logger.info("  %s: another process is making it; waiting for that", folder)
    with _locked(folder, timeout=-1):
        yield


@contextlib.contextmanager
def unless_taken(folder: Path) -> Iterator[bool]:
    """Entered at once: True in one process at a time for this folder, as one_at_a_time.

    Without locks it is True in all: each makes the folder, and the first one's is kept.
    """
    with _locked(folder, timeout=0) as entered:
        yield entered


@contextlib.contextmanager
def _locked(folder: Path, timeout: float) -> Iterator[bool]:
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def seals_of(folder: Path) -> Seals:
    """The seals of all files in a folder; each is hashed by a thread."""
    paths = sorted(folder.iterdir())
    with ThreadPoolExecutor() as threads:
        return dict(zip([path.name for path in paths], threads.map(_seal, paths), strict=True))


def _seal(path: Path) -> tuple[int, int, str]:
    size, changed = stamp_of(path)
    return size, changed, digest_of(path)


def check_seals(folder: Path, seals: Mapping[str, tuple[int, int, str]]) -> None:
    """Check that the files of a folder are what they were when they were sealed.

    Those whose size and time are the same are not read.

    Raises:
        ValueError: one is not.
        OSError: one cannot be read.
    """

    def same(name: str) -> bool:
        size, changed, digest = seals[name]
        path = folder / name
        stamp = stamp_of(path)
        return stamp == (size, changed) or (stamp[0] == size and digest_of(path) == digest)

    with ThreadPoolExecutor() as threads:
        for name, is_same in zip(seals, threads.map(same, seals), strict=True):
            if not is_same:
                raise ValueError(f"{name} has changed")
