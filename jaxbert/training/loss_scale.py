"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, section 3.2), whose smallest numbers
gradients would fall below. The constants are those of PyTorch's GradScaler.

The scale is a power of 2, so scaling changes no bits of a gradient that neither overflows nor
underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec

import jax
import jax.numpy as jnp

from jaxbert.losses.forms import Sums
from jaxbert.model.heads import Params

_START, _LOWEST, _GROWS_AFTER = 2.0**16, 1.0, 2000


class LossScale(NamedTuple):
    """Part of the state of a run in float16.

    Orbax gives fields back in the order of their names.

    Attributes:
        good: () int32, steps since it last changed.
        value: () float32, what the loss is multiplied by, at least 1.
    """

    good: jax.Array
    value: jax.Array

    def after(self, finite: jax.Array) -> LossScale:
        """Half after a step that overflowed, twice as much after 2000 in a row that were finite.

        Args:
            finite: () boolean, of the gradients.
        """
        good = jnp.where(finite, self.good + 1, 0)
        grows = good >= _GROWS_AFTER
        grown = jnp.where(grows, 2 * self.value, self.value)
        value = jnp.where(finite, grown, jnp.maximum(self.value / 2, _LOWEST))
        return LossScale(jnp.where(grows, 0, good).astype(jnp.int32), value)

    def factor(self, weight: jax.Array) -> jax.Array:
        """What a sum of losses is multiplied by: the scale is that of their mean, to a power of 2.

        Args:
            weight: () float32, how many losses the sum has.
        """
        _, exponent = jnp.frexp(jax.lax.stop_gradient(jnp.maximum(weight, 1.0)))
        return jnp.ldexp(self.value, -exponent)


_P = ParamSpec("_P")


def gradient_of(
    sums: Callable[Concatenate[Params, _P], tuple[jax.Array, Sums]], scale: LossScale | None
) -> Callable[Concatenate[Params, _P], tuple[Params, Sums]]:
    """The function that gives the gradient by the parameters of a sum of losses, and what is
    reported beside it.

    Args:
        sums: gives a sum of losses, and the sum and its weight among others as "loss".
        scale: by which the backward pass is scaled; None where it is not.
    """
    if scale is None:
        plain: Callable[Concatenate[Params, _P], tuple[Params, Sums]] = jax.grad(sums, has_aux=True)
        return plain

    def scaled(
        params: Params, *args: _P.args, **kwargs: _P.kwargs
    ) -> tuple[jax.Array, tuple[Sums, jax.Array]]:
        total, reported = sums(params, *args, **kwargs)
        factor = scale.factor(reported["loss"][1])
        return total * factor, (reported, factor)

    def gradient(params: Params, *args: _P.args, **kwargs: _P.kwargs) -> tuple[Params, Sums]:
        grads, (reported, factor) = jax.grad(scaled, has_aux=True)(params, *args, **kwargs)
        return jax.tree.map(lambda g: g / factor, grads), reported

    return gradient


def first_scale() -> LossScale:
    """Before the first step."""
    return LossScale(jnp.zeros((), jnp.int32), jnp.asarray(_START, jnp.float32))


def can_fall(value: float) -> bool:
    """Whether a step that was not finite may be finite with a lower scale."""
    return value > _LOWEST
