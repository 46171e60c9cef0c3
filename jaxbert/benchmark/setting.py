"""How the rows are measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax

from jaxbert.benchmark.machine import peak_flops
from jaxbert.benchmark.timing import Side, Timed, compare
from jaxbert.model.choose_attention import choose_attention
from jaxbert.model.config import BertConfig


@dataclasses.dataclass(frozen=True)
class Setting:
    """How it is measured.

    Attributes:
        precision: "float32" or "bfloat16".
        train_file, validation_file: questions, for the rows of real text.
        quick: few rounds and little work.
        say: prints a line, of what cannot be measured here.
    """

    precision: str
    rounds: int
    train_file: str
    validation_file: str
    quick: bool
    say: Callable[[str], None]

    @property
    def gpu(self) -> bool:
        """Whether an accelerator computes."""
        return jax.default_backend() != "cpu"

    def compare(
        self,
        name: str,
        unit: str,
        ours: Side,
        theirs: Side,
        *,
        alike: float = 0.0,
        bfloat16: Side | None = None,
    ) -> Timed:
        """See timing.compare."""
        peak, _ = peak_flops(ours.precision) if ours.flops else (None, "")
        return compare(
            name,
            unit,
            ours,
            theirs,
            rounds=self.rounds,
            alike=alike,
            peak=peak,
            bfloat16=bfloat16,
        )

    def kernel(self, cfg: BertConfig, lengths: Sequence[int], *, packed: bool = False) -> str:
        """The attention that --attention auto takes in training."""
        return choose_attention(
            "auto",
            dtype=self.precision,
            heads=cfg.num_attention_heads,
            head_size=cfg.head_size,
            lengths=lengths,
            packed=packed,
            dropout=cfg.attention_probs_dropout_prob,
        )[0]
