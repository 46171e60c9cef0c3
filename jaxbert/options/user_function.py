"""A function that a Python program gives: what it depends on, so that a resumed run has the same.

A function of a file is known by the file's text. One of a notebook is known by its own source, its
defaults, the values of its closure and the globals that it reads, each described in one line that
is the same in every process.
"""

from __future__ import annotations

import ast
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib.metadata
import inspect
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from jaxbert.errors import InputError
from jaxbert.io.files import Json

# Their versions are in every run's record, where another one is a warning.
_RECORDED = {"jax", "jaxlib", "numpy", "flax", "optax", "jaxbert"}
PREFIX = "function "  # of the name of a function in messages and records
_LONGEST = 200  # characters of a value that is recorded as it is written


Function: TypeAlias = Callable[..., Any]


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
    name = f"{PREFIX}{_name_of(function)}"
    where = f"{option} {name}"
    plain = _plain(function)
    try:
        inspect.signature(function)
    except (TypeError, ValueError) as error:  # a partial with arguments that it does not take
        raise InputError(f"{where}: it cannot be called ({error})") from None
    record = _Record(where, plain, ", or put it in a file and give FILE.py:FUNCTION" * or_file)
    source = record.add("", function)
    return UserFunction(name, function, source, record.values, Path(plain.__code__.co_filename))


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


def _name_of(function: Function) -> str:
    plain = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    name: str = getattr(plain, "__qualname__", type(plain).__qualname__)
    return name.rpartition("<locals>.")[2]


def _plain(function: Function) -> FunctionType:
    """The Python function that has the code."""
    found = function
    while not isinstance(found, FunctionType) or hasattr(found, "__wrapped__"):
        if isinstance(found, functools.partial):
            found = found.func
        elif hasattr(found, "__wrapped__"):
            found = found.__wrapped__
        elif isinstance(found, MethodType):
            found = found.__func__
        else:  # an object that can be called
            found = inspect.getattr_static(type(found), "__call__", None)
            if not isinstance(found, FunctionType):
                raise InputError(
                    f"{_name_of(function)} is not a function written in Python; give one "
                    "that calls it"
                )
    return found


class _Record:
    """What a function depends on: place -> value, in words."""

    def __init__(self, where: str, function: Function, otherwise: str) -> None:
        self.values: dict[str, str] = {}
        self._where, self._otherwise = where, otherwise
        # What is being described, the outermost first: a function may use itself.
        self._within: list[tuple[str, object]] = [("function itself", function)]

    def add(self, place: str, function: Function) -> str:
        """The source of a function; what else it depends on is put into `values`.

        Args:
            place: of a function that another one uses, with a space behind it.
        """
        if isinstance(function, functools.partial):
            for number, value in enumerate(function.args):
                self._put(f"{place}partial {number}", value)
            for name, value in function.keywords.items():
                self._put(f"{place}partial {name}", value)
            return self.add(place, function.func)
        if isinstance(function, MethodType):
            self._put(f"{place}self", function.__self__)
        elif not isinstance(function, FunctionType) and not hasattr(function, "__wrapped__"):
            self._put(f"{place}self", function)
        plain = _plain(function)
        source = _source_of(plain, self._where)
        signature = inspect.signature(plain)
        for parameter in signature.parameters.values():
            if parameter.default is not parameter.empty:
                self._put(f"{place}default {parameter.name}", parameter.default)
        cells = plain.__closure__ or ()
        for name, cell in zip(plain.__code__.co_freevars, cells, strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not given a value yet
                continue
            self._put(f"{place}closure {name}", value)
        for name in sorted(set(_globals_of(plain.__code__))):
            if name in plain.__globals__:  # else a builtin, or a name that there is not
                self._put(f"{place}global {name}", plain.__globals__[name])
        return source

    def _put(self, place: str, value: object) -> None:
        self.values[place] = self._described(place, value)

    def _described(self, place: str, value: object) -> str:
        """A line that two equal values have alike in every process."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return _short(repr(value))
        if isinstance(value, ModuleType):
            return _module(value)
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            return _array(value)
        if isinstance(value, np.dtype | enum.Enum):
            return str(value)
        for outer, one in self._within:
            if one is value:
                return f"the {outer} again"
        self._within.append((place, value))
        try:
            return self._object(place, value)
        finally:
            self._within.pop()

    def _object(self, place: str, value: object) -> str:
        if isinstance(value, list | tuple):
            parts = [self._described(f"{place}[{n}]", item) for n, item in enumerate(value)]
            return _short(f"{type(value).__name__}({', '.join(parts)})")
        if isinstance(value, Mapping):
            pairs = [f"{k!r}: {self._described(f'{place}[{k!r}]', x)}" for k, x in value.items()]
            return _short(f"{type(value).__name__}({', '.join(pairs)})")
        if isinstance(value, set | frozenset):
            found = sorted(self._described(place, item) for item in value)
            return _short(f"{type(value).__name__}({', '.join(found)})")
        module = sys.modules.get(str(getattr(value, "__module__", None)))
        named = getattr(value, "__qualname__", None)
        if named is not None and module is not None and not _is_users(module):
            return f"{named} of {_module(module)}"
        if isinstance(value, type):
            return f"class {_short(_source_of(value, self._where))}"
        if isinstance(value, functools.partial | FunctionType | MethodType) or (
            callable(value) and hasattr(value, "__wrapped__")
        ):
            source = self.add(f"{place} ", value)
            return f"function {_short(source)}"
        if dataclasses.is_dataclass(value) or hasattr(value, "__dict__"):
            kind = type(value)
            what = f"{kind.__module__}.{kind.__qualname__}"
            return _short(f"{what}({self._described(f'{place} attributes', vars(value))})")
        raise InputError(
            f"{self._where} depends on {place}, a {type(value).__name__}, of which nothing can be "
            f"recorded; give it numbers, texts, arrays, functions or modules{self._otherwise}"
        )


def _array(value: np.ndarray | np.generic | jax.Array) -> str:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"key {_array(jax.random.key_data(value))}"
    array = np.asarray(value)
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    return f"array {array.dtype} {array.shape} {digest}"


def _short(text: str) -> str:
    """The text, or of a long one its beginning and a digest."""
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{' '.join(text.split())[:40]}... sha256 {digest}"


def _is_users(module: ModuleType) -> bool:
    """Whether a module is the user's: neither Python's nor of an installed package."""
    root = module.__name__.partition(".")[0]
    if root == "__main__":
        return True
    return root not in sys.stdlib_module_names and root not in _RECORDED and not _version(root)


def _module(module: ModuleType) -> str:
    """A module by its name and version, one of the user's by its text."""
    root = module.__name__.partition(".")[0]
    if root in sys.stdlib_module_names or root in _RECORDED:
        return f"module {module.__name__}"
    if version := _version(root):
        return f"module {module.__name__} {version}"
    file = getattr(module, "__file__", None)
    text = Path(file).read_bytes() if file and file.endswith(".py") else b""
    return f"module {module.__name__} sha256 {hashlib.sha256(text).hexdigest()[:16]}"


def _version(root: str) -> str | None:
    """The version of the package that a module is of; None where none was installed."""
    try:
        return importlib.metadata.version(root)
    except importlib.metadata.PackageNotFoundError:
        version = getattr(sys.modules.get(root), "__version__", None)
        return str(version) if version is not None else None


def _globals_of(code: CodeType) -> Iterator[str]:
    """The names that code looks up globally, that of functions inside of it too.

    Not inspect.getclosurevars: before Python 3.13 it takes attributes for globals.
    """
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)


def _source_of(thing: FunctionType | type, where: str) -> str:
    """The text of a function or class; of a lambda it alone, not the statement around it."""
    try:
        if isinstance(thing, FunctionType) and thing.__name__ == "<lambda>":
            lines, _ = inspect.findsource(thing)
            return _lambda_in("".join(lines), thing.__code__)
        return textwrap.dedent(inspect.getsource(thing)).rstrip()
    except (OSError, TypeError, SyntaxError):
        name = getattr(thing, "__qualname__", str(thing))
        raise InputError(
            f"{where}: the source of {name} cannot be found, so a resumed run could not be held to "
            "it; write it in a file or a notebook cell, not at a prompt"
        ) from None


def _lambda_in(text: str, code: CodeType) -> str:
    """The lambda whose code it is, of the file that it stands in."""
    places = [p for p in code.co_positions() if None not in p and p[0] is not None]
    inside = [
        (line, column) for line, _, column, _ in places if column or line != code.co_firstlineno
    ]
    found = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Lambda)
        and all(_start(node.body) <= place <= _end(node.body) for place in inside)
    ]
    # The innermost one that holds all of the code.
    best = max(found, key=_start, default=None)
    segment = ast.get_source_segment(text, best) if best is not None else None
    if segment is None:
        raise OSError
    return segment


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
