"""How the rows are measured: Setting."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence

import jax

from jaxbert.benchmark.machine import Peak, peak_flops
from jaxbert.benchmark.timing import Side, Timed, compare
from jaxbert.model.choose_attention import choose_attention
from jaxbert.model.config import BertConfig


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured, how often, and by which means.

    Attributes:
        precision: "float32" or "bfloat16".
        rounds: how often both sides are measured, in turns.
        train_file, validation_file: questions, for the rows of real text.
        quick: few rounds and little work.
        say: prints a line about what cannot be measured here.
        small_model, large_model, largest_model: model folders, "minilm-l6", or "bert-base" and
            "bert-large" with random weights. Texts are tokenized by the small one's tokenizer; the
            largest has rows on an accelerator only.
        peak_of: the machine's peak in a precision, for the MFU.
        gpu: whether an accelerator computes.
        python: the command that starts a process of its own; ("numactl", "-C0", "python") pins it.
    """

    precision: str
    rounds: int
    train_file: str
    validation_file: str
    quick: bool
    say: Callable[[str], None]
    small_model: str = "minilm-l6"
    large_model: str = "bert-base"
    largest_model: str = "bert-large"
    peak_of: Callable[[str], Peak] = peak_flops
    gpu: bool = dataclasses.field(default_factory=lambda: jax.default_backend() != "cpu")
    python: tuple[str, ...] = (sys.executable,)

    @property
    def model(self) -> str:
        """The model of the rows of real text: the one that keeps the device busy."""
        return self.large_model if self.gpu else self.small_model

    def compare(
        self,
        name: str,
        unit: str,
        ours: Side,
        theirs: Side,
        *,
        tolerance: float = 0.0,
        bfloat16: Side | None = None,
    ) -> Timed:
        """See timing.compare."""
        peak = self.peak_of(ours.precision).flops if ours.flops else None
        return compare(
            name,
            unit,
            ours,
            theirs,
            rounds=self.rounds,
            tolerance=tolerance,
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
