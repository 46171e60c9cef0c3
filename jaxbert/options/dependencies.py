"""What a user's function depends on besides its text, each value in a line that never varies.

Two processes describe equal values alike, and unequal ones apart: numbers, texts, arrays,
functions, the classes of objects with their methods and attributes, and what a wrapper
(functools.wraps, jax.grad, a schedule of optax) keeps in its closure.
"""

from __future__ import annotations

import datetime
import decimal
import dis
import enum
import fractions
import functools
import hashlib
import importlib.metadata
import inspect
import logging
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from types import CodeType, EllipsisType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import jax
import numpy as np

from jaxbert.errors import InputError
from jaxbert.options.source_text import source_text

Function: TypeAlias = Callable[..., Any]

# Their versions are in every run's record, where another one is a warning.
_RECORDED = {"jax", "jaxlib", "numpy", "flax", "optax", "jaxbert"}
_LONGEST = 200  # characters of a value that is recorded as it is written
# Values whose repr says all that they are.
_PLAIN = (
    *(bool, int, float, complex, str, bytes, range, slice, EllipsisType, PurePath, enum.Enum),
    *(decimal.Decimal, fractions.Fraction, datetime.date, datetime.time, datetime.timedelta),
)


class Dependencies:
    """What a function depends on.

    Attributes:
        source: its text.
        values: place -> value, in words: "closure scale" -> "3".
    """

    def __init__(self, where: str, function: Function, otherwise: str) -> None:
        """All that a function depends on.

        Args:
            where: the option and the function's name, as messages begin.
            otherwise: what else messages advise.

        Raises:
            InputError: a text cannot be found, or a value cannot be described.
        """
        self.values: dict[str, str] = {}
        self._where, self._otherwise = where, otherwise
        # What is being described, the outermost first: a function may use itself.
        self._within: list[tuple[str, int]] = [("function itself", 0)]  # with ids
        # Where each function and class is described; all other places refer to that one.
        self._first: dict[FunctionType | type, str] = {}
        self.source = self._function("", function, strict=True)

    def _function(self, place: str, function: Function, strict: bool) -> str:
        """The source of a function; what else it depends on is put into `values`.

        Args:
            place: of a function that another one uses, with a space behind it.
            strict: a value that cannot be described is an error; else its type stands for it.
        """
        *wrappers, plain = _layers(function)
        name, _ = self._within[-1]  # the function's
        first = self._first.get(plain)
        self._first.setdefault(plain, name)
        self._within.append((name, id(plain)))
        try:
            for depth, wrapper in enumerate(wrappers, start=1):
                self._wrapper(place, depth, wrapper, strict)
            if first is not None:
                return f"the {first} again"
            if not _is_users(plain):
                self._closure(place, plain, strict=False)
                return f"{plain.__code__.co_qualname} of {_module_of(plain)}"
            self._code(place, plain, strict)
            return source_text(plain, self._where)
        finally:
            self._within.pop()

    def _wrapper(self, place: str, depth: int, wrapper: Function, strict: bool) -> None:
        """One layer around a function: arguments of a partial, an object, a decorator."""
        inner = place if depth == 1 else f"{place}wrapper {depth} "
        if isinstance(wrapper, functools.partial):
            for number, value in enumerate(wrapper.args):
                self._put(f"{inner}partial {number}", value, strict)
            for name, value in wrapper.keywords.items():
                self._put(f"{inner}partial {name}", value, strict)
        elif isinstance(wrapper, MethodType):
            self._put(f"{inner}self", wrapper.__self__, strict)
        elif isinstance(wrapper, FunctionType):
            layer = f"{place}wrapper {depth}"
            if _is_users(wrapper):
                self.values[layer] = _short(source_text(wrapper, self._where))
                self._code(f"{layer} ", wrapper, strict)
            else:
                self.values[layer] = f"{wrapper.__code__.co_qualname} of {_module_of(wrapper)}"
                self._closure(f"{layer} ", wrapper, strict=False)
        elif hasattr(wrapper, "__wrapped__"):  # jax.jit, jax.custom_vjp, functools.lru_cache
            for name, value in sorted(vars(wrapper).items()):
                if not name.startswith("_"):
                    self._put(f"{place}wrapper {depth} {name}", value, strict=False)
        else:
            self._put(f"{inner}self", wrapper, strict)

    def _code(self, place: str, function: FunctionType, strict: bool) -> None:
        """Defaults, closure and globals of a function that a user wrote."""
        for parameter in inspect.signature(function, follow_wrapped=False).parameters.values():
            if parameter.default is not parameter.empty:
                self._put(f"{place}default {parameter.name}", parameter.default, strict)
        self._closure(place, function, strict)
        for name in sorted(set(_globals_of(function.__code__))):
            if name in function.__globals__:  # else a builtin, or a name that there is not
                self._put(f"{place}global {name}", function.__globals__[name], strict)

    def _closure(self, place: str, function: FunctionType, strict: bool) -> None:
        cells = function.__closure__ or ()
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not given a value yet
                continue
            self._put(f"{place}closure {name}", value, strict)

    def _put(self, place: str, value: object, strict: bool) -> None:
        self.values[place] = self._described(place, value, strict)

    def _described(self, place: str, value: object, strict: bool) -> str:
        """A line that two equal values have alike in every process."""
        if value is None or isinstance(value, _PLAIN):
            if isinstance(value, enum.Enum):
                self._class_of(place, type(value))
            return _short(repr(value))
        if isinstance(value, re.Pattern):  # its repr is cut
            return _short(f"pattern {value.pattern!r} {value.flags}")
        if isinstance(value, logging.Logger):
            return f"logger {value.name}"
        if isinstance(value, ModuleType):
            return _module(value)
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            return _array(value)
        if isinstance(value, np.dtype):
            return str(value)
        for outer, one in self._within:
            if one == id(value):
                return f"the {outer} again"
        self._within.append((place, id(value)))
        try:
            return self._object(place, value, strict)
        finally:
            self._within.pop()

    def _object(self, place: str, value: object, strict: bool) -> str:
        items: list[str] | None = None
        if isinstance(value, list | tuple):
            items = [self._described(f"{place}[{n}]", x, strict) for n, x in enumerate(value)]
        elif isinstance(value, set | frozenset):  # their order varies
            items = sorted(self._described(place, item, strict) for item in value)
        elif isinstance(value, Mapping):
            items = [
                f"{key!r}: {self._described(f'{place}[{key!r}]', item, strict)}"
                for key, item in value.items()
            ]
        if items is not None:
            self._class_of(place, type(value))
            return _short(f"{type(value).__name__}({', '.join(items)})")
        if callable(value) and (library_name := _library_name(value)):
            return library_name
        if isinstance(value, type):
            return self._class(place, value)
        if isinstance(value, functools.partial | FunctionType | MethodType) or (
            callable(value) and hasattr(value, "__wrapped__")
        ):
            return f"function {_short(self._function(f'{place} ', value, strict))}"
        cls = f"{type(value).__module__}.{type(value).__qualname__}"
        slots = _slots(type(value))
        if (slots or hasattr(value, "__dict__")) and (strict or _is_users_class(type(value))):
            self._class_of(place, type(value))
            kept = {name: getattr(value, name) for name in slots if hasattr(value, name)}
            kept |= getattr(value, "__dict__", {})
            return _short(f"{cls}({self._described(f'{place} attributes', kept, strict)})")
        if not strict:
            return f"a {cls}"
        raise InputError(
            f"{self._where} depends on {place}, a {type(value).__name__}, of which nothing can be "
            f"recorded; give it numbers, texts, arrays, functions or modules{self._otherwise}"
        )

    def _class_of(self, place: str, cls: type) -> None:
        """Put what the class of a value is, where a user wrote it."""
        if _is_users_class(cls):
            self._put(f"{place} class", cls, strict=False)

    def _class(self, place: str, cls: type) -> str:
        """A user's class by its text; put what its methods depend on and its attributes are.

        An attribute can be set after the definition, so the text alone does not tell.
        """
        if cls in self._first:
            return f"the {self._first[cls]} again"
        self._first[cls] = place
        for base in cls.__bases__:
            if _is_users_class(base):
                self._put(f"{place} base {base.__name__}", base, strict=False)
        for name, member in sorted(vars(cls).items()):
            function = member
            for inner in ("__func__", "fget", "func"):  # of a class or static method, a property
                function = getattr(function, inner, None) or function
            if isinstance(function, FunctionType):
                plain = innermost(function)
                if _is_users(plain) and not _is_generated(plain):
                    self._put(f"{place} {name}", function, strict=False)
            elif not name.startswith("_") and not inspect.isdatadescriptor(member):
                self._put(f"{place} {name}", member, strict=False)
        return f"class {_short(source_text(cls, self._where))}"


def innermost(function: Function) -> FunctionType:
    """The Python function that has the code, under all that is wrapped around it.

    Raises:
        InputError: there is none.
    """
    *_, plain = _layers(function)
    return plain


def name_of(function: Function) -> str:
    """The name that messages and records call a function by."""
    plain = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    name: str = getattr(plain, "__qualname__", type(plain).__qualname__)
    return name.rpartition("<locals>.")[2]


def _layers(function: Function) -> tuple[*tuple[Function, ...], FunctionType]:
    """What is wrapped around a function, the outermost first, and the function."""
    wrappers: list[Function] = []
    inner = function
    while not isinstance(inner, FunctionType) or hasattr(inner, "__wrapped__"):
        wrappers.append(inner)
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif isinstance(inner, MethodType):
            inner = inner.__func__
        else:  # an object that can be called
            inner = inspect.getattr_static(type(inner), "__call__", None)
            if not isinstance(inner, FunctionType):
                raise InputError(
                    f"{name_of(function)} is not a function written in Python; give one "
                    "that calls it"
                )
    return (*wrappers, inner)


def _is_generated(function: FunctionType) -> bool:
    """Whether a decorator such as dataclass wrote a method, so that no file has its text."""
    try:
        inspect.getsource(function.__code__)
    except (OSError, TypeError):
        return True
    return False


def _slots(cls: type) -> list[str]:
    """The attributes that a class names in `__slots__`, with those of its bases."""
    named = (vars(base).get("__slots__", ()) for base in cls.__mro__)
    slots = [name for names in named for name in ([names] if isinstance(names, str) else names)]
    return [name for name in slots if name not in ("__dict__", "__weakref__")]


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


def _library_name(value: Function) -> str | None:
    """Of what a package offers by name, that name with the package's version."""
    module = sys.modules.get(str(getattr(value, "__module__", None)))
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if module is None or not isinstance(name, str) or isinstance(value, MethodType):
        return None
    if _users_module(module.__name__):
        return None
    try:
        offered = operator.attrgetter(name)(module)
    except AttributeError:
        offered = None
    if offered is value or not isinstance(value, FunctionType):
        return f"{name} of {_module(module)}"
    return None  # made by a call: what it keeps in its closure counts


def _is_users_class(cls: type) -> bool:
    return _users_module(cls.__module__)


def _is_users(function: FunctionType) -> bool:
    """Whether a user wrote a function. A wrapper has the `__module__` of what it wraps."""
    return _users_module(str(function.__globals__.get("__name__", "")))


def _users_module(name: str) -> bool:
    """Whether a module is the user's: neither Python's nor of an installed package."""
    root = name.partition(".")[0]
    if root in ("", "__main__"):
        return True
    if root in sys.stdlib_module_names or root in _RECORDED:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return _version(root) is None
    # A package that is installed to be edited is not there, and its version does not tell.
    return not {"site-packages", "dist-packages"} & set(Path(file).parts)


def _module_of(function: FunctionType) -> str:
    name = str(function.__globals__.get("__name__", ""))
    return _module(sys.modules[name]) if name in sys.modules else f"module {name}"


def _module(module: ModuleType) -> str:
    """A module by its name and version, one of the user's by its text."""
    root = module.__name__.partition(".")[0]
    if root in sys.stdlib_module_names or root in _RECORDED:
        return f"module {module.__name__}"
    if not _users_module(module.__name__) and (version := _version(root)):
        return f"module {module.__name__} {version}"
    file = getattr(module, "__file__", None)
    text = Path(file).read_bytes() if file and file.endswith(".py") else b""
    return f"module {module.__name__} sha256 {hashlib.sha256(text).hexdigest()[:16]}"


@functools.cache
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
