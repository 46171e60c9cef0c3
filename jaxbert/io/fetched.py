"""Files by an address, gs://... or s3://..., as files of this machine."""

from __future__ import annotations

import atexit
import contextlib
import fnmatch
import functools
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxbert.errors import DataError, InputError
from jaxbert.io.bucket import Bucket, BucketError, is_address, joined, parts_of


@functools.cache
def scratch() -> Path:
    """A folder for copies, which is removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="jaxbert-"))
    atexit.register(remove_scratch)
    return folder


@contextlib.contextmanager
def scratch_folder(what: str, advice: str) -> Iterator[Path]:
    """A new folder there, which goes at the end of the block; what is open of it stays.

    Args:
        what: is written there, for its name and for a message.
        advice: where else there may be room.

    Raises:
        InputError: it cannot be written.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{what}-", dir=scratch()))
    try:
        yield folder
    except OSError as error:
        raise InputError(
            f"{folder}: the {what} cannot be written ({error.strerror}); {advice}"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_scratch() -> None:
    """Remove that folder, if there is one."""
    if scratch.cache_info().currsize:
        shutil.rmtree(scratch(), ignore_errors=True)


def fetched_folder(address: str, patterns: Sequence[str]) -> Path:
    """The files of a folder in a bucket, on this machine until the process ends.

    A folder that has not changed since it was fetched is not fetched again.

    Args:
        patterns: of the names of the files, as in *.safetensors; of folders in it there are the
            names alone.

    Raises:
        InputError: the bucket cannot be read, or has no such folder.
    """
    bucket = Bucket(address)
    there = bucket.names()
    if not there:
        raise BucketError(f"{address}: there is nothing; is it the address of a folder?")
    names = sorted(
        n for n in there if any(fnmatch.fnmatch(n, p) and "/" not in n for p in patterns)
    )
    content = "\n".join(f"{name}\n{there[name].version}" for name in names)
    folder = scratch() / hashlib.sha256(f"{address}\n{content}".encode()).hexdigest()[:16]
    for name in names:
        if not (folder / name).exists():
            bucket.download(name, folder / name)
    folder.mkdir(exist_ok=True)
    for name in {name.partition("/")[0] for name in there if "/" in name}:
        (folder / name).mkdir(exist_ok=True)
    _addresses[str(folder)] = address.rstrip("/")
    return folder


def versions_at(address: str) -> dict[str, str]:
    """The version of the object of an address, or of each that a folder there has, by address.

    Raises:
        InputError: the bucket cannot be read.
    """
    parent, _, name = address.rstrip("/").rpartition("/")
    stat = Bucket(parent).stat(name) if parts_of(address)[2] else None
    if stat is not None:
        return {address: stat.version}
    there = Bucket(address).names().items()
    return {joined(address, name): found.version for name, found in there if "/" not in name}


_addresses: dict[str, str] = {}  # of the folders that have been fetched


def with_addresses(text: str) -> str:
    """A message with the addresses of what was fetched in place of its copies' paths."""
    for copy, address in _addresses.items():
        text = text.replace(copy, address)
    return text


@contextlib.contextmanager
def fetched_file(place: str, flag: str = "") -> Iterator[str]:
    """A file's path on this machine, while it is entered; that of a file here is what it is.

    Errors that name the copy name the address instead.

    Args:
        place: a path or an address.
        flag: that gave it, for messages.

    Raises:
        InputError: the bucket cannot be read, or has no such file.
    """
    if not is_address(place):
        yield place
        return
    if not parts_of(place, flag)[2]:
        raise InputError(f"{flag} {place}: a bucket; give a file in it".strip())
    parent, _, name = place.rstrip("/").rpartition("/")
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        path = Path(folder, name)
        try:
            Bucket(parent, flag).download(name, path)
        except FileNotFoundError:
            raise InputError(f"{place}: no such file") from None
        try:
            yield str(path)
        except DataError as error:
            raise DataError(error.where.replace(str(path), place), error.what) from None
        except InputError as error:
            raise type(error)(str(error).replace(str(path), place)) from None
