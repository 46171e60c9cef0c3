"""Time a training step without one of the things that make it fast, or with what was tried.

Not a test; run it as a script. Every variant has MiniLM-L6's weights, the same batch and dropout
(of other bits, where they are generated), and gives the same outputs. All are run in turns.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import sys
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxbert.benchmark import ours
from jaxbert.benchmark.synthetic import full_batch
from jaxbert.benchmark.timing import in_turns
from jaxbert.model import attention, encoder
from jaxbert.model.dropout import Seeds
from jaxbert.model.heads import make_apply
from jaxbert.runtime import memory

ROUNDS = 7
mask_of = attention.attention_mask


def generated(x: jax.Array, rate: float, seeds: Seeds | None, site: Any) -> jax.Array:
    """Dropout with generated bits, as flax.linen.Dropout has it."""
    if seeds is None or rate == 0.0:
        return x
    key = jax.random.fold_in(jax.random.key(seeds.low[0]), site)
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0.0)


class Contracted(encoder.Dense):
    """The product over the axes of x as they are, as flax.linen.DenseGeneral has it."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = x.shape[-self.inputs :]
        kernel = self.param("kernel", encoder._normal(self.cfg), (*shape, *self.outputs))
        bias = self.param("bias", nn.initializers.zeros, self.outputs)
        return jnp.tensordot(x, kernel, axes=self.inputs) + bias


class OneProduct(encoder.SelfAttention):
    """One product for query, key and value, whose parameters stay apart."""

    @nn.compact
    def __call__(self, x: jax.Array, key_mask: Any, ids: Any, seeds: Any, site: Any) -> jax.Array:
        cfg, params = self.cfg, self.variables["params"]
        three = [params[name] for name in ("query", "key", "value")]
        kernel = jnp.concatenate([p["kernel"].reshape(x.shape[-1], -1) for p in three], axis=1)
        y = x.reshape(-1, x.shape[-1]) @ kernel
        y += jnp.concatenate([p["bias"].reshape(-1) for p in three])
        parts = jnp.split(y, 3, axis=1)
        q, k, v = (p.reshape(*x.shape[:2], -1, cfg.head_size) for p in parts)
        context = encoder.attention(
            q,
            k,
            v,
            key_mask=key_mask,
            dropout_rate=cfg.attention_probs_dropout_prob,
            seeds=seeds,
            site=site,
        )
        return encoder.Dense(cfg, (cfg.hidden_size,), self.dtype, inputs=2, name="output")(context)


def heads_in_the_middle(
    q: Any, k: Any, v: Any, key_mask: Any, ids: Any, seeds: Any, *, rate: float, site: Any
) -> jax.Array:
    """Products of arrays (B, T, N, H) as they come."""
    scores = jnp.einsum("BTNH,BSNH->BNTS", q * q.shape[-1] ** -0.5, k)
    scores = jnp.where(mask_of(key_mask, ids), scores, attention._MASKED)
    weights = attention.dropout(jax.nn.softmax(scores, axis=-1), rate, seeds, site)
    return jnp.einsum("BNTS,BSNH->BTNH", weights, v)


def choosing_mask(
    q: Any, k: Any, v: Any, key_mask: Any, ids: Any, seeds: Any, *, rate: float, site: Any
) -> jax.Array:
    """The mask chooses between the scores and a number."""
    q, k, v = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    scores = jnp.einsum("BNTH,BNSH->BNTS", q * q.shape[-1] ** -0.5, k)
    scores = jnp.where(mask_of(key_mask, ids), scores, attention._MASKED)
    weights = attention.dropout(jax.nn.softmax(scores, axis=-1), rate, seeds, site)
    return jnp.swapaxes(jnp.einsum("BNTS,BNSH->BNTH", weights, v), 1, 2)


# What is put in whose place: (module, name, value).
WITHOUT: dict[str, list[tuple[Any, str, Any]]] = {
    "dropout of generated bits": [
        (encoder, "dropout", generated),
        (attention, "dropout", generated),
    ],
    "dense layers contract (B, T, D)": [(encoder, "Dense", Contracted)],
    "the mask chooses": [(attention, "_xla", choosing_mask)],
    # Its mask chooses too; of two in one place, the later one is in "all of these".
    "heads in the middle, the mask chooses": [(attention, "_xla", heads_in_the_middle)],
    "attention of all rows at once": [(attention, "_PARTS", 1)],
    "GELU kept for the backward pass": [
        (encoder, "ACTIVATIONS", {"gelu": functools.partial(jax.nn.gelu, approximate=False)})
    ],
}
TRIED: dict[str, list[tuple[Any, str, Any]]] = {
    "attention in eight groups of rows": [(attention, "_PARTS", 8)],
    "one product for query, key and value": [(encoder, "SelfAttention", OneProduct)],
}
VARIANTS = {
    "as it is": [],
    **WITHOUT,
    "all of these": [change for changes in WITHOUT.values() for change in changes],
    **{f"tried: {name}": changes for name, changes in TRIED.items()},
}


def main(size: int, length: int) -> None:
    memory.keep_freed()  # as all scripts do
    cfg, params = ours.load("minilm-l6")
    batch = full_batch(cfg.vocab_size, size, length)
    runs, sizes = [], {}
    for name, changes in VARIANTS.items():
        with contextlib.ExitStack() as stack:
            for module, attribute, value in changes:
                stack.enter_context(mock.patch.object(module, attribute, value))
            run = ours.prepare(cfg, params, [batch], precision="float32").run
            run()  # compiles, while the change is in place
            runs.append(run)
            apply = make_apply(cfg, "qa")
            outputs = jax.jit(lambda p, b, apply=apply: apply(p, b))(params, batch)
            sizes[name] = float(jnp.abs(outputs["start_logits"]).mean())
    first = sizes["as it is"]
    assert all(abs(x - first) < 1e-4 * first for x in sizes.values()), sizes  # the same model
    times = in_turns(ROUNDS, *runs)
    print(f"MiniLM-L6, {size} x {length}, float32, {ROUNDS} rounds")
    print("| step | seconds | times as long | spread |\n|---|---|---|---|")
    for name, seconds in zip(VARIANTS, times, strict=True):
        ratios = [a / b for a, b in zip(seconds, times[0], strict=True)]
        print(
            f"| {name} | {statistics.median(seconds):.3f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f}-{max(ratios):.2f} |"
        )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:] or ("8", "384")))
