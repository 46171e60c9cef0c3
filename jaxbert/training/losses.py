"""Losses: pure functions (outputs, batch) -> (loss_sum, weight_sum), never means.

Whoever calls a loss divides once, by the weight of the whole global batch. So the result does not
depend on the number of devices, on padding rows, or on how a batch is split for accumulation.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Arrays = dict[str, jax.Array]
Measure = Callable[[Arrays, Arrays], dict[str, tuple[jax.Array, jax.Array]]]
Loss = Callable[[Arrays, Arrays], tuple[jax.Array, jax.Array]]


def masked_log_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """log softmax over the last axis, float32, as if positions with mask 0 were not there.

    >>> import jax.numpy as jnp
    >>> masked_log_softmax(jnp.array([1.0, 1.0, 9.0]), jnp.array([1, 1, 0]))[:2].round(4).tolist()
    [-0.6930999755859375, -0.6930999755859375]
    """
    return jax.nn.log_softmax(jnp.where(mask != 0, logits.astype(jnp.float32), -1e30), axis=-1)


def span_cross_entropy(outputs: Arrays, batch: Arrays) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of the start and of the end position, their mean (Devlin et al. 2019, 4.2).

    sum over rows of weight * -(log p(start) + log p(end)) / 2, in nats. The softmax is over the
    real tokens only, so that padding is inert; Hugging Face's BertForQuestionAnswering counts the
    padding too, and is equal where there is none.

    Args:
        outputs: start_logits, end_logits (B, T).
        batch: start_positions, end_positions (B,) int, attention_mask (B, T), weight (B,).

    Returns:
        loss_sum () and weight_sum () float32.

    >>> import jax.numpy as jnp
    >>> outputs = {"start_logits": jnp.zeros((1, 4)), "end_logits": jnp.zeros((1, 4))}
    >>> batch = {"start_positions": jnp.array([1]), "end_positions": jnp.array([2]),
    ...          "attention_mask": jnp.ones((1, 4)), "weight": jnp.ones(1)}
    >>> [round(float(x), 4) for x in span_cross_entropy(outputs, batch)]
    [1.3863, 1.0]
    """
    loss = jnp.zeros_like(batch["weight"])
    for side in ("start", "end"):
        log_p = masked_log_softmax(outputs[f"{side}_logits"], batch["attention_mask"])
        gold = batch[f"{side}_positions"][:, None]
        loss -= jnp.take_along_axis(log_p, gold, axis=-1)[:, 0] / 2
    return jnp.sum(loss * batch["weight"]), jnp.sum(batch["weight"])


def span_accuracy(outputs: Arrays, batch: Arrays) -> dict[str, tuple[jax.Array, jax.Array]]:
    """How many rows have their best start, and their best end, at the gold position.

    start_accuracy and end_accuracy, each as (sum (), count ()).
    """
    sums = {}
    for side in ("start", "end"):
        logits = jnp.where(batch["attention_mask"] != 0, outputs[f"{side}_logits"], -jnp.inf)
        right = jnp.argmax(logits, axis=-1) == batch[f"{side}_positions"]
        sums[f"{side}_accuracy"] = (jnp.sum(right * batch["weight"]), jnp.sum(batch["weight"]))
    return sums


def _label_weights(batch: Arrays) -> jax.Array:
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
    labels, weights = jnp.maximum(batch["labels"], 0), _label_weights(batch)
    if class_weights is not None:
        weights *= class_weights[labels]
    log_p = jax.nn.log_softmax(outputs["logits"].astype(jnp.float32), axis=-1)
    loss = -jnp.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    return jnp.sum(loss * weights), jnp.sum(weights)


def label_accuracy(outputs: Arrays, batch: Arrays) -> dict[str, tuple[jax.Array, jax.Array]]:
    """How many labels are the class of the highest logit: accuracy, as (sum (), count ())."""
    weights = _label_weights(batch)
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
