"""Weights of a small model in the forms that are read, and folders with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import save_file

from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig, config_to_dict
from jaxbert.model.heads import Params
from jaxbert.model.pretrained import load_pretrained, name_table

Tensors = dict[str, np.ndarray]

# Every size is another, so that a transposed or mistaken tensor has a wrong shape.
CFG = BertConfig(
    vocab_size=11,
    hidden_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=10,
    max_position_embeddings=5,
    type_vocab_size=3,
)
D = CFG.hidden_size


def draw_params() -> Params:
    """Random values everywhere: at the usual 0 and 1 a mistaken bias or scale would not show."""
    rng = np.random.default_rng(0)
    shapes = {entry.leaf: entry.shape for entry in name_table(CFG, "qa")}
    return traverse_util.unflatten_dict(
        {leaf: rng.normal(size=shape).astype(np.float32) for leaf, shape in shapes.items()}
    )


def old_flax(params: Params) -> dict[str, Any]:
    """The parameters as transformers' FlaxBertForQuestionAnswering saved them; kernels (in, out).

    Written without jaxbert's table of names, which it is to check.
    """
    bert, head = params["bert"], params["qa_outputs"]
    layers = {}
    for number in range(CFG.num_hidden_layers):
        layer = bert[f"layer_{number}"]
        attention = layer["attention"]
        layers[str(number)] = {
            "attention": {
                "self": {
                    name: {
                        "kernel": attention[name]["kernel"].reshape(D, D),
                        "bias": attention[name]["bias"].reshape(D),
                    }
                    for name in ("query", "key", "value")
                },
                "output": {
                    "dense": {
                        "kernel": attention["output"]["kernel"].reshape(D, D),
                        "bias": attention["output"]["bias"],
                    },
                    "LayerNorm": layer["attention_norm"],
                },
            },
            "intermediate": {"dense": layer["mlp_in"]},
            "output": {"dense": layer["mlp_out"], "LayerNorm": layer["mlp_norm"]},
        }
    embeddings = {
        "LayerNorm" if name == "layer_norm" else name: leaf
        for name, leaf in bert["embeddings"].items()
    }
    sides = [head["start"], head["end"]]
    return {
        "bert": {"embeddings": embeddings, "encoder": {"layer": layers}},
        "qa_outputs": {
            "kernel": np.concatenate([side["kernel"] for side in sides], 1),
            "bias": np.concatenate([side["bias"] for side in sides]),
        },
    }


def checkpoint(params: Params) -> Tensors:
    """The same as a PyTorch BertForQuestionAnswering's state_dict; weights (out, in)."""
    tensors = {}
    for leaf, array in traverse_util.flatten_dict(old_flax(params)).items():
        kind = "bias" if leaf[-1] == "bias" else "weight"
        value = array.T if leaf[-1] == "kernel" else array
        tensors[".".join((*leaf[:-1], kind))] = np.ascontiguousarray(value)
    return tensors


def write_model(parent: Path, files: dict[str, Any], name: str = "model", **config: Any) -> Path:
    """A folder of config.json and files: tensors, bytes or JSON content."""
    folder = parent / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config_to_dict(CFG) | config))
    for file, content in files.items():
        if isinstance(content, bytes):
            (folder / file).write_bytes(content)
        elif file.endswith(".safetensors"):
            save_file({n: np.ascontiguousarray(t) for n, t in content.items()}, folder / file)
        else:
            (folder / file).write_text(json.dumps(content))
    return folder


def assert_equal(found: Params, expected: Params) -> None:
    """Equal bit for bit, in the same tree, all float32."""
    a, b = traverse_util.flatten_dict(found), traverse_util.flatten_dict(expected)
    assert a.keys() == b.keys()
    for leaf, array in b.items():
        assert a[leaf].dtype == np.float32
        np.testing.assert_array_equal(a[leaf], array, err_msg="/".join(leaf))


def refusal(folder: Path, **options: Any) -> str:
    """The message of the InputError: one line that begins with the folder or a file in it."""
    with pytest.raises(InputError) as caught:
        load_pretrained(folder, **options)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert len(message.splitlines()) == 1
    return message


def shards(tensors: Tensors) -> dict[str, Any]:
    names = sorted(tensors)
    parts = {f"model-{n + 1:05}-of-00003.safetensors": names[n::3] for n in range(3)}
    weight_map = {name: file for file, part in parts.items() for name in part}
    return {
        **{file: {name: tensors[name] for name in part} for file, part in parts.items()},
        "model.safetensors.index.json": {"metadata": {"total_size": 1}, "weight_map": weight_map},
    }
