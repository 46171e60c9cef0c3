"""The BERT encoder (Devlin et al. 2019) in Flax Linen: all of the model's mathematics.

    B batch   T query length   S key length   D hidden   N heads   H head size   F MLP width
    L layers   V vocabulary

Every submodule has an explicit name, so checkpoints do not depend on the order of creation. The
constants are BERT's, not Flax's defaults: erf GELU, LayerNorm eps 1e-12 with a two-pass variance.
Parameters, LayerNorm statistics and softmax are float32, whatever `dtype` is.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from jaxbert.model.attention import Attention
from jaxbert.model.config import BertConfig
from jaxbert.model.dropout import Seeds, dropout
from jaxbert.model.params import Params

# erf GELU is recomputed in the backward pass to save memory (BENCHMARKS.md).
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": jax.checkpoint(functools.partial(jax.nn.gelu, approximate=False)),
    "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}


def _normal(cfg: BertConfig) -> Initializer:
    """A plain normal, like Hugging Face; Devlin et al. truncate it at two standard deviations."""
    return nn.initializers.normal(stddev=cfg.initializer_range)


def _layer_norm(cfg: BertConfig, dtype: DTypeLike, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=cfg.layer_norm_eps, use_fast_variance=False, dtype=dtype, name=name)


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

    @nn.compact
    def __call__(self, x: Shaped[Array, "*inputs"]) -> Float[Array, "*outputs"]:
        shape, outputs = x.shape[-self.inputs :], self.outputs
        kernel = self.param("kernel", _normal(self.cfg), (*shape, *outputs))
        bias = self.param("bias", nn.initializers.zeros, outputs)
        rows, columns = math.prod(shape), math.prod(outputs)
        y = x.astype(self.dtype).reshape(-1, rows) @ kernel.astype(self.dtype).reshape(
            rows, columns
        )
        y += bias.astype(self.dtype).reshape(columns)
        return y.reshape(*x.shape[: -self.inputs], *outputs)


class Embeddings(nn.Module):
    """Sum of word, position and token-type embeddings, normalised."""

    cfg: BertConfig
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        token_type_ids: Int[Array, "B T"],
        position_ids: Int[Array, "B T"],
        word_offsets: Float[Array, "B T D"] | None,
        seeds: Seeds | None,
    ) -> Float[Array, "B T D"]:
        cfg = self.cfg

        def table(rows: int, name: str) -> nn.Embed:
            return nn.Embed(rows, cfg.hidden_size, embedding_init=_normal(cfg), name=name)

        x = table(cfg.vocab_size, "word_embeddings")(input_ids)
        if word_offsets is not None:
            x += word_offsets
        x += table(cfg.type_vocab_size, "token_type_embeddings")(token_type_ids)
        x += table(cfg.max_position_embeddings, "position_embeddings")(position_ids)
        x = _layer_norm(cfg, self.dtype, "layer_norm")(x)
        return dropout(x, cfg.hidden_dropout_prob, seeds, site=0)


class SelfAttention(nn.Module):
    """Multi-head self-attention with its output projection (Vaswani et al. 2017, 3.2.2)."""

    cfg: BertConfig
    dtype: DTypeLike
    attention: Attention

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        key_mask: Shaped[Array, "B T"] | None,
        segment_ids: Int[Array, "B T"] | None,
        seeds: Seeds | None,
        site: int | Int[Array, ""],
    ) -> Float[Array, "B T D"]:
        cfg = self.cfg

        def project(name: str) -> Float[Array, "B T N H"]:
            shape = (cfg.num_attention_heads, cfg.head_size)
            return Dense(cfg, shape, self.dtype, name=name)(x)

        context = self.attention(
            project("query"),
            project("key"),
            project("value"),
            key_mask=key_mask,
            segment_ids=segment_ids,
            dropout_rate=cfg.attention_probs_dropout_prob,
            seeds=seeds,
            site=site,
        )
        return Dense(cfg, (cfg.hidden_size,), self.dtype, inputs=2, name="output")(context)


class Layer(nn.Module):
    """One layer: attention, then the MLP, each followed by a residual sum and LayerNorm."""

    cfg: BertConfig
    dtype: DTypeLike
    attention: Attention

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        index: int | Int[Array, ""],  # of the layer, 0 .. L - 1
        key_mask: Shaped[Array, "B T"] | None,
        segment_ids: Int[Array, "B T"] | None,
        seeds: Seeds | None,
    ) -> Float[Array, "B T D"]:
        cfg = self.cfg
        site = 1 + 3 * index  # site 0 is the dropout of the embeddings

        def dense(width: int, name: str) -> Dense:
            return Dense(cfg, (width,), self.dtype, name=name)

        a = SelfAttention(cfg, self.dtype, self.attention, name="attention")(
            x, key_mask, segment_ids, seeds, site
        )
        a = dropout(a, cfg.hidden_dropout_prob, seeds, site + 1)
        x = _layer_norm(cfg, self.dtype, "attention_norm")(x + a)

        m = ACTIVATIONS[cfg.hidden_act](dense(cfg.intermediate_size, "mlp_in")(x))
        m = dense(cfg.hidden_size, "mlp_out")(m)
        m = dropout(m, cfg.hidden_dropout_prob, seeds, site + 2)
        return _layer_norm(cfg, self.dtype, "mlp_norm")(x + m)


class Encoder(nn.Module):
    """Embeddings and L layers.

    Attributes:
        dtype: dtype of the activations; parameters stay float32.
        remat: recompute each layer's activations in the backward pass instead of keeping them
            (Chen et al. 2016), which takes more time (BENCHMARKS.md).
        attention: how attention is computed, and on what.
        scan: compile one layer and loop over it, instead of compiling L layers.
    """

    cfg: BertConfig
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    attention: Attention = dataclasses.field(default_factory=Attention)
    scan: bool = False

    @nn.compact
    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        token_type_ids: Int[Array, "B T"] | None = None,  # by default 0
        attention_mask: Shaped[Array, "B T"] | None = None,  # nonzero at real tokens
        position_ids: Int[Array, "B T"] | None = None,  # by default 0 .. T - 1
        segment_ids: Int[Array, "B T"] | None = None,  # for packed rows, instead of the mask
        word_offsets: Float[Array, "B T D"] | None = None,  # added to the word embeddings
        seeds: Seeds | None = None,  # with seeds, dropout is on
    ) -> list[Float[Array, "B T D"]]:
        """Hidden states: the embeddings and the output of every layer, L + 1 arrays (B, T, D)."""
        if token_type_ids is None:
            token_type_ids = jnp.zeros_like(input_ids)
        if position_ids is None:
            position_ids = jnp.broadcast_to(jnp.arange(input_ids.shape[1]), input_ids.shape)
        x = Embeddings(self.cfg, self.dtype, name="embeddings")(
            input_ids, token_type_ids, position_ids, word_offsets, seeds
        )
        states = [x]
        # Without a loop, XLA on CPUs merges the recomputation with the first computation.
        needs_loop = self.remat and self.attention.target.platform == "cpu"
        if (self.scan or needs_loop) and not self.is_initializing():
            return [*states, *self._scanned(x, attention_mask, segment_ids, seeds)]
        layer = nn.remat(Layer) if self.remat else Layer
        for index in range(self.cfg.num_hidden_layers):
            x = layer(self.cfg, self.dtype, self.attention, name=f"layer_{index}")(
                x, index, attention_mask, segment_ids, seeds
            )
            states.append(x)
        return states

    def _scanned(
        self,
        x: Float[Array, "B T D"],
        key_mask: Shaped[Array, "B T"] | None,
        segment_ids: Int[Array, "B T"] | None,
        seeds: Seeds | None,
    ) -> Float[Array, "L B T D"]:
        """The outputs of all layers, with the same parameter names as without a scan."""
        count = self.cfg.num_hidden_layers
        layer_params = [self.variables["params"][f"layer_{index}"] for index in range(count)]
        layer = Layer(self.cfg, self.dtype, self.attention, parent=None)

        def apply_layer(
            x: Float[Array, "B T D"], params_and_index: tuple[Params, Int[Array, ""]]
        ) -> tuple[Float[Array, "B T D"], Float[Array, "B T D"]]:
            params, index = params_and_index
            y = layer.apply({"params": params}, x, index, key_mask, segment_ids, seeds)
            assert not isinstance(y, tuple)  # it is a pair only with mutable variables
            return y, y

        body = jax.checkpoint(apply_layer, prevent_cse=False) if self.remat else apply_layer
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *layer_params)
        return jax.lax.scan(body, x, (stacked, jnp.arange(count)))[1]
