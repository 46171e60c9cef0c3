"""Examples in a file of --cache_dir, from which each is decoded when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from jaxbert.data.record_blocks import Block, Blocks

E = TypeVar("E")

_ADVICE = (
    "the examples kept there cannot be read ({}); remove the folder, and they are read from their "
    "files again"
)


class KeptExamples(Blocks[E]):
    """The examples of a file that `write_blocks` wrote.

    Args:
        path, blocks, count: see Blocks.
        cls: the dataclass that they are of.
        identity: equal where the examples are equal; what they were made of.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(
        self, path: Path, blocks: Sequence[Block], count: int, cls: type[E], identity: str
    ) -> None:
        super().__init__(path, blocks, count, cls, _ADVICE)
        self.identity = identity
