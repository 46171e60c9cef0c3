"""The one table of names, for both directions: our parameters <-> tensors of Hugging Face's."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from flax import traverse_util

from jaxbert.model.config import BertConfig
from jaxbert.model.heads import init_params

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
LAYER_TENSORS = 2 * len(_LAYER)  # each has a weight and a bias
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


def tensor_shapes(table: list[Entry]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor: of the rows of one tensor, the first axis adds up."""
    shapes: dict[str, tuple[int, ...]] = {}
    for entry in table:
        shape = entry.tensor_shape
        if entry.name in shapes:
            shape = (shapes[entry.name][0] + shape[0], *shape[1:])
        shapes[entry.name] = shape
    return shapes
