"""Flags of Hugging Face's and Google's scripts on a command line: what becomes of each.

The flags themselves are data, in foreign_flags.py. Here are their records, and the one reading of a
command line by them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import read_object, shown
from jaxbert.options.fields import Settings, settings_of
from jaxbert.options.keywords import check_saved
from jaxbert.options.settings import AssessmentOptions, ModelOptions, TrainingOptions

# Flag -> value, of a command line. A flag without a value has "true".
Flags = Mapping[str, str]

# What a flag is given for "nothing". Such a flag is passed over, unless a case names the value.
_UNSET = frozenset({"", "none", "null", "false", "[]", "{}"})
_OF_TRAINING = frozenset(field.name for field in dataclasses.fields(TrainingOptions))
_PASSED_OVER = "passed over: nothing is trained here"
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


@dataclasses.dataclass(frozen=True)
class Answer:
    """What becomes of a flag.

    Attributes:
        kind: taken, it becomes other words; understood, results are as asked for without it;
            refused.
        text: what jaxbert does, or why it refuses and what to do.
        words: what a taken flag becomes, or what to give instead of a refused one; {} is its value.
        cpu: it asks for the CPU.
    """

    kind: Literal["taken", "understood", "refused"]
    text: str
    words: tuple[str, ...] = ()
    cpu: bool = False

    def becomes(self, value: str) -> list[str]:
        """The words, with the flag's value in its place."""
        return [word.replace("{}", value) for word in self.words]

    def __str__(self) -> str:
        words = " ".join(f"'{w}'" if " " in w else w for w in self.words)
        if self.kind == "taken":
            return " ".join(filter(None, [words.replace("{}", "VALUE"), self.text]))
        return f"{self.text}; give {words}" if words else self.text


@dataclasses.dataclass(frozen=True)
class Case:
    """When a flag has an answer.

    Attributes:
        values: the values that it is for, in lower case and numbers as %g writes them; or a test of
            the value and the command line; None is any.
        of: the option classes that it is for; () is all.
        beside: another flag that must be given, and its values; None is any.
    """

    answer: Answer
    values: frozenset[str] | Callable[[str, Flags], bool] | None = None
    of: tuple[type[Settings], ...] = ()
    beside: tuple[str, frozenset[str] | None] | None = None

    def fits(self, value: str, cls: type[Settings], flags: Flags) -> bool:
        """Whether this is the case.

        Args:
            cls: the option class of the script.
        """
        if self.of and not issubclass(cls, self.of):
            return False
        if self.beside is not None:
            name, wanted = self.beside
            other = _plain(flags.get(name, ""))
            if other in _UNSET or (wanted is not None and other not in wanted):
                return False
        if callable(self.values):
            return self.values(value, flags)
        return self.values is None or _plain(value) in self.values


@dataclasses.dataclass(frozen=True)
class Foreign:
    """A flag of other scripts.

    Attributes:
        takes: switch, True or False or nothing follows; one, a value; several, values; perhaps, a
            value or nothing.
        cases: the first that fits has the answer. A flag that is an option of the script too, and
            has no case that fits, is that option.
        training: it says how to train: an evaluation passes it over.
        secret: no message may show its value.
    """

    name: str
    takes: Literal["switch", "one", "several", "perhaps"]
    cases: tuple[Case, ...]
    training: bool = False
    secret: bool = False


@dataclasses.dataclass(frozen=True)
class Migrated:
    """A command line in jaxbert's own flags.

    Attributes:
        notes: a line for each flag that was taken or understood.
        faults: flags that cannot be used, each with what to do.
        unknown: the flags that nothing is known of.
        cpu: the CPU was asked for.
    """

    words: list[str]
    notes: list[str]
    faults: list[str]
    unknown: list[str]
    cpu: bool


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag as written, its name with underscores, and the words behind it."""

    written: str
    name: str
    values: list[str]

    @property
    def value(self) -> str:
        return " ".join(self.values)

    @property
    def words(self) -> list[str]:
        if self.name in ("h", "help"):
            return ["--help"]
        if len(self.values) == 1:  # joined, so that argparse takes -1e-5 for a value
            return [f"--{self.name}={self.values[0]}"]
        return [f"--{self.name}", *self.values]


def _plain(value: str) -> str:
    value = value.strip().lower()
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word.lstrip("-")[:1].isalpha()


def split_flags(words: Sequence[str]) -> tuple[list[str], list[Flag]]:
    """The words before the first flag, and the flags."""
    start = next((n for n, word in enumerate(words) if _is_flag(word)), len(words))
    flags: list[Flag] = []
    for word in words[start:]:
        if not _is_flag(word):
            flags[-1].values.append(word)
            continue
        written, equals, value = word.partition("=")
        name = written.lstrip("-").replace("-", "_")
        if not word.startswith("--") and name != "h":
            name = written  # -learning_rate is no flag
        flags.append(Flag(written, name, [value] if equals else []))
    return list(words[:start]), flags


def _asked(flag: Flag, foreign: Foreign, switched_off: bool) -> str:
    """The value of a foreign flag.

    Raises:
        InputError: it has none, or is a switch and has another than True or False.
    """
    if foreign.takes in ("switch", "perhaps") and not flag.values:
        return "false" if switched_off else "true"
    if foreign.takes == "switch":
        value = flag.value.lower()
        if len(flag.values) > 1 or value not in _TRUE | _FALSE:
            # Not the value itself: it may be a secret.
            raise InputError(f"{flag.written}: what follows it is not True or False")
        return "true" if value in _TRUE else "false"
    if not flag.values:
        raise InputError(f"{flag.written}: give its value")
    if foreign.takes == "one" and len(flag.values) > 1:
        raise InputError(f"{flag.written}: it takes one value, and {len(flag.values)} follow it")
    return flag.value


def migrate(words: Sequence[str], cls: type[Settings], table: Mapping[str, Foreign]) -> Migrated:
    """A command line with the flags of other scripts put into a script's own.

    Args:
        cls: the option dataclass of the script.
        table: foreign flags by name; they are for scripts that have a model.

    Raises:
        InputError: a flag has no value, or one that it does not take.
    """
    own = {setting.name for setting in settings_of(cls)}
    switched_on = {f"no_{setting.name}" for setting in settings_of(cls) if setting.default is True}
    known = table if issubclass(cls, ModelOptions) else {}
    before, flags = split_flags(words)
    flag_values = {flag.name: flag.value if flag.values else "true" for flag in flags}
    result = Migrated(before, [], [], [], False)
    cpu = False
    taken: dict[str, str] = {flag.name: flag.written for flag in flags if flag.name in own}
    for flag in flags:
        off = flag.name.startswith("no_") and flag.name not in known
        name = flag.name.removeprefix("no_") if off else flag.name
        foreign = known.get(name)
        answer = None
        if foreign and not (off and foreign.takes != "switch"):
            value = flag.value if name in own else _asked(flag, foreign, off)
            answer = _answer(foreign, value, cls, flag_values)
            passed_over = issubclass(cls, AssessmentOptions) and name in _OF_TRAINING
            if answer is None and name not in own and not passed_over:
                continue  # it asks for nothing
        if answer is None:
            if flag.name in own | switched_on | {"h", "help"}:
                result.words.extend(flag.words)
            elif issubclass(cls, AssessmentOptions) and flag.name in _OF_TRAINING:
                result.notes.append(f"{flag.written}: {_PASSED_OVER}")
            elif flag.written not in result.unknown:
                result.unknown.append(flag.written)
            continue
        cpu = cpu or answer.cpu
        if answer.kind == "refused":
            what = "" if foreign is None or foreign.secret else f" {shown(flag.value)}".rstrip()
            result.faults.append(f"{flag.written}{what} is refused: {answer}")
        elif answer.kind == "understood":
            result.notes.append(f"{flag.written}: {answer}")
        else:
            became = answer.becomes(value)
            for target in (word[2:] for word in became if word.startswith("--")):
                if target in taken and target != name:
                    result.faults.append(
                        f"{flag.written} is --{target} here, and {taken[target]} is given too; "
                        "give one of them"
                    )
                taken[target] = flag.written
            result.words.extend(became)
            result.notes.append(f"{flag.written}: {' '.join([*became, answer.text]).strip()}")
    if issubclass(cls, TrainingOptions) and not _on("do_train", flag_values):
        for name in ("do_eval", "do_predict"):
            if _on(name, flag_values):
                fault = f"--{name} without --do_train: call the script of this name in eval/"
                result.faults.append(fault)
    return dataclasses.replace(result, cpu=cpu)


def advice(
    cls: type[Settings],
    table: Mapping[str, Foreign],
    values: Mapping[str, str],
    names: Iterable[str],
) -> dict[str, str]:
    """What to do instead of keywords that are flags of other scripts, by name.

    Args:
        table: foreign flags by name.
        values: of all settings that are given, as words of a command line.
        names: of settings that `cls` does not have.
    """
    found = {}
    for name in names:
        foreign = table.get(name)
        answer = _answer(foreign, values[name], cls, values) if foreign else None
        if answer is None and foreign is not None:
            found[name] = f"{name}: it asks for nothing; leave it out"
        elif answer is not None and answer.kind == "refused":
            found[name] = f"{name} is refused: {answer}"
        elif answer is not None and answer.kind == "understood":
            found[name] = f"{name}: {answer}; leave it out"
        elif answer is not None:
            what = " ".join(answer.becomes(values[name]))
            found[name] = f"{name} is not a setting; give {' '.join([what, answer.text]).strip()}"
    return found


def _on(name: str, flags: Flags) -> bool:
    return _plain(flags.get(name, "false")) in _TRUE


def _answer(foreign: Foreign, value: str, cls: type[Settings], flags: Flags) -> Answer | None:
    """None where the flag asks for nothing, or is an option of the script."""
    unset = _plain(value) in _UNSET or (foreign.takes == "switch" and _plain(value) in _FALSE)
    for case in foreign.cases:
        if (case.values is not None or not unset) and case.fits(value, cls, flags):
            if foreign.training and issubclass(cls, AssessmentOptions):
                return Answer("understood", _PASSED_OVER)
            return case.answer
    return None


# --- one JSON file instead of a command line ----------------------------------------------------

# Options that are of one start of a run alone, so that a record does not repeat them: where it
# writes, what may be removed there, and its place in a job of several processes.
_OF_ONE_START = frozenset(
    {
        "output_dir",
        "overwrite_output_dir",
        "allow_changed_options",
        "coordinator_address",
        "num_processes",
        "process_id",
    }
)


def _object_in(path: str) -> dict[str, Json]:
    try:
        return read_object(Path(path).expanduser().resolve())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def record_of(path: str) -> tuple[Json, dict[str, Json]] | None:
    """The task and the options of a run's record, in a JSON file; None for flags alone.

    Raises:
        InputError: there is no such file, or it is not JSON.
    """
    values = _object_in(path)
    options = values.get("options")
    return (values["task"], options) if isinstance(options, dict) and "task" in values else None


def words_of_file(path: str, cls: type[Settings], table: Mapping[str, Foreign]) -> list[str]:
    """A file of options, {"learning_rate": 3e-5, ...}, as the words of a command line.

    It is what HfArgumentParser.parse_json_file reads, or options.json of a run; of that all but
    what is of one start alone, such as output_dir.

    Raises:
        InputError: it is not JSON, or a value cannot be used.
    """
    record = record_of(path)
    if record is None:
        values = _object_in(path)
    else:
        values = {n: x for n, x in record[1].items() if n not in _OF_ONE_START}
    own = check_saved(cls, {n: x for n, x in values.items() if n not in table}, Path(path))
    words: list[str] = []
    for name, value in (values | own).items():
        if value is not None:
            words += words_of(path, name, value)
    return words


def words_of(path: str, name: str, value: Json) -> Iterable[str]:
    """The words of a command line for an option of a file.

    Raises:
        InputError: a value begins as a flag does.
    """
    if isinstance(value, bool):
        return [f"--{name}={value}"]
    if isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
        dashed = next((each for each in value if _is_flag(str(each))), None)
        if dashed is not None:
            raise InputError(f"{path}: {name}: {shown(str(dashed))} begins as a flag does")
        return [f"--{name}", *map(str, value)] if value else []
    if isinstance(value, list | dict):
        return [f"--{name}={json.dumps(value)}"]
    return [f"--{name}={value}"]
