"""Weights that do not fit, files that are not whole, and pickles: each one line."""

from __future__ import annotations

import functools
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from canary import pickled
from flax import serialization
from safetensors.numpy import save_file
from weight_files import (
    D,
    Tensors,
    assert_equal,
    checkpoint,
    draw_params,
    refusal,
    shards,
    write_model,
)

from jaxbert.model.heads import Params
from jaxbert.model.pretrained import load_pretrained


@pytest.fixture(scope="module")
def params() -> Params:
    return draw_params()


@pytest.fixture
def tensors(params: Params) -> Tensors:
    return checkpoint(params)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    return functools.partial(write_model, tmp_path)


# --- weights that do not fit ------------------------------------------------------------------


def test_every_fault_of_names_and_shapes_is_in_one_error(
    make: Callable[..., Path], tensors: Tensors
) -> None:
    del tensors["bert.encoder.layer.1.attention.self.query.weight"]
    del tensors["bert.embeddings.LayerNorm.bias"]
    del tensors["qa_outputs.bias"]
    tensors["bert.encoder.layer.2.output.dense.bias"] = np.zeros(D, np.float32)
    tensors["encoder.layer.0.output.dense.bias"] = np.zeros(D, np.float32)
    tensors["rotary.weight"] = np.zeros(D, np.float32)
    tensors["bert.embeddings.word_embeddings.weight"] = np.zeros((12, D), np.float32)
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    tensors[name] = np.ascontiguousarray(tensors[name].T)
    tensors["qa_outputs.weight"] = np.zeros((3, D), np.float32)
    folder = make({"model.safetensors": tensors})
    assert refusal(folder) == f"{folder}: the weights do not fit config.json: " + "; ".join(
        [
            "- qa_outputs.bias  missing",
            "- bert.embeddings.LayerNorm.bias  missing",
            "- bert.encoder.layer.1.attention.self.query.weight  missing",
            "+ bert.encoder.layer.2.output.dense.bias  unexpected",
            "+ encoder.layer.0.output.dense.bias  unexpected",
            "+ rotary.weight  unexpected",
            "  bert.embeddings.word_embeddings.weight  has shape (12, 6), config.json says (11, 6)",
            f"  {name}  has shape (6, 10), config.json says (10, 6)",
            "  qa_outputs.weight  has shape (3, 6), config.json says (2, 6)",
        ]
    )


@pytest.mark.parametrize(
    ("field", "value", "tensor"),
    [
        ("vocab_size", 12, "word_embeddings.weight"),
        ("hidden_size", 8, "layer.1.output.dense.weight"),
        ("num_hidden_layers", 3, "layer.2.output.dense.weight  missing"),
        ("num_hidden_layers", 1, "layer.1.output.dense.weight  unexpected"),
        ("intermediate_size", 9, "intermediate.dense.bias"),
        ("max_position_embeddings", 6, "position_embeddings.weight"),
        ("type_vocab_size", 2, "token_type_embeddings.weight"),
    ],
)
def test_config_that_is_not_of_the_weights(
    make: Callable[..., Path], tensors: Tensors, field: str, value: int, tensor: str
) -> None:
    assert tensor in refusal(make({"model.safetensors": tensors}, **{field: value}))


def test_same_tensor_under_two_names(make: Callable[..., Path], tensors: Tensors) -> None:
    tensors["bert.embeddings.LayerNorm.gamma"] = np.zeros(D, np.float32)
    assert "occur twice" in refusal(make({"model.safetensors": tensors}))


def test_same_tensor_in_two_files(make: Callable[..., Path], tensors: Tensors) -> None:
    files = shards(tensors)
    name = "qa_outputs.bias"
    for file, content in files.items():
        if file.endswith(".safetensors"):
            content[name] = tensors[name]
    assert f"tensor {name} is also in another file" in refusal(make(files))


# --- files that are not whole -----------------------------------------------------------------


def test_truncated_safetensors(make: Callable[..., Path], tensors: Tensors) -> None:
    folder = make({"model.safetensors": tensors})
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for part in (0, 4, 8, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:part])
        assert "not a complete safetensors file" in refusal(folder)
    path.write_bytes(whole + b"more")
    assert "not a complete safetensors file" in refusal(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        b"\x03",
        serialization.msgpack_serialize([1, 2]),
        serialization.msgpack_serialize({"bert": np.zeros(100)})[:50],
        serialization.msgpack_serialize({"params": np.zeros(3)}),
        serialization.msgpack_serialize({1: {2: np.zeros(3)}}),
        b"\x81" * 5000,
    ],
)
def test_damaged_msgpack(make: Callable[..., Path], content: bytes) -> None:
    folder = make({"flax_model.msgpack": content})
    assert re.search(r"not a complete Flax msgpack file \(.+\)$", refusal(folder))


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({}, "the weights have 0 tensors in all"),
        ({"params": {}}, "the weights have 0 tensors in all"),
        ({"bert": {"x": "text"}}, "not a complete Flax msgpack file (a leaf is not an array)"),
        ({"a": {"b": None}}, "not a complete Flax msgpack file (a leaf is not an array)"),
    ],
)
def test_msgpack_of_something_else(make: Callable[..., Path], tree: Any, expected: str) -> None:
    folder = make({"flax_model.msgpack": serialization.msgpack_serialize(tree)})
    assert expected in refusal(folder)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing.safetensors", "missing.safetensors: no such file, though the index names it"),
        ("../outside.safetensors", "names '../outside.safetensors', which is not a file of this"),
        ("/etc/passwd", "names '/etc/passwd'"),
        ("below/model.safetensors", "names 'below/model.safetensors'"),
        ("..", "names '..'"),
        (".", "names '.'"),
        ("", "names ''"),
        ("pytorch_model.bin", "names 'pytorch_model.bin'"),
        (5, "names 5"),
        (None, "names None"),
        (["a"], "names ['a']"),
        ("config.json", "config.json: not a complete safetensors file"),
    ],
)
def test_files_that_an_index_may_not_name(
    make: Callable[..., Path], tensors: Tensors, tmp_path: Path, name: Any, expected: str
) -> None:
    save_file(tensors, tmp_path / "outside.safetensors")
    files = {"pytorch_model.bin": pickled(tmp_path / "canary")}
    index = {"model.safetensors.index.json": {"weight_map": {"qa_outputs.bias": name}}}
    assert expected in refusal(make(files | index))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"weight_map": []}', b"\xff", b"[" * 50_000]
)
def test_damaged_index(make: Callable[..., Path], content: bytes) -> None:
    folder = make({"model.safetensors.index.json": content})
    expected = "model.safetensors.index.json: (cannot be read|not a safetensors index)"
    assert re.search(expected, refusal(folder))


def test_no_weights(make: Callable[..., Path]) -> None:
    assert "no weights; expected model.safetensors" in refusal(make({"README.md": b""}))
    folder = make({}, "folder")
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors: not a file" in refusal(folder)


# --- pickles ----------------------------------------------------------------------------------


def test_canary_works(tmp_path: Path) -> None:
    pickle.loads(pickled(tmp_path / "canary"))
    assert (tmp_path / "canary").exists()


PICKLES = ["pytorch_model.bin", "model.pt", "model.pth", "a.pkl", "a.ckpt", "a.joblib", "a.pickle"]


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_are_refused_and_never_run(
    make: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    message = refusal(make({name: pickled(tmp_path / "canary")}))
    assert f"{name}: a pickle can run code" in message
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "flax_model.msgpack"])
def test_pickles_under_another_name_never_run(
    make: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    assert f"{name}: not a complete" in refusal(make({name: pickled(tmp_path / "canary")}))
    assert not (tmp_path / "canary").exists()


def test_pickles_beside_the_weights_do_not_matter(
    make: Callable[..., Path], tensors: Tensors, tmp_path: Path
) -> None:
    files = {"training_args.bin": pickled(tmp_path / "canary"), "model.safetensors": tensors}
    load_pretrained(make(files))
    assert not (tmp_path / "canary").exists()


def test_conversion_command_of_the_refusal(
    make: Callable[..., Path], tensors: Tensors, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")

    folder = make({"optimizer.pt": b"", "training_args.bin": b""})
    torch.save({n: torch.tensor(t) for n, t in tensors.items()}, folder / "pytorch_model.bin")
    found = re.search(r'python -c "(.*)"$', refusal(folder))
    assert found is not None
    monkeypatch.chdir(folder)
    exec(found[1])
    assert_equal(load_pretrained(folder)[1], params)
