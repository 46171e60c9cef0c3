"""Files: written whole or not at all, and known by their content."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

# A value that JSON can hold.
Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"


@dataclasses.dataclass(frozen=True)
class JsonArray:
    """An array whose entries are made one by one as it is written."""

    entries: Iterable[Json]


@dataclasses.dataclass(frozen=True)
class JsonObject:
    """An object likewise: names, of which each occurs once, with their values."""

    entries: Iterable[tuple[str, Json]]


# The content of a file.
JsonFile: TypeAlias = "Json | JsonArray | JsonObject"


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace the file by the text in one step: a reader sees the old file or the new one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same with bytes."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to be written, which replaces `path` when this is left; at an error nothing does.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: a power cut keeps them."""
    try:
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError:  # not every file system can do it with a folder
        if not path.is_dir():
            raise


def write_json(path: Path, content: JsonFile) -> None:
    """Replace the file by indented JSON, not ASCII-escaped, without NaN or infinity.

    Of a JsonArray or a JsonObject one entry at a time is in memory; the bytes are those of a list
    or a dict.
    """
    with replacing(path) as file:
        for piece in _pieces(content):
            file.write(piece.encode())
        file.write(b"\n")


_encoded = json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False).encode


def _pieces(content: JsonFile) -> Iterator[str]:
    if isinstance(content, JsonArray):
        return _listed("[", map(_encoded, content.entries), "]")
    if isinstance(content, JsonObject):
        named = (f"{_encoded(name)}: {_encoded(value)}" for name, value in content.entries)
        return _listed("{", named, "}")
    return iter([_encoded(content)])


def _listed(start: str, entries: Iterable[str], end: str) -> Iterator[str]:
    """Entries between brackets, each on lines of its own, as json.dumps indents them."""
    before = start
    for entry in entries:
        deeper = entry.replace("\n", "\n  ")  # no text has a bare line break
        yield f"{before}\n  {deeper}"
        before = ","
    yield f"\n{end}" if before == "," else start + end
