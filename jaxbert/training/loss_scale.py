"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, section 3.2), whose smallest numbers
gradients would fall below. The constants are those of PyTorch's GradScaler.

The scale is a power of 2, so scaling changes no bits of a gradient that neither overflows nor
underflows.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

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
        """Half after a step that was not finite, twice as much after 2000 in a row that were.

        Args:
            finite: () boolean.
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
        weight = jax.lax.stop_gradient(jnp.maximum(weight, 1.0))
        return self.value * jnp.exp2(-jnp.ceil(jnp.log2(weight)))


def first_scale() -> LossScale:
    """Before the first step."""
    return LossScale(jnp.zeros((), jnp.int32), jnp.asarray(_START, jnp.float32))


def can_fall(value: float) -> bool:
    """Whether a step that was not finite may be finite with a lower scale."""
    return value > _LOWEST
