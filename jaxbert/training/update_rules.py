"""The optimizers of --optim, by name, over optax. A file's function has the same form.

A rule is a function of a learning rate (step -> rate), which gives an optax.GradientTransformation.
Where it has parameters of these names it is given them too: weight_decay, a number, and mask, which
tells of a tree of parameters which leaves are decayed. Its others are options.

    theta <- theta - rate (direction + weight_decay theta)

is common to all that are here: the decay is decoupled from the direction (Loshchilov & Hutter 2019)
and multiplied by the rate, as in PyTorch and in Hugging Face's optimizers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import optax

from jaxbert.model.heads import Params
from jaxbert.training.optim import Mask, Schedule, adamw

Rule: TypeAlias = Callable[..., optax.GradientTransformation]
DecayMask: TypeAlias = Callable[[Params], Mask]


def adamw_rule(
    learning_rate: Schedule,
    *,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """AdamW; see training.optim.adamw, whose decay is masked by name."""
    return adamw(learning_rate, weight_decay=weight_decay, clip_norm=None, b1=b1, b2=b2, eps=eps)


def lamb_rule(
    learning_rate: Schedule,
    *,
    weight_decay: float,
    mask: DecayMask,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """LAMB (You et al. 2020): Adam's direction, scaled in each array by |theta| / |direction|."""
    return optax.lamb(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=mask)


def lion_rule(
    learning_rate: Schedule,
    *,
    weight_decay: float,
    mask: DecayMask,
    b1: float = 0.9,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """Lion (Chen et al. 2023): the sign of an interpolated momentum, which is its only state."""
    return optax.lion(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=mask)


def adafactor_rule(
    learning_rate: Schedule,
    *,
    weight_decay: float,
    mask: DecayMask,
    decay_rate: float = 0.8,
    clipping_threshold: float = 1.0,
    multiply_by_parameter_scale: bool = False,
    min_dim_size_to_factor: int = 32,
) -> optax.GradientTransformation:
    """Adafactor (Shazeer & Stern 2018), with the learning rate of the schedule.

    The second moment of an array is kept as the means over its two largest axes, where both have
    at least `min_dim_size_to_factor`: of attention's kernels (D, N, H) it is one of each head.
    The parameter scale is off, as in Hugging Face's Trainer. optax.adafactor would not multiply the
    decay by the rate.
    """
    parts = [
        optax.scale_by_factored_rms(
            decay_rate=decay_rate, min_dim_size_to_factor=min_dim_size_to_factor
        ),
        optax.clip_by_block_rms(clipping_threshold),
    ]
    if multiply_by_parameter_scale:
        parts.append(optax.scale_by_param_block_rms())
    parts += [
        optax.add_decayed_weights(weight_decay, mask=mask),
        optax.scale_by_learning_rate(learning_rate),
    ]
    return optax.chain(*parts)


def sgd_rule(
    learning_rate: Schedule,
    *,
    weight_decay: float,
    mask: DecayMask,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Gradient descent; without momentum, as in Hugging Face's Trainer, it has no state."""
    return optax.chain(
        optax.trace(momentum, nesterov=nesterov) if momentum else optax.identity(),
        optax.add_decayed_weights(weight_decay, mask=mask),
        optax.scale_by_learning_rate(learning_rate),
    )


RULES: dict[str, Rule] = {
    "adamw": adamw_rule,
    "lamb": lamb_rule,
    "lion": lion_rule,
    "adafactor": adafactor_rule,
    "sgd": sgd_rule,
}
