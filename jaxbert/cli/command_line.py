"""Command lines: flags from option dataclasses, and errors in one line with exit status 2."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TextIO, TypeVar, cast, get_type_hints

import jax
from tqdm import tqdm
from transformers import HfArgumentParser

from jaxbert.cli.foreign_flags import FOREIGN
from jaxbert.cli.migrating import migrate, words_of_file
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.options.settings import GROUPS
from jaxbert.options.values import check_places
from jaxbert.runtime import devices, memory, processes

T = TypeVar("T")

_TYPOS = 2  # letters in which a flag may differ from the one that was meant


class _Help(argparse.RawDescriptionHelpFormatter):
    """Each flag once, with its default where it has one, and a script's docstring as written."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        flag, short = action.option_strings[0], action.option_strings[-1]
        if action.nargs == 0:
            return f"{flag}, {short}" if short != flag else flag
        return f"{flag} {self._format_args(action, _metavar(action))}"

    def _get_help_string(self, action: argparse.Action) -> str | None:
        unset = action.default is None or action.default is False  # 0 and 0.0 are defaults
        if unset or action.default is argparse.SUPPRESS or action.nargs == 0:
            return action.help
        return f"{action.help} (default: %(default)s)"


def _metavar(action: argparse.Action) -> str:
    """What stands for a flag's value: what it is, as far as its name and type say."""
    name = action.dest
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    if action.type in (int, float):
        return "N" if action.type is int else "X"
    if action.const is True:  # a switch, which may be followed by True or False
        return "True|False"
    kinds = ("file", "dir", "name", "path", "args", "split", "address")
    return next((kind.upper() for kind in kinds if name.endswith(kind)), "VALUE")


class _Parser(HfArgumentParser):
    """Hugging Face's own reading of dataclasses as flags, in groups, with errors in one line.

    It takes `--flag`, `--flag True`, `--no_flag` and lists as their scripts do.
    """

    def _add_dataclass_arguments(self, dtype: type[object]) -> None:
        """Each option in the group of the dataclass that declares it first."""
        assert dataclasses.is_dataclass(dtype)
        hints = get_type_hints(dtype)
        declared = {
            name: (GROUPS.index(base.GROUP) if hasattr(base, "GROUP") else -1, number)
            for number, base in enumerate(dtype.__mro__)  # the last one is the first to declare it
            for name in inspect.get_annotations(base)
        }
        groups: dict[int, argparse._ActionsContainer] = {-1: self}
        for field in sorted(dataclasses.fields(dtype), key=lambda field: declared[field.name]):
            number, _ = declared[field.name]
            if number not in groups:
                groups[number] = self.add_argument_group(GROUPS[number])
            field.type = hints[field.name]
            self._parse_dataclass_field(cast(argparse.ArgumentParser, groups[number]), field)
        for action in self._actions:
            if action.const is False:  # --no_flag, of which --flag tells
                action.help = argparse.SUPPRESS

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists the options")


def parse(
    kind: type[T],
    argv: Sequence[str] | None = None,
    *,
    prog: str | None = None,
    defaults: Callable[[T], Mapping[str, Any]] | None = None,
    description: str | None = None,
    epilog: str | None = None,
    listed: Mapping[str, Iterable[str]] | None = None,
) -> T:
    """The options of a command line, which may begin with a JSON file of options.

    Args:
        kind: the option dataclass.
        prog: the command, for --help; by default the script's name.
        defaults: given the options as they would be, other defaults for what was not given.
        description, epilog: what --help says before and after the options; before them by default
            the docstring of the dataclass.
        listed: option -> the values that its help lists.

    Raises:
        InputError: a flag is unknown, refused, or has a value that it does not take.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0].endswith(".json"):  # what follows, as the launcher's flags, overrides it
        found = [*words_of_file(words[0], kind, FOREIGN), *words[1:]]
        try:
            return _parse(kind, found, make_parser(kind), defaults)
        except InputError as error:
            raise InputError(f"{words[0]}: {error}") from None
    parser = make_parser(kind, prog, description, epilog)
    for action in parser._actions:
        if listed and action.dest in listed:
            action.help = f"{action.help} There are: {', '.join(listed[action.dest])}."
    return _parse(kind, words, parser, defaults)


def make_parser(
    kind: type[object],
    prog: str | None = None,
    description: str | None = None,
    epilog: str | None = None,
) -> _Parser:
    """The flags of a command; see parse."""
    return _Parser(
        cast(Any, kind),
        prog=prog,
        description=description or inspect.getdoc(kind),
        epilog=epilog,
        usage="%(prog)s [options]",
        formatter_class=_Help,
        allow_abbrev=False,
    )


def _parse(
    kind: type[T],
    words: Sequence[str],
    parser: _Parser,
    defaults: Callable[[T], Mapping[str, Any]] | None,
) -> T:
    migrated = migrate(words, kind, FOREIGN)
    if "--help" not in migrated.words:
        faults = [*migrated.faults, *_unknown(migrated.unknown, parser)]
        if faults:
            raise InputError("; ".join(faults))
    options = _read(parser, migrated.words)
    if defaults is not None:
        parser.set_defaults(**defaults(options))
        options = _read(parser, migrated.words)
    check_places(options)
    for note in migrated.notes:
        logging.getLogger("jaxbert").info("%s", note)
    if migrated.cpu:  # before JAX looks for devices
        jax.config.update("jax_platforms", "cpu")
    return options


def _read(parser: _Parser, words: list[str]) -> Any:
    found, *rest = parser.parse_args_into_dataclasses(
        words, return_remaining_strings=True, look_for_args_file=False
    )
    for word in rest[-1]:
        hint = "; a JSON file of options is given first" if word.endswith(".json") else ""
        raise InputError(f"{shown(word)} belongs to no option{hint}; --help lists the options")
    return found


def _unknown(flags: Sequence[str], parser: _Parser) -> list[str]:
    """One message of all unknown flags, with the options that may have been meant."""
    if not flags:
        return []
    from nltk.metrics.distance import edit_distance  # slow to import, and needed for this alone

    known = [action.option_strings[0] for action in parser._actions]
    meant = {}
    for flag in flags:
        plain = flag.replace("-", "_").replace("__", "--", 1)
        apart = {name: edit_distance(plain, name, transpositions=True) for name in known}
        closest = min(known, key=apart.__getitem__)
        if apart[closest] <= min(_TYPOS, (len(plain) - 2) // 4):
            meant[flag] = closest
    verb = "is not an option" if len(flags) == 1 else "are not options"
    hints = [f"did you mean {name} for {flag}?" for flag, name in meant.items()]
    if len(flags) == 1 and meant:
        hints = [f"did you mean {meant[flags[0]]}?"]
    return [f"{', '.join(flags)} {verb}; {' '.join(hints) or '--help lists the options'}"]


class _Lines(logging.Handler):
    """Messages as plain lines on standard output, above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(record.getMessage(), file=sys.stdout)
        except OSError:  # whoever read has gone; a training goes on without
            _drop_stdout()


class _Unheard:
    """A stream of which a reader or terminal that has gone takes nothing but what it would read."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(command: Callable[[], int | None], *, quiet: bool = False) -> NoReturn:
    """Run a script's command: results on standard output, an InputError as one line, exit 2.

    Args:
        quiet: nothing but what the command prints, for output that other programs read.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a narrow locale shall not end a run
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = cast(TextIO, _Unheard(sys.stderr))  # progress bars, warnings and errors
    memory.keep_freed()
    logger = logging.getLogger("jaxbert")
    logger.addHandler(_Lines())
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False  # libraries may have set up the root logger; each line comes once
    devices.show_warnings()
    # Orbax logs by it, with a traceback, what it raises too.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        status = command() or 0
    except InputError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        status = 2
    except BrokenPipeError:
        _drop_stdout()
        status = 1
    except OSError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        status = 1 if isinstance(error, ConnectionError) else 2
    except Exception as error:  # Python says no more, but several processes would wait
        lost = processes.several() and isinstance(error, jax.errors.JaxRuntimeError)
        status = 1
        if "--debug" in sys.argv:
            traceback.print_exc()
        elif lost:  # another process has ended, and says why
            reason = str(error).splitlines()[0]
            print(f"error: the processes compute together no more ({reason})", file=sys.stderr)
        elif isinstance(error, (AssertionError, RuntimeError)) and (fault := devices.fault()):
            print(f"error: {fault}", file=sys.stderr)
            status = 2
        else:  # a fault of ours
            traceback.print_exc()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    processes.leave(status)
    sys.exit(status)
