"""A user's loss, whose faults are told in one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxbert.errors import InputError
from jaxbert.losses.forms import AnyLoss, Scalar, Sums
from jaxbert.model.config import BertConfig
from jaxbert.model.params import Params
from jaxbert.options.function_file import load_named
from jaxbert.options.user_function import error_line

Result: TypeAlias = tuple[Scalar, Scalar] | tuple[Scalar, Scalar, Sums]
# A user's function may also return one value a row. That it returns no other thing is checked here.
UserLoss: TypeAlias = Callable[..., Result | jax.Array]

# What the step and the log report themselves.
_TAKEN = {"loss", "weight", "grad_norm", "skipped", "stop", "step", "epoch", "learning_rate"} | {
    "loss_scale",
    "examples_per_second",
    "tokens_per_second",
}


# (key, cfg) -> parameters that a loss has of its own, a tree of dicts
Init: TypeAlias = Callable[[jax.Array, BertConfig], Params]


class LoadedLoss(NamedTuple):
    """A user's loss.

    Attributes:
        function: of either form; it raises InputError where it fails, or returns something else.
        init: draws its parameters, and raises InputError where it fails; None without any.
        source: the text of its file and of those beside it that it imports.
    """

    function: AnyLoss
    init: Init | None
    source: str


def load_loss(given: str, flag: str = "--loss") -> LoadedLoss:
    """The loss of FILE.py:FUNCTION, of FILE.py:OBJECT with `init` and `loss`, or of a FILE.py with
    functions of these names.

    Raises:
        InputError: the file cannot be read or run, or has no such loss.
    """
    found, source, path = load_named(given, flag)
    if isinstance(found, ModuleType) or (hasattr(found, "init") and hasattr(found, "loss")):
        own = found() if isinstance(found, type) else found
        function, init = getattr(own, "loss", None), getattr(own, "init", None)
        if not callable(function) or not callable(init):
            raise InputError(
                f"{flag} {given}: it has no functions init(key, cfg) and loss(outputs, batch, "
                "loss_params); of other losses give FILE.py:FUNCTION"
            )
        return LoadedLoss(guarded(function, given, path), guarded_init(init, given, path), source)
    return LoadedLoss(guarded(found, given, path), None, source)


def guarded_init(init: Init, given: str, path: Path) -> Init:
    """A loss's init, whose errors are told in one line."""

    def guarded(key: jax.Array, cfg: BertConfig) -> Params:
        try:
            return init(key, cfg)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"--loss {given}: {error_line(error, path)}") from None

    return guarded


def guarded(function: UserLoss, given: str, path: Path) -> AnyLoss:
    """The function, whose errors are told in one line, and whose results are held to the form."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Result:
        try:
            result = function(*args, **kwargs)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"--loss {given}: {error_line(error, path)}") from None
        *_, batch = args[: 2 if len(args) == 2 else 3]
        return _held(result, len(args), batch["weight"], given)

    return guarded


def _held(result: Result | jax.Array, arguments: int, weight: jax.Array, given: str) -> Result:
    """What the function returned, as its form has it; of one value a row, the sums."""
    names = ("loss_sum", "weight_sum", "metrics")[: 2 if arguments == 2 else 3]
    if not isinstance(result, tuple):
        form = f"({', '.join(names)})"
        try:
            values = jnp.asarray(result, jnp.float32)
        except (TypeError, ValueError):
            what = type(result).__name__
            raise InputError(f"--loss {given}: it returned {what}, not {form}") from None
        sums_of_rows = _sums_of_rows(values, weight, form, given)
        return sums_of_rows if arguments == 2 else (*sums_of_rows, {})
    if len(result) != len(names):
        raise InputError(
            f"--loss {given}: it returned {len(result)} values, not ({', '.join(names)})"
        )
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
    if len(result) == 3:
        return (sums[0], sums[1], _held_metrics(result[2], given))
    return sums[0], sums[1]


def _sums_of_rows(
    values: jax.Array, weight: jax.Array, form: str, given: str
) -> tuple[jax.Array, jax.Array]:
    """Of one value a row, (B,), with packing one a window: what the step adds up."""
    if values.shape == ():
        raise InputError(
            f"--loss {given}: it returned one number, not {form}; a mean does not say how much it "
            f"is a mean of: return one value a row, {weight.shape}, or "
            'jnp.sum(loss * batch["weight"]), jnp.sum(batch["weight"])'
        )
    if values.shape != weight.shape:
        raise InputError(
            f"--loss {given}: it returned the shape {values.shape}, not {form} or one value a row, "
            f"{weight.shape}"
        )
    return jnp.sum(jnp.where(weight != 0, values, 0.0) * weight), jnp.sum(weight)


def _held_metrics(metrics: Sums, given: str) -> Sums:
    """What is to be reported beside the loss."""
    pairs = isinstance(metrics, dict) and all(
        isinstance(pair, tuple) and len(pair) == 2 and all(map(_is_number, pair))
        for pair in metrics.values()
    )
    if not pairs:
        raise InputError(f"--loss {given}: its metrics are no dict of name: (sum (), count ())")
    if taken := _TAKEN & metrics.keys():
        raise InputError(f"--loss {given}: metric {min(taken)} is reported already; rename it")
    return metrics


def _is_number(value: Scalar) -> bool:
    try:
        return jnp.asarray(value, jnp.float32).shape == ()
    except (TypeError, ValueError):
        return False


def load_weights(given: str, count: int) -> tuple[Callable[[jax.Array], list[Scalar]], str]:
    """The function of --loss_weights, and the text of its file.

    It is tried at step 0.

    Args:
        count: how many weights it gives.

    Raises:
        InputError: it fails, or does not give `count` finite numbers.
    """
    flag = "--loss_weights"
    function, source, path = load_named(given, flag)
    if not callable(function):
        raise InputError(f"{flag} {given}: give FILE.py:FUNCTION")

    def weights(step: jax.Array) -> list[Scalar]:
        try:
            found = [jnp.asarray(x, jnp.float32) for x in function(step)]
        except Exception as error:
            raise InputError(f"{flag} {given}: {error_line(error, path)}") from None
        if len(found) != count or any(x.shape != () for x in found):
            raise InputError(f"{flag} {given}: it returned no {count} numbers, one for each loss")
        return found

    jax.eval_shape(weights, jnp.zeros((), jnp.int32))
    return weights, source
