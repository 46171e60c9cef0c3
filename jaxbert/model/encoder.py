"""The BERT encoder (Devlin et al. 2019) in Flax Linen: all of the model's mathematics.

    B batch   T query length   S key length   D hidden   N heads   H head size   F MLP width
    L layers   V vocabulary   E embedding width

Other families are read from the same lines: the config says what they have of it (families).

Every submodule has an explicit name, so checkpoints do not depend on the order of creation. The
constants are BERT's, not Flax's defaults: erf GELU, LayerNorm eps 1e-12 with a two-pass variance.
Parameters, LayerNorm statistics and softmax are float32, whatever `dtype` is.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Shaped

from jaxbert.model import nvidia_mlp
from jaxbert.model.attention import Attention, attention_weights
from jaxbert.model.config import BertConfig
from jaxbert.model.dense import Branch, Dense, Drop, joint, normal
from jaxbert.model.dropout import Seeds, dropout
from jaxbert.model.embedding_lookup import Lookup
from jaxbert.model.kernel_launch import Compiled
from jaxbert.model.params import AnyArray, Params
from jaxbert.model.residual_norm import ResidualNorm, layer_norm

# erf GELU is recomputed in the backward pass to save memory (BENCHMARKS.md).
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": jax.checkpoint(functools.partial(jax.nn.gelu, approximate=False)),
    "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}

_DENSE = 6  # dense layers of a layer
WEIGHTS = "intermediates"  # Linen's collection of what is computed on the way, here of attention


def fused_mlp(
    x: Float[Array, "B T D"],
    mlp_in: Dense,
    mlp_out: Dense,
    norm: ResidualNorm,
    drop: Drop | None = None,
) -> Branch:
    """The MLP with GELU in a kernel of the card that the norm's is for."""
    assert norm.capability is not None
    product, bias_in = mlp_in.apart(x, drop)
    kernel_out, bias_out = mlp_out.weights(mlp_in.outputs)
    launch = Compiled(norm.capability)
    with jax.named_scope("activation"):
        m = nvidia_mlp.triton(product, bias_in, kernel_out, launch=launch, mesh=norm.mesh)
    return m, bias_out


class LayerNorm(nn.Module):
    """LayerNorm of x, or of x + dropout(branch).

    Attributes:
        rate: of that dropout.
        sum_norm: how the latter is computed.
    """

    cfg: BertConfig
    dtype: DTypeLike
    rate: float = 0.0
    sum_norm: ResidualNorm = dataclasses.field(default_factory=ResidualNorm)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        branch: Branch | None = None,
        seeds: Seeds | None = None,
        site: int | Int[Array, ""] = 0,
    ) -> Float[Array, "B T D"]:
        cfg, shape = self.cfg, x.shape[-1:]
        scale = jnp.asarray(self.param("scale", nn.initializers.ones, shape))
        bias = jnp.asarray(self.param("bias", nn.initializers.zeros, shape))
        eps = cfg.layer_norm_eps
        if branch is None:
            return layer_norm(x, scale, bias, eps, self.dtype)
        return self.sum_norm(
            x, *branch, scale, bias, eps=eps, dropout_rate=self.rate, seeds=seeds, site=site
        )


class Embeddings(nn.Module):
    """Sum of word, position and token-type embeddings (B, T, E), normalised, and projected to
    D numbers where families have E."""

    cfg: BertConfig
    dtype: DTypeLike
    lookup: Lookup

    @nn.compact
    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        token_type_ids: Int[Array, "B T"],
        position_ids: Int[Array, "B T"] | None,
        word_offsets: Float[Array, "B T E"] | None,
        seeds: Seeds | None,
    ) -> Float[Array, "B T D"]:
        cfg = self.cfg

        def table(rows: int, name: str) -> Float[AnyArray, "{rows} E"]:
            width = cfg.embedding_width
            return nn.Embed(rows, width, embedding_init=normal(cfg), name=name).embedding

        x = self.lookup(table(cfg.vocab_size, "word_embeddings"), input_ids)
        if word_offsets is not None:
            x += word_offsets
        if cfg.type_vocab_size:
            x += self.lookup(table(cfg.type_vocab_size, "token_type_embeddings"), token_type_ids)
        positions = table(cfg.max_position_embeddings, "position_embeddings")[cfg.first_position :]
        if position_ids is None:
            x += self.lookup.places(positions, input_ids)
        else:
            x += self.lookup(positions, position_ids)
        x = LayerNorm(cfg, self.dtype, name="layer_norm")(x)
        x = dropout(x, cfg.hidden_dropout_prob, seeds, site=0)
        if cfg.projects_embeddings:
            x = Dense(cfg, (cfg.hidden_size,), self.dtype, name="project")(x)
        return x


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
        drops: Sequence[Drop | None],  # of the changes of query, key, value and output
    ) -> Branch:
        cfg = self.cfg

        shape = (cfg.num_attention_heads, cfg.head_size)
        parts = [Dense(cfg, shape, self.dtype, name=name) for name in ("query", "key", "value")]
        if self.is_mutable_collection(WEIGHTS):  # they were asked for; see make_apply
            query, key = parts[0](x, drops[0]), parts[1](x, drops[1])
            weights = attention_weights(query, key, key_mask, segment_ids)
            self.sow(WEIGHTS, "weights", weights)
        is_joint = self.attention.backend == "triton"  # it reads all three from one array
        of_parts = drops[: len(parts)]
        if is_joint:
            qkv, bias = joint(parts, x, of_parts)
        else:
            qkv, bias = [p(x, drop) for p, drop in zip(parts, of_parts, strict=True)], None
        context = self.attention(
            *qkv,
            bias=bias,
            key_mask=key_mask,
            segment_ids=segment_ids,
            dropout_rate=cfg.attention_probs_dropout_prob,
            seeds=seeds,
            site=site,
        )
        output = Dense(cfg, (cfg.hidden_size,), self.dtype, inputs=2, name="output")
        return output.branch(context, ResidualNorm.beside(self.attention), drops[-1])


class Layer(nn.Module):
    """One layer: attention, then the MLP, each followed by a residual sum and LayerNorm.

    Attributes:
        lora_dropout: the rate of the dropout of what low-rank changes read.
    """

    cfg: BertConfig
    dtype: DTypeLike
    attention: Attention
    lora_dropout: float = 0.0

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

        sum_norm = ResidualNorm.beside(self.attention)

        def norm(branch: str) -> LayerNorm:
            rate = cfg.branch_dropout(branch)
            return LayerNorm(cfg, self.dtype, rate, sum_norm, name=f"{branch}_norm")

        drops = self._drops(index, seeds)
        a = SelfAttention(cfg, self.dtype, self.attention, name="attention")(
            x, key_mask, segment_ids, seeds, site, drops[:4]
        )
        x = norm("attention")(x, a, seeds, site + 1)

        mlp_in, mlp_out = dense(cfg.intermediate_size, "mlp_in"), dense(cfg.hidden_size, "mlp_out")
        is_plain = cfg.hidden_act == "gelu" and mlp_out.change() is None
        if is_plain and sum_norm.capability is not None:
            fused = fused_mlp(x, mlp_in, mlp_out, sum_norm, drops[4])
            return norm("mlp")(x, fused, seeds, site + 2)
        m = mlp_in(x, drops[4])
        with jax.named_scope("activation"):
            m = ACTIVATIONS[cfg.hidden_act](m)
        return norm("mlp")(x, mlp_out.branch(m, sum_norm, drops[5]), seeds, site + 2)

    def _drops(self, index: int | Int[Array, ""], seeds: Seeds | None) -> list[Drop | None]:
        """Of each of the six dense layers the dropout of what its change reads."""
        if seeds is None or not self.lora_dropout:
            return [None] * _DENSE
        # The sites before these are of the embeddings, the layers and the head.
        first = 3 + 3 * self.cfg.num_hidden_layers + _DENSE * index
        return [
            functools.partial(dropout, rate=self.lora_dropout, seeds=seeds, site=first + n)
            for n in range(_DENSE)
        ]


class Encoder(nn.Module):
    """Embeddings and L layers.

    Attributes:
        dtype: dtype of the activations; parameters stay float32.
        remat: recompute each layer's activations in the backward pass instead of keeping them
            (Chen et al. 2016), which takes more time (BENCHMARKS.md).
        attention: how attention is computed, and on what.
        scan: compile one layer and loop over it, instead of compiling L layers.
        lora_dropout: that of the layers.
    """

    cfg: BertConfig
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    attention: Attention = dataclasses.field(default_factory=Attention)
    scan: bool = False
    lora_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        input_ids: Int[Array, "B T"],
        token_type_ids: Int[Array, "B T"] | None = None,  # by default 0
        attention_mask: Shaped[Array, "B T"] | None = None,  # nonzero at real tokens
        position_ids: Int[Array, "B T"] | None = None,  # by default 0 .. T - 1
        segment_ids: Int[Array, "B T"] | None = None,  # for packed rows, instead of the mask
        word_offsets: Float[Array, "B T E"] | None = None,  # added to the word embeddings
        seeds: Seeds | None = None,  # with seeds, dropout is on
    ) -> list[Float[Array, "B T D"]]:
        """Hidden states: the embeddings and the output of every layer, L + 1 arrays (B, T, D)."""
        if token_type_ids is None:
            token_type_ids = jnp.zeros_like(input_ids)
        lookup = Lookup(self.attention.target.platform, self.attention.mesh)
        x = Embeddings(self.cfg, self.dtype, lookup, name="embeddings")(
            input_ids, token_type_ids, position_ids, word_offsets, seeds
        )
        states = [x]
        # Without a loop, XLA on CPUs merges the recomputation with the first computation.
        needs_loop = self.remat and self.attention.target.platform == "cpu"
        if (self.scan or needs_loop) and not self.is_initializing():
            return [*states, *self._scanned(x, attention_mask, segment_ids, seeds)]
        layer = nn.remat(Layer) if self.remat else Layer
        layers = [
            layer(self.cfg, self.dtype, self.attention, self.lora_dropout, name=f"layer_{number}")
            for number in range(self.cfg.different_layers)
        ]
        for index in range(self.cfg.num_hidden_layers):
            x = layers[self.cfg.layer_of(index)](x, index, attention_mask, segment_ids, seeds)
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
        names = [f"layer_{self.cfg.layer_of(index)}" for index in range(count)]
        layer_params = [self.variables["params"][name] for name in names]
        layer = Layer(self.cfg, self.dtype, self.attention, self.lora_dropout, parent=None)

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
