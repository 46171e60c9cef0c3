"""A user's loss, whose faults are told in one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jaxbert.errors import InputError
from jaxbert.losses.forms import AnyLoss, Scalar, Sums
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
