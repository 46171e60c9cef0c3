"""The learning-rate schedule and AdamW: warmup, decay, masks by name, clipping, freezing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxbert.model.heads import Params

Decay = Literal["linear", "cosine", "constant", "constant_with_warmup"]
# Updates made so far, on the host or on the device -> learning rate, at the same place.
Schedule = Callable[[int | jax.Array], jax.Array | np.ndarray]
# A tree like the parameters with a flag at each leaf.
Mask: TypeAlias = "dict[str, bool | Mask]"
_Labels: TypeAlias = "dict[str, str | _Labels]"


def make_schedule(
    peak: float, *, steps: int, warmup_steps: int = 0, decay: Decay = "linear"
) -> Schedule:
    """Learning rate of step t = 0, 1, ...: t / warmup of the peak, then decay to 0 at `steps`.

    linear: peak (steps - t) / (steps - warmup); cosine: peak (1 + cos(pi x)) / 2 with x the part of
    the decay that is done; constant_with_warmup: peak; constant: peak from the first step. As
    get_scheduler of transformers (optimization.py).

    >>> rate = make_schedule(1.0, steps=10, warmup_steps=2)
    >>> [round(float(rate(t)), 3) for t in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup = 0 if decay == "constant" else min(warmup_steps, steps)

    def schedule(step: int | jax.Array) -> jax.Array | np.ndarray:
        # The log's rate is computed on the host: on the device it would wait for the steps there.
        xp: ModuleType = jnp if isinstance(step, jax.Array) else np
        t = xp.asarray(step, xp.float32)
        done = xp.clip((t - warmup) / max(1, steps - warmup), 0.0, 1.0)
        after = {
            "linear": 1.0 - done,
            "cosine": 0.5 * (1.0 + xp.cos(xp.pi * done)),
            "constant": xp.ones_like(t),
            "constant_with_warmup": xp.ones_like(t),
        }[decay]
        rate: jax.Array | np.ndarray = peak * xp.where(t < warmup, t / max(1, warmup), after)
        return rate

    return schedule


def name_mask(params: Params, matches: Callable[[tuple[str, ...]], bool]) -> Mask:
    """A tree like params with matches(path) at each leaf; a path is for instance
    ("bert", "layer_0", "mlp_in", "bias")."""

    mask: Mask = jax.tree_util.tree_map_with_path(
        lambda path, _: matches(tuple(str(part.key) for part in path)), params
    )
    return mask


def is_decayed(path: tuple[str, ...]) -> bool:
    """BERT decays all but biases and LayerNorm (google-research/bert, optimization.py).

    By name and not by ndim: with the heads as an axis, biases have two dimensions.
    """
    return path[-1] not in ("bias", "scale")


def is_frozen(path: tuple[str, ...], frozen: Sequence[str]) -> bool:
    """Whether a leaf lies in one of the named modules: "embeddings", "layer_0", "bert", ...

    "weights" is all of the encoder but its biases: what is left is BitFit (Ben Zaken et al. 2022).

    >>> [is_frozen(("bert", "layer_0", "mlp_in", n), ["weights"]) for n in ("kernel", "bias")]
    [True, False]
    """
    if "weights" in frozen and path[0] == "bert" and path[-1] != "bias":
        return True
    return any(name in path[:-1] for name in frozen)


def adamw(
    schedule: Schedule,
    *,
    weight_decay: float = 0.0,
    clip_norm: float | None = 1.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    frozen: Sequence[str] = (),
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) after clipping the global gradient norm.

    theta <- theta - rate (m_hat / (sqrt(v_hat) + eps) + weight_decay theta), as torch.optim.AdamW.

    Args:
        schedule: step -> learning rate.
        weight_decay: for the leaves that `is_decayed` names.
        clip_norm: largest global norm of the gradients; None or 0 does not clip.
        frozen: module names whose parameters stay as they are and have no optimizer state.
    """
    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    parts += [optax.scale_by_adam(b1=b1, b2=b2, eps=eps)]
    if weight_decay:
        parts.append(
            optax.add_decayed_weights(weight_decay, mask=lambda p: name_mask(p, is_decayed))
        )
    parts.append(optax.scale_by_learning_rate(schedule))
    if not frozen:
        return optax.chain(*parts)

    def label(params: Params) -> _Labels:
        kept = name_mask(params, lambda path: is_frozen(path, frozen))
        labels: _Labels = jax.tree.map(lambda k: "frozen" if k else "trained", kept)
        return labels

    return optax.partition({"trained": optax.chain(*parts), "frozen": optax.set_to_zero()}, label)
