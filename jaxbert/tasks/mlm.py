"""Masked language modelling on one's own text (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.batch_source import Corruption
from jaxbert.data.encode_lines import encode_lines
from jaxbert.data.features import Features
from jaxbert.data.lines import LineExample, load_lines, read_lines
from jaxbert.data.masking import mask_batch
from jaxbert.data.rows import Data
from jaxbert.data.sampling import NumpyBatch
from jaxbert.data.segment import make_segmenter
from jaxbert.losses.forms import Arrays
from jaxbert.losses.label_losses import label_accuracy, label_cross_entropy
from jaxbert.metrics.class_scores import language_model_scores
from jaxbert.model.config import BertConfig
from jaxbert.options.settings import MLMOptions
from jaxbert.tasks.task import EVALUATION, OF_LABELS, Task


def _read(tables: Any, options: MLMOptions) -> Data[LineExample]:
    return read_lines(tables, text_column=options.text_column_name, strict=options.strict)


def _encode(
    examples: Sequence[LineExample], tokenizer: Any, options: MLMOptions, cfg: BertConfig
) -> Features:
    return encode_lines(
        examples,
        tokenizer,
        max_length=options.max_seq_length,
        line_by_line=options.line_by_line,
        segmenter=make_segmenter(options.words),
    )


def _corrupt(options: Any, tokenizer: Any, cfg: BertConfig) -> Corruption:
    """Masks, others for every step of every seed; for evaluations of all runs the same."""

    def corrupt(batch: NumpyBatch, draw: int) -> NumpyBatch:
        return mask_batch(
            batch,
            seed=0 if draw == EVALUATION else options.seed,
            draw=draw,
            probability=options.mlm_probability,
            whole_words=options.whole_word_mask,
            mask_id=tokenizer.mask_token_id,
            vocab_size=len(tokenizer),
            special_ids=tokenizer.all_special_ids,
        )

    return corrupt


def _reduce(options: MLMOptions) -> Callable[[Arrays, Arrays], Arrays]:
    """Of each row, over its masked tokens: the sum of the loss, how many are right, how many."""

    def reduce(outputs: Arrays, batch: Arrays) -> Arrays:
        def sums(logits: jax.Array, labels: jax.Array) -> Arrays:
            one = {"labels": labels[None], "weight": jnp.ones(1)}
            loss, count = label_cross_entropy({"logits": logits[None]}, one)
            right, _ = label_accuracy({"logits": logits[None]}, one)["accuracy"]
            return {"loss": loss, "right": right, "count": count}

        return jax.vmap(sums)(outputs["logits"], batch["labels"])

    return reduce


def _score(
    examples: Sequence[LineExample],
    predictions: Sequence[dict[str, float]],
    options: MLMOptions,
    cfg: BertConfig,
) -> dict[str, float]:
    # math.fsum: the rows come in any order, and the sum shall not depend on it.
    sums = [math.fsum(p[name] for p in predictions) for name in ("loss", "right", "count")]
    return language_model_scores(*sums)


def _decode(
    examples: Sequence[LineExample],
    features: Features,
    arrays: dict[str, np.ndarray],
    options: MLMOptions,
    cfg: BertConfig,
) -> list[dict[str, float]]:
    return [
        {name: float(column[row]) for name, column in arrays.items()}
        for row in range(len(features))
    ]


MLM = Task(
    name="mlm",
    head="mlm",
    losses=OF_LABELS,
    measure=label_accuracy,
    best_metrics=("perplexity", "accuracy"),
    lower_is_better=frozenset({"perplexity"}),
    load=lambda path, options: load_lines(path, quoted_tsv=options.quoted_tsv),
    read=_read,
    encode=_encode,
    corrupt=_corrupt,
    reduce=_reduce,
    decode=_decode,
    score=_score,
    files=lambda examples, predictions, options, cfg: {},
)
