"""What a user's loss must be, held on a few rows before a run begins."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.data.sampling import NumpyBatch, make_batch
from jaxbert.errors import InputError
from jaxbert.losses.choose import ChosenLoss
from jaxbert.losses.forms import Parts, objective_of
from jaxbert.model.heads import Apply, Outputs
from jaxbert.model.params import Params

logger = logging.getLogger("jaxbert")

_ROWS = 8


def try_loss(
    loss: ChosenLoss,
    apply: Apply,
    params: Params,
    batches: Sequence[NumpyBatch],
    features: Features,
    lengths: Sequence[int],
    corrupt: Callable[[NumpyBatch, int], NumpyBatch] | None,
    key: jax.Array,
    *,
    packing: bool,
    tolerance: float,
    own_columns: Sequence[str] = (),
) -> None:
    """Trace the loss, so that what is wrong with it is told before files are written; and hold a
    user's one to more, by a few rows.

    Args:
        batches: micro-batches as a device will have them, one of each form.
        features: of the training.
        lengths: that rows are padded to; kernels may want no others.
        corrupt: (batch, step) -> batch, or None; see Task.
        packing: rows have several windows, so that there is none of the padding that a window's
            own row would have.
        tolerance: by which sums may differ, relative.
        own_columns: keys that the batch has for the loss alone; what it does not read is told.

    Raises:
        InputError: see check_loss; or with packing, the loss reads padding tokens.
    """
    objective = objective_of(loss.function)
    asked: set[str] = set()

    def watched(
        params: Params,
        batch: Batch[jax.Array],
        *,
        key: jax.Array | None = None,
        train: bool = False,
        also: Sequence[str] = (),
    ) -> Outputs:
        asked.update(also)
        return apply(params, batch, key=key, train=train, also=also)

    def compute(params: Params, batch: Batch[jax.Array]) -> Parts:
        return objective(watched, params, batch, key)

    read = set().union(*(_keys_read(compute, params, batch) for batch in batches))
    if "attentions" in asked:
        logger.info("  the loss asks for attention's weights: the reference, xla, computes them")
    for name in own_columns:
        if name not in read:
            logger.warning('--loss %s does not read batch["%s"]', loss.name, name)
    if not loss.user_defined:
        return
    windows = _some_rows(features)
    length = min(n for n in lengths if n >= features.lengths[windows].max())

    def rows(numbers: np.ndarray, size: int) -> NumpyBatch:
        made = make_batch(features, numbers, length, size)
        return corrupt(made, 0) if corrupt else made

    half = _ROWS // 2
    reads_padding = check_loss(
        loss.name,
        objective,
        apply,
        params,
        rows(windows, _ROWS),
        (rows(windows[:half], half), rows(windows[half:], half)),
        rows(windows[:half], _ROWS),
        key,
        tolerance,
        weighted="weight" in features.rows,
    )
    if reads_padding and packing:
        raise InputError(
            f"--loss {loss.name}: it reads tokens outside of a row's text, which with --packing "
            'are those of other texts; leave out where batch["attention_mask"] is 0, or train '
            "without --packing"
        )
    if reads_padding:
        lengths_of = "--max_seq_length" if len(lengths) == 1 else "the length of the batch"
        hint = "" if len(lengths) == 1 else " (to --max_seq_length with --length_bucket 0)"
        logger.warning(
            "--loss %s reads padding tokens, so its value depends on how far rows are padded, here "
            "to %s%s; PyTorch's classes do that too",
            loss.name,
            lengths_of,
            hint,
        )


def check_loss(
    name: str,
    objective: Callable[..., Parts],
    apply: Apply,
    params: Params,
    whole: NumpyBatch,
    halves: tuple[NumpyBatch, NumpyBatch],
    padded: NumpyBatch,
    key: jax.Array,
    tolerance: float,
    *,
    weighted: bool = False,
) -> bool:
    """Hold a loss to what the training step counts on.

    Args:
        whole: a batch; halves: its first and its second rows; padded: the first half with padding
            rows behind it.
        weighted: rows have weights of their own.

    Returns:
        Whether it depends on outputs at padding tokens, as the cross-entropy over all positions of
        a row does.

    Raises:
        InputError: a sum or a gradient is not finite, no parameter has a gradient, the sums of the
            halves are not those of the whole, padding rows count, or a row of twice the weight does
            not count twice.
    """

    def objective_with(apply: Apply) -> Callable[[Params, NumpyBatch], jax.Array]:
        return jax.jit(lambda p, batch: _sums(objective(apply, p, batch, key)))

    def sums(params: Params, batch: Batch[jax.Array]) -> tuple[jax.Array, jax.Array]:
        found = _sums(objective(apply, params, batch, key))
        return found[0], found

    # Three programs: one of the whole batch's shape, with gradients, one of a half's, and one with
    # other outputs.
    gradient = jax.jit(jax.grad(sums, has_aux=True))
    only_sums = objective_with(apply)
    try:
        grads, found = gradient(params, whole)
    except (InputError, jax.errors.JaxRuntimeError):  # the latter is the device's
        raise
    except Exception as error:  # JAX has many of its own; the function's own are InputErrors
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"--loss {name}: its gradient cannot be computed: {type(error).__name__}: {reason}"
        ) from None
    loss, weight = map(float, found)
    if not np.isfinite(loss):
        raise InputError(f"--loss {name}: its loss_sum is {loss} on rows of the data")
    if not 0 < weight < np.inf:
        raise InputError(
            f"--loss {name}: its weight_sum is {weight} on rows of the data; it is what "
            'the loss is divided by: jnp.sum(batch["weight"])'
        )
    of_padded, sums_of_padded = gradient(params, padded)
    if not _largest(grads) + _largest(of_padded) < np.inf:
        where = "rows of the data" if np.isfinite(_largest(of_padded)) else "padding rows"
        raise InputError(
            f"--loss {name}: its gradient is not finite on {where}; where jnp.where chooses, both "
            "sides must have finite gradients"
        )
    if not _largest(grads):
        raise InputError(f"--loss {name}: no parameter has a gradient; does it use the outputs?")
    parts = [np.asarray(only_sums(params, half)) for half in halves]
    _hold(
        name,
        tolerance,
        (loss, weight),
        parts[0] + parts[1],
        "a batch has {0} {1:.6g} and its halves together {2:.6g}; return sums, not means: "
        '(jnp.sum(loss * batch["weight"]), jnp.sum(batch["weight"])), and let what is drawn for a '
        'row depend on the key and batch["row"] alone',
    )
    _hold(
        name,
        tolerance,
        parts[0],
        np.asarray(sums_of_padded),
        "rows have {0} {1:.6g}, and {2:.6g} with padding rows behind them, which have "
        'batch["weight"] 0; multiply by it',
    )
    if weighted:
        size = len(halves[0]["weight"])
        twice = np.where(np.arange(len(whole["weight"])) < size, 2, 1).astype(np.float32)
        _, heavier = gradient(params, {**whole, "weight": whole["weight"] * twice})
        _hold(
            name,
            tolerance,
            2 * parts[0] + parts[1],
            np.asarray(heavier),
            "rows of twice the weight should bring {0} to {1:.6g}, and it is {2:.6g}; with "
            "--weight_column or --long_texts windows every row counts as "
            'batch["weight"] says: multiply by it',
        )
    other = objective_with(lambda params, batch, **more: _loud(apply(params, batch, **more), batch))
    found_with_other = np.asarray(other(params, whole))
    return not all(map(_close, (loss, weight), found_with_other, (tolerance, tolerance)))


def _some_rows(features: Features) -> np.ndarray:
    """The windows that a loss is tried on: of all parts of the data, such as count, one of them the
    shortest, which has padding if any has. Of rows of several windows another is the longest."""
    counted = np.arange(len(features))
    if "weight" in features.rows:
        counted = np.flatnonzero(features.rows["weight"])
    windows: np.ndarray = counted[np.linspace(0, len(counted) - 1, _ROWS).astype(int)]
    lengths = features.lengths[counted]
    windows[-1] = counted[np.argmin(lengths)]
    if features.window is not None:
        windows[0] = counted[np.argmax(lengths)]
    return windows


def _keys_read(
    function: Callable[[Params, Batch[jax.Array]], Parts], params: Params, batch: NumpyBatch
) -> set[str]:
    """The keys of a batch on which what is computed depends, as far as it can be seen."""
    jaxpr = jax.make_jaxpr(function)(params, batch).jaxpr
    seen = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
    of_batch = jaxpr.invars[len(jax.tree.leaves(params)) :]  # in the order of a dict's leaves
    return {name for name, x in zip(sorted(batch), of_batch, strict=True) if id(x) in seen}


def _sums(parts: Parts) -> jax.Array:
    """(2,): the sums of all terms, with their factors, and the weight of the first, the user's."""
    loss_sum = sum((term.factor * term.sum for term in parts.terms), jnp.zeros(()))
    return jnp.stack([loss_sum, parts.terms[0].weight])


_OF_LAYERS = {"hidden_states": "embeddings", "attentions": "weights"}


def _loud(outputs: Outputs, batch: Batch[jax.Array]) -> Outputs:
    """Outputs of tokens with something else where there is padding."""
    mask = batch["attention_mask"]

    def change(name: str, x: jax.Array) -> jax.Array:
        # A class's logits are no token's, though there be as many classes as tokens.
        if name in ("hidden_states", "attentions"):  # of layers, before the rows
            return jnp.stack([change(_OF_LAYERS[name], layer) for layer in x])
        if name == "weights":  # (B, N, T, S), of which the queries are tokens
            return jnp.moveaxis(change("", jnp.moveaxis(x, 1, 2)), 2, 1)
        of_tokens = x.ndim > mask.ndim or name in ("start_logits", "end_logits")
        if not of_tokens or x.shape[: mask.ndim] != mask.shape or "masked_positions" in batch:
            return x
        real = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)) != 0
        return jnp.where(real, x, x + 9)

    return {name: change(name, x) for name, x in outputs.items()}


def _largest(grads: Params) -> float:
    return max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(grads))


def _hold(
    name: str, tolerance: float, wanted: Iterable[float], found: Iterable[float], message: str
) -> None:
    for what, a, b in zip(("loss_sum", "weight_sum"), wanted, found, strict=True):
        if not _close(a, b, tolerance):
            raise InputError(f"--loss {name}: {message.format(what, float(a), float(b))}")


def _close(a: float, b: float, tolerance: float) -> bool:
    return abs(a - b) <= tolerance * max(abs(a), abs(b), 1e-3)
