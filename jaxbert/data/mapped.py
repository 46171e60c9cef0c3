"""A sequence of what a function gives of each record, made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from jaxbert.data.on_demand import OnDemand

T = TypeVar("T")
U = TypeVar("U")


class Mapped(OnDemand[U], Generic[T, U]):
    """function(record) of each record, none of which is kept.

    >>> lengths = Mapped(len, ["a", "bc"])
    >>> [*lengths], lengths[1], len(lengths)
    ([1, 2], 2, 2)
    """

    def __init__(self, function: Callable[[T], U], records: Sequence[T]) -> None:
        self._function, self._records = function, records

    def __len__(self) -> int:
        return len(self._records)

    def at(self, number: int) -> U:
        """function(record) of the record of that number."""
        return self._function(self._records[number])

    def __iter__(self) -> Iterator[U]:
        return map(self._function, self._records)
