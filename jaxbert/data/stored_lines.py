"""Lines of text in a file of this run: of a large corpus, only where each line begins is known."""

from __future__ import annotations

import dataclasses
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxbert.data.on_demand import OnDemand
from jaxbert.errors import InputError
from jaxbert.io.fetched import scratch

_IN_MEMORY = 1 << 24  # characters; lines of more go to a file
_READ = 1 << 22  # bytes


@dataclasses.dataclass(frozen=True, slots=True)
class LineExample:
    """A line, sentence or paragraph of text."""

    where: str = dataclasses.field(repr=False)
    text: str


def stored(lines: Iterable[LineExample]) -> Sequence[LineExample]:
    """The lines: in memory while they are few, else in a file that goes when this process ends.

    Raises:
        InputError: there is no room for the file.
    """
    few: list[LineExample] = []
    size = 0
    lines = iter(lines)
    for line in lines:
        few.append(line)
        size += len(line.text)
        if size > _IN_MEMORY:
            break
    else:
        return tuple(few)
    folder = Path(tempfile.mkdtemp(prefix="lines-", dir=scratch()))
    try:
        return StoredLines(few, lines, folder)
    except OSError as error:
        raise InputError(
            f"{folder}: the lines cannot be written ({error.strerror}); set TMPDIR to a folder "
            "with room for them"
        ) from None


class StoredLines(OnDemand[LineExample]):
    """Lines in a file of a folder, read when they are asked for.

    Args:
        lines, more: to be written, these and then those.
        folder: for the file, which has no name once it is written.
    """

    def __init__(
        self, lines: Iterable[LineExample], more: Iterable[LineExample], folder: Path
    ) -> None:
        starts: list[np.ndarray] = []
        end = 0
        with (folder / "lines").open("wb") as file:
            for source in (lines, more):
                for entries in _batches(source):
                    ends = end + np.cumsum([len(entry) for entry in entries], dtype=np.int64)
                    file.write(b"".join(entries))
                    starts.append(ends)
                    end = int(ends[-1])
        self._ends = np.concatenate([[0], *starts])
        self._file = os.open(folder / "lines", os.O_RDONLY)
        (folder / "lines").unlink()
        folder.rmdir()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def at(self, number: int) -> LineExample:
        """The line of that number."""
        [line] = self._read(number, number + 1)
        return line

    def __iter__(self) -> Iterator[LineExample]:
        first = 0
        while first < len(self):
            fit = np.searchsorted(self._ends, self._ends[first] + _READ, side="right") - 1
            after = max(first + 1, int(fit))
            yield from self._read(first, after)
            first = after

    def _read(self, first: int, after: int) -> Iterator[LineExample]:
        base = int(self._ends[first])
        raw = os.pread(self._file, int(self._ends[after]) - base, base)
        places = (self._ends[first : after + 1] - base).tolist()
        for start, end in itertools.pairwise(places):
            where, _, text = raw[start:end].decode("utf-8", "surrogateescape").partition("\0")
            yield LineExample(where, text)


def _batches(lines: Iterable[LineExample]) -> Iterator[list[bytes]]:
    """The lines as they are written, of about _READ bytes."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        # A file's name may have bytes that are no UTF-8, and has no NUL.
        batch.append(f"{line.where}\0{line.text}".encode("utf-8", "surrogateescape"))
        size += len(batch[-1])
        if size >= _READ:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
