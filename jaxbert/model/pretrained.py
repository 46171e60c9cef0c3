"""Hugging Face folder <-> parameters, through one table of names that serves both directions.

Nothing here reads a pickle. Shapes are checked against config.json from the file's header, before a
tensor is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_dtypes  # noqa: F401  (gives numpy the dtype bfloat16)
import numpy as np
from flax import serialization, traverse_util
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxbert.errors import InputError
from jaxbert.files import write_json
from jaxbert.model.config import BertConfig, config_to_dict, load_architecture, load_config
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import HEADS, Params, init_params

logger = logging.getLogger("jaxbert")

Leaf = tuple[str, ...]

# Our name of a module inside the encoder -> Hugging Face's.
_EMBEDDINGS = {
    "word_embeddings": "word_embeddings",
    "position_embeddings": "position_embeddings",
    "token_type_embeddings": "token_type_embeddings",
    "layer_norm": "LayerNorm",
}
_LAYER = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp_in": "intermediate.dense",
    "mlp_out": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
# A module beside the encoder -> Hugging Face's, with the row of its tensor that is ours (None: all
# of it). What lies under one first name, a part, is in a checkpoint as a whole or not at all.
_PARTS: dict[str, tuple[str, int | None]] = {
    "qa_outputs/start": ("qa_outputs", 0),
    "qa_outputs/end": ("qa_outputs", 1),
    "pooler": ("bert.pooler.dense", None),
    "classifier": ("classifier", None),
    "seq_relationship": ("cls.seq_relationship", None),
    "predictions": ("cls.predictions", None),
    "predictions/transform": ("cls.predictions.transform.dense", None),
    "predictions/layer_norm": ("cls.predictions.transform.LayerNorm", None),
}
ARCHITECTURES = {
    "qa": "BertForQuestionAnswering",
    "classification": "BertForSequenceClassification",
    "regression": "BertForSequenceClassification",
    "multiple_choice": "BertForMultipleChoice",
    "next_sentence": "BertForNextSentencePrediction",
    "tagging": "BertForTokenClassification",
    "mlm": "BertForMaskedLM",
}

# Parts of BERT checkpoints that an encoder with another head does not have. Anything else that the
# table does not name is an error.
_OTHER_HEADS = re.compile(r"(bert\.pooler|cls|classifier|qa_outputs|lm_head|fit_denses?)\.")
# The masked language model's decoder is the table of word embeddings; some files have it twice.
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_BUFFERS = re.compile(r"(.*\.)?(position_ids|token_type_ids)$")
_PICKLES = re.compile(r".*\.(bin|pt|pth|pkl|pickle|ckpt|joblib)$")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One of our leaves and the tensor of the checkpoint that it is.

    Attributes:
        leaf: path of the leaf, for instance ("bert", "layer_3", "attention", "query", "kernel").
        shape: of the leaf.
        name: of the tensor in the checkpoint.
        row: the row of the tensor that is this leaf; None for the whole tensor.
        inputs: for a kernel, how many leading axes of the leaf are inputs; 0 for other leaves. A
            kernel is the transpose of the checkpoint's (out, in) weight, its axes split into heads.
    """

    leaf: Leaf
    shape: tuple[int, ...]
    name: str
    row: int | None
    inputs: int

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Shape in the checkpoint of the part that is this leaf."""
        if not self.inputs:
            return (int(np.prod(self.shape)),) if self.leaf[-1] == "bias" else self.shape
        split = self.inputs
        return (int(np.prod(self.shape[split:])), int(np.prod(self.shape[:split])))

    def to_leaf(self, tensor: np.ndarray) -> np.ndarray:
        """The leaf, from the whole tensor of the checkpoint."""
        if self.row is not None:
            tensor = tensor[self.row : self.row + 1]
        if self.inputs:
            tensor = tensor.T
        return np.ascontiguousarray(tensor.reshape(self.shape), dtype=np.float32)

    def to_tensor(self, leaf: np.ndarray) -> np.ndarray:
        """This leaf's part of the tensor, shaped `tensor_shape`."""
        tensor = np.asarray(leaf, np.float32)
        if self.inputs:
            return np.ascontiguousarray(tensor.reshape(self.tensor_shape[::-1]).T)
        return tensor.reshape(self.tensor_shape)


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a checkpoint did not say and what was not wanted of it; names of the checkpoint's form.

    Attributes:
        drawn: tensors of the head that the checkpoint lacks: drawn from the key.
        left_out: tensors of the checkpoint that this head does not use.
    """

    folder: Path
    drawn: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.folder}: encoder loaded"]
        lines += [f"  + {name}  drawn anew" for name in self.drawn]
        lines += [f"  - {name}  left out" for name in self.left_out]
        return "\n".join(lines)


def name_table(cfg: BertConfig, head: str) -> list[Entry]:
    """Every leaf of the parameters with its tensor, in the order of the leaves' paths."""
    abstract = jax.eval_shape(lambda: init_params(cfg, head, jax.random.key(0)))
    leaves = traverse_util.flatten_dict(abstract)
    return [_entry(leaf, tuple(leaves[leaf].shape)) for leaf in sorted(leaves)]


def _entry(leaf: Leaf, shape: tuple[int, ...]) -> Entry:
    module, kind = "/".join(leaf[:-1]), leaf[-1]
    row = None
    if leaf[:2] == ("bert", "embeddings"):
        name = f"bert.embeddings.{_EMBEDDINGS[leaf[2]]}"
    elif leaf[0] == "bert":
        number = leaf[1].removeprefix("layer_")
        name = f"bert.encoder.layer.{number}.{_LAYER['/'.join(leaf[2:-1])]}"
    else:
        name, row = _PARTS[module]
    inputs = 0
    if kind == "kernel":
        inputs = 2 if leaf[-3:-1] == ("attention", "output") else 1
    return Entry(leaf, shape, f"{name}.{'bias' if kind == 'bias' else 'weight'}", row, inputs)


def _wanted_shapes(table: list[Entry]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor: of the rows of one tensor, the first axis adds up."""
    shapes: dict[str, tuple[int, ...]] = {}
    for entry in table:
        shape = entry.tensor_shape
        if entry.name in shapes:
            shape = (shapes[entry.name][0] + shape[0], *shape[1:])
        shapes[entry.name] = shape
    return shapes


# --- in ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A tensor of a checkpoint that has not been read yet."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def _canonical(name: str, prefixed: bool) -> str:
    """The name of today's BertFor... classes: with `bert.`, and LayerNorm weight and bias."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
    if not prefixed and name.startswith(("embeddings.", "encoder.", "pooler.")):
        name = f"bert.{name}"
    return name


@contextlib.contextmanager
def _open_safetensors(files: list[Path]) -> Iterator[dict[str, _Tensor]]:
    with contextlib.ExitStack() as stack:
        tensors: dict[str, _Tensor] = {}
        for path in files:
            try:
                file = stack.enter_context(safe_open(path, framework="numpy"))
            except FileNotFoundError:
                raise InputError(f"{path}: no such file, though the index names it") from None
            except (OSError, SafetensorError) as error:
                raise InputError(f"{path}: not a whole safetensors file ({error})") from None
            for name in list(file.keys()):
                if name in tensors:
                    raise InputError(f"{path}: tensor {name} is in another file of the model too")
                shape = tuple(file.get_slice(name).get_shape())
                tensors[name] = _Tensor(shape, functools.partial(file.get_tensor, name))
        yield tensors


@contextlib.contextmanager
def _open_msgpack(path: Path) -> Iterator[dict[str, _Tensor]]:
    """The parameters of transformers' old Flax classes, under the names of its PyTorch classes."""
    try:
        tree = serialization.msgpack_restore(path.read_bytes())
        flat = traverse_util.flatten_dict(tree)
        flat = {p[1:] if p[0] == "params" else p: x for p, x in flat.items()}
        if not all(leaf and all(isinstance(name, str) for name in leaf) for leaf in flat):
            raise ValueError("a name is not a string")
    except Exception as error:  # msgpack raises its own, and numpy's, for damaged bytes
        reason = str(error) or type(error).__name__
        raise InputError(f"{path}: not a whole Flax msgpack file ({reason})") from None
    tensors: dict[str, _Tensor] = {}
    for leaf, array in flat.items():
        kind = {"kernel": "weight", "scale": "weight", "embedding": "weight"}.get(
            leaf[-1], leaf[-1]
        )
        array = np.asarray(array)
        if leaf[-1] == "kernel":
            array = array.T
        tensors[".".join((*leaf[:-1], kind))] = _Tensor(
            array.shape, functools.partial(np.asarray, array)
        )
    yield tensors


def _open_weights(folder: Path) -> contextlib.AbstractContextManager[dict[str, _Tensor]]:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return _open_safetensors([folder / "model.safetensors"])
    if index.exists():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise InputError(f"{index}: not a safetensors index ({error!r})") from None
        for name in names:
            plain = isinstance(name, str) and Path(name).name == name not in ("", "..")
            if not plain or _PICKLES.match(name):
                raise InputError(f"{index}: names {name!r}, which is not a file of this folder")
        return _open_safetensors([folder / name for name in sorted(names)])
    if (folder / "flax_model.msgpack").exists():
        return _open_msgpack(folder / "flax_model.msgpack")
    pickles = [p.name for p in folder.iterdir() if _PICKLES.match(p.name)]
    if pickles:  # the weights' own first: an optimizer's state may lie beside them
        pickles.sort(key=lambda name: (not name.startswith("pytorch_model"), name))
        raise InputError(
            f"{folder / pickles[0]}: a pickle can run code when it is read, so jaxbert does not "
            "read it; convert it where PyTorch is: python -c "
            '"import torch, safetensors.torch as s; s.save_file({k: v.clone() for k, v in '
            f"torch.load('{pickles[0]}', weights_only=True).items()}}, 'model.safetensors')\""
        )
    raise InputError(
        f"{folder}: no weights; expected model.safetensors, model.safetensors.index.json or "
        "flax_model.msgpack"
    )


def _check_names(
    folder: Path, cfg: BertConfig, head: str, tensors: Mapping[str, _Tensor]
) -> tuple[list[Entry], LoadReport]:
    """The table, and what will be drawn and left out; every fault of the names in one error."""
    table = name_table(cfg, head)
    shapes = _wanted_shapes(table)
    missing = sorted(shapes.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - shapes.keys())
    part_of = {e.name: e.leaf[0] for e in table}
    there = {part_of[name] for name in shapes.keys() & tensors.keys()} | {"bert"}
    drawn = [name for name in missing if part_of[name] not in there]
    # The encoder is there whole, and so is a head that is there: half of one is damage.
    damaged = sorted(
        (n for n in missing if part_of[n] in there), key=lambda n: part_of[n] == "bert"
    )
    faults = [f"- {name}  missing" for name in damaged]
    faults += [f"+ {name}  unexpected" for name in unexpected if not _OTHER_HEADS.match(name)]
    faults += [
        f"  {name}  has shape {tensors[name].shape}, config.json says {shape}"
        for name, shape in sorted(shapes.items())
        if name in tensors and tensors[name].shape != shape
    ]
    if faults:
        raise InputError(f"{folder}: the weights do not fit config.json: " + "; ".join(faults))
    return table, LoadReport(folder, tuple(drawn), tuple(unexpected))


def _with_labels(
    cfg: BertConfig,
    head: str,
    id2label: Sequence[str] | None,
    tensors: dict[str, _Tensor],
    architecture: str | None,
) -> tuple[BertConfig, dict[str, _Tensor]]:
    """The config with the head's classes; and no classifier where the checkpoint's has others.

    Args:
        architecture: the checkpoint's class, as config.json names it. A classifier of words does
            not serve for texts, though it may have the same shape.
    """
    if head in ("qa", "mlm", "next_sentence"):
        return dataclasses.replace(cfg, id2label=()), tensors
    rows = tensors["classifier.bias"].shape[0] if "classifier.bias" in tensors else None
    there = cfg.id2label if rows in (None, len(cfg.id2label)) else ()
    there = there or _unnamed(1 if head == "regression" else rows or 2)
    names = there if id2label is None else tuple(id2label)
    outputs = 1 if head == "multiple_choice" else len(names)
    other = architecture in ARCHITECTURES.values() and architecture != ARCHITECTURES[head]
    if rows is not None and (
        other or rows != outputs or (outputs > 1 and there not in (names, _unnamed(rows)))
    ):
        shown = architecture if other else ", ".join(there[:8]) + ", ..." * (rows > 8)
        logger.info("the checkpoint's classifier is for %s; another is drawn", shown)
        tensors = {n: t for n, t in tensors.items() if not n.startswith("classifier.")}
    return dataclasses.replace(cfg, id2label=() if head == "multiple_choice" else names), tensors


def _unnamed(count: int) -> tuple[str, ...]:
    """Hugging Face's names of classes that have no name."""
    return tuple(f"LABEL_{number}" for number in range(count))


def _without_tied(folder: Path, tensors: dict[str, _Tensor]) -> dict[str, _Tensor]:
    """The tensors without second copies of tied ones, which must be equal to the first."""
    for copy, name in _TIED.items():
        if copy in tensors and name in tensors:
            if not np.array_equal(tensors[copy].read(), tensors[name].read()):
                raise InputError(f"{folder}: {copy} is not {name}; jaxbert's decoder is tied to it")
            tensors = {n: t for n, t in tensors.items() if n != copy}
    return tensors


def load_pretrained(
    path_or_name: str | Path,
    head: str = "qa",
    *,
    key: jax.Array | None = None,
    draw_head: bool = True,
    id2label: Sequence[str] | None = None,
) -> tuple[BertConfig, Params]:
    """The config and parameters of a Hugging Face folder or Hub name, with a task head.

    A head that the checkpoint has is loaded; one that it lacks is drawn from `key` (by default
    jax.random.key(0)). What was drawn and what was left out is logged.

    Args:
        draw_head: False refuses a checkpoint without the head.
        id2label: names of the classes; by default those of config.json. A classifier for others is
            left out and drawn anew.

    Returns:
        (cfg, params): params is a nested dict of float32 numpy arrays, whatever the file's dtype.

    Raises:
        InputError: no such model, a pickle, another model type, or names and shapes that do not fit
            config.json; all of them are named at once.
    """
    if head not in HEADS:
        raise InputError(f"head {head!r}: there are {', '.join(HEADS)}")
    folder = find_model_folder(path_or_name)
    cfg = load_config(folder)
    with _open_weights(folder) as raw:
        named = {n: t for n, t in raw.items() if not _BUFFERS.match(n)}
        prefixed = any(n.startswith("bert.") for n in named)
        tensors = {_canonical(n, prefixed): t for n, t in named.items()}
        if len(tensors) < len(named):
            raise InputError(f"{folder}: some tensors are there twice, under old and new names")
        if head == "mlm":
            tensors = _without_tied(folder, tensors)
        cfg, tensors = _with_labels(cfg, head, id2label, tensors, load_architecture(folder))
        table, report = _check_names(folder, cfg, head, tensors)
        if report.drawn and not draw_head:
            raise InputError(
                f"{folder}: it has no {head} head (no {', '.join(report.drawn)}); fine-tune it "
                "first, and give the folder of that run"
            )
        leaves: dict[Leaf, np.ndarray] = {}
        for entry in table:
            if entry.name in tensors:
                try:
                    array = tensors[entry.name].read()
                except (AttributeError, TypeError, SafetensorError) as error:  # 8-bit floats
                    raise InputError(f"{folder}: {entry.name} cannot be read ({error})") from None
                if array.dtype.kind not in "f" and array.dtype.name != "bfloat16":
                    raise InputError(f"{folder}: {entry.name} has dtype {array.dtype}, not floats")
                leaves[entry.leaf] = entry.to_leaf(array)
    if report.drawn:
        fresh = _fresh_head(cfg, head, key if key is not None else jax.random.key(0))
        leaves |= {e.leaf: np.asarray(fresh[e.leaf]) for e in table if e.leaf not in leaves}
    if report.drawn or report.left_out:
        logger.info("%s", report)
    return cfg, traverse_util.unflatten_dict(leaves)


def _fresh_head(cfg: BertConfig, head: str, key: jax.Array) -> dict[Leaf, Any]:
    """The head's parameters drawn from the key; jit drops the encoder, which is not returned."""

    def draw(key: jax.Array) -> dict[str, Any]:
        return {n: part for n, part in init_params(cfg, head, key).items() if n != "bert"}

    return traverse_util.flatten_dict(jax.jit(draw)(key))


# --- out --------------------------------------------------------------------------------------


def save_pretrained(
    path: str | Path, cfg: BertConfig, params: Params, tokenizer: Any, *, head: str = "qa"
) -> None:
    """Write a folder that transformers (PyTorch) and load_pretrained open with equal logits.

    Args:
        path: the folder; made when it is not there. model.safetensors replaces an older one whole.
        params: of init_params or load_pretrained with that head.
        tokenizer: anything with Hugging Face's `save_pretrained`, or None.
        head: a name in HEADS.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    leaves = traverse_util.flatten_dict(params)
    table = name_table(cfg, head)
    if {entry.leaf for entry in table} != set(leaves):
        found = ", ".join(sorted({leaf[0] for leaf in leaves}))
        raise ValueError(
            f"the parameters ({found}) are not those of the head {head!r}; name theirs"
        )
    parts: dict[str, list[np.ndarray]] = {}
    for entry in sorted(table, key=lambda e: e.row or 0):
        parts.setdefault(entry.name, []).append(entry.to_tensor(leaves[entry.leaf]))
    tensors = {name: x[0] if len(x) == 1 else np.concatenate(x) for name, x in parts.items()}
    config = {"architectures": [ARCHITECTURES[head]], "dtype": "float32", **config_to_dict(cfg)}
    write_json(folder / "config.json", config)
    partial = folder / ".model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    shutil.copymode(
        folder / "config.json", partial
    )  # save_file makes it readable by its owner only
    partial.replace(folder / "model.safetensors")
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
