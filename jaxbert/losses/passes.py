"""Losses that call the model more than once; each adds to a loss of outputs, its base."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxbert.data.batch import Batch
from jaxbert.losses.forms import (
    Loss,
    Parts,
    Scalar,
    Sums,
    Term,
    check_range,
    divergence,
    divisor,
)
from jaxbert.model.heads import Apply
from jaxbert.model.params import Params, leaf
from jaxbert.model.segments import sum_of_window


def r_drop(
    apply: Apply,
    params: Params,
    batch: Batch[Array],
    key: Array,
    *,
    base: Loss,
    alpha: float = 1.0,
) -> Parts:
    """Penalises disagreement of two passes with different dropout (Wu et al. 2021, eq. 2-4).

    (L_1 + L_2) / 2 + alpha (KL(p_1 || p_2) + KL(p_2 || p_1)) / 4: half of the paper's sum, so that
    with alpha 0 it is as large as the base. Of scores (regression) KL is the squared difference.
    L is a mean by the base's weights, KL one over all labels, or rows.

    Args:
        base: (outputs, batch) -> sums.
        alpha: weight of the disagreement, as in the paper.

    Returns:
        The two terms, and base_loss and divergence to report.
    """
    check_range("alpha", alpha, 0, 1e4)
    first = apply(params, batch, key=key, train=True)
    second = apply(params, batch, key=jax.random.fold_in(key, 1), train=True)
    loss_sum, weight_sum = base(first, batch)
    loss_sum = (loss_sum + base(second, batch)[0]) / 2
    forward, count = divergence(first, second, batch)
    apart = (forward + divergence(second, first, batch)[0]) / 2
    terms = (Term(1.0, loss_sum, weight_sum), Term(alpha / 2, apart, count))
    return Parts(terms, {"base_loss": (loss_sum, weight_sum), "divergence": (apart, count)})


def fgm(
    apply: Apply,
    params: Params,
    batch: Batch[Array],
    key: Array,
    *,
    base: Loss,
    epsilon: float = 1.0,
    weight: float = 1.0,
) -> tuple[Scalar, Scalar, Sums]:
    """The loss, and the loss at word embeddings moved to where it is worse (Miyato et al. 2017).

    L(x) + weight L(x + r), r = epsilon g / |g|, g the gradient of L with respect to a window's word
    embeddings (T, D). The length is that of each window alone, so that the loss does not depend on
    what else is in the batch.

    Args:
        base: (outputs, batch) -> sums.
        epsilon: the length of r, over all of a window's tokens.
        weight: of the second term.

    Returns:
        loss_sum (), weight_sum (), and base_loss and adversarial_loss to report.
    """
    return pgd(
        apply, params, batch, key, base=base, epsilon=epsilon, weight=weight, step=epsilon, steps=1
    )


def pgd(
    apply: Apply,
    params: Params,
    batch: Batch[Array],
    key: Array,
    *,
    base: Loss,
    epsilon: float = 1.0,
    weight: float = 1.0,
    step: float = 0.3,
    steps: int = 3,
) -> tuple[Scalar, Scalar, Sums]:
    """As fgm, where r goes by several steps and stays within epsilon (Madry et al. 2018, sec. 2.1).

    r <- r + step g / |g|, then shortened to epsilon where it is longer; g is computed at every r.

    Args:
        base, weight: as fgm.
        epsilon: the greatest length of r.
        step: the length of a step.
        steps: how many; each costs a forward and a backward pass.
    """
    check_range("epsilon", epsilon, 0, 1e3)
    check_range("weight", weight, 0, 1e3)
    check_range("step", step, 0, 1e3)
    check_range("steps", steps, 1, 100)

    def loss(params: Params, r: Float[Array, "R T D"]) -> tuple[Scalar, Scalar]:
        moved: Batch[Array] = {**batch, "word_offsets": r}
        return base(apply(params, moved, key=key, train=True), batch)

    # The way to r is no part of what is differentiated.
    fixed = jax.lax.stop_gradient(params)
    ids = batch["input_ids"]
    rows = ids.size // ids.shape[1]  # of multiple choice, every choice is a row
    width = leaf(params, "bert", "embeddings", "word_embeddings", "embedding").shape[1]
    r = jnp.zeros((rows, ids.shape[1], width))
    for _ in range(steps):
        g = jax.grad(lambda r: loss(fixed, r)[0])(r)
        r += step * g / _length(g, batch)
        r *= jnp.minimum(1.0, epsilon / _length(r, batch))
    loss_sum, weight_sum = base(apply(params, batch, key=key, train=True), batch)
    worse, _ = loss(params, jax.lax.stop_gradient(r))
    reported = {"base_loss": (loss_sum, weight_sum), "adversarial_loss": (worse, weight_sum)}
    return loss_sum + weight * worse, weight_sum, reported


def _length(x: Float[Array, "R T D"], batch: Batch[Array]) -> Float[Array, "R T 1"]:
    """At each token the length of its window's part of x, 1 where it is 0."""
    return jnp.sqrt(divisor(sum_of_window(jnp.sum(x**2, axis=-1), batch)))[..., None]
