"""`jaxbert train together`: several tasks on one encoder, each with flags of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jaxbert.cli.command_line import Given, read_words
from jaxbert.cli.flags import make_parser
from jaxbert.cli.foreign_flags import FOREIGN
from jaxbert.cli.migrating import record_of, split_flags, words_of, words_of_file
from jaxbert.cli.repeating import words_to_repeat
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import read_object, shown
from jaxbert.options.together_settings import OF_EITHER, OF_TASKS, REFUSED, TogetherOptions
from jaxbert.runs.asked_tasks import Asked, NamedTask, ask, named_tasks, own_options
from jaxbert.runs.train_together import TOGETHER, train_together
from jaxbert.runtime.signal_listener import EXIT_STOPPED

_PROG = f"jaxbert train {TOGETHER}"
_EPILOG = f"""\
{_PROG} RUN/options.json --output_dir NEW repeats a run by its record;
further flags override. Without --output_dir it resumes that very run. A JSON
file of flags alone can stand there too: {{"tasks": ["qa", "mlm"],
"qa.train_file": "train.json", ...}}.
"""


def run(words: Sequence[str]) -> int:
    """Train as the command line says.

    Returns:
        The exit status.

    Raises:
        InputError: something the user gave cannot be used.
    """
    if {"-h", "--help"} & set(words):
        hidden = OF_TASKS | REFUSED.keys()
        make_parser(TogetherOptions, _PROG, epilog=_EPILOG, hidden=hidden).parse_args(["--help"])
    words = words_to_repeat(TOGETHER, words)
    if words and words[0].endswith(".json"):
        words = [*_words_of_file(words[0]), *words[1:]]
    trained = train_together(asked_by(words))
    return 0 if trained.done else EXIT_STOPPED


def asked_by(words: Sequence[str]) -> Asked:
    """What the words of a command line ask for.

    Raises:
        InputError: something in them cannot be used.
    """
    before, flags = split_flags(words)
    common, own = list(before), []
    for flag in flags:
        if "." in flag.name:
            own.append(flag)
        else:
            joined = [f"{flag.written}={flag.value}"] if len(flag.values) == 1 else None
            common += joined or [flag.written, *flag.values]
    given = read_words(TogetherOptions, common, make_parser(TogetherOptions, _PROG))
    named = given.values.get("tasks")
    tasks = named_tasks(named if isinstance(named, list) else [])
    of_tasks: dict[str, list[str]] = {name: [] for name in tasks}
    for flag in own:
        name, _, option = flag.name.lstrip("-").partition(".")
        if name not in tasks:
            raise InputError(
                f"{shown(flag.written)}: --tasks names no {shown(name)}; it names "
                f"{', '.join(tasks)}"
            )
        of_tasks[name] += dataclasses.replace(flag, written=f"--{option}", name=option).words
    found = {name: _given_to(tasks[name], own_words) for name, own_words in of_tasks.items()}
    asked = ask(given.values, tasks, {name: of.values for name, of in found.items()}, {})
    for each in (given, *found.values()):
        each.tell()
    return asked


def _given_to(task: NamedTask, words: Sequence[str]) -> Given:
    """What a command line gives to a task.

    Args:
        words: without the task's name.
    """
    cls = task.options_cls
    try:
        return read_words(cls, words, make_parser(cls, _PROG))
    except InputError as error:
        raise InputError(f"{task.name}: {error}") from None


def _words_of_file(path: str) -> Iterator[str]:
    """The words of a file of flags, or of a run's record."""
    yield from words_of_file(path, TogetherOptions, FOREIGN)
    record = record_of(path)
    if record is None:
        return
    common, raw = record[1], read_object(Path(path).expanduser()).get("parts")
    named = common.get("tasks")
    tasks = named_tasks([str(word) for word in named] if isinstance(named, list) else [])
    for name, task in tasks.items():
        part = raw.get(name) if isinstance(raw, dict) else None
        saved = part.get("options") if isinstance(part, dict) else None
        if not isinstance(saved, dict):
            raise InputError(f"{path}: not the record of a run of several tasks")
        for option, value in _own(task, saved, common).items():
            yield from words_of(path, f"{name}.{option}", value)


def _own(task: NamedTask, saved: Mapping[str, Json], common: Mapping[str, Json]) -> dict[str, Json]:
    """What a record has of a task that is not of the whole run."""
    return {
        n: saved[n]
        for n in own_options(task.options_cls)
        if saved.get(n) is not None and not (n in OF_EITHER and saved[n] == common.get(n))
    }
