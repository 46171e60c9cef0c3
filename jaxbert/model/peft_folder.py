"""Writes the changes of an adapted model as PEFT's folder, which peft opens on the base model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flax import traverse_util
from safetensors.numpy import save

from jaxbert.io.files import write_bytes, write_json
from jaxbert.model.config import BertConfig
from jaxbert.model.folders import ADAPTER
from jaxbert.model.heads import WINDOW_ATTENTION
from jaxbert.model.lora import Lora, changes
from jaxbert.model.names import name_table
from jaxbert.model.params import Params
from jaxbert.options.settings import FROZEN_BY_LORA

ADAPTERS = "adapter"  # the folder, in that of the run
_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model"  # of all names: PEFT's two modules around the model
# PEFT's names of tasks, which decide what it puts around the model; of others it has none. It has
# QUESTION_ANS, whose forward() leaves out token_type_ids (peft 0.21): logits would be others.
_TASKS = {
    "classification": "SEQ_CLS",
    "regression": "SEQ_CLS",
    "tagging": "TOKEN_CLS",
}


def _saved_module(tensor: str) -> str:
    """The module that PEFT saves for a tensor: a classifier as a whole, as it does by itself."""
    module = tensor.rpartition(".")[0]
    return "classifier" if module.startswith("classifier.") else module


def save_adapter(folder: Path, lora: Lora, cfg: BertConfig, params: Params, *, head: str) -> None:
    """adapter_config.json and adapter_model.safetensors: A and B, and the head as modules_to_save.

    Args:
        params: of the adapted model, with its changes.
        head: a name in HEADS. That of masked language models is frozen, and left out.
    """
    tensors: dict[str, np.ndarray] = {}
    own = changes(params)
    for entry in lora.kernels(cfg, head):
        module = f"{_PREFIX}.{entry.name.removesuffix('.weight')}"
        a, b = own[entry.leaf[:-1]]
        tensors[f"{module}.lora_A.weight"] = np.ascontiguousarray(np.asarray(a, np.float32).T)
        tensors[f"{module}.lora_B.weight"] = np.ascontiguousarray(np.asarray(b, np.float32).T)
    leaves = traverse_util.flatten_dict(params)
    parts: dict[str, list[np.ndarray]] = {}
    elsewhere = (*FROZEN_BY_LORA, WINDOW_ATTENTION)  # transformers' classes have no such module
    of_head = [entry for entry in name_table(cfg, head) if entry.leaf[0] not in elsewhere]
    for entry in sorted(of_head, key=lambda e: e.row or 0):
        parts.setdefault(entry.name, []).append(entry.to_tensor(leaves[entry.leaf]))
    tensors |= {f"{_PREFIX}.{name}": np.concatenate(rows) for name, rows in parts.items()}
    config = {
        "peft_type": "LORA",
        "task_type": _TASKS.get(head),
        "base_model_name_or_path": lora.base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted(lora.modules(cfg.family).values()),
        "modules_to_save": sorted({_saved_module(name) for name in parts}) or None,
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ADAPTER, config)
    write_bytes(folder / _WEIGHTS, save(tensors, metadata={"format": "pt"}))
