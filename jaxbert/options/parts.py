"""A task's own settings out of the options of a command, and back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Part = TypeVar("Part", bound="DataclassInstance")
Whole = TypeVar("Whole", bound="DataclassInstance")


def part_of(cls: type[Part], options: DataclassInstance) -> Part:
    """The settings of a dataclass, from the options that have fields of their names.

    What the options lack has its default: an evaluation has no settings of training.
    """
    return cls(**{name: value for name, value in vars(options).items() if name in _names(cls)})


def with_part(options: Whole, part: DataclassInstance) -> Whole:
    """The options with the values of a part of them; fields that they lack are left out."""
    known = _names(type(options))
    return dataclasses.replace(options, **{n: x for n, x in vars(part).items() if n in known})


def _names(cls: type[DataclassInstance]) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}
