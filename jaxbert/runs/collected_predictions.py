"""Predictions of all examples as one sequence: a list, or where they are many a file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from jaxbert.data.record_blocks import Blocks, write_blocks
from jaxbert.io.fetched import scratch_folder
from jaxbert.tasks.task import P

_IN_MEMORY = 1 << 14  # predictions
_ADVICE = "the predictions kept there cannot be read ({}); start the command again"


def collected(parts: Iterable[Sequence[P]]) -> Sequence[P]:
    """The predictions of all parts, in order.

    Many lie in a file in TMPDIR that has no name, and a block of them is in memory at a time. So
    whoever goes through them in order needs no memory for them, and takes some ten microseconds
    for each.

    Raises:
        InputError: there is no room for the file.
    """
    parts = iter(parts)
    found: list[P] = []
    for part in parts:
        found += part
        if len(found) > _IN_MEMORY:
            break
    else:
        return found
    left, cls, count = itertools.chain([found], parts), type(found[0]), 0
    del found

    def each() -> Iterator[P]:
        nonlocal count
        for part in left:
            count += len(part)
            yield from part

    with scratch_folder("predictions", "set TMPDIR to a folder with room for them") as folder:
        blocks = write_blocks(each(), folder / "blocks")
        return Blocks(folder / "blocks", blocks, count, cls, _ADVICE)
