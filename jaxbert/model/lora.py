"""LoRA (Hu et al. 2022): matrices of the encoder that stay as they are, with a trained change.

    y = x W + b + alpha / r (dropout(x) A) B,    A (in, r), B (r, out), B = 0 at the start

with PEFT's meaning of rank, alpha and targets. The run's parameters have A and B under `lora`, by
the names of their layers and modules; all else of the encoder is frozen. `adapted` puts them beside
their kernels, where the encoder's dense layers find them, and `merged` adds the changes for good.

The two thin products are computed beside x W instead of W + A B before it: that would need the
gradient of each whole W to have those of A and B, a third product as large as the other two, which
several devices may exchange whole; and in bfloat16 it would round small changes away.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array

from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.model.config import BertConfig
from jaxbert.model.families import Family
from jaxbert.model.heads import Apply, Params, of_other_params
from jaxbert.model.names import Entry, Leaf, name_table
from jaxbert.model.params import AnyArray, subtree

LORA = "lora"  # where the changes are in the parameters of a run


@dataclasses.dataclass(frozen=True)
class Lora:
    """What is adapted, and how.

    Attributes:
        rank, alpha: r and alpha.
        targets: names of modules in Hugging Face's model, or how they end, as in PEFT: "query",
            "attention.output.dense". None: queries and values.
        base: the folder or Hub name of the model that is adapted.
        dropout: the rate of the dropout of x before A, in training alone.
    """

    rank: int
    alpha: float
    targets: Sequence[str] | None = None
    base: str | None = None
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        """What A B is multiplied by."""
        return self.alpha / self.rank

    def modules(self, family: Family) -> dict[str, str]:
        """The adapted modules of every layer: our name -> Hugging Face's.

        Raises:
            InputError: a target is none of them.
        """
        dense = {ours: name for ours, name in family.modules.items() if not ours.endswith("norm")}
        targets = self.targets
        if targets is None:
            targets = [dense["attention/query"], dense["attention/value"]]
        for target in targets:
            if not any(_matches(name, target) for name in dense.values()):
                raise InputError(
                    f"--lora_targets {shown(target)}: no matrix of a layer has a name that ends "
                    f"so; there are {', '.join(dense.values())}"
                )
        return {n: m for n, m in dense.items() if any(_matches(m, target) for target in targets)}

    def kernels(self, cfg: BertConfig, head: str) -> list[Entry]:
        """The adapted matrices, sorted by path."""
        names = self.modules(cfg.family)
        return [
            entry
            for entry in name_table(cfg, head)
            if entry.inputs and entry.leaf[0] == "bert" and "/".join(entry.leaf[2:-1]) in names
        ]


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def draw_lora(lora: Lora, cfg: BertConfig, head: str, key: Array) -> Params:
    """A and B of every adapted matrix, float32: {"layer_0": {"attention": {"query": {"a", "b"}}}}.

    As PEFT: A is uniform within 1 / sqrt(in), Kaiming's with a = sqrt(5), and B is 0.
    """
    leaves: dict[Leaf, Array] = {}
    for number, entry in enumerate(lora.kernels(cfg, head)):
        outputs, inputs = entry.tensor_shape
        shape, bound = (inputs, lora.rank), 1 / math.sqrt(inputs)
        own = jax.random.fold_in(key, number)
        leaves[*entry.leaf[1:-1], "a"] = jax.random.uniform(own, shape, jnp.float32, -bound, bound)
        leaves[*entry.leaf[1:-1], "b"] = jnp.zeros((lora.rank, outputs))
    tree: Params = traverse_util.unflatten_dict(leaves)
    return tree


def changes(params: Params) -> dict[Leaf, tuple[AnyArray, AnyArray]]:
    """A and B by the paths of their modules: ("bert", "layer_0", "attention", "query")."""
    leaves = traverse_util.flatten_dict(subtree(params, LORA))
    paths = sorted({path[:-1] for path in leaves})
    return {("bert", *path): (leaves[*path, "a"], leaves[*path, "b"]) for path in paths}


def _plain(params: Params) -> dict[Leaf, AnyArray]:
    """The leaves of the model without its changes."""
    leaves: dict[Leaf, AnyArray] = traverse_util.flatten_dict(params)
    return {path: x for path, x in leaves.items() if path[0] != LORA}


def adapted(apply: Apply, scale: float) -> Apply:
    """The model of parameters that have changes: when it is called these lie beside their kernels,
    as lora_a and lora_b, the latter times the scale."""

    def beside_kernels(params: Params) -> Params:
        leaves = _plain(params)
        for path, (a, b) in changes(params).items():
            leaves[*path, "lora_a"], leaves[*path, "lora_b"] = a, scale * b
        placed: Params = traverse_util.unflatten_dict(leaves)
        return placed

    return of_other_params(apply, beside_kernels)


def merged(params: Params, scale: float) -> Params:
    """The parameters of a plain model with equal outputs, every W + alpha / r A B, on the host."""
    leaves = _plain(params)
    for path, (a, b) in changes(params).items():
        kernel = np.asarray(leaves[*path, "kernel"])
        change = np.float32(scale) * (np.asarray(a) @ np.asarray(b))
        leaves[*path, "kernel"] = kernel + change.reshape(kernel.shape)
    tree: Params = traverse_util.unflatten_dict(leaves)
    return tree
