"""FILE.py:FUNCTION: a user's function of a file, with the texts that it depends on."""

from __future__ import annotations

import importlib.util
import inspect
import linecache
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from jaxbert.errors import InputError
from jaxbert.options.dependencies import Function
from jaxbert.options.user_function import error_line


class FileFunction(NamedTuple):
    """A function of a user's file.

    Attributes:
        function: itself.
        source: the text of the file and of those beside it that it imports.
        path: of the file.
    """

    function: Function
    source: str
    path: Path


def names_file(given: str) -> bool:
    """Whether it is meant as FILE.py:FUNCTION.

    >>> names_file("my.py:my_loss"), names_file("my.py"), names_file("focal")
    (True, True, False)
    """
    return ":" in given or given.endswith(".py")


def load_function(given: str, option: str) -> FileFunction:
    """The function of FILE.py:FUNCTION.

    Args:
        option: that it was given for, as messages call it: "--loss".

    Raises:
        InputError: the file cannot be read or run, or has no such function.
    """
    if given.endswith(".py"):
        raise InputError(f"{option} {given}: give FILE.py:FUNCTION")
    found, source, path = load_named(given, option)
    assert not isinstance(found, ModuleType)  # that is a FILE.py
    return FileFunction(found, source, path)


def load_named(given: str, option: str) -> tuple[Function | ModuleType, str, Path]:
    """What stands in a file under FILE.py:NAME, a function or an object with one named loss, or
    the module of a FILE.py; the text of the file and of those beside it that it imports; its path.

    Raises:
        InputError: the file cannot be read or run, or has nothing of that name.
    """
    place, _, name = given.rpartition(":")
    if given.endswith(".py"):
        place, name = given, ""
    elif not name:
        place = ""
    if not place:
        raise InputError(f"{option} {given}: give FILE.py:FUNCTION")
    path = Path(place).expanduser()
    try:
        source = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{option} {given}: {place}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {given}: {place}: cannot be read ({error})") from None
    spec = importlib.util.spec_from_file_location(f"_{option.lstrip('-')}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{option} {given}: {place}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    linecache.checkcache(str(path))
    sys.modules[spec.name] = module  # dataclasses look their module up
    before = set(sys.modules)
    sys.path.insert(0, str(path.absolute().parent))  # files beside it can be imported, as by python
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{option} {given}: {error_line(error, path)}") from None
    finally:
        sys.path.pop(0)
        helpers = _take_back(before, path.absolute().parent)
    found: Function | ModuleType | None = getattr(module, name, None) if name else module
    if found is None or (name and not callable(found) and not hasattr(found, "loss")):
        there = [n for n, x in vars(module).items() if inspect.isfunction(x) and n[0] != "_"]
        own = [n for n in there if vars(module)[n].__module__ == module.__name__]
        raise InputError(
            f"{option} {given}: {place} has no function {name}; "
            f"there are {', '.join(own) or 'none'}"
        )
    texts = [f"# {place.name}\n{place.read_text('utf-8', 'replace')}" for place in helpers]
    return found, "\n".join([source, *texts]), path


def _take_back(before: set[str], folder: Path) -> list[Path]:
    """Forget the modules that were imported since and found in the folder; returns their files.

    Another function may have a file of the same name beside it, and this one's may change.
    """
    files = []
    for name in sorted(sys.modules.keys() - before):
        first = name.split(".")[0]
        file = Path(getattr(sys.modules[name], "__file__", None) or "")
        # Not what lies deeper, in an environment for instance.
        beside = file.is_relative_to(folder / first) or file == folder / f"{first}.py"
        if beside and file.suffix == ".py" and first != "jaxbert":
            files.append(file)
            del sys.modules[name]
    return files
