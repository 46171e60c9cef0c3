"""--optim and --optim_args -> a rule: one of the table by its name, or one of a file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.model.heads import Params
from jaxbert.options.dependencies import Function
from jaxbert.options.function_args import bind_args, parse_args
from jaxbert.options.function_file import load_function, names_file
from jaxbert.options.user_function import PREFIX, UserFunction, error_line
from jaxbert.training.optim import Schedule
from jaxbert.training.update_rules import RULES, Rule

_OPTION = "--optim"
# What each of the flags is called by a rule.
_ADAM = {"adam_beta1": "b1", "adam_beta2": "b2", "adam_epsilon": "eps"}
_GIVEN = ("weight_decay", "mask")  # to a rule that has them


class ChosenOptimizer(NamedTuple):
    """An optimizer with its options.

    Attributes:
        name: as it was given.
        rule: options bound; see update_rules.
        source: of a user's, the text of its file; else empty.
        values: of a function of a Python program, what it depends on besides its text.
    """

    name: str
    rule: Rule
    source: str = ""
    values: Mapping[str, str] = MappingProxyType({})

    def recorded(self) -> dict[str, Json]:
        """What the run's record has of a user's function."""
        if not self.source:
            return {}
        return {"optim": {"source": self.source, "values": dict(self.values)}}


def choose_optimizer(
    name: str,
    optim_args: str | None = None,
    given: UserFunction | None = None,
    *,
    adam: Mapping[str, float] = MappingProxyType({}),
    weight_decay: float = 0.0,
) -> ChosenOptimizer:
    """The optimizer of that name with its options.

    Args:
        name: one of RULES, or FILE.py:FUNCTION.
        optim_args: JSON object of options.
        given: a function in place of the name.
        adam: flag -> value, those of adam_beta1, adam_beta2, adam_epsilon that are not as usual.
        weight_decay: that it will be called with.

    Raises:
        InputError: no such optimizer or option, one that it does not have, or a file that cannot
            be used.
    """
    args = parse_args(optim_args, _OPTION, '{"momentum": 0.9}')
    if given is not None:
        rule = _guarded(given.function, given.name, given.path)
        chosen = ChosenOptimizer(given.name, rule, given.source, given.values)
    elif names_file(name):
        function, source, path = load_function(name, _OPTION)
        chosen = ChosenOptimizer(name, _guarded(function, name, path), source)
    elif name.startswith(PREFIX):
        raise InputError(
            f"{_OPTION} {name}: a function of a Python program; resume the run there, by the same "
            "call of jaxbert.train"
        )
    elif name in RULES:
        chosen = ChosenOptimizer(name, RULES[name])
    else:
        raise InputError(f"{_OPTION} {name}: there are {', '.join(RULES)}, and FILE.py:FUNCTION")
    taken = inspect.signature(chosen.rule).parameters
    if not taken:
        raise InputError(
            f"{_OPTION} {name}: it takes no argument; the form is (learning_rate, weight_decay, "
            "mask), of which it may have the first alone"
        )
    betas = () if chosen.source else tuple(_ADAM.values())
    for flag in adam:
        if _ADAM[flag] not in taken or chosen.source:
            raise InputError(f"--{flag} is not for {_OPTION} {chosen.name}, which does not use it")
    if weight_decay and "weight_decay" not in taken:
        raise InputError(
            f"--weight_decay {weight_decay:g}: {_OPTION} {chosen.name} has no weight_decay; "
            "leave it out"
        )
    bound = bind_args(
        functools.partial(chosen.rule, **{_ADAM[flag]: value for flag, value in adam.items()}),
        args,
        name=chosen.name,
        option=_OPTION,
        first=1,
        reserved=(*_GIVEN, *betas),
    )
    return chosen._replace(rule=bound)


def _guarded(function: Function, given: str, path: Path) -> Rule:
    """The function, whose errors and those of what it returns are told in one line."""

    @functools.wraps(function)
    def guarded(*args: Schedule, **kwargs: Json) -> optax.GradientTransformation:
        tx = _told(function, given, path)(*args, **kwargs)
        if not isinstance(tx, optax.GradientTransformation):
            raise InputError(
                f"{_OPTION} {given}: it returned {type(tx).__name__}, not an "
                "optax.GradientTransformation"
            )
        update = _told(optax.with_extra_args_support(tx).update, given, path)
        return optax.GradientTransformationExtraArgs(_told(tx.init, given, path), update)

    return guarded


def _told(function: Function, given: str, path: Path) -> Function:
    @functools.wraps(function)
    def told(*args: optax.Params, **kwargs: Json) -> optax.Params:
        try:
            return function(*args, **kwargs)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{_OPTION} {given}: {error_line(error, path)}") from None

    return told


def try_optimizer(
    chosen: ChosenOptimizer, tx: optax.GradientTransformation, params: Params
) -> None:
    """Hold a user's optimizer to what a run needs of it, without computing anything.

    Args:
        tx: that a run will use, made with it.

    Raises:
        InputError: it fails; its updates are not like the parameters; its state changes its form,
            or has something else than arrays in tuples, lists and dicts.
    """
    if not chosen.source:
        return
    where = f"{_OPTION} {chosen.name}"
    shapes = jax.eval_shape(lambda tree: jax.tree.map(jnp.asarray, tree), params)
    state = jax.eval_shape(tx.init, shapes)
    step = jax.eval_shape(lambda: jnp.zeros((), jnp.int32))
    update = optax.with_extra_args_support(tx).update
    updates, after = jax.eval_shape(
        lambda g, s, p, step: update(g, s, p, step=step), shapes, state, shapes, step
    )
    for what, found, wanted in (("updates", updates, shapes), ("state", after, state)):
        if str(jax.tree.structure(found)) != str(jax.tree.structure(wanted)):
            raise InputError(f"{where}: its {what} of a step have another form than before it")
        pairs = zip(
            jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(wanted), strict=True
        )
        for (path, x), y in pairs:
            if (x.shape, x.dtype) != (y.shape, y.dtype):
                raise InputError(
                    f"{where}: its {what} of a step have {x.dtype}{list(x.shape)} at "
                    f"{jax.tree_util.keystr(path)}, not {y.dtype}{list(y.shape)}"
                )
    if (other := _other_container(state)) is not None:
        raise InputError(
            f"{where}: its state has a {other}, which a checkpoint cannot hold; give arrays in "
            "named tuples, tuples, lists and dicts"
        )


def _other_container(state: optax.OptState) -> str | None:
    """The type of a part of a state that is no plain container of arrays; None without any."""
    if state is None or isinstance(state, jax.ShapeDtypeStruct):
        return None
    if not isinstance(state, tuple | list | dict):
        return type(state).__name__
    parts = state.values() if isinstance(state, dict) else state
    return next((found for part in parts if (found := _other_container(part))), None)
