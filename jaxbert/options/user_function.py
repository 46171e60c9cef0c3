"""A function that a Python program gives: what it depends on, so that a resumed run has the same.

A function of a file is known by the file's text. One of a notebook is known by its own source, its
defaults, the values of its closure and the globals that it reads, each described in one line that
is the same in every process.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.options.dependencies import Dependencies, Function, innermost, name_of

PREFIX = "function "  # of the name of a function in messages and records


class UserFunction(NamedTuple):
    """A function that a Python program gave.

    Attributes:
        name: what messages and the record call it: "function my_loss".
        function: itself.
        source: its text.
        values: what it depends on besides its text: "global GAMMA" -> "2.0".
        path: of its file; in a notebook there is none of that name.
    """

    name: str
    function: Function
    source: str
    values: dict[str, str]
    path: Path


def user_function(function: Function, option: str, or_file: bool = False) -> UserFunction:
    """The function with all that it depends on.

    Args:
        option: that it was given for, as messages call it: "--loss", "corruption".
        or_file: FILE.py:FUNCTION can be given instead.

    Raises:
        InputError: its source cannot be found, or it depends on something that has no value.
    """
    if not callable(function):
        kind = type(function).__name__
        other = "a name, FILE.py:FUNCTION, or " * or_file
        raise InputError(f"{option} (of type {kind}): give {other}a Python function")
    name = f"{PREFIX}{name_of(function)}"
    where = f"{option} {name}"
    path = Path(innermost(function).__code__.co_filename)
    try:
        inspect.signature(function)
    except (TypeError, ValueError) as error:  # a partial with arguments that it does not take
        raise InputError(f"{where}: it cannot be called ({error})") from None
    otherwise = ", or put it in a file and give FILE.py:FUNCTION" * or_file
    found = Dependencies(where, function, otherwise)
    return UserFunction(name, function, found.source, found.values, path)


def error_line(error: BaseException, path: Path) -> str:
    """An error of a user's function in one line: where in its file, what, and what to do."""
    own = path.absolute()
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if Path(frame.filename).absolute() == own]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    place = f"{path}:{line}" if line else str(path)
    if not path.exists():  # a cell of a notebook
        place = f"line {line}" if line else "its source"
    kind = type(error).__name__
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    if kind.startswith("Tracer") or kind == "ConcretizationTypeError":
        return (
            f"{place}: it cannot be compiled: a value that is known only on the device decides "
            f"what Python does ({kind}); use jnp.where, jax.lax.cond or jnp functions"
        )
    return f"{place}: {kind}: {said}"


def changed_value(before: Mapping[str, Json], now: Mapping[str, Json]) -> str | None:
    """The first value that differs, in words; None where all are equal."""
    for name in sorted({**before, **now}):
        old, new = before.get(name), now.get(name)
        if old != new:
            return f"{name} was {old or 'not used'} and is {new or 'not used'}"
    return None
