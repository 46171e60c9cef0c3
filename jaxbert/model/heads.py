"""One small head a task on the encoder, and the two functions through which all else sees a model.

A head is a Linen module called with the encoder's last hidden state; it returns named arrays. Its
parameters lie beside the encoder's, under the head's own names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxbert.model.config import BertConfig
from jaxbert.model.dropout import row_seeds
from jaxbert.model.encoder import Encoder

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


class QuestionAnswering(nn.Module):
    """Start and end scores of every token, each from a vector of its own (Devlin et al. 2019, 4.2).

    start_logits, end_logits: (B, T) float32.
    """

    cfg: BertConfig

    @nn.compact
    def __call__(self, hidden: jax.Array) -> Outputs:  # hidden: (B, T, D)
        hidden = hidden.astype(jnp.float32)

        def score(name: str) -> jax.Array:
            init = nn.initializers.normal(stddev=self.cfg.initializer_range)
            return nn.Dense(1, kernel_init=init, name=name)(hidden)[..., 0]

        return {"start_logits": score("start"), "end_logits": score("end")}


# The head's name in options, its name among the parameters, and its module.
HEADS: dict[str, tuple[str, type[nn.Module]]] = {"qa": ("qa_outputs", QuestionAnswering)}


class BertWithHead(nn.Module):
    """The encoder, `bert`, and one head on its last hidden state."""

    cfg: BertConfig
    head: str
    dtype: Any = jnp.float32
    remat: bool = False
    attention: str = "xla"

    @nn.compact
    def __call__(self, inputs: dict[str, jax.Array], seeds: Any = None) -> Outputs:
        states = Encoder(self.cfg, self.dtype, self.remat, self.attention, name="bert")(
            **inputs, seeds=seeds
        )
        name, module = HEADS[self.head]
        return module(self.cfg, name=name)(states[-1])


def make_apply(
    cfg: BertConfig,
    head: str,
    *,
    dtype: Any = jnp.float32,
    remat: bool = False,
    attention: str = "xla",
) -> Apply:
    """The model as a pure function apply(params, batch, *, key=None, train=False) -> outputs.

    The batch has `input_ids` (B, T) and, where they are given, `token_type_ids`, `attention_mask`,
    `position_ids`, `segment_ids` (B, T). With train=True dropout is on and `key` is needed; its
    masks are a function of the key and of the batch's `row` (B,), by default 0 .. B - 1, so a row
    has the same mask on whichever device it is computed.

    Outputs: qa: start_logits, end_logits (B, T) float32.
    """
    model = BertWithHead(cfg, head, dtype, remat, attention)

    def apply(
        params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False
    ) -> Outputs:
        inputs = {name: batch[name] for name in _INPUTS if name in batch}
        seeds = None
        if train:
            if key is None:
                raise ValueError("apply(..., train=True) needs a key for dropout")
            rows = batch.get("row", jnp.arange(batch["input_ids"].shape[0]))
            seeds = row_seeds(key, rows)
        outputs: Any = model.apply({"params": params}, inputs, seeds)
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
    inputs = {"input_ids": jnp.zeros((1, 2), jnp.int32)}
    return BertWithHead(cfg, head).init(key, inputs)["params"]
