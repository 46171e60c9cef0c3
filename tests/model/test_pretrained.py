"""Model folders in every form that is read, their faults, and the folder that is written."""

from __future__ import annotations

import json
import logging
import pickle
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from canary import pickled
from flax import serialization, traverse_util
from safetensors.numpy import load_file, save_file

from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig, config_from_dict, config_to_dict
from jaxbert.model.heads import Params
from jaxbert.model.pretrained import LoadReport, load_pretrained, name_table, save_pretrained

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


@pytest.fixture(scope="module")
def params() -> Params:
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


@pytest.fixture
def tensors(params: Params) -> Tensors:
    return checkpoint(params)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """A function that makes a folder of config.json and files: tensors, bytes or JSON content."""

    def make(files: dict[str, Any], name: str = "model", **config: Any) -> Path:
        folder = tmp_path / name
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

    return make


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


# --- forms ------------------------------------------------------------------------------------


def test_single_file(make: Callable[..., Path], tensors: Tensors, params: Params) -> None:
    cfg, found = load_pretrained(make({"model.safetensors": tensors}))
    assert cfg == CFG
    assert_equal(found, params)


def shards(tensors: Tensors) -> dict[str, Any]:
    names = sorted(tensors)
    parts = {f"model-{n + 1:05}-of-00003.safetensors": names[n::3] for n in range(3)}
    weight_map = {name: file for file, part in parts.items() for name in part}
    return {
        **{file: {name: tensors[name] for name in part} for file, part in parts.items()},
        "model.safetensors.index.json": {"metadata": {"total_size": 1}, "weight_map": weight_map},
    }


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
    import torch

    folder = make({"optimizer.pt": b"", "training_args.bin": b""})
    torch.save({n: torch.tensor(t) for n, t in tensors.items()}, folder / "pytorch_model.bin")
    found = re.search(r'python -c "(.*)"$', refusal(folder))
    assert found is not None
    monkeypatch.chdir(folder)
    exec(found[1])
    assert_equal(load_pretrained(folder)[1], params)


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
