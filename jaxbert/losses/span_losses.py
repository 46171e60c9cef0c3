"""Losses of question answering: where the answer starts and where it ends.

All of them give what span_cross_entropy gives, at the options where they are it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxbert.data.batch import Batch
from jaxbert.losses.forms import ModelOutputs, Scalar, check_range, focal_factor, masked_log_softmax
from jaxbert.model.params import AnyArray

SIDES = ("start", "end")


def _gold(batch: Batch[Array], side: str) -> Int[AnyArray, "B"]:
    """The position of the answer's first token, or of its last."""
    return batch["start_positions"] if side == "start" else batch["end_positions"]


def _log_p(outputs: ModelOutputs, batch: Batch[Array], side: str) -> Float[Array, "B T"]:
    """Over the real tokens only, so that padding is inert."""
    return masked_log_softmax(outputs[f"{side}_logits"], batch["attention_mask"])


def _at(log_p: Float[AnyArray, "B T"], positions: Int[AnyArray, "B"]) -> Float[Array, "B"]:
    """The value of each row at its position."""
    return jnp.take_along_axis(log_p, positions[:, None], axis=-1)[:, 0]


def _sums(loss: Float[Array, "B"], batch: Batch[Array]) -> tuple[Scalar, Scalar]:
    """The sums of the loss of each row."""
    return jnp.sum(loss * batch["weight"]), jnp.sum(batch["weight"])


def _valid(batch: Batch[Array]) -> Bool[Array, "B T"]:
    """Where an answer may start or end: the paragraph, and [CLS] for none."""
    position = jnp.arange(batch["context_mask"].shape[-1])
    return ((batch["context_mask"] != 0) | (position == 0)) & (batch["attention_mask"] != 0)


def span_cross_entropy(outputs: ModelOutputs, batch: Batch[Array]) -> tuple[Scalar, Scalar]:
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
    for side in SIDES:
        loss -= _at(_log_p(outputs, batch, side), _gold(batch, side)) / 2
    return _sums(loss, batch)


def span_label_smoothing(
    outputs: ModelOutputs, batch: Batch[Array], *, smoothing: float = 0.1
) -> tuple[Scalar, Scalar]:
    """Cross-entropy to q = (1 - e) onehot(gold) + e / |V|, V the positions an answer may have.

    Szegedy et al. 2016, section 7, with the uniform part over the paragraph and [CLS] only: no
    answer is in the question.

    Args:
        outputs: start_logits, end_logits (B, T).
        batch: as span_cross_entropy, and context_mask (B, T).
        smoothing: e, from 0 to 1.

    >>> import jax.numpy as jnp
    >>> outputs = {"start_logits": jnp.zeros((1, 4)), "end_logits": jnp.zeros((1, 4))}
    >>> batch = {"start_positions": jnp.array([1]), "end_positions": jnp.array([2]),
    ...          "attention_mask": jnp.ones((1, 4)), "context_mask": jnp.array([[0, 1, 1, 0]]),
    ...          "weight": jnp.ones(1)}
    >>> [round(float(x), 4) for x in span_label_smoothing(outputs, batch)]
    [1.3863, 1.0]
    """
    check_range("smoothing", smoothing, 0, 1)
    valid = _valid(batch)
    uniform = valid / jnp.sum(valid, axis=-1, keepdims=True)
    loss = jnp.zeros_like(batch["weight"])
    for side in SIDES:
        log_p = _log_p(outputs, batch, side)
        spread = jnp.sum(jnp.where(valid, uniform * log_p, 0.0), axis=-1)
        gold = _at(log_p, _gold(batch, side))
        loss -= ((1 - smoothing) * gold + smoothing * spread) / 2
    return _sums(loss, batch)


def span_soft_targets(
    outputs: ModelOutputs, batch: Batch[Array], *, width: float = 1.0
) -> tuple[Scalar, Scalar]:
    """Cross-entropy to q(i) ~ exp(-((i - gold) / width)^2 / 2): a start nearby is nearly right.

    Label smoothing whose mass falls with the distance in tokens, over the paragraph; where there is
    no answer, all of it is at [CLS].

    Args:
        outputs: start_logits, end_logits (B, T).
        batch: as span_cross_entropy, and context_mask (B, T).
        width: of the bell, in tokens; towards 0 it is span_cross_entropy.

    >>> import jax.numpy as jnp
    >>> outputs = {"start_logits": jnp.zeros((1, 4)), "end_logits": jnp.zeros((1, 4))}
    >>> batch = {"start_positions": jnp.array([1]), "end_positions": jnp.array([2]),
    ...          "attention_mask": jnp.ones((1, 4)), "context_mask": jnp.array([[0, 1, 1, 0]]),
    ...          "weight": jnp.ones(1)}
    >>> [round(float(x), 4) for x in span_soft_targets(outputs, batch)]
    [1.3863, 1.0]
    """
    check_range("width", width, 1e-3, 1e3)
    position = jnp.arange(batch["attention_mask"].shape[-1])
    loss = jnp.zeros_like(batch["weight"])
    for side in SIDES:
        gold = _gold(batch, side)[:, None]
        allowed = jnp.where(gold > 0, _valid(batch) & (position > 0), position == 0)
        bell = -(((position - gold) / width) ** 2) / 2
        q = jax.nn.softmax(jnp.where(allowed, bell, -jnp.inf), axis=-1)
        log_p = _log_p(outputs, batch, side)
        loss -= jnp.sum(jnp.where(allowed, q * log_p, 0.0), axis=-1) / 2
    return _sums(loss, batch)


def span_focal(
    outputs: ModelOutputs, batch: Batch[Array], *, gamma: float = 2.0
) -> tuple[Scalar, Scalar]:
    """(1 - p)^gamma * -log p of start and of end, their mean (Lin et al. 2017, equation 4).

    Args:
        outputs, batch: as span_cross_entropy.
        gamma: 0 is span_cross_entropy; the higher, the less a row counts that is right already.

    >>> import jax.numpy as jnp
    >>> outputs = {"start_logits": jnp.zeros((1, 4)), "end_logits": jnp.zeros((1, 4))}
    >>> batch = {"start_positions": jnp.array([1]), "end_positions": jnp.array([2]),
    ...          "attention_mask": jnp.ones((1, 4)), "weight": jnp.ones(1)}
    >>> [round(float(x), 4) for x in span_focal(outputs, batch)]
    [0.7798, 1.0]
    """
    check_range("gamma", gamma, 0, 100)
    loss = jnp.zeros_like(batch["weight"])
    for side in SIDES:
        log_p = _at(_log_p(outputs, batch, side), _gold(batch, side))
        loss -= focal_factor(log_p, gamma) * log_p / 2
    return _sums(loss, batch)


def gold_spans(batch: Batch[Array]) -> tuple[Int[AnyArray, "B G"], Int[AnyArray, "B G"]]:
    """First and last token of every reference answer in the window, -1 where none.

    Without the batch's answer_starts and answer_ends, G is 1: the gold span.
    """
    if "answer_starts" in batch:
        return batch["answer_starts"], batch["answer_ends"]
    return batch["start_positions"][:, None], batch["end_positions"][:, None]


def span_marginal(outputs: ModelOutputs, batch: Batch[Array]) -> tuple[Scalar, Scalar]:
    """-log sum over the different reference answers g of p(start_g) p(end_g), halved.

    Marginal likelihood: the model may choose which of several answers it gives (Lee et al. 2019,
    Latent Retrieval, over an answer's occurrences; Clark & Gardner 2018 sum starts and ends each on
    their own). Halved, it is span_cross_entropy where there is one answer.

    Args:
        outputs: start_logits, end_logits (B, T).
        batch: as span_cross_entropy, and where some question has several answers, answer_starts,
            answer_ends (B, G) int, -1 where the window has none.

    >>> import jax.numpy as jnp
    >>> outputs = {"start_logits": jnp.zeros((1, 4)), "end_logits": jnp.zeros((1, 4))}
    >>> batch = {"answer_starts": jnp.array([[1, 2]]), "answer_ends": jnp.array([[2, 2]]),
    ...          "attention_mask": jnp.ones((1, 4)), "weight": jnp.ones(1)}
    >>> [round(float(x), 4) for x in span_marginal(outputs, batch)]  # (4 ln 2 - ln 2) / 2
    [1.0397, 1.0]
    """
    log_p = jnp.zeros(())
    is_there = jnp.zeros((), bool)
    for side, positions in zip(SIDES, gold_spans(batch), strict=True):
        is_there = jnp.greater_equal(positions, 0)
        every = _log_p(outputs, batch, side)
        log_p += jnp.take_along_axis(every, jnp.maximum(positions, 0), axis=-1)
    return _sums(-jax.nn.logsumexp(jnp.where(is_there, log_p, -1e30), axis=-1) / 2, batch)


def joint_span(
    outputs: ModelOutputs, batch: Batch[Array], *, independent: float = 0.0
) -> tuple[Scalar, Scalar]:
    """-log of a softmax over all valid spans, halved: start and end normalised together.

    -(s_a + e_b - log sum over valid (i, j) of exp(s_i + e_j)) / 2, valid where i <= j in the
    paragraph, and (0, 0), no answer. So what the decoder never gives (an end before the start, a
    span of the question) takes no probability. In O(T): the sum over j is a cumulative one from
    the right. (Fajcik et al. 2021, Rethinking the Objectives of Extractive Question Answering: the
    joint objective, and with independent=1 their compound one.)

    Args:
        outputs: start_logits, end_logits (B, T).
        batch: as span_cross_entropy, and context_mask (B, T), whose tokens are one run.
        independent: how much of span_cross_entropy is added.

    >>> import jax.numpy as jnp
    >>> outputs = {"start_logits": jnp.zeros((1, 4)), "end_logits": jnp.zeros((1, 4))}
    >>> batch = {"start_positions": jnp.array([1]), "end_positions": jnp.array([2]),
    ...          "attention_mask": jnp.ones((1, 4)), "context_mask": jnp.array([[0, 1, 1, 0]]),
    ...          "weight": jnp.ones(1)}
    >>> [round(float(x), 4) for x in joint_span(outputs, batch)]  # of 4 spans: ln(4) / 2
    [0.6931, 1.0]
    """
    check_range("independent", independent, 0, 1e3)
    start, end = (outputs[f"{side}_logits"].astype(jnp.float32) for side in SIDES)
    inside = _valid(batch) & (jnp.arange(start.shape[-1]) > 0)
    from_here = jax.lax.cumlogsumexp(jnp.where(inside, end, -1e30), axis=1, reverse=True)
    spans = jax.nn.logsumexp(jnp.where(inside, start + from_here, -1e30), axis=-1)
    none = start[:, 0] + end[:, 0]
    gold = _at(start, batch["start_positions"]) + _at(end, batch["end_positions"])
    loss_sum, weight_sum = _sums((jnp.logaddexp(spans, none) - gold) / 2, batch)
    if independent:
        loss_sum += independent * span_cross_entropy(outputs, batch)[0]
    return loss_sum, weight_sum


def span_accuracy(outputs: ModelOutputs, batch: Batch[Array]) -> dict[str, tuple[Scalar, Scalar]]:
    """How many rows have their best start, and their best end, at the gold position.

    start_accuracy and end_accuracy, each as (sum (), count ()).
    """
    sums = {}
    for side in SIDES:
        logits = jnp.where(batch["attention_mask"] != 0, outputs[f"{side}_logits"], -jnp.inf)
        right = jnp.argmax(logits, axis=-1) == _gold(batch, side)
        sums[f"{side}_accuracy"] = (jnp.sum(right * batch["weight"]), jnp.sum(batch["weight"]))
    return sums
