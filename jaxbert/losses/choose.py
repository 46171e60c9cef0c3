"""--loss and --loss_args -> a function: one of the task's own by its name, or one of a file."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import linecache
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxbert.errors import InputError
from jaxbert.losses.forms import Loss, Objective, required_parameters


class ChosenLoss(NamedTuple):
    """A loss with its options.

    Attributes:
        name: as it was given.
        function: of either form, options bound.
        args: the options that were given.
        source: its text: of a function of jaxbert that, of a user's the whole file.
        own: whether it is of a user's file.
    """

    name: str
    function: Loss | Objective
    args: dict[str, Any]
    source: str
    own: bool


def choose_loss(
    losses: Mapping[str, Callable[..., Any]], name: str, loss_args: str | None = None
) -> ChosenLoss:
    """The loss of that name with its options.

    Args:
        losses: the task's, by name; the first is the default, also of `base` in losses that add
            to another one.
        name: one of them, or FILE.py:FUNCTION.
        loss_args: JSON object of options.

    Raises:
        InputError: no such loss or option, or a file that cannot be used.
    """
    return _choose(losses, name, _parsed(loss_args))


def with_settings(chosen: ChosenLoss, settings: Mapping[str, Any]) -> ChosenLoss:
    """The loss with what the task's own options say, as class_weights; None says nothing.

    Raises:
        InputError: the loss has no such option.
    """
    function = chosen.function
    for name, value in settings.items():
        if value is None:
            continue
        if name not in inspect.signature(function).parameters:
            raise InputError(f"--{name} is not for --loss {chosen.name}, which has no {name}")
        function = functools.partial(function, **{name: value})
    return chosen._replace(function=function)


def _parsed(loss_args: str | None) -> dict[str, Any]:
    try:
        args = json.loads(loss_args or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"--loss_args {loss_args}: not JSON ({error})") from None
    if not isinstance(args, dict):
        raise InputError(f"""--loss_args {loss_args}: give an object, as {{"gamma": 2}}""")
    return args


def _choose(
    losses: Mapping[str, Callable[..., Any]], name: str, args: dict[str, Any]
) -> ChosenLoss:
    own = ":" in name or name.endswith(".py")
    if own:
        function, source = _of_file(name)
    elif name in losses:
        function = losses[name]
        source = inspect.getsource(inspect.unwrap(function))
    else:
        raise InputError(f"--loss {name}: there are {', '.join(losses)}, and FILE.py:FUNCTION")
    return ChosenLoss(name, _bound(losses, name, function, dict(args)), args, source, own)


def _bound(
    losses: Mapping[str, Callable[..., Any]],
    name: str,
    function: Callable[..., Any],
    args: dict[str, Any],
) -> Callable[..., Any]:
    """The function with its options; `base` is another loss, by name, with `base_args`."""
    parameters = list(inspect.signature(function).parameters.values())
    count = required_parameters(function)
    if count not in (2, 4):
        raise InputError(
            f"--loss {name}: it takes {count} arguments; the forms are (outputs, batch) and "
            "(apply, params, batch, key), and options have defaults"
        )
    taken = {p.name: p for p in parameters[count:] if p.kind is not p.VAR_KEYWORD}
    if "base" in taken:
        base, base_args = args.pop("base", next(iter(losses))), args.pop("base_args", {})
        if not isinstance(base, str) or not isinstance(base_args, dict):
            raise InputError("--loss_args: base is the name of a loss and base_args an object")
        found = _choose(losses, base, base_args).function
        if required_parameters(found) != 2 or "base" in inspect.signature(found).parameters:
            raise InputError(f"--loss_args base: {base} adds to a base itself; give a plain loss")
        function = functools.partial(function, base=found)
        del taken["base"]
    if unknown := args.keys() - taken.keys():
        options = ", ".join(taken) or "none"
        raise InputError(f"--loss_args {min(unknown)}: the options of {name} are {options}")
    for option, parameter in taken.items():
        if option in args:
            _check_type(option, args[option], parameter.default)
        elif parameter.default is parameter.empty:
            raise InputError(
                f"""--loss {name} needs --loss_args '{{"{option}": ...}}'; see its docstring"""
            )
    return functools.partial(function, **args) if args else function


def _check_type(option: str, value: Any, default: Any) -> None:
    """Hold an option against the type of its default."""
    kinds: dict[type[Any], Any] = {bool: bool, int: int, float: (int, float), str: str}
    kind = kinds.get(type(default))
    if kind is None:
        return
    wrong = isinstance(value, bool) and not isinstance(default, bool)
    if wrong or not isinstance(value, kind):
        raise InputError(f"--loss_args {option}: {value!r} is no {type(default).__name__}")


# --- a user's file ------------------------------------------------------------------------------


def _of_file(given: str) -> tuple[Callable[..., Any], str]:
    """The function of FILE.py:FUNCTION, and the file's text."""
    place, _, name = given.rpartition(":")
    if not place or not name:
        raise InputError(f"--loss {given}: give FILE.py:FUNCTION")
    path = Path(place).expanduser()
    try:
        source = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"--loss {given}: {place}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"--loss {given}: {place}: cannot be read ({error})") from None
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--loss {given}: {place}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    linecache.checkcache(str(path))
    sys.path.insert(0, str(path.absolute().parent))  # files beside it can be imported, as by python
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"--loss {given}: {_said(error, path)}") from None
    finally:
        sys.path.pop(0)
    function = getattr(module, name, None)
    if not callable(function):
        there = [n for n, x in vars(module).items() if inspect.isfunction(x) and n[0] != "_"]
        own = [n for n in there if vars(module)[n].__module__ == module.__name__]
        raise InputError(
            f"--loss {given}: {place} has no function {name}; there are {', '.join(own) or 'none'}"
        )
    return _guarded(function, given, path), source


def _guarded(function: Callable[..., Any], given: str, path: Path) -> Callable[..., Any]:
    """The function, whose errors are told in one line, and whose results are held to the form."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"--loss {given}: {_said(error, path)}") from None
        return _held(result, len(args), given)

    return guarded


def _held(result: Any, arguments: int, given: str) -> Any:
    """What the function returned, as its form has it."""
    names = ("loss_sum", "weight_sum", "metrics")[: 2 if arguments == 2 else 3]
    if not isinstance(result, tuple) or len(result) != len(names):
        what = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise InputError(f"--loss {given}: it returned {what}, not ({', '.join(names)})")
    sums = []
    for name, value in zip(names[:2], result[:2], strict=True):
        try:
            array = jnp.asarray(value, jnp.float32)
        except (TypeError, ValueError):
            raise InputError(f"--loss {given}: its {name} is no number") from None
        if array.shape != ():
            raise InputError(
                f"--loss {given}: its {name} has the shape {array.shape}, not (); sum over the "
                'rows: jnp.sum(loss * batch["weight"])'
            )
        sums.append(array)
    if len(names) == 3:
        metrics = result[2]
        pairs = isinstance(metrics, dict) and all(
            isinstance(x, tuple) and len(x) == 2 for x in metrics.values()
        )
        if not pairs:
            raise InputError(f"--loss {given}: its metrics are no dict of name: (sum, count)")
        return (*sums, metrics)
    return tuple(sums)


def _said(error: Exception, path: Path) -> str:
    """An error of a user's file in one line: where in it, what, and what to do."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    place = f"{path}:{line}" if line else str(path)
    kind = type(error).__name__
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    if kind.startswith("Tracer") or kind == "ConcretizationTypeError":
        return (
            f"{place}: it cannot be compiled: a value that is known only on the device decides "
            f"what Python does ({kind}); use jnp.where, jax.lax.cond or jnp functions"
        )
    return f"{place}: {kind}: {said}"
