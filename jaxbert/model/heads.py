"""A small head for each task, and the functions that make a model callable.

A head is a function of the encoder's outputs: it adds a dense layer and returns named arrays. Its
parameters are next to the encoder's, under Hugging Face's names. B batch, T length, D hidden,
E of an embedding, C classes, K choices, P masked positions, V vocabulary.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxbert.data.batch import Batch
from jaxbert.errors import InputError
from jaxbert.model.attention import Attention
from jaxbert.model.config import BertConfig
from jaxbert.model.dropout import Seeds, dropout, row_seeds
from jaxbert.model.encoder import ACTIVATIONS, WEIGHTS, Encoder
from jaxbert.model.families import Pooling
from jaxbert.model.params import AnyArray, subtree
from jaxbert.model.params import Params as Params
from jaxbert.model.segments import first_tokens, token_seeds, windows
from jaxbert.runtime.target import Target

_POOLED = {"tanh": jnp.tanh, **ACTIVATIONS}

Outputs: TypeAlias = dict[str, Array]  # by the names that the heads document
# What else of a forward pass can be asked for; see make_apply.
REQUESTS = ("hidden_states", "attentions", "pooler_output", "embeddings")
# The module that weighs the windows of a text.
WINDOW_ATTENTION = "window_attention"
# The score of a window that a row does not have: its weight is 0, and no gradient is NaN.
_NO_WINDOW = -1e30
# Masks of a row's k-th window are those of the row k times as far on. Of more rows than that some
# share a mask, in steps far apart.
_FURTHER_ON = 1 << 24

_Input: TypeAlias = Literal[
    "input_ids", "token_type_ids", "attention_mask", "position_ids", "segment_ids"
]
_INPUTS: tuple[_Input, ...] = (
    "input_ids",
    "token_type_ids",
    "attention_mask",
    "position_ids",
    "segment_ids",
)


@runtime_checkable
class Apply(Protocol):
    """A model as a pure function of its parameters; see make_apply."""

    def __call__(
        self,
        params: Params,
        batch: Batch[Array],
        *,
        key: Array | None = None,
        train: bool = False,
        also: Sequence[str] = (),
    ) -> Outputs:
        """See make_apply."""
        ...


def of_other_params(apply: Apply, change: Callable[[Params], Params]) -> Apply:
    """The same model as a function of parameters that `change` makes its own."""

    def changed(
        params: Params,
        batch: Batch[Array],
        *,
        key: Array | None = None,
        train: bool = False,
        also: Sequence[str] = (),
    ) -> Outputs:
        return apply(change(params), batch, key=key, train=train, also=also)

    return changed


class Encoded(NamedTuple):
    """A head's inputs. Packed rows have M = B K windows, otherwise M = B.

    Attributes:
        hidden: the encoder's last hidden state.
        words: its table of word embeddings.
        batch: the arrays that apply was called with.
        drop: the classifier's dropout, for all tokens.
        drop_first: the classifier's dropout, for the windows' first tokens.
        drop_input: as that, with other masks, before a pooler that has dropout there too.
        more: takes outputs that are there beside the head's, by name.
    """

    hidden: Float[Array, "B T D"]
    words: Float[AnyArray, "V E"]
    batch: Batch[Array]
    drop: Callable[[Float[Array, "B T D"]], Float[Array, "B T D"]]
    drop_first: Callable[[Float[Array, "M D"]], Float[Array, "M D"]]
    drop_input: Callable[[Float[Array, "M D"]], Float[Array, "M D"]]
    more: Outputs


# --- the heads ----------------------------------------------------------------------------------


def _dense(cfg: BertConfig, outputs: int, name: str) -> nn.Dense:
    return nn.Dense(outputs, kernel_init=nn.initializers.normal(cfg.initializer_range), name=name)


def pooling_of(cfg: BertConfig, head: str) -> Pooling:
    """The shape of a head that reads the windows' first tokens."""
    return cfg.family.choice if head == "multiple_choice" else cfg.family.classifier


def _pooled(cfg: BertConfig, pooling: Pooling, x: Encoded) -> Float[Array, "M D"]:
    """float32: a dense layer on the first token, [CLS], and its activation, for BERT the pooler
    with tanh (Devlin et al. 2019, 4.1)."""
    first = first_tokens(x.hidden, x.batch).astype(jnp.float32)
    if pooling.drops_input:
        first = x.drop_input(first)
    pooled = _POOLED[pooling.activation](_dense(cfg, cfg.hidden_size, "pooler")(first))
    x.more["pooler_output"] = pooled
    return pooled


def _classified(
    cfg: BertConfig, outputs: int, x: Encoded, head: str = "classification"
) -> Float[Array, "M {outputs}"]:
    """float32: the pooled first token, dropout, and the added dense layer."""
    pooled = _pooled(cfg, pooling_of(cfg, head), x)
    return _dense(cfg, outputs, "classifier")(x.drop_first(pooled))


class _Spans(nn.Module):
    """Separate dense layers for start and end, named after them."""

    cfg: BertConfig

    @nn.compact
    def __call__(self, x: Encoded) -> Outputs:
        hidden = x.drop(x.hidden.astype(jnp.float32))
        logits = {side: _dense(self.cfg, 1, side)(hidden) for side in ("start", "end")}
        return {f"{side}_logits": windows(y, x.batch)[..., 0] for side, y in logits.items()}


def question_answering(cfg: BertConfig, x: Encoded) -> Outputs:
    """start_logits, end_logits (M, T): scores of every token (Devlin et al. 2019, 4.2)."""
    return _Spans(cfg, name="qa_outputs")(x)


class _WindowAttention(nn.Module):
    """A query, learned from 0 on: what its product with a window's [CLS] vector is."""

    @nn.compact
    def __call__(self, first: Float[Array, "M D"]) -> Float[Array, "M"]:
        # Not as a product of matrices, which accelerators round more.
        return jnp.sum(
            first * self.param("query", nn.initializers.zeros, first.shape[-1:]), axis=-1
        )


def _of_texts(cfg: BertConfig, x: Encoded, name: str, of_windows: Float[Array, "M *C"]) -> Outputs:
    """The outputs of texts. With cfg.window_attention, those of a row's windows weighed by the
    softmax of their scores (Ilse et al. 2018, eq. 8, without its hidden layer), and the
    window_scores (B, K), K = 1 where a row is a window."""
    if not cfg.window_attention:
        return {name: of_windows}
    first = first_tokens(x.hidden, x.batch).astype(jnp.float32)
    scores = _WindowAttention(name=WINDOW_ATTENTION)(first)
    if x.batch["input_ids"].ndim == 2:
        return {name: of_windows, "window_scores": scores[:, None]}
    mask = x.batch.get("attention_mask", jnp.ones_like(x.batch["input_ids"]))[:, 0]  # (B, K)
    scores = jnp.where(mask > 0, scores.reshape(mask.shape), _NO_WINDOW)
    by_text = of_windows.reshape(*mask.shape, *of_windows.shape[1:])
    weights = jax.nn.softmax(scores).reshape(*mask.shape, *[1] * (of_windows.ndim - 1))
    return {name: jnp.sum(weights * by_text, axis=1), "window_scores": scores}


def classification(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (M, C) of a text or pair (Devlin et al. 2019, 4.1)."""
    return _of_texts(cfg, x, "logits", _classified(cfg, len(cfg.id2label), x))


def regression(cfg: BertConfig, x: Encoded) -> Outputs:
    """scores (M,): one output instead of C."""
    return _of_texts(cfg, x, "scores", _classified(cfg, 1, x)[:, 0])


def multiple_choice(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (B, K) of K choices that were encoded one by one (Devlin et al. 2019, 4.4)."""
    scores = _classified(cfg, 1, x, "multiple_choice")
    return {"logits": scores.reshape(-1, x.batch["input_ids"].shape[-1])}


def next_sentence(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (M, 2): index 0 if the second text follows the first, else 1 (section 3.1)."""
    return {"logits": _dense(cfg, 2, "seq_relationship")(_pooled(cfg, cfg.family.classifier, x))}


def tagging(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (M, T, C) of every token (Devlin et al. 2019, 5.3)."""
    hidden = x.drop(x.hidden.astype(jnp.float32))
    return {"logits": windows(_dense(cfg, len(cfg.id2label), "classifier")(hidden), x.batch)}


class _Predictions(nn.Module):
    """The masked language model's transform, and a decoder tied to the word embeddings."""

    cfg: BertConfig

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "B P D"], words: Float[AnyArray, "V E"]
    ) -> Float[Array, "B P V"]:
        cfg, dtype = self.cfg, hidden.dtype
        x = _dense(cfg, cfg.embedding_width, "transform")(hidden.astype(jnp.float32))
        x = ACTIVATIONS[cfg.family.masked_lm.activation or cfg.hidden_act](x)
        norm = nn.LayerNorm(epsilon=cfg.layer_norm_eps, use_fast_variance=False, name="layer_norm")
        x = norm(x).astype(dtype)
        bias = self.param("bias", nn.initializers.zeros, (cfg.vocab_size,))
        product = jnp.einsum(
            "BPE,VE->BPV", x, words.astype(dtype), preferred_element_type=jnp.float32
        )
        return product + bias


def masked_lm(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (B, P, V) at the batch's masked_positions (B, P); without these (B, T, V).

    Devlin et al. 2019, section 3.1. Six of seven positions are not masked, and V is large.
    """
    hidden = x.hidden
    if "masked_positions" in x.batch:
        hidden = jnp.take_along_axis(hidden, x.batch["masked_positions"][..., None], axis=1)
    return {"logits": _Predictions(cfg, name="predictions")(hidden, x.words)}


HEADS: dict[str, Callable[[BertConfig, Encoded], Outputs]] = {
    "qa": question_answering,
    "classification": classification,
    "regression": regression,
    "multiple_choice": multiple_choice,
    "next_sentence": next_sentence,
    "tagging": tagging,
    "mlm": masked_lm,
}


class BertWithHead(nn.Module):
    """The encoder, `bert`, and one head on its last hidden state.

    Attributes:
        also: outputs beside the head's, of REQUESTS.
        lora_dropout: that of the encoder.
    """

    cfg: BertConfig
    head: str
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    attention: Attention = dataclasses.field(default_factory=Attention)
    scan: bool = False
    also: tuple[str, ...] = ()
    lora_dropout: float = 0.0

    @nn.compact
    def __call__(self, batch: Batch[Array], seeds: Seeds | None = None) -> Outputs:
        cfg = self.cfg
        inputs = {name: batch[name] for name in _INPUTS if name in batch}
        if "segment_ids" in inputs:  # packed: attention_mask is for windows, not rows
            inputs.pop("attention_mask", None)
        if batch["input_ids"].ndim == 3:  # (B, T, K): each choice, or window, becomes a row
            inputs = {n: jnp.moveaxis(x, 2, 1).reshape(-1, x.shape[1]) for n, x in inputs.items()}
        how = self.dtype, self.remat, self.attention, self.scan, self.lora_dropout
        encoder = Encoder(cfg, *how, name="bert")
        seeds_by_token = token_seeds(seeds, batch)
        states = encoder(**inputs, word_offsets=batch.get("word_offsets"), seeds=seeds_by_token)
        hidden = states[-1]
        rate = cfg.head_dropout(self.head)
        site = 1 + 3 * cfg.num_hidden_layers

        def drop(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
            return dropout(x, rate, seeds_by_token, site)

        def drop_first(x: Float[Array, "M D"]) -> Float[Array, "M D"]:
            return dropout(x[:, None], rate, seeds, site)[:, 0]

        def drop_input(x: Float[Array, "M D"]) -> Float[Array, "M D"]:
            return dropout(x[:, None], rate, seeds, site + 1)[:, 0]

        words = encoder.variables["params"]["embeddings"]["word_embeddings"]["embedding"]
        more: Outputs = {}
        encoded = Encoded(hidden, words, batch, drop, drop_first, drop_input, more)
        outputs = HEADS[self.head](cfg, encoded)
        if "hidden_states" in self.also:
            more["hidden_states"] = jnp.stack(states)
        if "embeddings" in self.also:
            more["embeddings"] = states[0]
        kept = {name: x for name, x in more.items() if name in self.also}
        return {**outputs, "last_hidden_state": hidden, **kept}


def make_apply(
    cfg: BertConfig,
    head: str,
    *,
    dtype: DTypeLike = jnp.float32,
    remat: bool = False,
    attention: str = "xla",
    scan: bool = False,
    target: Target | None = None,
    mesh: Mesh | None = None,
    matmul_precision: str | None = None,
    lora_dropout: float = 0.0,
) -> Apply:
    """The model as a pure function apply(params, batch, *, key=None, train=False, also=())
    -> outputs.

    Outputs are the float32 arrays of the head's function above, and the encoder's last_hidden_state
    (B, T, D) in the compute dtype, by row; model.segments.first_tokens finds the windows' tokens.

    The batch has `input_ids` (B, T) and optionally `token_type_ids`, `attention_mask`,
    `position_ids`, `segment_ids` (B, T); in multiple choice, and of a model with window_attention
    where a text has K windows, they are (B, T, K). Positions count from 0, whichever row of its
    table a family has for the first one. `word_offsets` (B, T, E), or (B * K, T, E), are added to
    the word embeddings. Packed rows (see data.packing) have segment_ids, position_ids and
    segment_starts, and outputs are by window.

    With train=True dropout is on and `key` is required. Masks are a function of the key and the
    batch's `row`, the index of each window, by default 0 .. B - 1. So a window has the same masks
    on any device and in any row.

    `also` names more outputs: hidden_states (L + 1, B, T, D), of the embeddings and of every layer;
    embeddings (B, T, D), the first of these; pooler_output (M, D) float32, of heads with a pooler;
    attentions (L, B, N, T, T) float32, the weights before dropout, by row. With attentions the
    encoder is computed by the reference, without `remat` and `scan`, whatever `attention` is: no
    kernel keeps them.

    `remat` and `scan` are those of the Encoder. `attention`, `target` (by default the devices that
    are here) and `mesh` are those of Attention. `matmul_precision`, of products in float32, is that
    of jax.default_matmul_precision; None leaves it as it is. `lora_dropout` is the rate of the
    dropout of what low-rank changes read (model.lora).
    """
    how = Attention(attention, target or Target.here(), mesh)

    def precision() -> contextlib.AbstractContextManager[None]:
        if matmul_precision is None:
            return contextlib.nullcontext()
        return jax.default_matmul_precision(matmul_precision)

    plain = BertWithHead(cfg, head, dtype, remat, how, scan, lora_dropout=lora_dropout)
    reference = dataclasses.replace(how, backend="xla")

    def computed(
        params: Params, batch: Batch[Array], seeds: Seeds | None, also: tuple[str, ...]
    ) -> Outputs:
        if "attentions" not in also:
            outputs = plain.clone(also=also).apply({"params": params}, batch, seeds)
            assert not isinstance(outputs, tuple)  # it is a pair only with mutable variables
            return outputs
        model = plain.clone(remat=False, attention=reference, scan=False, also=also)
        outputs, kept = model.apply({"params": params}, batch, seeds, mutable=[WEIGHTS])
        layers = [kept[WEIGHTS]["bert"][f"layer_{n}"] for n in range(cfg.num_hidden_layers)]
        weights = jnp.stack([layer["attention"]["weights"][0] for layer in layers])
        return {**outputs, "attentions": weights}

    def apply(
        params: Params,
        batch: Batch[Array],
        *,
        key: Array | None = None,
        train: bool = False,
        also: Sequence[str] = (),
    ) -> Outputs:
        if unknown := set(also) - set(REQUESTS):
            raise InputError(
                f"apply(also=...): {min(unknown)}: there are {', '.join(REQUESTS)}, and always the "
                "outputs of the head and last_hidden_state"
            )
        batch = jax.tree.map(jnp.asarray, batch)  # may be NumPy arrays
        seeds = None
        if train:
            if key is None:
                raise ValueError("apply(..., train=True) needs a key for dropout")
            ids = batch["input_ids"]
            rows = batch.get("row", jnp.arange(ids.shape[0]))
            if ids.ndim == 3:  # each choice, or window, has different masks
                places = jnp.arange(ids.shape[2])
                if head == "multiple_choice":
                    rows = rows[:, None] * len(places) + places
                else:  # which do not depend on how many windows the row has room for
                    rows = rows[:, None] + _FURTHER_ON * places
                rows = rows.reshape(-1)
            seeds = row_seeds(key, rows)
        with precision():
            outputs = computed(params, batch, seeds, tuple(also))
        if missing := set(also) - outputs.keys():
            raise InputError(
                f"{min(missing)}: the head of {head} has none; last_hidden_state has all tokens"
            )
        return outputs

    return apply


def make_hidden_states(cfg: BertConfig) -> Callable[[Params, Batch[Array]], list[Array]]:
    """A function (params, batch) -> the encoder's L + 1 hidden states, each (B, T, D) float32."""
    encoder = Encoder(cfg)

    def hidden_states(params: Params, batch: Batch[Array]) -> list[Float[Array, "B T D"]]:
        batch = jax.tree.map(jnp.asarray, batch)
        states = encoder.apply(
            {"params": subtree(params, "bert")},
            batch["input_ids"],
            batch.get("token_type_ids"),
            batch.get("attention_mask"),
            batch.get("position_ids"),
            batch.get("segment_ids"),
        )
        assert not isinstance(states, tuple)  # it is a pair only with mutable variables
        return states

    return hidden_states


def init_params(cfg: BertConfig, head: str, key: Array) -> Params:
    """Initial float32 parameters: normal(0, initializer_range), biases 0, LayerNorm scales 1."""
    shape = (1, 2, 1) if head == "multiple_choice" else (1, 2)
    batch: Batch[Array] = {"input_ids": jnp.zeros(shape, jnp.int32)}
    params: Params = BertWithHead(cfg, head).init(key, batch)["params"]
    return params
