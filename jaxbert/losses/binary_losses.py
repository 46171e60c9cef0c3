"""Losses of any number of classes a row: for each class a decision, 0 or 1.

The losses of labels come here where labels have the shape of the logits. Their weight is rows times
classes, so that the mean is PyTorch's BCEWithLogitsLoss.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxbert.data.batch import Batch
from jaxbert.losses.forms import ModelOutputs, Scalar, focal_factor, label_weights
from jaxbert.model.params import AnyArray


def _log_p(outputs: ModelOutputs) -> tuple[Float[Array, "B C"], Float[Array, "B C"]]:
    """log p of having each class and of not having it, float32."""
    logits = outputs["logits"].astype(jnp.float32)
    return jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)


def _weights(
    batch: Batch[Array], class_weights: Float[AnyArray, "C"] | None
) -> Float[Array, "B C"]:
    """A class counts as often as its weight, whether a row has it or not."""
    weights = label_weights(batch)
    return weights if class_weights is None else weights * jnp.asarray(class_weights)


def binary_cross_entropy(
    outputs: ModelOutputs,
    batch: Batch[Array],
    *,
    smoothing: float = 0.0,
    class_weights: Float[AnyArray, "C"] | None = None,
) -> tuple[Scalar, Scalar]:
    """Cross-entropy of each class, to targets t = (1 - e) y + e / 2.

    sum over rows and classes of c * -(t log p + (1 - t) log (1 - p)), p = sigmoid(logit), and sum
    over rows and classes of c.

    Args:
        outputs: logits (B, C).
        batch: labels (B, C) float32, 1 where the row has the class, else 0; weight (B,).
        smoothing: e.
        class_weights: c, (C,) float32; by default ones.

    Returns:
        loss_sum () and weight_sum () float32, in nats.

    >>> import jax.numpy as jnp
    >>> batch = {"labels": jnp.array([[1.0, 0.0, 1.0]]), "weight": jnp.ones(1)}
    >>> outputs = {"logits": jnp.zeros((1, 3))}
    >>> [round(float(x), 4) for x in binary_cross_entropy(outputs, batch)]  # 3 ln 2
    [2.0794, 3.0]
    """
    has, has_not = _log_p(outputs)
    target = (1 - smoothing) * batch["labels"] + smoothing / 2
    weights = _weights(batch, class_weights)
    return jnp.sum(-(target * has + (1 - target) * has_not) * weights), jnp.sum(weights)


def binary_focal(
    outputs: ModelOutputs,
    batch: Batch[Array],
    *,
    gamma: float,
    class_weights: Float[AnyArray, "C"] | None = None,
) -> tuple[Scalar, Scalar]:
    """c * (1 - q)^gamma * -log q, q the probability of what is right of each class.

    The form in which Lin et al. 2017 give it (equation 4; c is a weight of the class).

    Args:
        outputs, batch, class_weights: as binary_cross_entropy.
        gamma: 0 is binary_cross_entropy.
    """
    has, has_not = _log_p(outputs)
    log_q = jnp.where(batch["labels"] > 0.5, has, has_not)
    weights = _weights(batch, class_weights)
    return jnp.sum(-focal_factor(log_q, gamma) * log_q * weights), jnp.sum(weights)


def binary_accuracy(outputs: ModelOutputs, batch: Batch[Array]) -> tuple[Scalar, Scalar]:
    """How many of rows times classes are on the right side of p = 1/2, as (sum (), count ())."""
    right = (outputs["logits"] > 0) == (batch["labels"] > 0.5)
    weights = label_weights(batch)
    return jnp.sum(right * weights), jnp.sum(weights)
