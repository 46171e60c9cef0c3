"""What a search varies: flags with a range or with some values, read of words of a command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.options.fields import Setting, Settings, settings_of
from jaxbert.options.keywords import unknown_options

Tried: TypeAlias = str | int | float | bool  # a value of a flag in one trial

_FORMS = "give NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,..."
# Flags by which the trials are judged and numbered, so that another value is no better or worse.
_JUDGING = {
    "seed": "the best of several seeds is luck; `jaxbert compare` shows how far they lie apart",
    "metric_for_best_model": "all trials are judged by one score",
    "load_best_model_at_end": "all trials are judged alike",
}


@dataclasses.dataclass(frozen=True)
class SearchedFlag:
    """A flag that differs from trial to trial.

    Attributes:
        whole: whether its numbers are whole ones.
        low, high: its range, where it has one; both ends belong to it.
        log: values are drawn evenly on a logarithmic scale.
        choices: all its values, where it has no range.
    """

    name: str
    whole: bool = False
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Tried, ...] = ()

    @property
    def ends(self) -> tuple[Tried, ...]:
        """Values of which all are right where these are."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


def read_space(words: Sequence[str], cls: type[Settings]) -> list[SearchedFlag]:
    """The flags that words such as learning_rate=1e-5:5e-5:log and warmup_ratio=0,0.1 name.

    Args:
        cls: the settings that have the flags.

    Raises:
        InputError: one is unknown, no flag to search, or has a value that it does not take.
    """
    known = {setting.name: setting for setting in settings_of(cls)}
    found: dict[str, SearchedFlag] = {}
    for word in words:
        name, is_given, values = word.partition("=")
        name = name.removeprefix("--")
        if not is_given or not values:
            raise InputError(f"--search {shown(word)}: {_FORMS}")
        if name not in known:
            flags = [f"--{flag}" for flag in known]
            said = unknown_options([f"--{shown(name)}"], flags, "--help lists the options")
            raise InputError(f"--search: {said}")
        if name in found:
            raise InputError(f"--search {name}: it is there twice")
        _check_searchable(known[name])
        found[name] = _read(known[name], values)
    return list(found.values())


def _check_searchable(setting: Setting) -> None:
    reason = _JUDGING.get(setting.name, "")
    if setting.facts.resume == "free":
        reason = "it does not change what a run computes"
    elif setting.several or setting.facts.json:
        reason = "its value is a list or JSON"
    if reason:
        raise InputError(f"--search {setting.name}: {reason}; search another flag")


def _read(setting: Setting, values: str) -> SearchedFlag:
    if setting.kind in (int, float) and ":" in values:
        return _read_range(setting, values)
    choices = tuple(_value(setting, text) for text in values.split(","))
    if len(set(choices)) < max(2, len(choices)):
        raise InputError(
            f"--search {setting.name}={shown(values)}: give two different values or more, or a "
            "range LOW:HIGH"
        )
    return SearchedFlag(setting.name, choices=choices)


def _read_range(setting: Setting, values: str) -> SearchedFlag:
    given = f"--search {setting.name}={shown(values)}"
    parts = values.split(":")
    log = parts[2:] == ["log"]
    if len(parts) != 2 + log:
        raise InputError(f"{given}: {_FORMS}")
    low, high = (_value(setting, part) for part in parts[:2])
    if isinstance(low, str) or isinstance(high, str) or not low < high:
        raise InputError(f"{given}: the range must rise")
    if log and low <= 0:
        raise InputError(f"{given}: a logarithmic range begins above 0")
    return SearchedFlag(setting.name, setting.kind is int, float(low), float(high), log)


def _value(setting: Setting, text: str) -> Tried:
    try:
        value = setting.check(setting.from_text(text))
    except InputError as error:
        raise InputError(f"--search: {error}") from None
    if value is None or isinstance(value, list):
        raise InputError(f"--search {setting.name}: {_FORMS}")
    return value


def shown_values(values: Mapping[str, Tried]) -> str:
    """Flags of a trial for the log.

    >>> shown_values({"learning_rate": 3.1234567e-05, "packing": True})
    'learning_rate 3.123e-05, packing True'
    """
    return ", ".join(f"{name} {shown_value(value)}" for name, value in values.items())


def shown_value(value: Tried) -> str:
    """A value in a table: four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
