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

# Keywords that other options of the task give, not --loss_args.
_SETTINGS = ("class_weights",)
# What the step and the log report themselves.
_TAKEN = {"loss", "weight", "grad_norm", "skipped", "stop", "step", "epoch", "learning_rate"} | {
    "examples_per_second",
    "tokens_per_second",
}


class ChosenLoss(NamedTuple):
    """A loss with its options.

    Attributes:
        name: as it was given.
        function: of either form, options bound.
        args: the options that were given.
        source: the text of its file, and of its base's.
        own: whether it, or its base, is of a user's file.
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
        base = getattr(function, "keywords", {}).get("base")
        if name in inspect.signature(function).parameters:
            function = functools.partial(function, **{name: value})
        elif base is not None and name in inspect.signature(base).parameters:
            bound = {"base": functools.partial(base, **{name: value})}
            function = functools.partial(function, **bound)
        else:
            raise InputError(f"--{name} is not for --loss {chosen.name}, which has no {name}")
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
        source = Path(inspect.getfile(function)).read_text(encoding="utf-8")
    else:
        raise InputError(f"--loss {name}: there are {', '.join(losses)}, and FILE.py:FUNCTION")
    rest = dict(args)
    if "base" in inspect.signature(function).parameters:
        base = _base(losses, rest.pop("base", next(iter(losses))), rest.pop("base_args", {}))
        function = functools.partial(function, base=base.function)
        source, own = f"{source}\n{base.source}", own or base.own
    return ChosenLoss(name, _bound(name, function, rest), args, source, own)


def _base(losses: Mapping[str, Callable[..., Any]], name: Any, args: Any) -> ChosenLoss:
    """The loss that another one adds to."""
    if not isinstance(name, str) or not isinstance(args, dict):
        raise InputError("--loss_args: base is the name of a loss and base_args an object")
    found = _choose(losses, name, args)
    if required_parameters(found.function) != 2 or "base" in getattr(
        found.function, "keywords", {}
    ):
        raise InputError(f"--loss_args base: {name} adds to a base itself; give a plain loss")
    return found


def _bound(name: str, function: Callable[..., Any], args: dict[str, Any]) -> Callable[..., Any]:
    """The function with its options."""
    parameters = list(inspect.signature(function).parameters.values())
    count = required_parameters(function)
    if count not in (2, 4):
        raise InputError(
            f"--loss {name}: it takes {count} arguments; the forms are (outputs, batch) and "
            "(apply, params, batch, key), and options have defaults"
        )
    taken = {p.name: p for p in parameters[count:] if p.kind is not p.VAR_KEYWORD}
    taken = {n: p for n, p in taken.items() if n not in ("base", *_SETTINGS)}
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
    spec = importlib.util.spec_from_file_location(f"_loss_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"--loss {given}: {place}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    linecache.checkcache(str(path))
    sys.modules[spec.name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.absolute().parent))  # files beside it can be imported, as by python
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
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
        return (*sums, _held_metrics(result[2], given))
    return tuple(sums)


def _held_metrics(metrics: Any, given: str) -> Any:
    """What is to be reported beside the loss."""
    pairs = isinstance(metrics, dict) and all(
        isinstance(pair, tuple) and len(pair) == 2 and all(jnp.shape(x) == () for x in pair)
        for pair in metrics.values()
    )
    if not pairs:
        raise InputError(f"--loss {given}: its metrics are no dict of name: (sum (), count ())")
    if taken := _TAKEN & metrics.keys():
        raise InputError(f"--loss {given}: metric {min(taken)} is reported already; rename it")
    return metrics


def _said(error: BaseException, path: Path) -> str:
    """An error of a user's file in one line: where in it, what, and what to do."""
    own = path.absolute()
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if Path(frame.filename).absolute() == own]
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
