"""LayerNorm of a residual sum: its reference, and what calls that or a fused kernel.

B batch, T length, D hidden size.
"""

from __future__ import annotations

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxbert.model import nvidia_norm
from jaxbert.model.attention import Attention
from jaxbert.model.by_rows import by_rows
from jaxbert.model.dropout import Seeds, dropout
from jaxbert.model.kernel_launch import Compiled


def layer_norm(
    x: Float[Array, "*rows D"],
    scale: Float[Array, "D"],
    bias: Float[Array, "D"],
    eps: float,
    dtype: DTypeLike,
) -> Float[Array, "*rows D"]:
    """Ba et al. 2016, with a variance in two passes, float32 inside; the result has `dtype`."""
    wide = x.astype(jnp.float32)
    mean = jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(wide - mean), axis=-1, keepdims=True)
    return ((x - mean) * (jax.lax.rsqrt(variance + eps) * scale) + bias).astype(dtype)


@dataclasses.dataclass(frozen=True)
class ResidualNorm:
    """How LayerNorm(x + dropout(branch + branch_bias)) is computed.

    Attributes:
        capability: of the NVIDIA card for whose kernel it is; None for XLA's operations.
        mesh: see Attention.
    """

    capability: int | None = None
    mesh: Mesh | None = None

    @classmethod
    def beside(cls, attention: Attention) -> Self:
        """Fused where attention is, on a card that has a kernel for it."""
        return cls(
            attention.target.capability if attention.backend == "triton" else None, attention.mesh
        )

    @property
    def adds_bias(self) -> bool:
        """Whether the branch comes without its bias: the kernel adds it, and sums its gradient."""
        return self.capability is not None

    def __call__(
        self,
        x: Float[Array, "B T D"],
        branch: Float[Array, "B T D"],
        branch_bias: Float[Array, "D"] | None,
        scale: Float[Array, "D"],
        bias: Float[Array, "D"],
        *,
        eps: float,
        dropout_rate: float,
        seeds: Seeds | None,
        site: int | Int[Array, ""],
    ) -> Float[Array, "B T D"]:
        """The result has the dtype of the branch.

        Args:
            branch_bias: None where the branch has it; see `adds_bias`.
            dropout_rate, seeds, site: see `dropout`.
        """
        if self.capability is None:
            if branch_bias is not None:
                branch = branch + branch_bias
            total = x + dropout(branch, dropout_rate, seeds, site)
            return layer_norm(total, scale, bias, eps, branch.dtype)
        launch = Compiled(self.capability)
        if branch_bias is None:
            branch_bias = jnp.zeros(branch.shape[-1:], branch.dtype)

        def compute(
            rows: tuple[Array, Array, Seeds | None], whole: tuple[Array, Array, Array, Array]
        ) -> Float[Array, "B T D"]:
            x, branch, seeds = rows
            branch_bias, scale, bias, site = whole
            return nvidia_norm.triton(
                *(x, branch, branch_bias, scale, bias, seeds),
                eps=eps,
                rate=dropout_rate,
                site=site,
                launch=launch,
            )

        whole = branch_bias, scale, bias, jnp.asarray(site, jnp.int32)
        return by_rows(compute, self.mesh, (x, branch, seeds), whole)
