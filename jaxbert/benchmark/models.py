"""What is measured: models, and batches of windows."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxbert.data.batches import NumpyBatch
from jaxbert.model.config import BertConfig
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params, init_params
from jaxbert.model.pretrained import load_pretrained


def load(name: str) -> tuple[BertConfig, Params]:
    """A model with a head for questions; bert-base has random weights, which are as fast as any."""
    key = jax.random.key(0)
    if name == "bert-base":
        cfg = BertConfig()
        return cfg, jax.device_get(jax.jit(lambda k: init_params(cfg, "qa", k))(key))
    return load_pretrained(find_model_folder(name), "qa", key=key, draw_head=True)


def full_batch(cfg: BertConfig, size: int, length: int, seed: int = 0) -> NumpyBatch:
    """Windows without any padding."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, length // 2, size)
    batch: dict[str, Any] = {
        "input_ids": rng.integers(1000, cfg.vocab_size, (size, length)),
        "token_type_ids": np.zeros((size, length)),
        "attention_mask": np.ones((size, length)),
        "start_positions": start,
        "end_positions": start + 3,
        "row": np.arange(size),
    }
    whole = {name: np.asarray(x, np.int32) for name, x in batch.items()}
    return whole | {"weight": np.ones(size, np.float32)}
