"""Dense layers of the encoder, with the low-rank changes that lie beside their kernels (lora)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from jaxbert.model.config import BertConfig
from jaxbert.model.residual_norm import ResidualNorm

# What is added to x before a LayerNorm, (B, T, D), and a bias (D,) that has yet to be added to it.
Branch: TypeAlias = tuple[Array, Array | None]

# The dropout of what a change reads, (B, T, rows); the kernel beside it reads all of it.
Drop: TypeAlias = Callable[[Float[Array, "B T rows"]], Float[Array, "B T rows"]]


def normal(cfg: BertConfig) -> Initializer:
    """A plain normal, like Hugging Face; Devlin et al. truncate it at two standard deviations."""
    return nn.initializers.normal(stddev=cfg.initializer_range)


class LowRank(NamedTuple):
    """A change a @ b of a kernel, (rows, r) and (r, columns)."""

    a: Float[Array, "rows r"]
    b: Float[Array, "r columns"]

    def among(self, parts: int, place: int) -> Float[Array, "r all_columns"]:
        """b where the kernel is one of several beside each other, zeros for the others."""
        columns = self.b.shape[1]
        return jnp.pad(self.b, ((0, 0), (place * columns, (parts - 1 - place) * columns)))


class Dense(nn.Module):
    """x @ kernel + bias over the last axes of x, as one product of two matrices.

    Flax's Dense and DenseGeneral contract (B, T, D) without reshaping. On a CPU the kernel's
    gradient then begins with a transposed copy of the full cotangent (costs in BENCHMARKS.md).

    Attributes:
        outputs: shape of the output's last axes.
        inputs: how many of the last axes of x are contracted.
    """

    cfg: BertConfig
    outputs: tuple[int, ...]
    dtype: DTypeLike
    inputs: int = 1

    def __call__(
        self, x: Shaped[Array, "*inputs"], drop: Drop | None = None
    ) -> Float[Array, "*outputs"]:
        y, bias = self._product(x, drop)
        return (y + bias).reshape(*x.shape[: -self.inputs], *self.outputs)

    def apart(
        self, x: Shaped[Array, "*inputs"], drop: Drop | None = None
    ) -> tuple[Float[Array, "*outputs"], Float[Array, "columns"]]:
        """The product and the bias, for a kernel that adds them."""
        y, bias = self._product(x, drop)
        return y.reshape(*x.shape[: -self.inputs], *self.outputs), bias

    def _product(
        self, x: Shaped[Array, "*inputs"], drop: Drop | None
    ) -> tuple[Float[Array, "rows columns"], Float[Array, "columns"]]:
        kernel, bias = self.weights(x.shape[-self.inputs :])
        rows = x.astype(self.dtype).reshape(-1, kernel.shape[0])
        y = rows @ kernel
        if (change := self.change()) is not None:
            y += dropped(rows, x.shape[:2], drop) @ change.a @ change.b
        return y, bias

    def branch(
        self, x: Shaped[Array, "*inputs"], norm: ResidualNorm, drop: Drop | None = None
    ) -> Branch:
        """The branch before a norm, without the bias where the norm adds that."""
        return self.apart(x, drop) if norm.adds_bias else (self(x, drop), None)

    @nn.compact
    def weights(
        self, shape: tuple[int, ...]
    ) -> tuple[Float[Array, "rows columns"], Float[Array, "columns"]]:
        """The kernel as a matrix and the bias, in `dtype`, for inputs of that shape."""
        kernel = self.param("kernel", normal(self.cfg), (*shape, *self.outputs))
        bias = self.param("bias", nn.initializers.zeros, self.outputs)
        rows, columns = math.prod(shape), math.prod(self.outputs)
        matrix = jnp.asarray(kernel, self.dtype).reshape(rows, columns)
        return matrix, jnp.asarray(bias, self.dtype).reshape(columns)

    def change(self) -> LowRank | None:
        """The change that the kernel has beside it (model.lora), in `dtype`."""
        if not self.has_variable("params", "lora_a"):
            return None
        names = "lora_a", "lora_b"
        return LowRank(*(jnp.asarray(self.get_variable("params", n), self.dtype) for n in names))


def dropped(
    rows: Float[Array, "tokens rows"], shape: tuple[int, ...], drop: Drop | None
) -> Float[Array, "tokens rows"]:
    """The rows of (B, T) tokens after dropout."""
    if drop is None:
        return rows
    return drop(rows.reshape(*shape, rows.shape[-1])).reshape(rows.shape)


def joint(
    parts: Sequence[Dense], x: Float[Array, "B T D"], drops: Sequence[Drop | None] = ()
) -> tuple[list[Float[Array, "B T parts *outputs"]], Float[Array, "parts *outputs"]]:
    """Several Dense of the same input and of equal outputs as one product, and their biases, whose
    gradients its reader finds.

    Args:
        drops: of each one's change; none by default.
    """
    kernels, biases = zip(*(part.weights(x.shape[-1:]) for part in parts), strict=True)
    rows = x.astype(kernels[0].dtype).reshape(-1, x.shape[-1])
    bias = jnp.concatenate(biases)
    y = rows @ jnp.concatenate(kernels, axis=1)
    changes = {place: c for place, part in enumerate(parts) if (c := part.change()) is not None}
    if changes:
        if any(drops):  # each reads with a mask of its own
            read = [dropped(rows, x.shape[:2], drops[n]) @ c.a for n, c in changes.items()]
            thin = jnp.concatenate(read, axis=1)
        else:
            thin = rows @ jnp.concatenate([change.a for change in changes.values()], axis=1)
        y += thin @ jnp.concatenate([c.among(len(parts), n) for n, c in changes.items()])
    y += jax.lax.stop_gradient(bias)
    shape = len(parts), *parts[0].outputs
    return [y.reshape(*x.shape[:-1], *shape)], bias.reshape(shape)
