"""OnDemand: a sequence whose elements are made when they are asked for."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")


class OnDemand(Sequence[T], Generic[T]):
    """What is left to a subclass are `__len__` and `at`."""

    @abc.abstractmethod
    def at(self, number: int) -> T:
        """The element at a place from 0 on."""

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self.at(number) for number in range(*index.indices(len(self)))]
        return self.at(range(len(self))[index])
