"""One training step and one prediction step, as pure functions of a small explicit state."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from jaxbert.data.batch import Batch
from jaxbert.losses.forms import (
    AnyLoss,
    Arrays,
    Measure,
    Parts,
    Sums,
    divisor,
    objective_of,
)
from jaxbert.model.heads import Apply, Params
from jaxbert.training.averages import AverageState
from jaxbert.training.loss_scale import LossScale, first_scale, gradient_of
from jaxbert.training.optim import is_frozen, name_mask

Tree = TypeVar("Tree")


class TrainState(NamedTuple):
    """All that a run carries from step to step; nothing random is in it.

    step: () int32, the number of steps done. params: float32. opt_state: of the optimizer.
    scale: of the loss in float16, else None.
    """

    step: jax.Array
    params: Params
    opt_state: optax.OptState
    scale: LossScale | None = None

    @property
    def result(self) -> Params:
        """What is evaluated and saved as the model: an average of the parameters where the
        optimizer has one, else the parameters."""
        if isinstance(self.opt_state, AverageState):
            return self.opt_state.of_all(self.params)
        return self.params


TrainStep = Callable[[TrainState, Batch[jax.Array], jax.Array], tuple[TrainState, Arrays]]
# (params, batch, key of the step, its number from 0) -> a loss as its terms
Learned = Callable[[Params, Batch[jax.Array], jax.Array, jax.Array], Parts]
_Now = tuple[jax.Array, jax.Array]  # the key of a step, and its number from 0
_Learn = Callable[[Params, Batch[jax.Array], _Now, LossScale | None], tuple[Params, Sums]]
PredictStep = Callable[[Params, Batch[jax.Array]], Arrays]


def init_state(
    params: Params, tx: optax.GradientTransformation, dtype: str = "float32"
) -> TrainState:
    """The state before the first step.

    Args:
        dtype: of the activations; in float16 the loss is scaled.
    """
    params = jax.tree.map(jnp.asarray, params)
    scale = first_scale() if dtype == "float16" else None
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), scale)


def make_train_step(
    apply: Apply,
    loss: AnyLoss,
    tx: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    measure: Measure | None = None,
    frozen: Sequence[str] = (),
    unfreeze_step: int | None = None,
    axis_name: str | None = None,
    mesh: Mesh | None = None,
) -> TrainStep:
    """The step (state, batch, key) -> (state, metrics) of a model by a loss.

    Args:
        loss: of either form; see losses.forms.
        measure: (outputs, batch) -> name -> (sum, count), whose quotients are reported, beside a
            loss of the first form.
        accumulate, frozen, unfreeze_step, axis_name, mesh: see step_of.
    """
    return step_of(
        functools.partial(objective_of(loss, measure), apply),
        tx,
        accumulate=accumulate,
        frozen=frozen,
        unfreeze_step=unfreeze_step,
        axis_name=axis_name,
        mesh=mesh,
    )


def step_of(
    objective: Learned,
    tx: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    frozen: Sequence[str] = (),
    unfreeze_step: int | None = None,
    axis_name: str | None = None,
    mesh: Mesh | None = None,
) -> TrainStep:
    """The step (state, batch, key) -> (state, metrics).

    Gradients of the loss's sums are added over micro-batches and, with `axis_name`, over devices,
    and divided once by the weight of the whole global batch. Each term of a loss has a weight of
    its own. Where the loss or a gradient is not finite the step is skipped: parameters and
    optimizer stay, and only the number of the step goes on. With a loss scale in the state it falls
    then; see loss_scale.

    Args:
        objective: what is learned.
        accumulate: micro-batches of a step; the batch's arrays are (accumulate, b, ...).
        frozen, unfreeze_step: see make_optimizer; without the latter no gradient is computed.
        axis_name: of the devices, inside pmap; None where the arrays are global.
        mesh: of the devices over which global arrays lie: each computes the gradient of its own
            rows, as inside pmap. Kernels cannot be divided by the compiler, which would also choose
            the dtype of the sums over devices.

    Returns:
        A function of a state, a batch and the run's key. Its metrics are float32 scalars: loss,
        grad_norm (before clipping), weight, skipped (1 or 0), loss_scale where there is one, what
        the objective reports, and stop where the batch has it: the greatest of all its rows, in all
        processes.
    """
    update = optax.with_extra_args_support(tx).update
    if mesh is not None:
        (axis_name,) = mesh.axis_names

    learn = _learn_of(
        objective,
        accumulate=accumulate,
        frozen=() if unfreeze_step else frozen,
        axis_name=axis_name,
    )
    if mesh is not None:
        whole, rows = PartitionSpec(), PartitionSpec(None, axis_name)
        specs = whole, rows, whole, whole
        learn = jax.shard_map(learn, mesh=mesh, in_specs=specs, out_specs=whole, check_vma=False)

    def train_step(
        state: TrainState, batch: Batch[jax.Array], key: jax.Array
    ) -> tuple[TrainState, Arrays]:
        # Randomness is a function of (seed, step, row): dropout masks come from this key and each
        # row's own number, so neither the device nor the micro-batch matters.
        now = jax.random.fold_in(key, state.step), state.step
        grads, measured = learn(state.params, batch, now, state.scale)
        weight = divisor(measured["loss"][1])
        grads = jax.tree.map(lambda g: g / weight, grads)
        if frozen and unfreeze_step:
            counts = state.step >= unfreeze_step
            grads = _in_frozen(grads, frozen, lambda g: jnp.where(counts, g, 0.0))
        metrics = _reported(measured, grads)
        finite = metrics["skipped"] == 0
        if state.scale is not None:
            metrics["loss_scale"] = state.scale.value
        if "stop" in batch:
            metrics["stop"] = jnp.max(batch["stop"])
        updates, opt_state = update(grads, state.opt_state, state.params, step=state.step)
        new = optax.apply_updates(state.params, updates), opt_state
        params, opt_state = _chosen(finite, new, (state.params, state.opt_state))
        if (scale := state.scale) is not None:  # no remedy for a loss that itself is not finite
            scale = _chosen(jnp.isfinite(metrics["loss"]), scale.after(finite), scale)
        return TrainState(state.step + 1, params, opt_state, scale), metrics

    return train_step


def _learn_of(
    objective: Learned, *, accumulate: int, frozen: Sequence[str], axis_name: str | None
) -> _Learn:
    """The gradient of the whole global batch and what is reported of it, as sums; see step_of.

    Args:
        frozen: modules whose gradient is 0 and is not computed.
    """

    def sums(
        params: Params, batch: Batch[jax.Array], now: _Now, weights: tuple[jax.Array, ...] = ()
    ) -> tuple[jax.Array, Sums]:
        if frozen:
            params = _in_frozen(params, frozen, jax.lax.stop_gradient)
        terms, reported = objective(params, batch, *now)
        loss_sum = terms[0].factor * terms[0].sum
        if len(terms) > 1 and not weights:
            weights = over_devices(jax.lax.stop_gradient(tuple(term.weight for term in terms)))
        for term, weight in zip(terms[1:], weights[1:], strict=True):
            # The sum of all will be divided by the first weight, and this term by its own. Where
            # the two are equal, as without class weights, it is a product with exactly 1.
            share = jnp.where(weight == 0, 0.0, divisor(weights[0]) / divisor(weight))
            loss_sum += term.factor * term.sum * share
        return loss_sum, {"loss": (loss_sum, terms[0].weight), **reported}

    def weights_of(params: Params, batch: Batch[jax.Array], now: _Now) -> tuple[jax.Array, ...]:
        return tuple(term.weight for term in objective(params, batch, *now).terms)

    def over_devices(tree: Tree) -> Tree:
        if axis_name is None:
            return tree
        total: Tree = jax.lax.psum(tree, axis_name)
        return total

    def over_all(one: Callable[[Batch[jax.Array]], Tree], batch: Batch[jax.Array]) -> Tree:
        """The sum of one(micro-batch), a tree, over the micro-batches and over devices."""
        shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], batch))
        zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

        def add(total: Tree, part: Batch[jax.Array]) -> tuple[Tree, None]:
            return jax.tree.map(jnp.add, total, one(part)), None

        return over_devices(jax.lax.scan(add, zero, batch)[0])

    def learn(
        params: Params, batch: Batch[jax.Array], now: _Now, scale: LossScale | None
    ) -> tuple[Params, Sums]:
        first = jax.tree.map(lambda x: x[0], batch)
        gradient = gradient_of(sums, scale)
        if accumulate == 1:
            return over_devices(gradient(params, first, now))
        weights: tuple[jax.Array, ...] = ()
        if len(jax.eval_shape(weights_of, params, first, now)) > 1:
            # Known before gradients are added. The compiler leaves the model out of this pass.
            weights = over_all(lambda part: weights_of(params, part, now), batch)
        return over_all(lambda part: gradient(params, part, now, weights), batch)

    return learn


def _in_frozen(
    tree: Params, frozen: Sequence[str], change: Callable[[jax.Array], jax.Array]
) -> Params:
    """A tree like the parameters with the leaves of frozen modules changed."""
    kept = name_mask(tree, lambda path: is_frozen(path, frozen))
    changed: Params = jax.tree.map(lambda x, k: change(x) if k else x, tree, kept)
    return changed


def _reported(measured: Sums, grads: Params) -> Arrays:
    """The metrics of a step, from its sums and its gradient; skipped is 1 where the loss or the
    gradient is not finite."""
    metrics = {n: part / divisor(count) for n, (part, count) in measured.items()}
    metrics["weight"] = measured["loss"][1]
    metrics["grad_norm"] = optax.tree.norm(grads)
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
    metrics["skipped"] = 1.0 - finite
    return metrics


def _chosen(first: jax.Array, a: Tree, b: Tree) -> Tree:
    """The first of two trees where a boolean is true, else the second."""
    chosen: Tree = jax.tree.map(lambda x, y: jnp.where(first, x, y), a, b)
    return chosen


def make_predict_step(
    apply: Apply, reduce: Callable[[Arrays, Batch[jax.Array]], Arrays]
) -> PredictStep:
    """The step (params, batch) -> reduce(outputs, batch), without dropout.

    What `reduce` leaves out never reaches the host: evaluation keeps the best spans, not logits.
    """

    def predict_step(params: Params, batch: Batch[jax.Array]) -> Arrays:
        return reduce(apply(params, batch), batch)

    return predict_step
