"""Losses of labels, one a row (classes, choices) or many (tags, masked tokens), and of scores."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxbert.data.batch import Batch
from jaxbert.errors import InputError
from jaxbert.losses.binary_losses import binary_accuracy, binary_cross_entropy, binary_focal
from jaxbert.losses.forms import (
    ModelOutputs,
    Scalar,
    check_range,
    focal_factor,
    is_multi_label,
    label_weights,
    unit,
)
from jaxbert.model.params import AnyArray
from jaxbert.model.segments import first_tokens


def _log_p(outputs: ModelOutputs) -> Float[Array, "*B C"]:
    return jax.nn.log_softmax(outputs["logits"].astype(jnp.float32), axis=-1)


def _at(values: Float[Array, "*B C"], batch: Batch[Array]) -> Float[Array, "*B"]:
    """The values at the labels; anything where there is none."""
    labels = jnp.maximum(batch["labels"], 0)
    return jnp.take_along_axis(values, labels[..., None], axis=-1)[..., 0]


def _weights(
    batch: Batch[Array], class_weights: Float[AnyArray, "C"] | None
) -> Float[Array, "..."]:
    weights = label_weights(batch)
    if class_weights is None:
        return weights
    return weights * jnp.asarray(class_weights)[jnp.maximum(batch["labels"], 0)]


def _soft(
    outputs: ModelOutputs,
    batch: Batch[Array],
    smoothing: float,
    class_weights: Float[AnyArray, "C"] | None,
) -> tuple[Scalar, Scalar]:
    """Cross-entropy to a distribution q of each row, smoothed by e.

    (1 - e) sum_y c_y q_y * -log p_y + e (sum_y c_y q_y) mean_y -log p_y, and sum_y c_y q_y: the
    loss of a label where all of q is at one class.
    """
    shares = batch["soft_labels"]
    if class_weights is not None:
        shares = shares * jnp.asarray(class_weights)
    log_p, rows = _log_p(outputs), label_weights(batch)
    loss = -(1 - smoothing) * jnp.sum(shares * log_p, axis=-1)
    loss -= smoothing * jnp.sum(shares, axis=-1) * jnp.mean(log_p, axis=-1)
    return jnp.sum(loss * rows), jnp.sum(rows * jnp.sum(shares, axis=-1))


def label_cross_entropy(
    outputs: ModelOutputs, batch: Batch[Array], *, class_weights: Float[AnyArray, "C"] | None = None
) -> tuple[Scalar, Scalar]:
    """Cross-entropy of labels.

    sum over labels y of c_y * -log softmax(logits)_y, and sum of c_y: as PyTorch's CrossEntropyLoss
    with `weight` and ignore_index -100, whose mean is the first divided by the second. Of any
    number of classes a row it is binary_cross_entropy. Of soft labels q it is the sum over classes
    of c_y q_y * -log p_y, its weight that of c_y q_y: PyTorch's with probabilities, where c is 1.

    Args:
        outputs: logits (..., C).
        batch: labels (...) int, negative where there is none, or (B, C) float32 of 0 and 1; weight
            (B,); and where rows have distributions, soft_labels (B, C).
        class_weights: c, (C,) float32; by default ones.

    Returns:
        loss_sum () and weight_sum () float32, in nats.

    >>> import jax.numpy as jnp
    >>> batch = {"labels": jnp.array([[1, -100]]), "weight": jnp.ones(1)}
    >>> [round(float(x), 4) for x in label_cross_entropy({"logits": jnp.zeros((1, 2, 3))}, batch)]
    [1.0986, 1.0]
    """
    if is_multi_label(outputs, batch):
        return binary_cross_entropy(outputs, batch, class_weights=class_weights)
    if "soft_labels" in batch:
        return _soft(outputs, batch, 0.0, class_weights)
    weights = _weights(batch, class_weights)
    return jnp.sum(-_at(_log_p(outputs), batch) * weights), jnp.sum(weights)


def label_smoothing(
    outputs: ModelOutputs,
    batch: Batch[Array],
    *,
    smoothing: float = 0.1,
    class_weights: Float[AnyArray, "C"] | None = None,
) -> tuple[Scalar, Scalar]:
    """Cross-entropy to q = (1 - e) onehot(y) + e / C (Szegedy et al. 2016, section 7).

    Args:
        outputs, batch, class_weights: as label_cross_entropy.
        smoothing: e, from 0 to 1. Without class weights it is PyTorch's `label_smoothing`.

    >>> import jax.numpy as jnp
    >>> batch = {"labels": jnp.array([0]), "weight": jnp.ones(1)}
    >>> outputs = {"logits": jnp.log(jnp.array([[0.75, 0.25]]))}
    >>> [round(float(x), 4) for x in label_smoothing(outputs, batch, smoothing=0.2)]
    [0.3975, 1.0]
    """
    check_range("smoothing", smoothing, 0, 1)
    if is_multi_label(outputs, batch):
        return binary_cross_entropy(
            outputs, batch, smoothing=smoothing, class_weights=class_weights
        )
    if "soft_labels" in batch:
        return _soft(outputs, batch, smoothing, class_weights)
    log_p, weights = _log_p(outputs), _weights(batch, class_weights)
    loss = -(1 - smoothing) * _at(log_p, batch) - smoothing * jnp.mean(log_p, axis=-1)
    return jnp.sum(loss * weights), jnp.sum(weights)


def label_focal(
    outputs: ModelOutputs,
    batch: Batch[Array],
    *,
    gamma: float = 2.0,
    class_weights: Float[AnyArray, "C"] | None = None,
) -> tuple[Scalar, Scalar]:
    """c_y * (1 - p_y)^gamma * -log p_y (Lin et al. 2017, equation 5; c is their alpha).

    Args:
        outputs, batch, class_weights: as label_cross_entropy.
        gamma: 0 is label_cross_entropy; the higher, the less a label counts that is right already.

    >>> import jax.numpy as jnp
    >>> batch = {"labels": jnp.array([0]), "weight": jnp.ones(1)}
    >>> [round(float(x), 4) for x in label_focal({"logits": jnp.zeros((1, 2))}, batch)]  # ln(2) / 4
    [0.1733, 1.0]
    """
    check_range("gamma", gamma, 0, 100)
    if is_multi_label(outputs, batch):
        return binary_focal(outputs, batch, gamma=gamma, class_weights=class_weights)
    if "soft_labels" in batch:
        raise InputError(
            "--loss focal: it is of labels, and rows have distributions over classes; give "
            "cross_entropy or label_smoothing, alone or as the base of another"
        )
    log_p, weights = _at(_log_p(outputs), batch), _weights(batch, class_weights)
    return jnp.sum(-focal_factor(log_p, gamma) * log_p * weights), jnp.sum(weights)


def supervised_contrastive(
    outputs: ModelOutputs,
    batch: Batch[Array],
    *,
    weight: float = 0.5,
    temperature: float = 0.3,
    group: int = 8,
    class_weights: Float[AnyArray, "C"] | None = None,
) -> tuple[Scalar, Scalar]:
    """(1 - w) label_cross_entropy + w contrast of the [CLS] vectors (Gunel et al. 2021, eq. 1-3).

    Of a row i, z_i its [CLS] vector scaled to length 1, and P the other rows of its class:
    -1 / |P| sum over j in P of log (exp(z_i z_j / t) / sum over k != i of exp(z_i z_k / t)).
    Class weights are of rows: they weigh both terms.

    The other rows are those of its group: rows of the batch that lie one behind the other.
    So the loss is the same on however many devices and micro-batches, as long as each has whole
    groups. A row without another of its class in the group has the cross-entropy alone. Packing has
    other groups: those of the places in packed rows, some of which are empty.

    Args:
        outputs: logits (B, C), last_hidden_state (B, T, D).
        batch: labels, weight (B,).
        weight: w, from 0 to 1.
        temperature: t.
        group: rows that are contrasted with each other.

    Raises:
        InputError: the rows that are computed at once are not whole groups, or a row has any number
            of classes.
    """
    if is_multi_label(outputs, batch):
        raise InputError(
            "--loss supervised_contrastive: rows with several labels are not of one class; give "
            "cross_entropy, label_smoothing or focal, alone or as the base of another"
        )
    if "window_scores" in outputs:
        raise InputError(
            "--loss supervised_contrastive: with --window_pooling attention a text has several "
            "[CLS] vectors; give cross_entropy, label_smoothing or focal, alone or as the base of "
            "another"
        )
    check_range("weight", weight, 0, 1)
    check_range("temperature", temperature, 1e-3, 1e3)
    check_range("group", group, 2, 65536)
    rows = batch["labels"].shape[0]
    if rows % group:
        raise InputError(
            f"--loss_args group: {group} does not divide the {rows} rows of a micro-batch on a "
            "device; give one that does, or another --per_device_train_batch_size"
        )
    loss_sum, weight_sum = label_cross_entropy(outputs, batch, class_weights=class_weights)
    first = unit(first_tokens(outputs["last_hidden_state"], batch))
    z = first.reshape(rows // group, group, -1)
    counts = (label_weights(batch) > 0).reshape(-1, group)
    labels = batch["labels"].reshape(-1, group)
    others = counts[:, :, None] & counts[:, None, :] & ~jnp.eye(group, dtype=bool)
    alike = others & (labels[:, :, None] == labels[:, None, :])
    scores = jnp.where(others, jnp.einsum("gid,gjd->gij", z, z) / temperature, -1e30)
    log_p = jax.nn.log_softmax(scores, axis=-1)
    pairs = jnp.sum(alike, axis=-1)
    contrast = -jnp.sum(jnp.where(alike, log_p, 0.0), axis=-1) / jnp.maximum(pairs, 1)
    contrast *= _weights(batch, class_weights).reshape(-1, group)
    return (1 - weight) * loss_sum + weight * jnp.sum(contrast), weight_sum


def label_accuracy(outputs: ModelOutputs, batch: Batch[Array]) -> dict[str, tuple[Scalar, Scalar]]:
    """How many labels are the class of the highest logit: accuracy, as (sum (), count ()).

    Of any number of classes a row, how many of rows times classes are right.
    """
    if is_multi_label(outputs, batch):
        return {"accuracy": binary_accuracy(outputs, batch)}
    weights = label_weights(batch)
    right = jnp.argmax(outputs["logits"], axis=-1) == batch["labels"]
    return {"accuracy": (jnp.sum(right * weights), jnp.sum(weights))}


def squared_error(outputs: ModelOutputs, batch: Batch[Array]) -> tuple[Scalar, Scalar]:
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
