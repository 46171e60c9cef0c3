"""--loss and --loss_args -> a function: one of the task's own by its name, or one of a file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.losses.forms import AnyLoss, required_parameters
from jaxbert.losses.user_file import guarded
from jaxbert.options.function_args import bind_args, parse_args
from jaxbert.options.function_file import load_function, names_file
from jaxbert.options.user_function import PREFIX, UserFunction

# Keywords that other options of the task give, not --loss_args.
_SETTINGS = ("class_weights",)


class ChosenLoss(NamedTuple):
    """A loss with its options.

    Attributes:
        name: as it was given.
        function: of either form, options bound.
        args: the options that were given.
        source: the text of its file, and of its base's.
        user_defined: whether it or its base is the user's.
        values: of a function of a Python program, what it depends on besides its text.
    """

    name: str
    function: AnyLoss
    args: dict[str, Json]
    source: str
    user_defined: bool
    values: Mapping[str, str] = MappingProxyType({})


def choose_loss(
    losses: Mapping[str, AnyLoss],
    name: str,
    loss_args: str | None = None,
    given: UserFunction | None = None,
) -> ChosenLoss:
    """The loss of that name with its options.

    Args:
        losses: the task's, by name; the first is the default, also of `base` in losses that add
            to another one.
        name: one of them, or FILE.py:FUNCTION.
        loss_args: JSON object of options.
        given: a function in place of the name.

    Raises:
        InputError: no such loss or option, or a file that cannot be used.
    """
    args = parse_args(loss_args, "--loss", '{"gamma": 2}')
    if given is None:
        return _choose(losses, name, args)
    function = guarded(given.function, given.name, given.path)
    chosen = ChosenLoss(given.name, function, args, given.source, True, given.values)
    return _with_options(losses, chosen)


def with_keywords(chosen: ChosenLoss, keywords: Mapping[str, Json | np.ndarray]) -> ChosenLoss:
    """The loss with keywords that the task gives, such as class_weights; None is not given.

    Raises:
        InputError: the loss has no such option.
    """
    function = chosen.function
    for name, value in keywords.items():
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


def _choose(losses: Mapping[str, AnyLoss], name: str, args: dict[str, Json]) -> ChosenLoss:
    user_defined = names_file(name)
    if user_defined:
        found, source, path = load_function(name, "--loss")
        function = guarded(found, name, path)
    elif name in losses:
        function = losses[name]
        source = Path(inspect.getfile(inspect.unwrap(function))).read_text(encoding="utf-8")
    elif name.startswith(PREFIX):
        raise InputError(
            f"--loss {name}: a function of a Python program; resume the run there, by the same "
            "call of jaxbert.train"
        )
    else:
        raise InputError(f"--loss {name}: there are {', '.join(losses)}, and FILE.py:FUNCTION")
    return _with_options(losses, ChosenLoss(name, function, args, source, user_defined))


def _with_options(losses: Mapping[str, AnyLoss], chosen: ChosenLoss) -> ChosenLoss:
    """The loss with its options bound, and with the base that it adds to if it does."""
    function: AnyLoss = chosen.function
    rest = dict(chosen.args)
    if "base" in inspect.signature(function).parameters:
        base = _base(losses, rest.pop("base", next(iter(losses))), rest.pop("base_args", {}))
        function = functools.partial(function, base=base.function)
        source = f"{chosen.source}\n{base.source}"
        chosen = chosen._replace(
            source=source, user_defined=chosen.user_defined or base.user_defined
        )
    return chosen._replace(function=_bound(chosen.name, function, rest))


def _base(losses: Mapping[str, AnyLoss], name: Json, args: Json) -> ChosenLoss:
    """The loss that another one adds to."""
    if not isinstance(name, str) or not isinstance(args, dict):
        raise InputError("--loss_args: base is the name of a loss and base_args an object")
    found = _choose(losses, name, args)
    if required_parameters(found.function) != 2 or "base" in getattr(
        found.function, "keywords", {}
    ):
        raise InputError(f"--loss_args base: {name} adds to a base itself; give a plain loss")
    return found


def _bound(name: str, function: AnyLoss, args: dict[str, Json]) -> AnyLoss:
    """The function with its options."""
    count = required_parameters(function)
    if count not in (2, 4):
        raise InputError(
            f"--loss {name}: it takes {count} arguments; the forms are (outputs, batch) and "
            "(apply, params, batch, key), and options have defaults"
        )
    return bind_args(
        function, args, name=name, option="--loss", first=count, reserved=("base", *_SETTINGS)
    )
