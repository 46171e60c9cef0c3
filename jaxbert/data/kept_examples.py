"""Examples in a file, from which each is decoded when it is asked for.

Blocks of examples as msgpack, compressed: questions of one paragraph do not repeat it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, overload

import msgspec
import pyarrow as pa

from jaxbert.errors import InputError

E = TypeVar("E")

_BLOCK = 1024  # examples
_CODEC = "lz4"


class Block(NamedTuple):
    """Where a block is in the file, its compressed bytes from `start` to `end`, and its size."""

    start: int
    end: int
    size: int


def write_examples(examples: Iterable[E], path: Path) -> list[Block]:
    """Write dataclasses to a new file; returns where their blocks are.

    Raises:
        OSError: it cannot be written.
        UnicodeEncodeError: a text has lone surrogates.
    """
    blocks: list[Block] = []
    start = 0
    examples = iter(examples)
    encoder = msgspec.msgpack.Encoder()
    with path.open("xb") as file:
        while block := list(itertools.islice(examples, _BLOCK)):
            raw = encoder.encode(block)
            packed = pa.compress(raw, codec=_CODEC, asbytes=True)
            file.write(packed)
            blocks.append(Block(start, start + len(packed), len(raw)))
            start += len(packed)
    return blocks


class KeptExamples(Sequence[E], Generic[E]):
    """The examples of a file that `write_examples` wrote.

    Only the block that was read last is in memory.

    Args:
        path: stays open.
        blocks: what `write_examples` returned.
        count: of the examples.
        cls: the dataclass that they are of.
        identity: equal where the examples are equal; what they were made of.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(
        self, path: Path, blocks: Sequence[Block], count: int, cls: type[E], identity: str
    ) -> None:
        self.identity = identity
        self._path, self._blocks, self._count = path, blocks, count
        self._decoder = msgspec.msgpack.Decoder(list[cls])  # type: ignore[valid-type]
        self._last: tuple[int, list[E]] = (-1, [])
        self._file = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> E: ...

    @overload
    def __getitem__(self, index: slice) -> list[E]: ...

    def __getitem__(self, index: int | slice) -> E | list[E]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return self._block(number // _BLOCK)[number % _BLOCK]

    def __iter__(self) -> Iterator[E]:
        for number in range(len(self._blocks)):
            yield from self._block(number)

    def _block(self, number: int) -> list[E]:
        last, examples = self._last
        if number != last:
            start, end, size = self._blocks[number]
            try:
                packed = os.pread(self._file, end - start, start)
                raw = pa.decompress(packed, decompressed_size=size, codec=_CODEC, asbytes=True)
                examples = self._decoder.decode(raw)
            except (OSError, pa.ArrowException, msgspec.DecodeError) as error:
                raise InputError(
                    f"{self._path}: the examples kept there cannot be read ({error}); remove "
                    "the folder, and they are read from their files again"
                ) from None
            self._last = number, examples
        return examples
