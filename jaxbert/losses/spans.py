"""Losses of question answering: where the answer starts and where it ends."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxbert.losses.forms import Arrays, masked_log_softmax


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
