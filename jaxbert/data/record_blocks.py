"""Records in a file, from which each is decoded when it is asked for.

Blocks of records as msgpack, compressed: questions of one paragraph do not repeat it.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import pyarrow as pa

from jaxbert.data.on_demand import OnDemand
from jaxbert.errors import InputError

T = TypeVar("T")

_BLOCK = 1024  # records
_CODEC = "lz4"


class Block(NamedTuple):
    """Where a block is in the file, its compressed bytes from `start` to `end`, and its size."""

    start: int
    end: int
    size: int


def write_blocks(records: Iterable[T], path: Path) -> list[Block]:
    """Write dataclasses, or plain values, to a new file; returns where their blocks are.

    Raises:
        OSError: it cannot be written.
        UnicodeEncodeError: a text has lone surrogates.
    """
    blocks: list[Block] = []
    start = 0
    records = iter(records)
    encoder = msgspec.msgpack.Encoder()
    with path.open("xb") as file:
        while block := list(itertools.islice(records, _BLOCK)):
            raw = encoder.encode(block)
            packed = pa.compress(raw, codec=_CODEC, asbytes=True)
            file.write(packed)
            blocks.append(Block(start, start + len(packed), len(raw)))
            start += len(packed)
    return blocks


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Pauses the garbage collector, which thousands of new objects would start several times."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Blocks(OnDemand[T]):
    """The records of a file that `write_blocks` wrote.

    Only the block that was read last is in memory.

    Args:
        path: stays open, and may be removed.
        blocks: what `write_blocks` returned.
        count: of the records.
        cls: the type that they are of; None for plain values, as JSON has them.
        advice: what to do where they cannot be read, for a message.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(
        self, path: Path, blocks: Sequence[Block], count: int, cls: type[T] | None, advice: str
    ) -> None:
        self._path, self._blocks, self._count, self._advice = path, blocks, count, advice
        self._decoder: msgspec.msgpack.Decoder[list[T]] = (
            msgspec.msgpack.Decoder() if cls is None else msgspec.msgpack.Decoder(list[cls])  # type: ignore[valid-type]
        )
        self._last: tuple[int, list[T]] = (-1, [])
        self._file = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def __len__(self) -> int:
        return self._count

    def at(self, number: int) -> T:
        """The record of that number."""
        return self._block(number // _BLOCK)[number % _BLOCK]

    def __iter__(self) -> Iterator[T]:
        for number in range(len(self._blocks)):
            yield from self._block(number)

    def _block(self, number: int) -> list[T]:
        last, records = self._last
        if number != last:
            start, end, size = self._blocks[number]
            try:
                packed = os.pread(self._file, end - start, start)
                raw = pa.decompress(packed, decompressed_size=size, codec=_CODEC, asbytes=True)
                with _no_collection():
                    records = self._decoder.decode(raw)
            except (OSError, pa.ArrowException, msgspec.DecodeError) as error:
                raise InputError(f"{self._path}: {self._advice.format(error)}") from None
            self._last = number, records
        return records
