"""Command lines: flags from option dataclasses, and errors in one line with exit status 2."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import logging
import os
import sys
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TextIO, TypeVar, cast

import jax

from jaxbert.cli.flags import flags_of, make_parser
from jaxbert.cli.foreign_flags import FOREIGN
from jaxbert.cli.migrating import migrate, words_of_file
from jaxbert.errors import InputError
from jaxbert.io.fetched import with_addresses
from jaxbert.io.untrusted import shown
from jaxbert.options.fields import Settings, Value
from jaxbert.options.keywords import make_settings, unknown_options
from jaxbert.runtime import devices, memory, processes
from jaxbert.runtime.messages import PlainLines
from jaxbert.runtime.signal_listener import wait_if_leaving

S = TypeVar("S", bound=Settings)


def parse(
    cls: type[S],
    argv: Sequence[str] | None = None,
    *,
    prog: str | None = None,
    defaults: Callable[[S], Mapping[str, Value]] | None = None,
    description: str | None = None,
    epilog: str | None = None,
    listed: Mapping[str, Collection[str]] | None = None,
) -> S:
    """The options of a command line, which may begin with a JSON file of options.

    Args:
        cls: the dataclass of the options.
        prog: the command, for --help; by default the script's name.
        defaults: given the options as they would be, other defaults for what was not given.
        description, epilog: what --help says before and after the options; before them by default
            the docstring of the dataclass.
        listed: option -> the values that its help lists.

    Raises:
        InputError: a flag is unknown, refused, or has a value that it does not take.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    parser = make_parser(cls, prog, description, epilog, listed)
    if not (words and words[0].endswith(".json")):
        return _parse(cls, words, parser, defaults)
    # What follows the file, as the launcher's flags, overrides it.
    arguments = [*words_of_file(words[0], cls, FOREIGN), *words[1:]]
    try:
        return _parse(cls, arguments, parser, defaults)
    except InputError as error:
        raise InputError(f"{words[0]}: {error}") from None


def _parse(
    cls: type[S],
    words: Sequence[str],
    parser: argparse.ArgumentParser,
    defaults: Callable[[S], Mapping[str, Value]] | None,
) -> S:
    given = read_words(cls, words, parser)
    options = make_settings(cls, given.values, defaults=defaults)
    given.tell()
    return options


class Given(NamedTuple):
    """What a command line gives.

    Attributes:
        values: by the names of settings, not checked yet.
        notes: what was understood of other scripts' flags.
        cpu: the CPU was asked for.
    """

    values: dict[str, Value]
    notes: Sequence[str]
    cpu: bool

    def tell(self) -> None:
        """Log what was understood, once the values have been checked."""
        for note in self.notes:
            logging.getLogger("jaxbert").info("%s", note)
        if self.cpu:  # before JAX looks for devices
            jax.config.update("jax_platforms", "cpu")


def read_words(cls: type[Settings], words: Sequence[str], parser: argparse.ArgumentParser) -> Given:
    """What a command line gives to a dataclass.

    Args:
        parser: made for the dataclass, see make_parser.

    Raises:
        InputError: a flag is unknown or refused, or a word belongs to none.
    """
    migrated = migrate(words, cls, FOREIGN)
    if "--help" not in migrated.words:
        faults = list(migrated.faults)
        if migrated.unknown:
            otherwise = "--help lists the options"
            faults.append(unknown_options(migrated.unknown, flags_of(cls), otherwise))
        if faults:
            raise InputError("; ".join(faults))
    given, rest = parser.parse_known_args(migrated.words)
    for word in rest:
        hint = "; a JSON file of options is given first" if word.endswith(".json") else ""
        raise InputError(f"{shown(word)} belongs to no option{hint}; --help lists the options")
    return Given(vars(given), migrated.notes, migrated.cpu)


def named_words(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """A command line whose first words stand without their flags, with these.

    >>> named_words(["runs/a", "--debug"], ["model_name_or_path", "hub_model_id"])
    ['--model_name_or_path=runs/a', '--debug']
    """
    first = list(itertools.takewhile(lambda word: not word.startswith("-"), words))[: len(names)]
    return [*(f"--{n}={x}" for n, x in zip(names, first, strict=False)), *words[len(first) :]]


class _Lines(PlainLines):
    """Those of a process of its own, whose standard output is dropped when its reader has gone."""

    def on_reader_gone(self) -> None:
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
        if isinstance(stream, io.TextIOWrapper):  # so that a narrow locale does not end a run
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
        wait_if_leaving()
    except InputError as error:
        wait_if_leaving()
        if "--debug" in sys.argv:
            traceback.print_exc()
        message = " ".join(with_addresses(str(error)).split())
        print(f"error: {message}", file=sys.stderr)
        status = 2
    except BrokenPipeError:
        _drop_stdout()
        status = 1
    except OSError as error:
        wait_if_leaving()
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
