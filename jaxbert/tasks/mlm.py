"""Masked language modelling on one's own text (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

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
from jaxbert.io.files import JsonFile
from jaxbert.losses.forms import Arrays, Measure
from jaxbert.losses.label_losses import label_accuracy, label_cross_entropy
from jaxbert.metrics.class_scores import language_model_scores
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.options.task_settings import MLMOptions
from jaxbert.report.records import Findings
from jaxbert.tasks.shown_masks import MaskedWord, ShownWindow, masks_shown
from jaxbert.tasks.task import DECODED, EVALUATION, OF_LABELS, Reduce, Task
from jaxbert.training.window_arrays import WindowArrays

_SUMS = ("loss", "right", "count")
_SHOWN = 4  # masked tokens of a window that a report may show
_BEST = 5  # the most likely tokens of each
_WINDOWS = 500  # that a report shows


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


@dataclasses.dataclass(frozen=True)
class MaskedWindow:
    """The sums over a window's masked tokens: of the loss, of those that are right, of all.

    Attributes:
        shown: some of these tokens, in windows that a report shows.
    """

    loss: float
    right: float
    count: float
    shown: ShownWindow | None = dataclasses.field(default=None, repr=False)


def masked_sums(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
    """Of each row, over its masked tokens: the sum of the loss, those that are right, all; (B,).

    And of a few of them, P, spread over the row: `place`, the label `token`, what was `seen` there,
    and the probability `score` of the label (B, P); `guesses` and `scores`, the most likely tokens
    and their probabilities (B, P, K). Where there are fewer, `place` is 0.
    """
    logits, labels = outputs["logits"], batch["labels"]
    counts = jnp.sum(labels >= 0, axis=1, keepdims=True)
    number = jnp.arange(_SHOWN)
    # The masked ones come first in a row.
    slot = jnp.where(counts > _SHOWN, number * counts // _SHOWN, number)
    slot = jnp.minimum(slot, labels.shape[1] - 1)
    there = number < counts
    token = jnp.where(there, jnp.take_along_axis(labels, slot, axis=1), 0)
    place = jnp.where(there, jnp.take_along_axis(batch["masked_positions"], slot, axis=1), 0)
    log_p = jax.nn.log_softmax(jnp.take_along_axis(logits, slot[..., None], axis=1), axis=-1)
    scores, guesses = jax.lax.top_k(jnp.exp(log_p), min(_BEST, logits.shape[-1]))
    return {
        **jax.vmap(_sums)(logits, labels),
        "place": place,
        "token": token,
        "seen": jnp.take_along_axis(batch["input_ids"], place, axis=1),
        "score": jnp.exp(jnp.take_along_axis(log_p, token[..., None], axis=-1))[..., 0],
        "guesses": guesses,
        "scores": scores,
    }


def _sums(logits: jax.Array, labels: jax.Array) -> Arrays:
    one: Batch[jax.Array] = {"labels": labels[None], "weight": jnp.ones(1)}
    loss, count = label_cross_entropy({"logits": logits[None]}, one)
    right, _ = label_accuracy({"logits": logits[None]}, one)["accuracy"]
    return {"loss": loss, "right": right, "count": count}


class MLM(Task[MLMOptions, LineExample, MaskedWindow]):
    """Masked tokens of lines of text."""

    name = "mlm"
    head = "mlm"
    pipeline_tag = "fill-mask"
    losses = OF_LABELS
    metrics = (Metric("perplexity", lower_is_better=True), Metric("accuracy"))
    settings_cls = MLMOptions
    example_cls = LineExample
    _tokenizer: PreTrainedTokenizerFast | None = None  # for findings; see with_vocabulary

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
    ) -> list[MaskedWindow]:
        """A prediction for each window, not for each example."""
        return self._decoded(range(len(features)), features, arrays)

    def decode_parts(
        self,
        examples: Sequence[LineExample],
        features: Features,
        arrays: WindowArrays,
        cfg: BertConfig,
    ) -> Iterator[Sequence[MaskedWindow]]:
        windows = range(len(features))
        for first in windows[::DECODED]:
            yield self._decoded(windows[first : first + DECODED], features, arrays)

    @staticmethod
    def _decoded(
        windows: range, features: Features, arrays: dict[str, np.ndarray]
    ) -> list[MaskedWindow]:
        """The predictions of some windows; those that a report shows are spread over all."""
        rows = slice(windows.start, windows.stop)
        sums = zip(*(arrays[name][rows].tolist() for name in _SUMS), strict=True)
        found = [MaskedWindow(*row) for row in sums]
        few = min(_WINDOWS, len(features))
        for row in np.linspace(0, len(features) - 1, few).astype(int).tolist():
            if row not in windows:
                continue
            ids = features.tokens["input_ids"][features.bounds[row] : features.bounds[row + 1]]
            columns = [arrays[name][row].tolist() for name in MaskedWord._fields]
            masks = (MaskedWord(*mask) for mask in zip(*columns, strict=True))
            shown = ShownWindow(row, ids.tolist(), tuple(mask for mask in masks if mask.place))
            number = row - windows.start
            found[number] = dataclasses.replace(found[number], shown=shown)
        return found

    def score(
        self,
        examples: Sequence[LineExample],
        predictions: Sequence[MaskedWindow],
        cfg: BertConfig,
    ) -> dict[str, float]:
        # math.fsum: the rows come in any order, and the sum must not depend on it.
        return language_model_scores(
            math.fsum(p.loss for p in predictions),
            math.fsum(p.right for p in predictions),
            math.fsum(p.count for p in predictions),
        )

    def artifacts(
        self,
        examples: Sequence[LineExample],
        predictions: Sequence[MaskedWindow],
        cfg: BertConfig,
    ) -> dict[str, JsonFile]:
        return {}

    def with_vocabulary(self, tokenizer: PreTrainedTokenizerFast) -> Self:
        task = copy.copy(self)
        task._tokenizer = tokenizer
        return task

    def findings(
        self,
        examples: Sequence[LineExample],
        predictions: Sequence[MaskedWindow],
        cfg: BertConfig,
    ) -> Findings | None:
        windows = [p.shown for p in predictions if p.shown is not None]
        if self._tokenizer is None or not windows:
            return None
        return masks_shown(windows, len(predictions), self._tokenizer)
