"""The two forms of a loss, and what losses share.

A loss returns a sum and the weight of what it is summed over, never a mean. Whoever calls it
divides once, by the weight of the whole global batch. So the result does not depend on the number
of devices, on padding rows, or on how a batch is split for accumulation.

A loss that adds a second term to another one returns Parts: each term has a weight of its own,
since class weights, or a base of the user's, may weigh the first term in any unit.

B rows, T tokens, C classes. With packing B counts the windows of all rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxbert.data.batch import Batch
from jaxbert.errors import InputError
from jaxbert.model.heads import REQUESTS, Apply, Outputs
from jaxbert.model.params import AnyArray, Params, subtree

Arrays: TypeAlias = dict[str, Array]
ModelOutputs: TypeAlias = Mapping[str, AnyArray]  # by the names of make_apply
Scalar: TypeAlias = Float[Array, ""]
Sums: TypeAlias = dict[str, tuple[Scalar, Scalar]]
Measure: TypeAlias = Callable[[ModelOutputs, Batch[Array]], Sums]


# What a loss gets by a parameter of that name, beside its two or four: outputs of the model (see
# make_apply), its own parameters, and how many steps have been done, () int32.
OWN_PARAMS, STEP = "loss_params", "step"
_BY_NAME = (*REQUESTS, OWN_PARAMS, STEP)
# Where a loss's own parameters are in those of a run.
LOSS = "loss"


class Term(NamedTuple):
    """A term of a loss: factor * sum / weight, the two added up over the whole global batch.

    The weight is a constant to the gradient.
    """

    factor: float | Scalar
    sum: Scalar
    weight: Scalar


class Parts(NamedTuple):
    """A loss as its terms, whose values are added; reported: name -> (sum (), count ())."""

    terms: tuple[Term, ...]
    reported: Sums


_Result: TypeAlias = tuple[Scalar, Scalar] | tuple[Scalar, Scalar, Sums] | Parts

# (outputs, batch) -> (loss_sum, weight_sum)
Loss: TypeAlias = Callable[..., tuple[Scalar, Scalar]]
# (outputs, batch) -> its terms
LossOfParts: TypeAlias = Callable[..., Parts]
# (apply, params, batch, key) -> (loss_sum, weight_sum, name -> (sum, count)), or its terms, for a
# loss that calls the model as it needs it: twice, with other inputs, without dropout.
Objective: TypeAlias = Callable[
    [Apply, Params, Batch[Array], Array], tuple[Scalar, Scalar, Sums] | Parts
]
# One of the three.
AnyLoss: TypeAlias = Callable[..., _Result]


def required_parameters(function: AnyLoss) -> int:
    """How many arguments it needs by position: 2 of a Loss, 4 of an Objective. What it gets by name
    does not count."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    needed = [p for p in parameters if p.kind in kinds and p.default is p.empty]
    return sum(p.name not in _BY_NAME for p in needed)


def wants(function: AnyLoss) -> tuple[str, ...]:
    """What it gets by name: of the model's outputs, loss_params and step. A parameter that has a
    default is an option of the loss, whatever its name."""
    parameters = inspect.signature(function).parameters
    return tuple(n for n, p in parameters.items() if n in _BY_NAME and p.default is p.empty)


def by_name(
    function: AnyLoss, outputs: ModelOutputs, params: Params, step: Array | int
) -> dict[str, AnyArray | Params]:
    """The keywords of what it gets by name."""
    there: dict[str, AnyArray | Params] = {**outputs, STEP: jnp.asarray(step, jnp.int32)}
    if OWN_PARAMS in wants(function):
        there[OWN_PARAMS] = subtree(params, LOSS)
    return {name: there[name] for name in wants(function)}


def outputs_for(
    losses: Sequence[AnyLoss], apply: Apply, params: Params, batch: Batch[Array], key: Array
) -> Outputs:
    """The outputs of a training step for losses of outputs, with what they ask for by name."""
    also = dict.fromkeys(name for loss in losses for name in wants(loss) if name in REQUESTS)
    if not also:
        return apply(params, batch, key=key, train=True)
    return apply(params, batch, key=key, train=True, also=tuple(also))


@runtime_checkable
class Measured(Protocol):
    """A loss of the second form that also reports what is measured of its outputs."""

    def measured_by(self, measure: Measure | None) -> AnyLoss:
        """The loss that reports this beside its own."""
        ...


@runtime_checkable
class ObjectiveOfParts(Protocol):
    """A loss in its last form."""

    def __call__(
        self,
        apply: Apply,
        params: Params,
        batch: Batch[Array],
        key: Array,
        step: Array | int = 0,
    ) -> Parts:
        """Its terms after a number of steps."""
        ...


def objective_of(loss: AnyLoss, measure: Measure | None = None) -> ObjectiveOfParts:
    """Either form as the second one, whose result is Parts.

    Args:
        measure: (outputs, batch) -> name -> (sum, count), to report beside a loss of the first
            form. One of the second form reports what it returns itself.
    """
    calls_the_model = required_parameters(loss) == 4
    if calls_the_model and isinstance(loss, Measured):
        loss = loss.measured_by(measure)

    def objective(
        apply: Apply, params: Params, batch: Batch[Array], key: Array, step: Array | int = 0
    ) -> Parts:
        if calls_the_model:
            given = by_name(loss, {}, params, step)
            return parts_of(loss(apply, params, batch, key, **given))
        outputs = outputs_for((loss,), apply, params, batch, key)
        parts = parts_of(loss(outputs, batch, **by_name(loss, outputs, params, step)))
        measured = measure(outputs, batch) if measure else {}
        return parts._replace(reported={**measured, **parts.reported})

    return objective


def parts_of(result: _Result) -> Parts:
    """The terms of what a loss returned."""
    if isinstance(result, Parts):
        return result
    reported = result[2] if len(result) == 3 else {}
    return Parts((Term(1.0, result[0], result[1]),), reported)


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Raise InputError for an option of a loss that is out of range."""
    if not least <= value <= most:
        raise InputError(f"--loss_args {name}: {value} must be from {least:g} to {most:g}")


def second_view(batch: Batch[Array]) -> Batch[Array]:
    """The batch with the other text of each row (--view_column) in place of the first."""
    return {
        **batch,
        "input_ids": batch["view_input_ids"],
        "token_type_ids": batch["view_token_type_ids"],
        "attention_mask": batch["view_attention_mask"],
    }


def unit(x: Float[AnyArray, "*B D"]) -> Float[Array, "*B D"]:
    """Vectors of length 1, float32; those of length 0 stay."""
    vectors = jnp.asarray(x, jnp.float32)
    return vectors * jax.lax.rsqrt(divisor(jnp.sum(vectors**2, axis=-1, keepdims=True)))


def divisor(x: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """x, and 1 where it is 0, for a quotient whose numerator is 0 there.

    Not the larger one of x and some small number: with that, a constant factor on all weights
    would change a mean as soon as the weights are small.
    """
    return jnp.where(x == 0, 1.0, x)


def focal_factor(log_p: Float[Array, "*B"], gamma: float) -> Float[Array, "*B"]:
    """(1 - p)^gamma, whose gradient is finite also where p is 1."""
    return jnp.maximum(-jnp.expm1(log_p), 1e-7) ** gamma


def masked_log_softmax(
    logits: Float[AnyArray, "*B T"], mask: Shaped[AnyArray, "*B T"]
) -> Float[Array, "*B T"]:
    """log softmax over the last axis, float32, as if positions with mask 0 were not there.

    >>> import jax.numpy as jnp
    >>> masked_log_softmax(jnp.array([1.0, 1.0, 9.0]), jnp.array([1, 1, 0]))[:2].round(4).tolist()
    [-0.6930999755859375, -0.6930999755859375]
    """
    return jax.nn.log_softmax(jnp.where(mask != 0, logits.astype(jnp.float32), -1e30), axis=-1)


def is_multi_label(outputs: ModelOutputs, batch: Batch[Array]) -> bool:
    """Whether labels say of each class, 0 or 1, if the row has it: they have the logits' shape."""
    return batch["labels"].shape == outputs["logits"].shape


def label_weights(batch: Batch[Array]) -> Float[Array, "B ..."]:
    """1 at every label that counts, float32 in the shape of labels: (B,), (B, T) with -100, or
    (B, C) with 0 and 1 for any number of classes a row."""
    labels = batch["labels"]
    rows = batch["weight"].reshape(-1, *[1] * (labels.ndim - 1))
    return jnp.where(labels >= 0, rows, 0.0)


def distributions(
    outputs: ModelOutputs, batch: Batch[Array], temperature: float = 1.0
) -> list[tuple[Float[Array, "..."], Float[AnyArray, "..."]]]:
    """What a model with classes or positions says, whatever its task.

    Args:
        outputs: start_logits and end_logits (B, T), or logits (..., C).
        temperature: by which logits are divided.

    Returns:
        Pairs of log p (..., C) float32 and weight (...): start and end with half the row's weight
        each; or that of the classes, with the weight of the labels; of any number of classes a row
        one for each class, that of having it and not (B, C, 2).
    """
    if "start_logits" in outputs:
        weight, mask = batch["weight"] / 2, batch["attention_mask"]
        return [
            (masked_log_softmax(outputs[f"{side}_logits"] / temperature, mask), weight)
            for side in ("start", "end")
        ]
    logits = outputs["logits"].astype(jnp.float32) / temperature
    if is_multi_label(outputs, batch):
        return [(jax.nn.log_sigmoid(jnp.stack([logits, -logits], axis=-1)), label_weights(batch))]
    return [(jax.nn.log_softmax(logits, axis=-1), label_weights(batch))]


def divergence(
    from_outputs: ModelOutputs,
    to_outputs: ModelOutputs,
    batch: Batch[Array],
    temperature: float = 1.0,
) -> tuple[Scalar, Scalar]:
    """KL(p || q), in nats, of two outputs for one batch: its sum and its weight, () float32.

    KL(p || q) = sum_c p_c (log p_c - log q_c), p from `from_outputs`. Of start and end the mean; of
    scores (regression) the squared difference. Every row, or every label, weighs the same: class
    weights are of the labels that are learned, and there is no label in it.
    """
    if "scores" in to_outputs:
        difference = from_outputs["scores"] - to_outputs["scores"]
        squared = jnp.sum(batch["weight"] * difference.astype(jnp.float32) ** 2)
        return squared, jnp.sum(batch["weight"])
    p = distributions(from_outputs, batch, temperature)
    q = distributions(to_outputs, batch, temperature)
    total, total_weight = jnp.zeros(()), jnp.zeros(())
    for (log_p, weight), (log_q, _) in zip(p, q, strict=True):
        # Where a position is masked both are -1e30 and p is 0.
        total += jnp.sum(weight * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1))
        total_weight += jnp.sum(weight)
    return total, total_weight
