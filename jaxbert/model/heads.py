"""One small head a task, and the two functions through which all else sees a model.

A head is a function of the encoder's outputs: it adds its own dense layer and returns named arrays.
Its parameters lie beside the encoder's, under Hugging Face's names. B batch, T length, D hidden,
C classes, K choices, P masked positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxbert.model.config import BertConfig
from jaxbert.model.dropout import Seeds, dropout, row_seeds
from jaxbert.model.encoder import ACTIVATIONS, Encoder
from jaxbert.model.segments import first_tokens, token_seeds, windows

Params = dict[str, Any]
Batch = dict[str, jax.Array]
Outputs = dict[str, jax.Array]

_INPUTS = ("input_ids", "token_type_ids", "attention_mask", "position_ids", "segment_ids")


class Apply(Protocol):
    """A model as a pure function of its parameters; see make_apply."""

    def __call__(
        self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False
    ) -> Outputs:
        """See make_apply."""
        ...


class Encoded(NamedTuple):
    """What a head is made of.

    hidden: (B, T, D), the encoder's last hidden state. words: (V, D), its table of word embeddings.
    batch: the arrays that apply was called with. drop: dropout before a classifier, of all tokens
    (B, T, D); drop_first: of the windows' first tokens (M, D). Where rows are packed there are
    M = B K windows, else M = B.
    """

    hidden: jax.Array
    words: jax.Array
    batch: Batch
    drop: Callable[[jax.Array], jax.Array]
    drop_first: Callable[[jax.Array], jax.Array]


# --- the heads ----------------------------------------------------------------------------------


def _dense(cfg: BertConfig, outputs: int, name: str) -> nn.Dense:
    return nn.Dense(outputs, kernel_init=nn.initializers.normal(cfg.initializer_range), name=name)


def _pooled(cfg: BertConfig, x: Encoded) -> jax.Array:
    """(M, D) float32: BERT's pooler, tanh of a dense layer on [CLS] (Devlin et al. 2019, 4.1)."""
    first = first_tokens(x.hidden, x.batch).astype(jnp.float32)
    return jnp.tanh(_dense(cfg, cfg.hidden_size, "pooler")(first))


def _classified(cfg: BertConfig, outputs: int, x: Encoded) -> jax.Array:
    """(M, outputs) float32: the pooler, dropout, and the added dense layer."""
    return _dense(cfg, outputs, "classifier")(x.drop_first(_pooled(cfg, x)))


class _Spans(nn.Module):
    """Start and end each have a kernel and a bias of their own: names that say what they are."""

    cfg: BertConfig

    @nn.compact
    def __call__(self, x: Encoded) -> Outputs:
        hidden = x.hidden.astype(jnp.float32)
        logits = {side: _dense(self.cfg, 1, side)(hidden) for side in ("start", "end")}
        return {f"{side}_logits": windows(y, x.batch)[..., 0] for side, y in logits.items()}


def question_answering(cfg: BertConfig, x: Encoded) -> Outputs:
    """start_logits, end_logits (M, T): a score of every token (Devlin et al. 2019, 4.2)."""
    spans: Outputs = _Spans(cfg, name="qa_outputs")(x)
    return spans


def classification(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (M, C), of one text or a pair (Devlin et al. 2019, 4.1)."""
    return {"logits": _classified(cfg, len(cfg.id2label), x)}


def regression(cfg: BertConfig, x: Encoded) -> Outputs:
    """scores (M,): one output in place of C."""
    return {"scores": _classified(cfg, 1, x)[:, 0]}


def multiple_choice(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (B, K), of K choices that were encoded one by one (Devlin et al. 2019, 4.4)."""
    scores = _classified(cfg, 1, x)
    return {"logits": scores.reshape(-1, x.batch["input_ids"].shape[-1])}


def next_sentence(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (M, 2): 0, the second text follows the first; 1, it does not (section 3.1)."""
    return {"logits": _dense(cfg, 2, "seq_relationship")(_pooled(cfg, x))}


def tagging(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (M, T, C), of every token (Devlin et al. 2019, 5.3)."""
    hidden = x.drop(x.hidden.astype(jnp.float32))
    return {"logits": windows(_dense(cfg, len(cfg.id2label), "classifier")(hidden), x.batch)}


class _Predictions(nn.Module):
    """The masked language model's transform, and a decoder that is the word embeddings' table."""

    cfg: BertConfig

    @nn.compact
    def __call__(self, hidden: jax.Array, words: jax.Array) -> jax.Array:
        cfg, dtype = self.cfg, hidden.dtype
        x = _dense(cfg, cfg.hidden_size, "transform")(hidden.astype(jnp.float32))
        x = ACTIVATIONS[cfg.hidden_act](x)
        norm = nn.LayerNorm(epsilon=cfg.layer_norm_eps, use_fast_variance=False, name="layer_norm")
        x = norm(x).astype(dtype)
        bias = self.param("bias", nn.initializers.zeros, (cfg.vocab_size,))
        product = jnp.einsum(
            "BPD,VD->BPV", x, words.astype(dtype), preferred_element_type=jnp.float32
        )
        return product + bias


def masked_lm(cfg: BertConfig, x: Encoded) -> Outputs:
    """logits (B, P, V) at the batch's masked_positions (B, P); without these (B, T, V), everywhere.

    Devlin et al. 2019, section 3.1. Six positions of seven are not masked, and V is large.
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
    """The encoder, `bert`, and one head on its last hidden state."""

    cfg: BertConfig
    head: str
    dtype: Any = jnp.float32
    remat: bool = False
    attention: str = "xla"
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, seeds: Seeds | None = None) -> Outputs:
        cfg = self.cfg
        inputs: dict[str, Any] = {name: batch[name] for name in _INPUTS if name in batch}
        if "segment_ids" in inputs:  # packed: the mask is that of the windows, each a row
            inputs.pop("attention_mask", None)
        if batch["input_ids"].ndim == 3:  # (B, T, K): every choice is a row of its own
            inputs = {n: jnp.moveaxis(x, 2, 1).reshape(-1, x.shape[1]) for n, x in inputs.items()}
        encoder = Encoder(cfg, self.dtype, self.remat, self.attention, self.scan, name="bert")
        of_tokens = token_seeds(seeds, batch)
        hidden = encoder(**inputs, word_offsets=batch.get("word_offsets"), seeds=of_tokens)[-1]
        rate = cfg.classifier_dropout
        rate = cfg.hidden_dropout_prob if rate is None else rate
        place = 1 + 3 * cfg.num_hidden_layers

        def drop(x: jax.Array) -> jax.Array:
            return dropout(x, rate, of_tokens, place)

        def drop_first(x: jax.Array) -> jax.Array:
            return dropout(x[:, None], rate, seeds, place)[:, 0]

        words = encoder.variables["params"]["embeddings"]["word_embeddings"]["embedding"]
        outputs = HEADS[self.head](cfg, Encoded(hidden, words, batch, drop, drop_first))
        return {**outputs, "last_hidden_state": hidden}


def make_apply(
    cfg: BertConfig,
    head: str,
    *,
    dtype: Any = jnp.float32,
    remat: bool = False,
    attention: str = "xla",
    scan: bool = False,
) -> Apply:
    """The model as a pure function apply(params, batch, *, key=None, train=False) -> outputs.

    Outputs are float32, named by the head's function above, and last_hidden_state (B, T, D), the
    encoder's, of the compute dtype and by rows: model.packing.first_tokens finds the windows'.

    The batch has `input_ids` (B, T) and, where they are given, `token_type_ids`, `attention_mask`,
    `position_ids`, `segment_ids` (B, T); multiple choice has them as (B, T, K). `word_offsets`
    (B, T, D), or (B * K, T, D), are added to the word embeddings. Packed rows (see data.packing)
    have segment_ids, position_ids and segment_starts, and the outputs are those of their windows.

    With train=True dropout is on and `key` is needed; its masks are a function of the key and of
    the batch's `row`, the number of each window, by default 0 .. B - 1. So a window has the same
    masks on whichever device and in whichever row it is.
    """
    model = BertWithHead(cfg, head, dtype, remat, attention, scan)

    def apply(
        params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False
    ) -> Outputs:
        seeds = None
        if train:
            if key is None:
                raise ValueError("apply(..., train=True) needs a key for dropout")
            ids = batch["input_ids"]
            rows = batch.get("row", jnp.arange(ids.shape[0]))
            if ids.ndim == 3:  # each choice of a row has masks of its own
                choices = ids.shape[2]
                rows = (rows[:, None] * choices + jnp.arange(choices)).reshape(-1)
            seeds = row_seeds(key, rows)
        outputs: Any = model.apply({"params": params}, batch, seeds)
        return outputs

    return apply


def make_hidden_states(cfg: BertConfig) -> Callable[[Params, Batch], list[jax.Array]]:
    """The encoder alone: (params, batch) -> its L + 1 hidden states, each (B, T, D) float32."""
    encoder = Encoder(cfg)

    def hidden_states(params: Params, batch: Batch) -> list[jax.Array]:
        inputs: dict[str, Any] = {name: batch[name] for name in _INPUTS if name in batch}
        states: Any = encoder.apply({"params": params["bert"]}, **inputs)
        return states

    return hidden_states


def init_params(cfg: BertConfig, head: str, key: jax.Array) -> Params:
    """Fresh float32 parameters: normal(0, initializer_range), biases 0, LayerNorm scales 1."""
    shape = (1, 2, 1) if head == "multiple_choice" else (1, 2)
    return BertWithHead(cfg, head).init(key, {"input_ids": jnp.zeros(shape, jnp.int32)})["params"]
