"""Losses of labels, one a row or many, and of scores."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxbert.losses.forms import Arrays


def label_weights(batch: Arrays) -> jax.Array:
    """1 at every label that counts, float32 in the shape of labels: (B,), or (B, T) with -100."""
    labels = batch["labels"]
    rows = batch["weight"].reshape(-1, *[1] * (labels.ndim - 1))
    return jnp.where(labels >= 0, rows, 0.0)


def label_cross_entropy(
    outputs: Arrays, batch: Arrays, *, class_weights: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of labels, one a row (classes, choices) or many (tags, masked tokens).

    sum over labels y of c_y * -log softmax(logits)_y, and sum of c_y: as PyTorch's CrossEntropyLoss
    with `weight` and ignore_index -100, whose mean is the first divided by the second.

    Args:
        outputs: logits (..., C).
        batch: labels (...) int, negative where there is none; weight (B,).
        class_weights: c, (C,) float32; by default ones.

    Returns:
        loss_sum () and weight_sum () float32, in nats.

    >>> import jax.numpy as jnp
    >>> batch = {"labels": jnp.array([[1, -100]]), "weight": jnp.ones(1)}
    >>> [round(float(x), 4) for x in label_cross_entropy({"logits": jnp.zeros((1, 2, 3))}, batch)]
    [1.0986, 1.0]
    """
    labels, weights = jnp.maximum(batch["labels"], 0), label_weights(batch)
    if class_weights is not None:
        weights *= class_weights[labels]
    log_p = jax.nn.log_softmax(outputs["logits"].astype(jnp.float32), axis=-1)
    loss = -jnp.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    return jnp.sum(loss * weights), jnp.sum(weights)


def label_accuracy(outputs: Arrays, batch: Arrays) -> dict[str, tuple[jax.Array, jax.Array]]:
    """How many labels are the class of the highest logit: accuracy, as (sum (), count ())."""
    weights = label_weights(batch)
    right = jnp.argmax(outputs["logits"], axis=-1) == batch["labels"]
    return {"accuracy": (jnp.sum(right * weights), jnp.sum(weights))}


def squared_error(outputs: Arrays, batch: Arrays) -> tuple[jax.Array, jax.Array]:
    """sum over rows of weight * (score - label)^2, for the mean squared error.

    Args:
        outputs: scores (B,).
        batch: labels (B,) float32, weight (B,).

    Returns:
        loss_sum () and weight_sum () float32.

    >>> import jax.numpy as jnp
    >>> batch = {"labels": jnp.array([1.0, 2.0]), "weight": jnp.array([1.0, 0.0])}
    >>> [float(x) for x in squared_error({"scores": jnp.array([3.0, 9.0])}, batch)]
    [4.0, 1.0]
    """
    difference = outputs["scores"].astype(jnp.float32) - batch["labels"]
    return jnp.sum(difference**2 * batch["weight"]), jnp.sum(batch["weight"])
