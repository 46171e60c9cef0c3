"""What stands around a sentence in its document, for --document_context."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Documents:
    """How sentences are read with the words around them.

    Attributes:
        column: of rows, says which document each is of; None looks for "document_id" and others.
        most: words on each side at most.
    """

    column: str | None
    most: int


def neighbours(
    sentences: Sequence[Sequence[T]], most: int
) -> Iterator[tuple[tuple[T, ...], tuple[T, ...]]]:
    """Of each sentence of a document the words before it and those after it.

    Args:
        most: words on each side at most, the nearest ones.

    >>> list(neighbours([["a", "b"], ["c"], ["d", "e"]], 1))
    [((), ('c',)), (('b',), ('d',)), (('c',), ())]
    """
    words = [word for sentence in sentences for word in sentence]
    end = 0
    for sentence in sentences:
        start, end = end, end + len(sentence)
        yield tuple(words[max(0, start - most) : start]), tuple(words[end : end + most])


def runs_of(keys: Sequence[Hashable]) -> list[tuple[int, int]]:
    """First and last of each document: a run of sentences with one key.

    Raises:
        ValueError: a document goes on behind another one; its argument is the sentence where.

    >>> runs_of(["a", "a", "b"])
    [(0, 2), (2, 3)]
    """
    found: list[tuple[int, int]] = []
    seen: set[Hashable] = set()
    for key, run in itertools.groupby(keys):
        first = found[-1][1] if found else 0
        if key in seen:
            raise ValueError(first)
        seen.add(key)
        found.append((first, first + sum(1 for _ in run)))
    return found
