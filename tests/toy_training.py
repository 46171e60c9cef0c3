"""A model that compiles in a moment, batches of every task for it, and every loss of every task."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.tasks.registry import TASKS

ROWS, TOKENS, CLASSES, WIDTH = 16, 6, 3, 5
REAL = 12  # the rows behind them are padding
KEY = jax.random.key(3)
OPTIONS: dict[str, dict[str, Any]] = {
    "supervised_contrastive": {"group": 2},
    "pgd": {"steps": 2},
    "distillation": {"teacher": "", "alpha": 0.6, "hidden": 0.5},
}
LOSSES = {name: dict(task.losses) for name, task in TASKS.items()}
# Classification whose rows have distributions over classes.
LOSSES["soft"] = {n: f for n, f in LOSSES["classification"].items() if n != "focal"}
PLAIN = {
    name: [n for n, f in losses.items() if n not in ("r_drop", "fgm", "pgd", "distillation")]
    for name, losses in LOSSES.items()
}


def model(params: Any, batch: Any, *, key: Any = None, train: bool = False, also: Any = ()) -> Any:
    """Not BERT, which takes longer to compile: words, a dropout of each row's own, and heads."""
    ids = batch["input_ids"]
    choices = ids.shape[2] if ids.ndim == 3 else 1
    ids = jnp.moveaxis(ids, -1, 1).reshape(-1, TOKENS) if ids.ndim == 3 else ids
    table = params["bert"]["embeddings"]["word_embeddings"]["embedding"]
    x = table[ids] + batch.get("word_offsets", 0.0)
    if train:
        keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(batch["row"])
        x *= jnp.repeat(jax.vmap(lambda k: jax.random.uniform(k, (WIDTH,)))(keys), choices, 0)[
            :, None
        ]
    change = params["bert"].get("dense")  # of an adapter, beside the dense layer
    changed = 0.0 if change is None else x @ change["lora_a"] @ change["lora_b"]
    hidden = jnp.tanh(x @ params["dense"] + changed + jnp.roll(x, 1, axis=1))
    logits = hidden @ params["head"]
    outputs = {"last_hidden_state": hidden}
    task = {"start_positions": "qa", "labels": "labels"}
    kind = next(kind for name, kind in task.items() if name in batch)
    if kind == "qa":
        return {**outputs, "start_logits": logits[..., 0], "end_logits": logits[..., 1]}
    if batch["labels"].ndim == 2:
        return {**outputs, "logits": logits}
    pooled = jnp.mean(logits, axis=1)
    if batch["labels"].dtype == jnp.float32:
        return {**outputs, "scores": pooled[:, 0]}
    return {**outputs, "logits": pooled[:, 0].reshape(-1, CLASSES) if choices > 1 else pooled}


def parameters(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    words = {"embedding": draw(9, WIDTH)}
    bert = {"embeddings": {"word_embeddings": words}}
    return {"bert": bert, "dense": draw(WIDTH, WIDTH), "head": draw(WIDTH, CLASSES)}


def batch_of(task: str, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    wide = (CLASSES,) if task == "multiple_choice" else ()
    rows = np.arange(ROWS)
    lengths = rng.integers(3, TOKENS + 1, ROWS)
    mask = np.arange(TOKENS) < lengths[:, None]
    batch: dict[str, np.ndarray] = {
        "input_ids": rng.integers(0, 9, (ROWS, TOKENS, *wide)),
        "attention_mask": mask.astype(np.int32),
        # Some rows count more than others (--weight_column), and some not at all.
        "weight": (rows < REAL) * rng.choice([0.0, 0.5, 1.0, 4.0], ROWS),
        "row": np.where(rows < REAL, rows, -1),
        "teacher_first": rng.normal(size=(ROWS, WIDTH * (wide or (1,))[0])),
    }
    if task == "qa":
        start = rng.integers(1, lengths - 1)
        batch |= {"start_positions": start, "end_positions": rng.integers(start, lengths - 1)}
        batch["context_mask"] = mask & (np.arange(TOKENS) > 0)
        batch["context_mask"] &= np.arange(TOKENS) < lengths[:, None] - 1
        batch |= {
            f"teacher_{side}_logits": rng.normal(size=mask.shape) for side in ("start", "end")
        }
    elif task == "regression":
        batch |= {"labels": rng.normal(size=ROWS), "teacher_scores": rng.normal(size=ROWS)}
    elif task in ("tagging", "mlm"):
        batch["labels"] = np.where(mask, rng.integers(-1, CLASSES, mask.shape), -100)
        batch["teacher_logits"] = rng.normal(size=(*mask.shape, CLASSES))
    else:
        batch["labels"] = rng.integers(0, CLASSES, ROWS)
        batch["teacher_logits"] = rng.normal(size=(ROWS, CLASSES))
    if task == "soft":
        batch["soft_labels"] = rng.dirichlet(np.ones(CLASSES), ROWS)
    small = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    return {n: x.astype(small.get(x.dtype, x.dtype)) for n, x in batch.items()}


@functools.cache
def loss_of(task: str, name: str, base: str | None) -> Any:
    """The loss, whose class weights, and the unit of whose base, are in the batch."""

    def plain(name: str) -> Any:
        function = functools.partial(LOSSES[task][name], **OPTIONS.get(name, {}))

        def weighted(outputs: Any, batch: Any) -> Any:
            unit, more = batch["unit"][0], {}
            if task in ("classification", "soft"):
                more = {"class_weights": batch["class_weights"][0] * unit}
                unit = 1.0
            loss_sum, weight_sum = function(outputs, batch, **more)
            return loss_sum * unit, weight_sum * unit

        return weighted

    if base is None:
        return plain(name)
    return functools.partial(LOSSES[task][name], base=plain(base), **OPTIONS.get(name, {}))
