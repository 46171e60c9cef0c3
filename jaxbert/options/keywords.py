"""Settings from names and values: of a command line that was read, of JSON, of Python keywords."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import shown
from jaxbert.options.fields import Settings, Value, settings_of

S = TypeVar("S", bound=Settings)
V = TypeVar("V")
# What a Python program may give for a setting.
Keyword = str | float | bool | os.PathLike[str] | Sequence[str] | Mapping[str, Json] | None

_TYPOS = 2  # letters in which a name may differ from the one that was meant


def make_settings(
    cls: type[S],
    given: Mapping[str, object],
    *,
    defaults: Callable[[S], Mapping[str, Json]] | None = None,
    listed_by: str = "",
    advice: Callable[[Collection[str]], Mapping[str, str]] | None = None,
) -> S:
    """The settings that names and values give.

    Args:
        cls: the dataclass.
        given: name -> value; what is not named has its default.
        defaults: given the settings as they would be, other defaults for what is not named.
        listed_by: what lists the options, for a message; by default the dataclass.
        advice: given the unknown names, what to do instead of those of other programs.

    Raises:
        InputError: a name is unknown, or a value cannot be used.
    """
    known = [setting.name for setting in settings_of(cls)]
    unknown = [name for name in given if name not in known]
    if unknown:
        advised = advice(unknown) if advice else {}
        if advised:
            raise InputError("; ".join(advised.values()))
        flags = [f"--{shown(name)}" for name in unknown]
        raise InputError(
            unknown_options(
                flags,
                [f"--{name}" for name in known],
                listed_by or f"the fields of {cls.__name__} are the options",
            )
        )
    if defaults is None:
        return cls(**given)
    # What is given may say something beside the defaults alone, and these only beside it.
    found = {**defaults(cls(**_saying(cls, given))), **given}
    return cls(**{**_saying(cls, found), **given})


def _saying(cls: type[Settings], values: Mapping[str, V]) -> dict[str, V]:
    """The values without those that say nothing beside the others; see Facts.needs."""
    known = {setting.name: setting for setting in settings_of(cls)}
    all_values = {**{name: setting.default for name, setting in known.items()}, **values}
    found = {n: x for n, x in values.items() if known[n].says_something(all_values)}
    # What needs one that says nothing says nothing either.
    return found if len(found) == len(values) else _saying(cls, found)


def unknown_options(flags: Collection[str], known: Collection[str], otherwise: str) -> str:
    """One message of all unknown options, with those that may have been meant.

    Args:
        flags, known: with their dashes.
        otherwise: what to do where none is close.
    """
    from nltk.metrics.distance import edit_distance  # slow to import, and needed for this alone

    meant = {}
    for flag in flags:
        plain = flag.replace("-", "_").replace("__", "--", 1)
        apart = {name: edit_distance(plain, name, transpositions=True) for name in known}
        closest = min(known, key=apart.__getitem__)
        if apart[closest] <= min(_TYPOS, (len(plain) - 2) // 4):
            meant[flag] = closest
    if len(flags) == 1:
        verb, hints = "is not an option", [f"did you mean {name}?" for name in meant.values()]
    else:
        verb = "are not options"
        hints = [f"did you mean {name} for {flag}?" for flag, name in meant.items()]
    return f"{', '.join(flags)} {verb}; {' '.join(hints) or otherwise}"


def check_saved(cls: type[Settings], values: Mapping[str, Json], place: Path) -> dict[str, Value]:
    """The values of a file that settings of this class take; other names are passed over.

    Raises:
        InputError: one cannot be used; it names the file.
    """
    try:
        return {s.name: s.check(values[s.name]) for s in settings_of(cls) if s.name in values}
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
