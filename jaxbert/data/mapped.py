"""A sequence of what a function gives of each record, made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")
U = TypeVar("U")


class Mapped(Sequence[U], Generic[T, U]):
    """function(record) of each record, none of which is kept.

    >>> lengths = Mapped(len, ["a", "bc"])
    >>> [*lengths], lengths[1], len(lengths)
    ([1, 2], 2, 2)
    """

    def __init__(self, function: Callable[[T], U], records: Sequence[T]) -> None:
        self._function, self._records = function, records

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> U: ...

    @overload
    def __getitem__(self, index: slice) -> list[U]: ...

    def __getitem__(self, index: int | slice) -> U | list[U]:
        if isinstance(index, slice):
            return [self._function(record) for record in self._records[index]]
        return self._function(self._records[index])

    def __iter__(self) -> Iterator[U]:
        return map(self._function, self._records)
