"""The parameters of a model: a tree of arrays, under Flax's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import jax
import numpy as np

# Numpy's or JAX's.
AnyArray: TypeAlias = jax.Array | np.ndarray

# Of numpy as it is loaded, of JAX as it is trained.
if TYPE_CHECKING:
    Params: TypeAlias = Mapping[str, "Params | jax.Array | np.ndarray"]
else:
    Params = Mapping  # the tests' run-time checker knows no recursive types


def subtree(params: Params, *path: str) -> Params:
    """The part of the parameters under these names."""
    for name in path:
        part = params[name]
        assert isinstance(part, Mapping), f"{name} is a leaf of the parameters"
        params = part
    return params


def leaf(params: Params, *path: str) -> jax.Array | np.ndarray:
    """The array at the end of these names."""
    array = subtree(params, *path[:-1])[path[-1]]
    assert not isinstance(array, Mapping), f"{path[-1]} is no leaf of the parameters"
    return array
