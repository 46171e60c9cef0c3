"""A task's own settings out of the options of a command, and back."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from jaxbert.options.fields import Settings, settings_of

Part = TypeVar("Part", bound=Settings)
Whole = TypeVar("Whole", bound=Settings)


def part_of(cls: type[Part], options: Settings) -> Part:
    """The settings of a dataclass, from the options that have fields of their names.

    What the options lack has its default: an evaluation has no settings of training.
    """
    names = {setting.name for setting in settings_of(cls)}
    return cls(**{name: value for name, value in vars(options).items() if name in names})


def with_part(options: Whole, part: Settings) -> Whole:
    """The options with the values of a part of them; fields that they lack are left out."""
    known = {setting.name for setting in settings_of(type(options))}
    return dataclasses.replace(options, **{n: x for n, x in vars(part).items() if n in known})
