"""One model twice, in PyTorch and in JAX, with equal random weights, and what both compute.

Biases and LayerNorm parameters are random too, since at their usual start of 0 and 1 a swapped or
forgotten one would not show.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
import transformers

from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Outputs, Params, make_apply, make_hidden_states
from jaxbert.model.pretrained import load_pretrained

Arrays = dict[str, np.ndarray]
SIDES = ("start", "end")
TOLERANCE = 1e-5
# Compiled as users compile it, whatever the other tests do; see conftest.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})
# An eps as large as 0.05 shows whether it is read at all; 1e-12 is BERT's own.
CONFIGS: dict[str, dict[str, Any]] = {
    "gelu-3x5": {
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "hidden_size": 15,
        "hidden_act": "gelu",
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-12,
    },
    "gelu_new-4x6": {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_size": 24,
        "hidden_act": "gelu_new",
        "type_vocab_size": 2,
        "layer_norm_eps": 0.05,
    },
    "relu-1x24": {
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "hidden_size": 24,
        "hidden_act": "relu",
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-12,
    },
}
SIZES = {"vocab_size": 99, "intermediate_size": 40, "max_position_embeddings": 33}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def gap(ours: Any, theirs: Any) -> float:
    """The largest absolute difference, which must be a number."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert a.shape == b.shape
    assert np.isfinite(a).all()
    return float(np.abs(a - b).max())


def random_batch(cfg: BertConfig, seed: int, *, padded: bool = True, rows: int = 6) -> Arrays:
    """Rows of other lengths, the longest one full, and spans inside them; weights of 0, 1 and 2."""
    rng = np.random.default_rng(seed)
    length = 17
    lengths = np.full(rows, length)
    if padded:
        lengths[1:] = rng.permutation([1, 2, 4, 9, 13, 16])[: rows - 1]
    mask = np.arange(length) < lengths[:, None]
    # Not 0: torch has no gradient for the row of [PAD], which is no real token.
    ids = rng.integers(1, cfg.vocab_size, mask.shape)
    types = np.sort(rng.integers(0, cfg.type_vocab_size, mask.shape), axis=1)
    ends = rng.integers(0, lengths)
    return {
        "input_ids": np.where(mask, ids, 0).astype(np.int32),
        "token_type_ids": np.where(mask, types, 0).astype(np.int32),
        "attention_mask": mask.astype(np.int32),
        "start_positions": rng.integers(0, ends + 1).astype(np.int32),
        "end_positions": ends.astype(np.int32),
        "weight": np.resize([1.0, 2.0, 0.0, 1.0], rows).astype(np.float32),
    }


def randomise(model: Any, seed: int) -> None:
    """Every parameter redrawn, so large that no layer is nearly linear, no softmax nearly flat."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, x in model.named_parameters():
            scale = 0.3 if x.ndim == 1 else 1.2 / x.shape[-1] ** 0.5
            values = rng.normal(size=x.shape) * scale + (name.endswith("LayerNorm.weight"))
            x.copy_(torch.from_numpy(values.astype(np.float32)))


@dataclasses.dataclass(frozen=True)
class Pair:
    """One model twice: transformers' in PyTorch and ours, loaded from what the first one saved."""

    model: Any
    cfg: BertConfig
    params: Params


def make_pair(folder: Path, sizes: dict[str, Any]) -> Pair:
    config = transformers.BertConfig(**SIZES, **sizes, **NO_DROPOUT, attn_implementation="eager")
    model = transformers.BertForQuestionAnswering(config).eval()
    randomise(model, seed=len(sizes["hidden_act"]))
    model.save_pretrained(folder)
    return Pair(model, *load_pretrained(folder, "qa", draw_head=False))


def torch_outputs(model: Any, batch: Arrays) -> Any:
    names = ("input_ids", "token_type_ids", "attention_mask")
    inputs = {n: torch.from_numpy(batch[n].astype(np.int64)) for n in names}
    return model(**inputs, output_hidden_states=True)


def torch_loss(model: Any, batch: Arrays) -> torch.Tensor:
    """Our loss written in PyTorch: transformers' own, without padding in the softmax."""
    outputs = torch_outputs(model, batch)
    padding = torch.from_numpy(batch["attention_mask"] == 0)
    weight = torch.from_numpy(batch["weight"])
    loss = torch.zeros_like(weight)
    for side in SIDES:
        logits = outputs[f"{side}_logits"].masked_fill(padding, -torch.inf)
        gold = torch.from_numpy(batch[f"{side}_positions"].astype(np.int64))
        loss = loss + torch.nn.functional.cross_entropy(logits, gold, reduction="none") / 2
    return (loss * weight).sum() / weight.sum()


@functools.partial(jit, static_argnames="cfg")
def forward(params: Params, batch: Any, cfg: BertConfig) -> tuple[list[jax.Array], Outputs]:
    """Hidden states and logits; compiled once for all tests of a config and a shape."""
    return make_hidden_states(cfg)(params, batch), make_apply(cfg, "qa")(params, batch)


@functools.partial(jit, static_argnames="cfg")
@jax.value_and_grad
def loss_and_gradients(params: Params, batch: Any, cfg: BertConfig) -> jax.Array:
    loss_sum, weight = span_cross_entropy(make_apply(cfg, "qa")(params, batch), batch)
    return loss_sum / weight
