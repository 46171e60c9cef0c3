"""Model folders in every form that is read, and the folder that is written."""

from __future__ import annotations

import functools
import json
import logging
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import serialization, traverse_util
from safetensors.numpy import load_file
from weight_files import (
    CFG,
    D,
    Tensors,
    assert_equal,
    checkpoint,
    draw_params,
    old_flax,
    refusal,
    shards,
    write_model,
)

from jaxbert.model.config import config_from_dict, config_to_dict
from jaxbert.model.heads import Params
from jaxbert.model.pretrained import LoadReport, load_pretrained, name_table, save_pretrained


@pytest.fixture(scope="module")
def params() -> Params:
    return draw_params()


@pytest.fixture
def tensors(params: Params) -> Tensors:
    return checkpoint(params)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    return functools.partial(write_model, tmp_path)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Messages of jaxbert's logger, whether a script has been set up before or not."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = logging.getLogger("jaxbert"), Keep()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


# --- forms ------------------------------------------------------------------------------------


def test_single_file(make: Callable[..., Path], tensors: Tensors, params: Params) -> None:
    cfg, found = load_pretrained(make({"model.safetensors": tensors}))
    assert cfg == CFG
    assert_equal(found, params)


def test_sharded(make: Callable[..., Path], tensors: Tensors, params: Params) -> None:
    assert_equal(load_pretrained(make(shards(tensors)))[1], params)


@pytest.mark.parametrize("top", [False, True])
def test_old_flax(make: Callable[..., Path], params: Params, top: bool) -> None:
    tree = old_flax(params)
    content = serialization.msgpack_serialize({"params": tree} if top else tree)
    assert_equal(load_pretrained(make({"flax_model.msgpack": content}))[1], params)


def test_old_flax_without_head_or_prefix(
    make: Callable[..., Path], params: Params, log: list[str]
) -> None:
    tree = old_flax(params)["bert"]
    tree["pooler"] = {"dense": {"kernel": np.ones((D, D)), "bias": np.ones(D)}}
    folder = make({"flax_model.msgpack": serialization.msgpack_serialize(tree)})
    _, found = load_pretrained(folder)
    assert_equal(found["bert"], params["bert"])
    assert "  - bert.pooler.dense.weight  left out" in log[0].splitlines()


def test_safetensors_come_before_other_files(
    make: Callable[..., Path], tensors: Tensors, params: Params
) -> None:
    files = shards({name: t + 1 for name, t in tensors.items()})
    files |= {"flax_model.msgpack": b"", "pytorch_model.bin": b"", "model.safetensors": tensors}
    assert_equal(load_pretrained(make(files))[1], params)


def test_names_of_old_checkpoints(
    make: Callable[..., Path], tensors: Tensors, params: Params, log: list[str]
) -> None:
    """No prefix, LayerNorm gamma and beta, buffers of positions, and the heads of pretraining."""
    old = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("bert.")
        name = re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", name)
        old[re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name)] = tensor
    assert sum("gamma" in name for name in old) == 5
    old["embeddings.position_ids"] = np.arange(5)[None]
    old["embeddings.token_type_ids"] = np.zeros((1, 5), np.int64)
    extra = {
        "cls.predictions.bias": np.zeros(11, np.float32),
        "cls.predictions.transform.LayerNorm.gamma": np.zeros(D, np.float32),
        "cls.seq_relationship.weight": np.zeros((2, D), np.float32),
        "pooler.dense.weight": np.zeros((D, D), np.float32),
        "pooler.dense.bias": np.zeros(D, np.float32),
    }
    folder = make({"model.safetensors": old | extra})
    assert_equal(load_pretrained(folder)[1], params)
    assert log == [
        f"{folder}: encoder loaded\n"
        "  - bert.pooler.dense.bias  left out\n"
        "  - bert.pooler.dense.weight  left out\n"
        "  - cls.predictions.bias  left out\n"
        "  - cls.predictions.transform.LayerNorm.weight  left out\n"
        "  - cls.seq_relationship.weight  left out"
    ]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_float32(
    make: Callable[..., Path], tensors: Tensors, params: Params, dtype: Any
) -> None:
    files = {"model.safetensors": {name: t.astype(dtype) for name, t in tensors.items()}}
    _, found = load_pretrained(make(files))
    assert_equal(found, jax.tree.map(lambda x: x.astype(dtype).astype(np.float32), params))
    tree = jax.tree.map(lambda x: x.astype(dtype), old_flax(params))
    files = {"flax_model.msgpack": serialization.msgpack_serialize(tree)}
    assert_equal(load_pretrained(make(files, "flax"))[1], found)


@pytest.mark.parametrize("dtype", [np.int8, np.bool_, ml_dtypes.float8_e4m3fn])
def test_other_types_are_refused(make: Callable[..., Path], tensors: Tensors, dtype: Any) -> None:
    name = "bert.embeddings.LayerNorm.bias"
    tensors[name] = tensors[name].astype(dtype)
    assert f": {name} " in refusal(make({"model.safetensors": tensors}))


# --- the head ---------------------------------------------------------------------------------


def test_head_is_drawn_from_the_key(
    make: Callable[..., Path], tensors: Tensors, params: Params, log: list[str]
) -> None:
    encoder = {name: t for name, t in tensors.items() if not name.startswith("qa_outputs")}
    folder = make({"model.safetensors": encoder})
    message = refusal(folder, draw_head=False)
    assert "no qa head (no qa_outputs.bias, qa_outputs.weight)" in message
    assert log == []
    keys = [jax.random.key(0), None, jax.random.key(1)]
    first, default, other = (load_pretrained(folder, key=key)[1] for key in keys)
    assert_equal(first["bert"], params["bert"])
    assert_equal(first, default)
    for side in ("start", "end"):
        kernel = first["qa_outputs"][side]["kernel"]
        assert (kernel != other["qa_outputs"][side]["kernel"]).all()
        assert 0 < abs(kernel).max() < 5 * CFG.initializer_range
        assert not first["qa_outputs"][side]["bias"].any()
    assert (first["qa_outputs"]["start"]["kernel"] != first["qa_outputs"]["end"]["kernel"]).all()
    assert log[0].splitlines()[1:] == [
        "  + qa_outputs.bias  newly initialized",
        "  + qa_outputs.weight  newly initialized",
    ]


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_half_a_head_is_refused(make: Callable[..., Path], tensors: Tensors, part: str) -> None:
    del tensors[f"qa_outputs.{part}"]
    assert f"- qa_outputs.{part}  missing" in refusal(make({"model.safetensors": tensors}))


def test_report_reads_well() -> None:
    report = LoadReport(Path("folder"), ("qa_outputs.bias",), ("cls.predictions.bias",))
    assert str(report) == (
        "folder: encoder loaded\n"
        "  + qa_outputs.bias  newly initialized\n"
        "  - cls.predictions.bias  left out"
    )


# --- what is written --------------------------------------------------------------------------


def test_round_trip_is_bitwise(tmp_path: Path, params: Params, tensors: Tensors) -> None:
    save_pretrained(tmp_path / "new" / "folder", CFG, params, None)
    folder = tmp_path / "new" / "folder"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    written = load_file(folder / "model.safetensors")
    assert written.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(written[name], tensor, err_msg=name)
    cfg, found = load_pretrained(folder, draw_head=False)
    assert cfg == CFG
    assert_equal(found, params)
    first = (folder / "model.safetensors").read_bytes()
    save_pretrained(folder, cfg, jax.tree.map(jax.numpy.asarray, found), None)
    assert (folder / "model.safetensors").read_bytes() == first
    raw = json.loads((folder / "config.json").read_text())
    assert raw["architectures"] == ["BertForQuestionAnswering"]
    assert raw["model_type"] == "bert"


def test_older_weights_are_replaced(tmp_path: Path, params: Params) -> None:
    save_pretrained(tmp_path, CFG, jax.tree.map(lambda x: x + 1, params), None)
    save_pretrained(tmp_path, CFG, params, None)
    assert_equal(load_pretrained(tmp_path)[1], params)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_disk_that_is_full_leaves_the_folder_as_it_was(tmp_path: Path, params: Params) -> None:
    """The error is one of the system's, which names the file."""
    save_pretrained(tmp_path, CFG, params, None)
    before = (tmp_path / "model.safetensors").read_bytes()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, unlimited[1]))
        with pytest.raises(OSError, match=r"File too large: .*/model\.safetensors"):
            save_pretrained(tmp_path, CFG, jax.tree.map(lambda x: x + 1, params), None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


GOLDEN = """
bert.embeddings.LayerNorm.bias (6,)
bert.embeddings.LayerNorm.weight (6,)
bert.embeddings.position_embeddings.weight (5, 6)
bert.embeddings.token_type_embeddings.weight (3, 6)
bert.embeddings.word_embeddings.weight (11, 6)
bert.encoder.layer.0.attention.output.LayerNorm.bias (6,)
bert.encoder.layer.0.attention.output.LayerNorm.weight (6,)
bert.encoder.layer.0.attention.output.dense.bias (6,)
bert.encoder.layer.0.attention.output.dense.weight (6, 6)
bert.encoder.layer.0.attention.self.key.bias (6,)
bert.encoder.layer.0.attention.self.key.weight (6, 6)
bert.encoder.layer.0.attention.self.query.bias (6,)
bert.encoder.layer.0.attention.self.query.weight (6, 6)
bert.encoder.layer.0.attention.self.value.bias (6,)
bert.encoder.layer.0.attention.self.value.weight (6, 6)
bert.encoder.layer.0.intermediate.dense.bias (10,)
bert.encoder.layer.0.intermediate.dense.weight (10, 6)
bert.encoder.layer.0.output.LayerNorm.bias (6,)
bert.encoder.layer.0.output.LayerNorm.weight (6,)
bert.encoder.layer.0.output.dense.bias (6,)
bert.encoder.layer.0.output.dense.weight (6, 10)
qa_outputs.bias (2,)
qa_outputs.weight (2, 6)
"""
GOLDEN_LEAVES = """
bert/embeddings/layer_norm/bias (6,)
bert/embeddings/layer_norm/scale (6,)
bert/embeddings/position_embeddings/embedding (5, 6)
bert/embeddings/token_type_embeddings/embedding (3, 6)
bert/embeddings/word_embeddings/embedding (11, 6)
bert/layer_0/attention/key/bias (2, 3)
bert/layer_0/attention/key/kernel (6, 2, 3)
bert/layer_0/attention/output/bias (6,)
bert/layer_0/attention/output/kernel (2, 3, 6)
bert/layer_0/attention/query/bias (2, 3)
bert/layer_0/attention/query/kernel (6, 2, 3)
bert/layer_0/attention/value/bias (2, 3)
bert/layer_0/attention/value/kernel (6, 2, 3)
bert/layer_0/attention_norm/bias (6,)
bert/layer_0/attention_norm/scale (6,)
bert/layer_0/mlp_in/bias (10,)
bert/layer_0/mlp_in/kernel (6, 10)
bert/layer_0/mlp_norm/bias (6,)
bert/layer_0/mlp_norm/scale (6,)
bert/layer_0/mlp_out/bias (6,)
bert/layer_0/mlp_out/kernel (10, 6)
qa_outputs/end/bias (1,)
qa_outputs/end/kernel (6, 1)
qa_outputs/start/bias (1,)
qa_outputs/start/kernel (6, 1)
"""


def test_names_and_shapes_of_one_layer(tmp_path: Path) -> None:
    """Golden: a changed name is a checkpoint that no longer opens."""
    cfg = config_from_dict(config_to_dict(CFG) | {"num_hidden_layers": 1}, "golden")
    table = name_table(cfg, "qa")
    leaves = [f"{'/'.join(entry.leaf)} {entry.shape}" for entry in table]
    assert leaves == GOLDEN_LEAVES.split("\n")[1:-1]
    params = traverse_util.unflatten_dict({e.leaf: np.zeros(e.shape) for e in table})
    save_pretrained(tmp_path, cfg, params, None)
    written = load_file(tmp_path / "model.safetensors")
    assert [f"{name} {written[name].shape}" for name in sorted(written)] == (
        GOLDEN.split("\n")[1:-1]
    )
