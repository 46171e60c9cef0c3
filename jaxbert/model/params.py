"""The parameters of a model: a tree of arrays, under Flax's names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import jax
import numpy as np

# On the host or on a device.
AnyArray: TypeAlias = jax.Array | np.ndarray

# NumPy arrays when loaded, JAX arrays in training.
if TYPE_CHECKING:
    Params: TypeAlias = Mapping[str, "Params | jax.Array | np.ndarray"]
else:
    Params = Mapping  # the tests' run-time checker does not support recursive types


def subtree(params: Params, *path: str) -> Params:
    """The parameters under this path."""
    for name in path:
        part = params[name]
        assert isinstance(part, Mapping), f"{name} is a leaf of the parameters"
        params = part
    return params


def digest_of_arrays(params: Params) -> str:
    """SHA-256 of the arrays on the host, in the order of their paths."""
    digest = hashlib.sha256()
    for x in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()


def leaf(params: Params, *path: str) -> jax.Array | np.ndarray:
    """The array at this path."""
    array = subtree(params, *path[:-1])[path[-1]]
    assert not isinstance(array, Mapping), f"{path[-1]} is not a leaf of the parameters"
    return array
