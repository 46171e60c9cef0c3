"""Parts of the features in a folder that several hosts see, each encoded by the one that takes it.

NUMBER/        the features of a part of the examples
.NUMBER.lock   held by the process that encodes it, and given back however that process ends
"""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from jaxbert.data.feature_files import load_features, save_features
from jaxbert.data.features import Features
from jaxbert.data.whole_folder import one_at_a_time, unless_taken

E = TypeVar("E")


class SharedWork(NamedTuple, Generic[E]):
    """How examples become features, in steps that several hosts can divide.

    Attributes:
        divided: the examples in order, in parts; equal in all processes.
        encode: the features of parts, in their order.
        joined: the features of all parts as parts of the features of all examples.
    """

    divided: Callable[[], Iterator[Sequence[E]]]
    encode: Callable[[Iterable[Sequence[E]]], Iterator[Features]]
    joined: Callable[[Iterable[Features]], Iterator[Features]]


def encode_together(folder: Path, work: SharedWork[E], is_over: Callable[[], bool]) -> int:
    """Encode the parts that no other host has or encodes, until all are there.

    One whose host ends before it is written is encoded by another. Where the file system has no
    locks that all hosts see, each host encodes them all, and the first to write one is kept.

    Args:
        is_over: whether somebody has joined the parts already; no more are encoded then.

    Returns:
        How many parts there are; 0 when it is over.

    Raises:
        OSError: the folder cannot be written.
        InputError: as work.encode.
    """
    while not is_over():
        count = _encode_untaken(folder, work, is_over)
        missing = [place for n in range(count) if not _is_there(place := folder / str(n))]
        for place in missing:
            with one_at_a_time(place, quiet=True):
                pass  # whoever has it has written it now, or is gone
        if all(map(_is_there, missing)):
            return 0 if is_over() else count
    return 0


def _encode_untaken(folder: Path, work: SharedWork[E], is_over: Callable[[], bool]) -> int:
    """Encode what nobody else has or encodes now; returns the number of all parts."""
    count = 0
    mine: deque[tuple[Path, contextlib.ExitStack]] = deque()

    def taken() -> Iterator[Sequence[E]]:
        nonlocal count
        for part in work.divided():
            place = folder / str(count)
            count += 1
            if _is_there(place):
                continue
            if is_over():
                return
            lock = contextlib.ExitStack()
            if not lock.enter_context(unless_taken(place)):
                continue
            if _is_there(place):  # since the line above
                lock.close()
                continue
            locks.push(lock)
            mine.append((place, lock))
            yield part

    with contextlib.ExitStack() as locks:
        for features in work.encode(taken()):
            place, lock = mine.popleft()
            save_features([features], lambda x: x, place)
            lock.close()
    return count


def _is_there(place: Path) -> bool:
    return place.is_dir()  # a folder that is there is whole


def parts_of(folder: Path, count: int) -> Iterator[Features]:
    """The parts in order, each in memory.

    Raises:
        OSError: one cannot be read; it is removed.
    """

    def copies(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: column.copy() for name, column in columns.items()}

    for number in range(count):
        place = folder / str(number)
        try:
            part = load_features(place)
        except ValueError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise OSError(f"part {number} is damaged: {error}; start again") from None
        yield Features(  # without the maps, each of which has a file open
            bounds=part.bounds.copy(),
            tokens=copies(part.tokens),
            rows=copies(part.rows),
            example=part.example.copy(),
            host=copies(part.host),
            learnable=None if part.learnable is None else part.learnable.copy(),
            lines=part.lines,
            sums=part.sums,
        )
