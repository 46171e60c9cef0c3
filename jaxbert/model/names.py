"""Maps our parameters to Hugging Face's tensors and back, with one table of names."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from flax import traverse_util

from jaxbert.model.config import BertConfig
from jaxbert.model.heads import WINDOW_ATTENTION, init_params, pooling_of

Leaf = tuple[str, ...]

Part = tuple[str, int | None]


def parts(cfg: BertConfig, head: str) -> dict[str, Part]:
    """By our name, the modules outside the encoder: Hugging Face's name, and the row of its tensor
    that is ours (None: all rows). A checkpoint has all modules with the same first name, or none of
    them."""
    pooling = pooling_of(cfg, head)
    masked_lm = cfg.family.masked_lm
    return {
        "qa_outputs/start": ("qa_outputs", 0),
        "qa_outputs/end": ("qa_outputs", 1),
        "pooler": (pooling.dense, None),
        "classifier": (classifier_name(cfg, head), None),
        WINDOW_ATTENTION: (WINDOW_ATTENTION, None),
        "seq_relationship": ("cls.seq_relationship", None),
        "predictions": (masked_lm.bias, None),
        "predictions/transform": (masked_lm.transform, None),
        "predictions/layer_norm": (masked_lm.norm, None),
    }


def classifier_name(cfg: BertConfig, head: str) -> str:
    """The tensors of the last layer of a head with classes."""
    return "classifier" if head == "tagging" else pooling_of(cfg, head).output


def layer_tensors(cfg: BertConfig) -> int:
    """How many tensors a layer has: each of its modules has a weight and a bias."""
    return 2 * len(cfg.family.modules)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One of our leaves and its tensor in the checkpoint.

    Attributes:
        leaf: path of the leaf, for instance ("bert", "layer_3", "attention", "query", "kernel").
        shape: shape of the leaf.
        name: name of the tensor in the checkpoint.
        row: the row of the tensor that is this leaf; None for the complete tensor.
        inputs: for a kernel, how many leading axes of the leaf are inputs; 0 for other leaves. A
            kernel is the transpose of the checkpoint's (out, in) weight, axes split into heads.
    """

    leaf: Leaf
    shape: tuple[int, ...]
    name: str
    row: int | None
    inputs: int

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Shape of this leaf's part of the tensor in the checkpoint."""
        if not self.inputs:
            return (int(np.prod(self.shape)),) if self.leaf[-1] == "bias" else self.shape
        split = self.inputs
        return (int(np.prod(self.shape[split:])), int(np.prod(self.shape[:split])))

    def to_leaf(self, tensor: np.ndarray) -> np.ndarray:
        """The leaf, from the complete tensor of the checkpoint."""
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
    """Every leaf of the parameters with its tensor, sorted by path."""
    abstract = jax.eval_shape(lambda: init_params(cfg, head, jax.random.key(0)))
    leaves = traverse_util.flatten_dict(abstract)
    return [_entry(cfg, head, leaf, tuple(leaves[leaf].shape)) for leaf in sorted(leaves)]


def _entry(cfg: BertConfig, head: str, leaf: Leaf, shape: tuple[int, ...]) -> Entry:
    family, parameter = cfg.family, leaf[-1]
    row = None
    if leaf[:2] == ("bert", "embeddings"):
        name = f"{family.prefix}.{family.embeddings[leaf[2]]}"
    elif leaf[0] == "bert":
        layer = family.layer.format(leaf[1].removeprefix("layer_"))
        name = f"{family.prefix}.{layer}.{family.modules['/'.join(leaf[2:-1])]}"
    else:
        name, row = parts(cfg, head)["/".join(leaf[:-1])]
    inputs = 0
    if parameter == "kernel":
        inputs = 2 if leaf[-3:-1] == ("attention", "output") else 1
    return Entry(leaf, shape, f"{name}.{'bias' if parameter == 'bias' else 'weight'}", row, inputs)


def tensor_shapes(table: list[Entry]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor; the first axes of leaves in the same tensor are added."""
    shapes: dict[str, tuple[int, ...]] = {}
    for entry in table:
        shape = entry.tensor_shape
        if entry.name in shapes:
            shape = (shapes[entry.name][0] + shape[0], *shape[1:])
        shapes[entry.name] = shape
    return shapes
