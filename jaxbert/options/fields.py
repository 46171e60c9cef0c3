"""Fields of settings: the facts of each stand at the field, and its values are checked here alone.

A command line, a JSON file, options.json of a run and Python all end in a dataclass of this kind,
whose values are checked when one is made.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import types
import typing
from collections.abc import Collection, Mapping
from typing import Literal, Self, TypeGuard, TypeVar

import numpy as np

from jaxbert.errors import InputError
from jaxbert.io.bucket import SCHEMES, is_address, parts_of
from jaxbert.io.files import Json
from jaxbert.io.untrusted import shown

T = TypeVar("T")
Value = str | int | float | bool | list[str] | None
Resume = Literal["free", "named", "examples", "never"]

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://.*", re.DOTALL)
_ONE_SLASH = re.compile(rf"({'|'.join(SCHEMES)}):/([^/]+/)")
_KINDS = {str: "a string", int: "a whole number", float: "a number", bool: "True or False"}
# What a switch takes on a command line, as Hugging Face's scripts take it.
AUTO = -(2**31)  # of a number that a run decides; it is none that anybody gives
_BOOLEANS = {
    **dict.fromkeys(("yes", "true", "t", "y", "1"), True),
    **dict.fromkeys(("no", "false", "f", "n", "0"), False),
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of a setting beside its name, type and default.

    Attributes:
        help: the text of its flag.
        range: the smallest and the largest number.
        resume: whether it may differ when a run is resumed. free: yes, it does not change what the
            run computes; named: where --allow_changed_options names it; examples: so too, but the
            run keeps its examples, which may depend on it; never: not even so.
        path: it names a file or folder, or something that may be one.
        address: the file or folder may lie in a bucket, gs://... or s3://...
        names_input: it says which model or data; a run where no such setting is given is the demo.
        json: a dict is taken too, and kept as JSON.
        auto: of a number, the word auto is taken too, and kept as AUTO; a run decides it, and keeps
            what it has decided when it is resumed.
        reason: why it may never differ.
        lasting: of one that may never differ, the value that may not come or go; the others may, as
            with "named".
        joined: several words are one value, with spaces between them.
        needs: the name of another setting and the value of it without which this one says nothing.
    """

    help: str
    range: tuple[float, float] | None = None
    resume: Resume = "named"
    path: bool = False
    address: bool = False
    names_input: bool = False
    json: bool = False
    auto: bool = False
    reason: str = ""
    joined: bool = False
    needs: tuple[str, str | bool] | None = None
    lasting: str | None = None


def option(
    default: T,
    help: str,
    *,
    range: tuple[float, float] | None = None,
    resume: Resume = "named",
    path: bool = False,
    address: bool = False,
    names_input: bool = False,
    json: bool = False,
    auto: bool = False,
    reason: str = "",
    joined: bool = False,
    needs: tuple[str, str | bool] | None = None,
    lasting: str | None = None,
) -> T:
    """A field of a Settings dataclass; see Facts."""
    places = path or address, address
    kinds = names_input, json, auto
    facts = Facts(help, range, resume, *places, *kinds, reason, joined, needs, lasting)
    return dataclasses.field(default=default, metadata={"facts": facts})


@dataclasses.dataclass(frozen=True)
class Setting:
    """A field of a Settings dataclass, with its type taken apart.

    Attributes:
        kind: the type of its value, or of each of several.
        several: its value is a list.
        optional: it may be None.
        choices: the only values, of a Literal.
    """

    name: str
    default: Value
    facts: Facts
    kind: type[str] | type[int] | type[float] | type[bool]
    several: bool
    optional: bool
    choices: tuple[str, ...]

    def check(self, given: object) -> Value:
        """The value as settings keep it: a path as a string, a tuple or a single string as a list.

        Raises:
            InputError: it is of another type, not one of the choices, out of range, or an address
                where a path is meant.
        """
        value = self.plain(given)
        if not self._is_of_type(value):
            # Somebody may take the switch for the place of a token, which is shown to nobody.
            is_token = self.kind is bool and isinstance(given, str) and given.startswith("hf_")
            what = "(a token)" if is_token else _shown(given)
            raise InputError(f"--{self.name} {what}: it must be {self._takes()}")
        is_auto = self.facts.auto and value == AUTO
        if self.facts.range is not None and isinstance(value, int | float) and not is_auto:
            least, most = self.facts.range
            if not least <= value <= most:  # NaN is in no range
                raise InputError(
                    f"--{self.name} {_shown(value)}: it must be from {least:g} to {most:g}"
                )
        if self.facts.path:
            if isinstance(value, list) and "" in value:
                raise InputError(f"--{self.name} '': an empty path; give a file or a folder")
            for place in value if isinstance(value, list) else [value]:
                self._check_path(place)
        return value

    def says_something(self, values: Mapping[str, T]) -> bool:
        """Whether it changes anything beside these values of settings, by name."""
        if self.facts.needs is None:
            return True
        other, wanted = self.facts.needs
        return values.get(other, wanted) == wanted

    def from_text(self, text: str) -> Value:
        """A word of a command line as a value; the word itself, which `check` refuses, if it cannot
        be one. Of several values it is one."""
        if self.kind is bool:
            return _BOOLEANS.get(text.lower(), text)
        try:
            return self.kind(text)
        except ValueError:
            return text

    def plain(self, given: object) -> object:
        """The same in the types of settings, where nothing is lost by it."""
        if self.facts.json and isinstance(given, dict):
            try:
                return json.dumps(given)
            except (TypeError, ValueError):
                return given
        if self.facts.joined and isinstance(given, list) and all(isinstance(x, str) for x in given):
            return " ".join(given)
        if not self.several:
            return self._plain_one(given)
        if isinstance(given, str | os.PathLike):
            given = [given]
        if isinstance(given, list | tuple):
            return [self._plain_one(each) for each in given] or None
        return given

    def _plain_one(self, given: object) -> object:
        if self.facts.auto and given == "auto":
            return AUTO
        if isinstance(given, np.generic):
            given = given.item()
        if isinstance(given, os.PathLike):
            return os.fspath(given)
        if self.kind is float and type(given) is int:
            try:
                return float(given)
            except OverflowError:  # a command line reads that many digits as infinity
                return math.copysign(math.inf, given > 0 or -1)
        return given

    def _is_of_type(self, value: object) -> TypeGuard[Value]:
        if value is None:
            return self.optional
        parts = value if self.several else [value]
        return isinstance(parts, list) and all(
            type(part) is self.kind and (not self.choices or part in self.choices) for part in parts
        )

    def _takes(self) -> str:
        """What it takes, for a message."""
        what = f"one of {', '.join(self.choices)}" if self.choices else _KINDS[self.kind]
        if self.facts.range is not None:
            what += " from {:g} to {:g}".format(*self.facts.range)
        if self.facts.auto:
            what += ", or auto"
        if self.facts.json:
            what += " of JSON, or a dict"
        return f"{what}, or a list of them" if self.several else what

    def _check_path(self, place: Value) -> None:
        found = _ADDRESS.fullmatch(place) if isinstance(place, str) else None
        if isinstance(place, str) and (one := _ONE_SLASH.match(place)):
            raise InputError(f"--{self.name} {shown(place)}: did you mean {one[1]}://{one[2]}...?")
        if found and self.facts.address and found[1] in SCHEMES:
            parts_of(found[0], f"--{self.name}")
            return
        if found:
            scheme = found[1].lower()
            what = "a web address" if scheme in ("http", "https") else "an address"
            buckets = ", gs://... or s3://..." if self.facts.address else ""
            raise InputError(
                f"--{self.name} {shown(place)}: {what}; {scheme}:// is not supported: give a "
                f"path on this machine{buckets}, and copy from or to there yourself"
            )


def _shown(given: object) -> str:
    """A value for a message; of what is no value of JSON, its type alone."""
    if given is None or isinstance(given, str | int | float | list | tuple | dict | os.PathLike):
        try:
            return shown(repr(given))
        except ValueError:  # an integer with more digits than Python writes
            pass
    return f"(of type {type(given).__name__})"


@dataclasses.dataclass(frozen=True)
class ChangedOption:
    """An option that a run was started with, and another value that it is to be resumed with."""

    name: str
    before: Json
    now: Value
    facts: Facts

    def __str__(self) -> str:
        return f"--{self.name}: {self.before} -> {self.now}"

    @property
    def never_changes(self) -> bool:
        """Whether it may not even where it is named."""
        lasting = self.facts.lasting
        if self.facts.resume == "never" and lasting is not None:
            return lasting in (self.before, self.now)
        return self.facts.resume == "never"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of all settings. Their values are checked when one is made, so in `replace` too.

    Raises:
        InputError: a value cannot be used; see Setting.check. Or it would say nothing beside the
            others; see Facts.needs.
    """

    def __post_init__(self) -> None:
        for setting in settings_of(type(self)):
            value = setting.check(getattr(self, setting.name))
            object.__setattr__(self, setting.name, value)  # the dataclass is frozen
        for setting in settings_of(type(self)):
            value = getattr(self, setting.name)
            if value != setting.default and not setting.says_something(vars(self)):
                assert setting.facts.needs is not None
                other, wanted = setting.facts.needs
                raise InputError(
                    f"--{setting.name} {shown(str(value))} goes with --{other} {wanted} alone, and "
                    f"here that is {shown(str(getattr(self, other)))}; change one of them"
                )

    def deciding(self) -> dict[str, Value]:
        """Those that decide what a run computes, by name: all that are not free at a resume."""
        return {
            setting.name: getattr(self, setting.name)
            for setting in settings_of(type(self))
            if setting.facts.resume != "free"
        }

    def inputs(self) -> dict[str, Value]:
        """Those that name a model or data, by name, where they are given."""
        named = (s.name for s in settings_of(type(self)) if s.facts.names_input)
        return {name: getattr(self, name) for name in named if getattr(self, name)}

    def as_words(self) -> list[str]:
        """The words of a command line that gives these settings; those at their default are left
        out."""
        found: list[str] = []
        for setting in settings_of(type(self)):
            value = getattr(self, setting.name)
            if value == setting.default or value is None:
                continue
            if isinstance(value, list):
                found += [f"--{setting.name}", *value]
            elif value is True:
                found.append(f"--{setting.name}")
            else:
                is_auto = setting.facts.auto and value == AUTO
                found += [f"--{setting.name}", "auto" if is_auto else str(value)]
        return found

    def check_on_this_machine(self, command: str) -> None:
        """Refuse addresses of buckets.

        Args:
            command: that does not read and write there, for the message.

        Raises:
            InputError: a setting has one.
        """
        for setting in settings_of(type(self)):
            value = getattr(self, setting.name)
            for place in value if isinstance(value, list) else [value]:
                if setting.facts.path and isinstance(place, str) and is_address(place):
                    raise InputError(
                        f"--{setting.name} {shown(place)}: {command} works with files of this "
                        "machine alone; copy from or to there yourself"
                    )

    def part(self, cls: type[Part]) -> Part:
        """The settings of another dataclass, from the fields that have its names.

        What is missing here has its default: an evaluation has no settings of training.
        """
        names = {setting.name for setting in settings_of(cls)}
        return cls(**{name: value for name, value in vars(self).items() if name in names})

    def with_values(self, found: Mapping[str, Value]) -> Self:
        """The settings with these values of those that they have."""
        return dataclasses.replace(self, **{n: x for n, x in found.items() if n in vars(self)})

    def changed_from(
        self, saved: Mapping[str, Json], allowed: Collection[str] = ()
    ) -> list[ChangedOption]:
        """Those that differ from the saved ones and change what a run computes.

        Args:
            allowed: names of options that may differ all the same.
        """
        changed = []
        for setting in settings_of(type(self)):
            # An option that is younger than the run had its default.
            before = saved.get(setting.name, setting.default)
            now = getattr(self, setting.name)
            free = setting.facts.resume == "free"
            option = ChangedOption(setting.name, before, now, setting.facts)
            free |= setting.name in allowed and not option.never_changes
            free |= setting.facts.auto and now == AUTO  # what it had decided stays
            if setting.plain(before) != now and not free:
                changed.append(option)
        return sorted(changed, key=lambda option: option.name)


Part = TypeVar("Part", bound=Settings)

_KNOWN: dict[type[Settings], tuple[Setting, ...]] = {}


def settings_of(cls: type[Settings]) -> tuple[Setting, ...]:
    """The settings of a dataclass, in the order of its fields."""
    if cls not in _KNOWN:
        hints = typing.get_type_hints(cls)
        _KNOWN[cls] = tuple(
            _setting(
                field.name, getattr(cls, field.name), field.metadata["facts"], hints[field.name]
            )
            for field in dataclasses.fields(cls)
        )
    return _KNOWN[cls]


def _setting(name: str, default: Value, facts: Facts, hint: object) -> Setting:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    parts = typing.get_args(hint) if union else (hint,)
    (kind,) = (part for part in parts if part is not types.NoneType)
    several = typing.get_origin(kind) is list
    if several:
        (kind,) = typing.get_args(kind)
    choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    return Setting(name, default, facts, str if choices else kind, several, len(parts) > 1, choices)
