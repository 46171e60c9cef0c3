"""Files recognised by size and time, so that their content need not be read to tell that it is
the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path

from jaxbert.io.files import digest_of, write_json

# Seconds. A file that is younger could change once more without a change of its time.
_SETTLED = 2.0


def stamp_of(path: Path) -> tuple[int, int]:
    """A file's size and the time of its last change, in nanoseconds.

    Raises:
        OSError: there is none.
    """
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def known_digest(path: Path, notes: Path) -> str:
    """SHA-256 of a file's content, or of all files in a folder and their names.

    A file whose size and time are those noted is not read.

    Args:
        notes: a folder of what is known of files; made where there is none, if it can be.

    Raises:
        OSError: the file cannot be read.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for each in sorted(each for each in path.rglob("*") if each.is_file()):
            name = str(each.relative_to(path)).encode("utf-8", "surrogateescape")
            digest.update(name + b"\0" + known_digest(each, notes).encode())
        return digest.hexdigest()
    place = str(path.resolve()).encode("utf-8", "surrogateescape")
    note = notes / f"{hashlib.sha256(place).hexdigest()[:32]}.json"
    stamp = stamp_of(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if (known["size"], known["changed"]) == stamp:
            return str(known["sha256"])
    found = digest_of(path)
    settled = time.time_ns() - stamp[1] > _SETTLED * 1e9
    if settled and stamp_of(path) == stamp:
        with contextlib.suppress(OSError):
            notes.mkdir(parents=True, exist_ok=True)
            write_json(note, {"size": stamp[0], "changed": stamp[1], "sha256": found})
    return found
