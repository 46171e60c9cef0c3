"""Loads parameters from Hugging Face folders and saves them.

Shapes in the file's header are checked against config.json before any tensor is read.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import save

from jaxbert.errors import InputError
from jaxbert.io.files import write_bytes, write_json
from jaxbert.io.untrusted import shown
from jaxbert.model.config import (
    BertConfig,
    config_to_dict,
    load_architecture,
    load_config,
    load_tied,
)
from jaxbert.model.folders import ADAPTER, explain_adapter, find_model_folder
from jaxbert.model.heads import HEADS, WINDOW_ATTENTION, Params, init_params
from jaxbert.model.names import (
    Entry,
    Leaf,
    classifier_name,
    layer_tensors,
    name_table,
    tensor_shapes,
)
from jaxbert.model.weights import Tensor, open_weights

logger = logging.getLogger("jaxbert")

_BUFFERS = re.compile(r"(.*\.)?(position_ids|token_type_ids)$")
# Most faults or tensors listed in a message.
_MAX_LISTED = 100
_MAX_CLASSES = 1_000_000


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Tensors that were not loaded from a checkpoint, or not used, by their names in it.

    Attributes:
        drawn: tensors of the head that the checkpoint lacks; they are initialized from the key.
        left_out: tensors of the checkpoint that this head does not use.
    """

    folder: Path
    drawn: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"  + {name}  newly initialized" for name in self.drawn]
        lines += [f"  - {shown(name)}  left out" for name in self.left_out]
        return "\n".join([f"{self.folder}: encoder loaded", *_shorten(lines)])


def _shorten(lines: list[str]) -> list[str]:
    """The first lines, and the number of others."""
    more = len(lines) - _MAX_LISTED
    return [*lines[:_MAX_LISTED], f"... and {more} more"] if more > 0 else lines


# --- in ---------------------------------------------------------------------------------------


# What the names in a checkpoint of the encoder alone begin with.
_BARE = ("embeddings", "encoder.", "transformer.", "pooler.")


def _canonical(name: str, prefix: str, prefixed: bool) -> str:
    """The name in current BertFor... classes: with `bert.`, and LayerNorm weight and bias."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
    if not prefixed and name.startswith(_BARE):
        name = f"{prefix}.{name}"
    return name


def _check_names(
    folder: Path, cfg: BertConfig, head: str, tensors: Mapping[str, Tensor]
) -> tuple[list[Entry], LoadReport]:
    """The name table and the report; raises one InputError with all faults of the names."""
    # First, before anything takes time or memory for that many layers.
    each = layer_tensors(cfg)
    if (cfg.different_layers - 1) * each > len(tensors):
        raise InputError(
            f"{folder}: config.json says {cfg.different_layers} layers of {each} tensors "
            f"each, but the weights have {len(tensors)} tensors in all"
        )
    others = cfg.family.others
    table = name_table(cfg, head)
    shapes = tensor_shapes(table)
    missing = sorted(shapes.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - shapes.keys())
    part_of = {e.name: e.leaf[0] for e in table}
    present = {part_of[name] for name in shapes.keys() & tensors.keys()} | {"bert"}
    drawn = [name for name in missing if part_of[name] not in present]
    # The encoder and any head in the checkpoint must be complete.
    incomplete = sorted(
        (n for n in missing if part_of[n] in present), key=lambda n: part_of[n] == "bert"
    )
    faults = [f"- {name}  missing" for name in incomplete]
    faults += [
        f"+ {shown(name)}  unexpected"
        for name in unexpected
        if not re.match(others, name) and not name.startswith(f"{WINDOW_ATTENTION}.")
    ]
    faults += [
        f"  {name}  has shape {shown(tensors[name].shape)}, config.json says {shape}"
        for name, shape in sorted(shapes.items())
        if name in tensors and tensors[name].shape != shape
    ]
    if faults:
        raise InputError(
            f"{folder}: the weights do not fit config.json: " + "; ".join(_shorten(faults))
        )
    return table, LoadReport(folder, tuple(drawn), tuple(unexpected))


def _with_labels(
    folder: Path,
    cfg: BertConfig,
    head: str,
    id2label: Sequence[str] | None,
    tensors: dict[str, Tensor],
    architecture: str | None,
) -> tuple[BertConfig, dict[str, Tensor]]:
    """The config with the head's classes; drops the checkpoint's classifier if its classes differ.

    Args:
        architecture: the checkpoint's class according to config.json. A classifier of words cannot
            be used for texts, though it may have the same shape.
    """
    cfg = dataclasses.replace(cfg, problem_type=_problem_type(cfg, head))
    if head in ("qa", "mlm", "next_sentence"):
        return dataclasses.replace(cfg, id2label=()), tensors
    layer = classifier_name(cfg, head)
    bias = f"{layer}.bias"
    shape = tensors[bias].shape if bias in tensors else None
    if shape is not None and (len(shape) != 1 or not 1 <= shape[0] <= _MAX_CLASSES):
        raise InputError(
            f"{folder}: {bias} has shape {shown(shape)}, expected one axis with at most "
            f"{_MAX_CLASSES} classes"
        )
    rows = None if shape is None else shape[0]
    saved_names = cfg.id2label if rows in (None, len(cfg.id2label)) else ()
    saved_names = saved_names or _default_names(1 if head == "regression" else rows or 2)
    names = saved_names if id2label is None else tuple(id2label)
    outputs = 1 if head == "multiple_choice" else len(names)
    classes = cfg.family.classes
    other_head = architecture in classes.values() and architecture != classes[head]
    if rows is not None and (
        other_head
        or rows != outputs
        or (outputs > 1 and saved_names not in (names, _default_names(rows)))
    ):
        described = (
            architecture if other_head else ", ".join(saved_names[:8]) + ", ..." * (rows > 8)
        )
        logger.info(
            "the checkpoint's classifier is for %s; initializing a new one", shown(described)
        )
        tensors = {n: t for n, t in tensors.items() if not n.startswith(f"{layer}.")}
    return dataclasses.replace(cfg, id2label=() if head == "multiple_choice" else names), tensors


def _problem_type(cfg: BertConfig, head: str) -> str | None:
    """The problem_type of a model with that head; only text heads have one."""
    if head == "regression":
        return "regression"
    return cfg.problem_type if head == "classification" else None


def _default_names(count: int) -> tuple[str, ...]:
    """Hugging Face's names of unnamed classes."""
    return tuple(f"LABEL_{index}" for index in range(count))


def _untie(folder: Path, cfg: BertConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with each tied tensor only once, under its name in the table.

    Raises:
        InputError: the decoder is not tied to the word embeddings.
    """
    if not load_tied(folder):
        raise InputError(
            f"{folder / 'config.json'}: tie_word_embeddings is false, but jaxbert's decoder is the "
            "table of word embeddings; set it to true if the two are equal"
        )
    tensors = dict(tensors)
    family, masked_lm = cfg.family, cfg.family.masked_lm
    # The decoder is the table of word embeddings; files have it under either name or both. Its bias
    # may have two names too.
    words = f"{family.prefix}.{family.embeddings['word_embeddings']}.weight"
    decoder, decoder_bias = f"{masked_lm.decoder}.weight", f"{masked_lm.decoder}.bias"
    if decoder in tensors and words in tensors:
        sizes = [math.prod(tensors[n].shape) for n in (words, decoder)]
        if sizes[0] != sizes[1] or sizes[0] > cfg.parameters:  # before allocating memory
            shapes = f"{tensors[decoder].shape} and {tensors[words].shape}"
            raise InputError(f"{folder}: {decoder} and {words} are tied, of shapes {shapes}")
        first, second = (_floats(folder, n, tensors[n]) for n in (words, decoder))
        if not np.array_equal(first, second):
            raise InputError(f"{folder}: {decoder} is not {words}; jaxbert's decoder is tied to it")
        del tensors[decoder]
    if decoder in tensors:
        tensors[words] = tensors.pop(decoder)
    if decoder_bias in tensors:
        if tensors[decoder_bias].shape == (cfg.vocab_size,):
            # Reports a fault under its own name.
            _floats(folder, decoder_bias, tensors[decoder_bias])
        # If there are both and they differ, transformers uses the decoder's.
        tensors[f"{masked_lm.bias}.bias"] = tensors.pop(decoder_bias)
    return tensors


def _floats(folder: Path, name: str, tensor: Tensor) -> np.ndarray:
    """The values of a tensor, which must have a float dtype that NumPy supports."""
    try:
        array = tensor.read()
    except (AttributeError, TypeError, SafetensorError) as error:  # 8-bit floats
        raise InputError(f"{folder}: {name} cannot be read ({shown(error)})") from None
    if array.dtype.kind not in "f" and array.dtype.name != "bfloat16":
        raise InputError(f"{folder}: {name} has dtype {array.dtype}, not floats")
    return array


def load_pretrained(
    path_or_name: str | Path,
    head: str = "qa",
    *,
    key: jax.Array | None = None,
    draw_head: bool = True,
    id2label: Sequence[str] | None = None,
    window_attention: bool | None = None,
) -> tuple[BertConfig, Params]:
    """Load the config and parameters of a Hugging Face folder or Hub name, with a task head.

    If the checkpoint has the head, it is loaded; otherwise it is initialized from `key` (by default
    jax.random.key(0)). Tensors that were initialized or left out are logged.

    Args:
        draw_head: False refuses a checkpoint without the head.
        id2label: names of the classes; by default those of config.json. A classifier for other
            classes is replaced by an initialized one.
        window_attention: whether a query weighs the windows of a text; by default as config.json
            says.

    Returns:
        (cfg, params): params is a nested dict of float32 NumPy arrays, whatever the file's dtype.

    Raises:
        InputError: there is no such model; it is a pickle or another model type; names and shapes
            do not fit config.json (the message lists the first hundred); or weights are not
            finite.
    """
    if head not in HEADS:
        raise InputError(f"head {head!r}: there are {', '.join(HEADS)}")
    folder = find_model_folder(path_or_name)
    if (folder / ADAPTER).exists():
        raise InputError(f"{folder / ADAPTER}: {explain_adapter(folder)}")
    cfg = load_config(folder)
    weighs = cfg.window_attention if window_attention is None else window_attention
    cfg = dataclasses.replace(
        cfg, window_attention=weighs and head in ("classification", "regression")
    )
    if head not in cfg.family.classes:
        raise InputError(f"{folder}: a model of the type {cfg.model_type} has no head {head}")
    # A file read at once may have the encoder, a decoder as large, in 64 bits, and heads.
    with open_weights(folder, 16 * cfg.parameters + (64 << 20)) as raw:
        named = {n: t for n, t in raw.items() if not _BUFFERS.match(n)}
        prefix = cfg.family.prefix
        prefixed = any(n.startswith(f"{prefix}.") for n in named)
        tensors = {_canonical(n, prefix, prefixed): t for n, t in named.items()}
        if len(tensors) < len(named):
            raise InputError(f"{folder}: some tensors occur twice, under old and new names")
        if head == "mlm":
            tensors = _untie(folder, cfg, tensors)
        cfg, tensors = _with_labels(folder, cfg, head, id2label, tensors, load_architecture(folder))
        table, report = _check_names(folder, cfg, head, tensors)
        if report.drawn and not draw_head:
            raise InputError(
                f"{folder}: it has no {head} head (no {', '.join(report.drawn)}); fine-tune it "
                "first, and give the folder of that run"
            )
        leaves: dict[Leaf, np.ndarray] = {}
        for entry in table:
            if entry.name in tensors:
                array = _floats(folder, entry.name, tensors[entry.name])
                with np.errstate(over="ignore", invalid="ignore"):  # checked below
                    leaf = entry.to_leaf(array)
                    finite = np.isfinite([leaf.min(), leaf.max()]).all()  # with a NaN both are NaN
                if not finite:
                    raise InputError(f"{folder}: {entry.name} has a NaN or infinity; it is damaged")
                leaves[entry.leaf] = leaf
    if report.drawn:
        fresh = _fresh_head(cfg, head, key if key is not None else jax.random.key(0))
        leaves |= {e.leaf: np.asarray(fresh[e.leaf]) for e in table if e.leaf not in leaves}
    if report.drawn or report.left_out:
        logger.info("%s", report)
    return cfg, traverse_util.unflatten_dict(leaves)


def _fresh_head(cfg: BertConfig, head: str, key: jax.Array) -> dict[Leaf, jax.Array]:
    """Initialize the head from the key; jit drops the encoder, which is not returned."""

    def draw(key: jax.Array) -> Params:
        return {n: part for n, part in init_params(cfg, head, key).items() if n != "bert"}

    return traverse_util.flatten_dict(jax.jit(draw)(key))


# --- out --------------------------------------------------------------------------------------


class SavableTokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    def save_pretrained(self, save_directory: Path, /) -> tuple[str, ...]: ...


def save_pretrained(
    path: str | Path,
    cfg: BertConfig,
    params: Params,
    tokenizer: SavableTokenizer | None,
    *,
    head: str = "qa",
) -> None:
    """Write a folder that transformers (PyTorch) and load_pretrained load with equal logits.

    Args:
        path: the folder; created if missing. An older model.safetensors is replaced atomically.
        params: from init_params or load_pretrained with that head.
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
            f"the parameters ({found}) do not belong to the head {head!r}; give their head"
        )
    parts: dict[str, list[np.ndarray]] = {}
    for entry in sorted(table, key=lambda e: e.row or 0):
        parts.setdefault(entry.name, []).append(entry.to_tensor(leaves[entry.leaf]))
    tensors = {name: x[0] if len(x) == 1 else np.concatenate(x) for name, x in parts.items()}
    cfg = dataclasses.replace(cfg, problem_type=_problem_type(cfg, head))
    config = {
        "architectures": [cfg.family.classes[head]],
        "dtype": "float32",
        **config_to_dict(cfg),
    }
    write_json(folder / "config.json", config)
    # Not save_file, whose errors are not OSErrors, though this needs memory for a second copy.
    write_bytes(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    if tokenizer is not None:
        try:
            tokenizer.save_pretrained(folder)
        except OSError:
            raise
        except Exception as error:  # the tokenizers library raises nothing more specific
            raise InputError(f"{folder}: the tokenizer could not be written ({error})") from None
