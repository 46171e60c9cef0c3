"""--loss and --loss_args -> a function: one of the task's own by its name, or one of a file."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.losses.combination import Combination, weighted_names
from jaxbert.losses.forms import OWN_PARAMS, AnyLoss, Scalar, required_parameters, wants
from jaxbert.losses.user_file import Init, guarded, load_loss, load_weights
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import REQUESTS
from jaxbert.model.params import Params
from jaxbert.options.function_args import bind_args, parse_args
from jaxbert.options.function_file import names_file
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
        init: draws the parameters that the loss has of its own; None without any.
    """

    name: str
    function: AnyLoss
    args: dict[str, Json]
    source: str
    user_defined: bool
    values: Mapping[str, str] = MappingProxyType({})
    init: Init | None = None


def choose_loss(
    losses: Mapping[str, AnyLoss],
    name: str,
    loss_args: str | None = None,
    given: UserFunction | None = None,
    loss_weights: str | None = None,
) -> ChosenLoss:
    """The loss of that name with its options.

    Args:
        losses: the task's, by name; the first is the default, also of `base` in losses that add
            to another one.
        name: one of them, or FILE.py:FUNCTION; or several with weights, a:1.0 b:0.5.
        loss_args: JSON object of options; of several losses, of such objects by name.
        given: a function in place of the name.
        loss_weights: FILE.py:FUNCTION, (step) -> the weights of several losses.

    Raises:
        InputError: no such loss or option, or a file that cannot be used.
    """
    args = parse_args(loss_args, "--loss", '{"gamma": 2}')
    weights = weighted_names(name) if given is None else None
    if weights is not None:
        return _combined(losses, name, weights, args, loss_weights)
    if loss_weights is not None:
        raise InputError(
            f"--loss_weights {loss_weights}: it is for several losses: --loss a:1.0 b:0.5"
        )
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
    if isinstance(chosen.function, Combination):
        return _with_keywords_of_some(chosen, chosen.function, keywords)
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


def _with_keywords_of_some(
    chosen: ChosenLoss, combination: Combination, keywords: Mapping[str, Json | np.ndarray]
) -> ChosenLoss:
    """A combination whose losses have the keywords that they take; at least one takes each."""
    given = {name: value for name, value in keywords.items() if value is not None}
    losses = dict(combination.losses)
    for name, value in given.items():
        taking = 0
        for key, function in losses.items():
            with contextlib.suppress(InputError):
                one = chosen._replace(function=function)
                losses[key] = with_keywords(one, {name: value}).function
                taking += 1
        if not taking:
            raise InputError(f"--{name} is not for --loss {chosen.name}, none of which has {name}")
    return chosen._replace(function=dataclasses.replace(combination, losses=losses))


def _combined(
    losses: Mapping[str, AnyLoss],
    given: str,
    weights: Mapping[str, float],
    args: Mapping[str, Json],
    loss_weights: str | None,
) -> ChosenLoss:
    """Several losses as one."""
    if unknown := args.keys() - weights.keys():
        raise InputError(
            f"--loss_args {min(unknown)}: of several losses give their options by name: "
            f"""{{"{next(iter(weights))}": {{...}}}}"""
        )
    if not any(weights.values()) and loss_weights is None:
        raise InputError(f"--loss {given}: all weights are 0")
    chosen: dict[str, ChosenLoss] = {}
    for name in weights:
        own = args.get(name, {})
        if not isinstance(own, dict):
            raise InputError(f"--loss_args {name}: give an object of its options")
        short = re.sub(r"\W+", "_", name.rpartition(":")[2].removesuffix(".py")).strip("_")
        if short in chosen:
            raise InputError(f"--loss {given}: two losses would be reported as {short}_loss")
        chosen[short] = _choose(losses, name, own)
        if "teacher" in own:
            raise InputError("--loss_args teacher: distillation is not for several losses")
    source = "\n".join(one.source for one in chosen.values())
    by_step: Callable[[jax.Array], Sequence[Scalar]] | None = None
    if loss_weights is not None:
        by_step, text = load_weights(loss_weights, len(chosen))
        source += "\n" + text
    constants = dict(zip(chosen, weights.values(), strict=True))
    functions = {name: one.function for name, one in chosen.items()}
    inits = {name: one.init for name, one in chosen.items() if one.init is not None}

    def init(key: jax.Array, cfg: BertConfig) -> Params:
        return {
            name: own(jax.random.fold_in(key, number), cfg)
            for number, (name, own) in enumerate(inits.items())
        }

    return ChosenLoss(
        given,
        Combination(functions, by_step or constants),
        dict(args),
        source,
        any(one.user_defined for one in chosen.values()),
        init=init if inits else None,
    )


def _choose(losses: Mapping[str, AnyLoss], name: str, args: dict[str, Json]) -> ChosenLoss:
    user_defined = names_file(name)
    init: Init | None = None
    if user_defined:
        function, init, source = load_loss(name)
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
    chosen = ChosenLoss(name, function, args, source, user_defined, init=init)
    return _with_options(losses, chosen)


def _with_options(losses: Mapping[str, AnyLoss], chosen: ChosenLoss) -> ChosenLoss:
    """The loss with its options bound, and with the base that it adds to if it does."""
    function: AnyLoss = chosen.function
    asks = OWN_PARAMS in wants(function)
    if asks and chosen.init is None:
        raise InputError(
            f"--loss {chosen.name}: it takes {OWN_PARAMS}, so give an object or a file with "
            "init(key, cfg) and loss(outputs, batch, loss_params)"
        )
    if chosen.init is not None and not asks and required_parameters(function) == 2:
        raise InputError(
            f"--loss {chosen.name}: it has an init, and its loss takes no {OWN_PARAMS}"
        )
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
    is_plain = required_parameters(found.function) == 2 and not wants(found.function)
    if not is_plain or "base" in getattr(found.function, "keywords", {}):
        raise InputError(f"--loss_args base: {name} adds to a base itself; give a plain loss")
    return found


def _bound(name: str, function: AnyLoss, args: dict[str, Json]) -> AnyLoss:
    """The function with its options."""
    count = required_parameters(function)
    asked = wants(function)
    if outputs := [n for n in asked if n in REQUESTS and count == 4]:
        raise InputError(
            f"--loss {name}: it calls the model itself; for {outputs[0]} let it call "
            f"apply(..., also=[{outputs[0]!r}])"
        )
    if count not in (2, 4):
        raise InputError(
            f"--loss {name}: it takes {count} arguments; the forms are (outputs, batch) and "
            "(apply, params, batch, key), and options have defaults"
        )
    return bind_args(
        function,
        args,
        name=name,
        option="--loss",
        first=count,
        reserved=("base", *_SETTINGS, *asked),
    )
