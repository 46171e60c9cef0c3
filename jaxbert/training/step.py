"""One training step and one prediction step, as pure functions of a small explicit state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbert.losses.forms import Arrays, Loss, Measure, Objective, objective_of
from jaxbert.model.heads import Apply, Params
from jaxbert.training.optim import is_frozen, name_mask


class TrainState(NamedTuple):
    """All that a run carries from step to step; nothing random is in it.

    step: () int32, the number of steps done. params: float32. opt_state: of the optimizer.
    """

    step: jax.Array
    params: Params
    opt_state: Any


TrainStep = Callable[[TrainState, Arrays, jax.Array], tuple[TrainState, Arrays]]


def init_state(params: Params, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    params = jax.tree.map(jnp.asarray, params)
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))


def make_train_step(
    apply: Apply,
    loss: Loss | Objective,
    tx: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    measure: Measure | None = None,
    frozen: Sequence[str] = (),
    axis_name: str | None = None,
) -> TrainStep:
    """The step (state, batch, key) -> (state, metrics).

    Gradients of the loss's sums are added over micro-batches and, with `axis_name`, over devices,
    and divided once by the weight of the whole global batch. Where the loss or a gradient is not
    finite the step is skipped: parameters and optimizer stay, and only the number of the step goes
    on.

    Args:
        loss: of either form; see losses.forms.
        accumulate: micro-batches of a step; the batch's arrays are (accumulate, b, ...).
        measure: (outputs, batch) -> name -> (sum, count), whose quotients are reported, beside a
            loss of the first form.
        frozen: module names whose gradients are not computed.
        axis_name: of the devices, inside pmap; None where the arrays are global.

    Returns:
        A function of a state, a batch and the run's key. Its metrics are float32 scalars: loss,
        grad_norm (before clipping), weight, skipped (1 or 0), what `measure` or the loss itself
        gives, and stop where the batch has it: the greatest of all its rows, in all processes.
    """
    objective = objective_of(loss, measure)

    def sums(params: Params, batch: Arrays, key: jax.Array) -> tuple[jax.Array, Any]:
        if frozen:
            kept = name_mask(params, lambda path: is_frozen(path, frozen))
            params = jax.tree.map(lambda x, k: jax.lax.stop_gradient(x) if k else x, params, kept)
        loss_sum, weight_sum, measured = objective(apply, params, batch, key)
        return loss_sum, {"loss": (loss_sum, weight_sum), **measured}

    gradient = jax.grad(sums, has_aux=True)

    def train_step(state: TrainState, batch: Arrays, key: jax.Array) -> tuple[TrainState, Arrays]:
        # Randomness is a function of (seed, step, row): dropout masks come from this key and each
        # row's own number, so neither the device nor the micro-batch matters.
        key = jax.random.fold_in(key, state.step)
        first = jax.tree.map(lambda x: x[0], batch)
        if accumulate == 1:
            total = gradient(state.params, first, key)
        else:
            zero = jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype),
                jax.eval_shape(gradient, state.params, first, key),
            )

            def add(total: Any, one: Arrays) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, total, gradient(state.params, one, key)), None

            total, _ = jax.lax.scan(add, zero, batch)
        if axis_name is not None:
            total = jax.lax.psum(total, axis_name)
        grads, measured = total
        weight = jnp.maximum(measured["loss"][1], 1e-6)
        grads = jax.tree.map(lambda g: g / weight, grads)
        metrics = {n: part / jnp.maximum(count, 1e-6) for n, (part, count) in measured.items()}
        metrics["weight"] = measured["loss"][1]
        metrics["grad_norm"] = optax.tree.norm(grads)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
        metrics["skipped"] = 1.0 - finite
        if "stop" in batch:
            metrics["stop"] = jnp.max(batch["stop"])
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            (params, opt_state),
            (state.params, state.opt_state),
        )
        return TrainState(state.step + 1, params, opt_state), metrics

    return train_step


def make_predict_step(
    apply: Apply, reduce: Callable[[Arrays, Arrays], Arrays]
) -> Callable[[Params, Arrays], Arrays]:
    """The step (params, batch) -> reduce(outputs, batch), without dropout.

    What `reduce` leaves out never reaches the host: evaluation keeps the best spans, not logits.
    """

    def predict_step(params: Params, batch: Arrays) -> Arrays:
        return reduce(apply(params, batch), batch)

    return predict_step
