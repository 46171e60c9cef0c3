"""Averages of the parameters over the steps of a run: what is evaluated and saved in their place.

    average_n = average_{n-1} + w_n (theta_n - average_{n-1}),    w_1 = 1

after the n-th update. All averages differ in their weights alone. They are part of the optimizer's
state, so an update that is skipped leaves them, and a checkpoint has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxbert.model.heads import Params
from jaxbert.training.optim import is_frozen, name_mask

# () int32, updates with this one, from 1 -> () float32, the weight of its parameters.
Weight: TypeAlias = Callable[[jax.Array], jax.Array]


class AverageState(NamedTuple):
    """The state of an optimizer whose parameters are averaged.

    Attributes:
        average: like the parameters, without those that are frozen.
        made: () int32, updates so far.
        inner: the optimizer's own.
    """

    average: Params
    made: jax.Array
    inner: optax.OptState

    def of_all(self, params: Params) -> Params:
        """The average, and the frozen ones of the parameters themselves."""
        whole: Params = jax.tree.map(
            lambda a, x: x if _is_left_out(a) else a, self.average, params, is_leaf=_is_left_out
        )
        return whole


def _is_left_out(part: jax.Array | optax.MaskedNode) -> bool:
    return isinstance(part, optax.MaskedNode)


def exponential(decay: float) -> Weight:
    """The exponential moving average without what it begins with: of n updates the k-th has the
    weight decay^(n - k), divided by the sum of all, as optax.ema with debias.

    >>> [round(float(exponential(0.5)(jnp.int32(n))), 4) for n in (1, 2, 3)]
    [1.0, 0.6667, 0.5714]
    """

    def weight(count: jax.Array) -> jax.Array:
        sum_of_all = -jnp.expm1(count * math.log(decay))  # 1 - decay^n, to the last digit
        return jnp.where(count == 1, 1.0, (1 - decay) / sum_of_all)

    return weight


def stochastic(start: int) -> Weight:
    """The mean over all updates from the `start`-th on (Izmailov et al. 2018); before that the
    parameters themselves.

    >>> [round(float(stochastic(2)(jnp.int32(n))), 4) for n in (1, 2, 3, 4)]
    [1.0, 1.0, 0.5, 0.3333]
    """

    def weight(count: jax.Array) -> jax.Array:
        return 1.0 / jnp.maximum(1, count - start + 1)

    return weight


def averaged(
    tx: optax.GradientTransformation, weight: Weight, frozen: Sequence[str] = ()
) -> optax.GradientTransformation:
    """The optimizer, with an average of the parameters in its state.

    Args:
        frozen: modules that never change, of which there is none.
    """
    inner = optax.with_extra_args_support(tx)

    def init(params: Params) -> AverageState:
        kept = name_mask(params, lambda path: is_frozen(path, frozen))
        # A copy, since the step takes the memory of both.
        copy = jax.tree.map(lambda x, k: optax.MaskedNode() if k else jnp.copy(x), params, kept)
        return AverageState(copy, jnp.zeros((), jnp.int32), inner.init(params))

    def update(
        updates: optax.Updates,
        state: AverageState,
        params: Params | None = None,
        **extra: jax.Array,
    ) -> tuple[optax.Updates, AverageState]:
        updates, after = inner.update(updates, state.inner, params, **extra)
        made = state.made + 1
        w = weight(made)
        average = jax.tree.map(
            lambda a, x: a if _is_left_out(a) else jnp.where(w == 1, x, a + w * (x - a)),
            state.average,
            optax.apply_updates(params, updates),
            is_leaf=_is_left_out,
        )
        return updates, AverageState(average, made, after)

    return optax.GradientTransformationExtraArgs(init, update)
