"""The baseline on packed inputs: the windows of a batch one after the other in one row, without
padding, each attending to itself alone ("varlen").

transformers' model reads the row; attention is torch's own on jagged tensors, which on a GPU is its
flash kernel with dropout inside. It needs no other package.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from jaxbert.benchmark import pytorch
from jaxbert.benchmark.synthetic import LEARNING_RATE, WEIGHT_DECAY
from jaxbert.data.sampling import NumpyBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from jaxbert.model.config import BertConfig
    from jaxbert.model.heads import Params

_NAME = "jagged"  # of the attention, for transformers


def training(
    cfg: BertConfig,
    params: Params,
    batches: Sequence[NumpyBatch],
    *,
    precision: str,
    compiled: bool = False,
) -> Callable[[], float]:
    """A function that trains question answering on all batches once and returns the seconds."""
    model = packed_model(cfg, params)
    model.train()
    tx = pytorch.make_optimizer(model, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    called = pytorch.compile_model(model, dynamic=True) if compiled else model
    ready = [packed(batch) for batch in batches]
    if pytorch.device() == "cuda":
        ready = [{n: x.pin_memory() for n, x in batch.items()} for batch in ready]
    return pytorch.Training(called, tx, ready, precision).run


def packed_model(cfg: BertConfig, params: Params) -> PackedQuestions:
    """transformers' model for questions with these weights, on the device, for packed batches."""
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, lambda *_, **__: None)  # there is nothing to mask
    return PackedQuestions(pytorch.load_model(cfg, params, "qa", attention=_NAME))


def packed(batch: NumpyBatch) -> dict[str, torch.Tensor]:
    """The real tokens of a padded batch in one row, and where its windows are.

    Returns:
        input_ids, token_type_ids, position_ids (1, total); bounds (B + 1,); place (B, T), the
        token of each place in the padded batch, -1 at padding; start_positions, end_positions (B,).
        All are int64.
    """
    rows = int((batch["row"] >= 0).sum())
    real = batch["attention_mask"][:rows] != 0
    lengths = real.sum(axis=1)
    real = real[:, : lengths.max()]
    place = np.where(real, np.cumsum(real).reshape(real.shape) - 1, -1)
    columns = {
        "input_ids": batch["input_ids"],
        "token_type_ids": batch["token_type_ids"],
        "position_ids": np.broadcast_to(np.arange(real.shape[1]), real.shape),
    }
    arrays = {n: x[:rows, : real.shape[1]][real][None] for n, x in columns.items()}
    arrays |= {"bounds": np.concatenate([[0], np.cumsum(lengths)]), "place": place}
    arrays |= {n: batch[n][:rows] for n in ("start_positions", "end_positions")}
    return {n: torch.from_numpy(np.asarray(x, np.int64)) for n, x in arrays.items()}


@dataclasses.dataclass
class Answered:
    """What training reads of a step.

    Attributes:
        loss: the mean of the cross-entropies of starts and ends.
        logits: (B, T, 2), -inf at padding.
    """

    loss: torch.Tensor
    logits: torch.Tensor


class PackedQuestions(torch.nn.Module):
    """transformers' model for questions on the arrays of `packed`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        token_type_ids: torch.Tensor,
        position_ids: torch.Tensor,
        bounds: torch.Tensor,
        place: torch.Tensor,
        start_positions: torch.Tensor,
        end_positions: torch.Tensor,
    ) -> Answered:
        out = self.model(
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            bounds=bounds,
            longest=place.shape[1],
        )
        of_tokens = torch.stack([out.start_logits[0], out.end_logits[0]], dim=-1)
        logits = of_tokens[place.clamp(min=0)]
        logits = logits.masked_fill((place < 0)[..., None], float("-inf"))
        losses = [
            functional.cross_entropy(logits[..., n].float(), positions)
            for n, positions in enumerate((start_positions, end_positions))
        ]
        return Answered((losses[0] + losses[1]) / 2, logits)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    bounds: torch.Tensor,
    longest: int,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: torch.Tensor | float | None,
) -> tuple[torch.Tensor, None]:
    """transformers' attention function: (1, N, total, H) each, within the windows of `bounds`."""

    def jagged(x: torch.Tensor) -> torch.Tensor:
        tokens = x[0].transpose(0, 1)  # (total, N, H)
        nested: torch.Tensor = torch.nested.nested_tensor_from_jagged(
            tokens, bounds, min_seqlen=1, max_seqlen=longest
        )
        return nested.transpose(1, 2)

    out = functional.scaled_dot_product_attention(
        jagged(query), jagged(key), jagged(value), dropout_p=dropout, scale=scaling
    )
    return out.transpose(1, 2).values()[None], None
