"""make_optimizer: a rule, and what is put around any: clipping, rates of layers, freezing,
averages of the parameters."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from jaxbert.errors import InputError
from jaxbert.model.heads import Params
from jaxbert.model.lora import LORA
from jaxbert.training.averages import averaged, exponential, stochastic
from jaxbert.training.optim import Schedule, is_decayed, is_frozen, name_mask
from jaxbert.training.update_rules import Rule

_LAYER = re.compile(r"layer_(\d+)")


def make_optimizer(
    rule: Rule,
    schedule: Schedule,
    *,
    weight_decay: float = 0.0,
    clip_norm: float | None = 1.0,
    frozen: Sequence[str] = (),
    unfreeze_step: int | None = None,
    layer_decay: float = 1.0,
    head_factor: float = 1.0,
    ema_decay: float | None = None,
    swa_start: float | None = None,
    steps: int = 10**9,
) -> optax.GradientTransformation:
    """The optimizer of a run.

    Args:
        rule: see update_rules.
        schedule: step -> learning rate.
        weight_decay: for the leaves that `is_decayed` names.
        clip_norm: largest global norm of the gradients; None or 0 does not clip.
        frozen: module names whose parameters stay as they are and have no optimizer state.
        unfreeze_step: steps after which they are trained too, by moments that begin there. They
            have a state from the start then, and `update` takes the number of steps done as `step`.
        layer_decay, head_factor: see rate_factor.
        ema_decay: of an exponential moving average of the parameters; None for none.
        swa_start: of their mean, the first of its steps, or below 1 the part of all steps that is
            before it; None for none.
        steps: of the run.

    Raises:
        InputError: the mean would begin after the run's end.
    """

    def of_group(learning_rate: Schedule) -> optax.GradientTransformation:
        return _called(rule, learning_rate, weight_decay)

    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    tx = of_group(schedule)
    if frozen and unfreeze_step:
        # Its own count begins when it is thawed; its learning rate is that of the step, those that
        # were skipped before among them.
        late = of_group(lambda count: schedule(count + unfreeze_step))
        groups = {"frozen": _thawing(late, unfreeze_step), "trained": tx}
        tx = optax.chain(*clip, optax.partition(groups, _labels(frozen)))
    elif frozen:
        groups = {"frozen": optax.set_to_zero(), "trained": optax.chain(*clip, tx)}
        tx = optax.partition(groups, _labels(frozen))
    else:
        tx = optax.chain(*clip, tx)
    if layer_decay != 1 or head_factor != 1:
        tx = optax.chain(tx, _by_layer(layer_decay, head_factor))
    still = () if unfreeze_step else frozen
    if ema_decay is not None:
        return averaged(tx, exponential(ema_decay), still)
    if swa_start is not None:
        return averaged(tx, stochastic(_first(swa_start, steps)), still)
    return tx


def _first(swa_start: float, steps: int) -> int:
    """The first step of the mean, counted from 1."""
    # 0.29 of 100 are 28.999999999999996 in floating point.
    before = round(swa_start * steps, 6) if swa_start < 1 else round(swa_start) - 1
    first = math.floor(before) + 1
    if first > steps:
        raise InputError(f"--swa_start {swa_start:g}: the run has {steps} steps")
    return first


def _called(
    rule: Rule, learning_rate: Schedule, weight_decay: float
) -> optax.GradientTransformation:
    """The rule with those of its parameters that it has."""

    def decayed(params: Params) -> optax.Params:
        return name_mask(params, is_decayed)

    taken = inspect.signature(rule).parameters
    if "mask" in taken and "weight_decay" in taken:
        return rule(learning_rate, weight_decay=weight_decay, mask=decayed)
    if "weight_decay" in taken:
        return rule(learning_rate, weight_decay=weight_decay)
    return rule(learning_rate)


def _labels(frozen: Sequence[str]) -> Callable[[Params], optax.Params]:
    def labels(params: Params) -> optax.Params:
        kept = name_mask(params, lambda path: is_frozen(path, frozen))
        return jax.tree.map(lambda k: "frozen" if k else "trained", kept)

    return labels


def _thawing(tx: optax.GradientTransformation, after: int) -> optax.GradientTransformation:
    """An optimizer that neither updates nor changes its state in the first steps."""
    inner = optax.with_extra_args_support(tx)

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: Params | None = None,
        *,
        step: jax.Array,
        **extra: jax.Array,
    ) -> tuple[optax.Updates, optax.OptState]:
        moved, new = inner.update(updates, state, params, step=step, **extra)
        is_open = step >= after
        return (
            jax.tree.map(lambda x: jnp.where(is_open, x, jnp.zeros_like(x)), moved),
            jax.tree.map(lambda x, y: jnp.where(is_open, x, y), new, state),
        )

    return optax.GradientTransformationExtraArgs(inner.init, update)


def rate_factor(
    path: tuple[str, ...], layers: int, layer_decay: float, head_factor: float
) -> float:
    """What the learning rate of a leaf is multiplied by.

    layer_decay^(L - l) in layer l of L, counted from 0; layer_decay^(L + 1) in the embeddings, as
    BEiT has it (Bao et al. 2022), after Howard & Ruder 2018; 1 in the pooler, which is pretrained
    too; head_factor in all else. The change of an adapted matrix has its layer's. Of several tasks
    on one encoder each has its pooler, behind its name.

    >>> [rate_factor(("bert", n), 2, 0.5, 10.0) for n in ("embeddings", "layer_0", "layer_1")]
    [0.125, 0.25, 0.5]
    >>> rate_factor(("pooler", "kernel"), 2, 0.5, 10.0), rate_factor(("classifier",), 2, 0.5, 10.0)
    (1.0, 10.0)
    >>> [rate_factor(("news", n, "kernel"), 2, 0.5, 10.0) for n in ("pooler", "classifier")]
    [1.0, 10.0]
    """
    if path[0] not in ("bert", LORA):
        return 1.0 if "pooler" in path[:-1] else head_factor
    layer = _LAYER.fullmatch(path[1])
    return float(layer_decay ** (layers - int(layer[1]) if layer else layers + 1))


def _by_layer(layer_decay: float, head_factor: float) -> optax.GradientTransformation:
    """Updates multiplied by the factors of their leaves, which have no state."""

    def scaled(updates: Params, params: Params | None = None) -> Params:
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(updates)]
        names = {str(path[1].key) for path in paths if len(path) > 1}
        layers = sum(1 for name in names if _LAYER.fullmatch(name))

        def of_leaf(path: tuple[jax.tree_util.DictKey, ...], x: jax.Array) -> jax.Array:
            at = tuple(str(part.key) for part in path)
            return x * rate_factor(at, layers, layer_decay, head_factor)

        found: Params = jax.tree_util.tree_map_with_path(of_leaf, updates)
        return found

    return optax.stateless(scaled)
