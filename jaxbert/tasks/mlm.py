"""Masked language modelling on one's own text (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxbert.data.batch import Batch
from jaxbert.data.encode_lines import tokenize_lines, windows_of_lines
from jaxbert.data.features import Features
from jaxbert.data.lines import load_lines, read_lines
from jaxbert.data.masking import mask_batch
from jaxbert.data.row_columns import LocatedRow
from jaxbert.data.row_streams import data_set_stream
from jaxbert.data.rows import Content, Data
from jaxbert.data.sampling import NumpyBatch
from jaxbert.data.segment import make_segmenter
from jaxbert.data.stored_lines import LineExample
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.losses.forms import Arrays, Measure
from jaxbert.losses.label_losses import label_accuracy, label_cross_entropy
from jaxbert.metrics.class_scores import language_model_scores
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.options.task_settings import MLMOptions
from jaxbert.tasks.task import EVALUATION, OF_LABELS, Reduce, Task


@dataclasses.dataclass(frozen=True)
class Masking:
    """Masks, others for every step of every seed; for evaluations of all runs the same."""

    settings: MLMOptions
    tokenizer: PreTrainedTokenizerFast
    seed: int

    def __call__(self, batch: NumpyBatch, draw: int) -> NumpyBatch:
        return mask_batch(
            batch,
            seed=0 if draw == EVALUATION else self.seed,
            draw=draw,
            probability=self.settings.mlm_probability,
            whole_words=self.settings.whole_word_mask,
            mask_id=self.tokenizer.mask_token_id,
            vocab_size=len(self.tokenizer),
            special_ids=self.tokenizer.all_special_ids,
        )


def masked_sums(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
    """Of each row, over its masked tokens: the sum of the loss, those that are right, all; (B,)."""
    return jax.vmap(_sums)(outputs["logits"], batch["labels"])


def _sums(logits: jax.Array, labels: jax.Array) -> Arrays:
    one: Batch[jax.Array] = {"labels": labels[None], "weight": jnp.ones(1)}
    loss, count = label_cross_entropy({"logits": logits[None]}, one)
    right, _ = label_accuracy({"logits": logits[None]}, one)["accuracy"]
    return {"loss": loss, "right": right, "count": count}


class MLM(Task[MLMOptions, LineExample, dict[str, float]]):
    """Masked tokens of lines of text."""

    name = "mlm"
    head = "mlm"
    pipeline_tag = "fill-mask"
    losses = OF_LABELS
    metrics = (Metric("perplexity", lower_is_better=True), Metric("accuracy"))
    settings_cls = MLMOptions
    example_cls = LineExample

    def load(self, path: str) -> Content:
        return load_lines(path, quoted_tsv=self.settings.quoted_tsv)

    def load_data_set(self, name: str, config: str | None, split: str) -> Content:
        if self.settings.streaming:
            return data_set_stream(name, config, split)
        return super().load_data_set(name, config, split)

    def read(self, sources: Iterable[tuple[str, Content]]) -> Data[LineExample]:
        column, strict = self.settings.text_column_name, self.settings.strict
        return read_lines(sources, text_column=column, strict=strict)

    def rows_of(self, origin: str, content: Content) -> Iterable[LocatedRow]:
        raise InputError(
            f"--extra_columns, --weight_column and --view_column are not for {self.name}, whose "
            "windows are cut from lines"
        )

    def encode_part(
        self, examples: Sequence[LineExample], tokenizer: PreTrainedTokenizerFast, cfg: BertConfig
    ) -> Features:
        return tokenize_lines(examples, tokenizer, make_segmenter(self.settings.words))

    def join_parts(
        self,
        parts: Iterable[Features],
        examples: Sequence[LineExample],
        tokenizer: PreTrainedTokenizerFast,
    ) -> Iterator[Features]:
        return windows_of_lines(
            parts,
            examples,
            tokenizer,
            max_length=self.settings.max_seq_length,
            line_by_line=self.settings.line_by_line,
            segmenter=make_segmenter(self.settings.words),
        )

    def characters(self, example: LineExample) -> int:
        return len(example.text)

    def corrupt(self, tokenizer: PreTrainedTokenizerFast, cfg: BertConfig, *, seed: int) -> Masking:
        return Masking(self.settings, tokenizer, seed)

    @property
    def without_teacher(self) -> str:
        return f"not for {self.name}, whose masks are redrawn at every step"

    def measure(self) -> Measure:
        return label_accuracy

    def reduce(self) -> Reduce:
        return masked_sums

    def decode(
        self,
        examples: Sequence[LineExample],
        features: Features,
        arrays: dict[str, np.ndarray],
        cfg: BertConfig,
    ) -> list[dict[str, float]]:
        return [
            {name: float(column[row]) for name, column in arrays.items()}
            for row in range(len(features))
        ]

    def score(
        self,
        examples: Sequence[LineExample],
        predictions: Sequence[dict[str, float]],
        cfg: BertConfig,
    ) -> dict[str, float]:
        # math.fsum: the rows come in any order, and the sum must not depend on it.
        sums = [math.fsum(p[name] for p in predictions) for name in ("loss", "right", "count")]
        return language_model_scores(*sums)

    def artifacts(
        self,
        examples: Sequence[LineExample],
        predictions: Sequence[dict[str, float]],
        cfg: BertConfig,
    ) -> dict[str, Json]:
        return {}
