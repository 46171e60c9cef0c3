"""--loss_args and --optim_args: options of a function, as JSON, bound to it."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Collection, Mapping

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.options.dependencies import Function


def parse_args(text: str | None, option: str, example: str) -> dict[str, Json]:
    """The object of options.

    Args:
        option: that the function is chosen by: "--loss".
        example: of such an object, for the message.

    Raises:
        InputError: it is no JSON object.
    """
    try:
        args = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{option}_args {text}: not JSON ({error})") from None
    if not isinstance(args, dict):
        raise InputError(f"{option}_args {text}: give an object, as {example}")
    return args


def bind_args(
    function: Function,
    args: Mapping[str, Json],
    *,
    name: str,
    option: str,
    first: int,
    reserved: Collection[str],
) -> Function:
    """The function with its options.

    Args:
        name: as it was given.
        option: that it was chosen by: "--loss".
        first: how many of its parameters are no options.
        reserved: the names of others that are none.

    Raises:
        InputError: it has no such option, or one is of another type than its default; one that
            has no default is missing.
    """
    parameters = list(inspect.signature(function).parameters.values())[first:]
    taken = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    taken = {n: p for n, p in taken.items() if n not in reserved}
    if unknown := args.keys() - taken.keys():
        options = ", ".join(taken) or "none"
        raise InputError(f"{option}_args {min(unknown)}: the options of {name} are {options}")
    for each, parameter in taken.items():
        if each in args:
            _check_type(each, args[each], parameter.default, option)
        elif parameter.default is parameter.empty:
            raise InputError(
                f"""{option} {name} needs {option}_args '{{"{each}": ...}}'; see its docstring"""
            )
    return functools.partial(function, **args) if args else function


def _check_type(name: str, value: Json, default: Json, option: str) -> None:
    """Hold an option against the type of its default."""
    if not isinstance(default, bool | int | float | str):
        return
    fitting = (int, float) if isinstance(default, float) else type(default)
    wrong = isinstance(value, bool) and not isinstance(default, bool)
    if wrong or not isinstance(value, fitting):
        raise InputError(f"{option}_args {name}: {value!r} is no {type(default).__name__}")
