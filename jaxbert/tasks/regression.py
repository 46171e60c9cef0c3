"""Regression on a text or a pair of texts: one output, mean squared error (STS-B)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.rows import Data
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays, Loss
from jaxbert.losses.label_losses import squared_error
from jaxbert.metrics.class_scores import regression_scores
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Params
from jaxbert.options.settings import RegressionOptions
from jaxbert.tasks.task import WITH_BASE, Task, load_table


def _read(tables: Any, options: RegressionOptions) -> Data[TextExample]:
    return read_texts(
        tables,
        text_columns=options.text_column_name,
        label_column=options.label_column_name,
        numeric=True,
        strict=options.strict,
    )


def _resolve(
    options: Any, examples: Sequence[TextExample] | None, held_out: Sequence[TextExample] | None
) -> Any:
    """Measure the targets for --target_scaling standard."""
    if examples is None or options.target_scaling != ["standard"]:
        return options
    targets = np.array([e.label for e in examples], np.float64)
    scale = float(targets.std()) or 1.0
    return dataclasses.replace(options, target_scaling=[f"{targets.mean():.9g}", f"{scale:.9g}"])


def _scaling(options: Any) -> tuple[float, float]:
    """Mean and scale: the model learns (target - mean) / scale. Only training has the option."""
    words = getattr(options, "target_scaling", None)
    if not words:
        return 0.0, 1.0
    try:
        mean, scale = map(float, words)
    except ValueError:
        mean = scale = math.nan
    if not math.isfinite(mean) or not 0 < scale < math.inf:
        given = " ".join(words)
        raise InputError(f"--target_scaling {given}: give standard, or a mean and a scale above 0")
    return mean, scale


def _encode(
    examples: Sequence[TextExample], tokenizer: Any, options: RegressionOptions, cfg: BertConfig
) -> Features:
    targets = None
    if all(e.label is not None for e in examples):
        mean, scale = _scaling(options)
        values = np.array([e.label for e in examples], np.float64)
        targets = ((values - mean) / scale).astype(np.float32)
    return encode_texts(examples, tokenizer, max_length=options.max_seq_length, targets=targets)


def _reduce(options: RegressionOptions) -> Callable[[Arrays, Batch[jax.Array]], Arrays]:
    """Of each row its score, (B,), in the scale of the targets as they were given."""
    mean, scale = _scaling(options)
    return lambda outputs, batch: {"scores": outputs["scores"] * scale + mean}


def _evaluation_loss(options: RegressionOptions) -> Loss:
    """The squared error in the scale of the targets as they were given."""
    _, scale = _scaling(options)

    def loss(outputs: Arrays, batch: Batch[jax.Array]) -> tuple[jax.Array, jax.Array]:
        loss_sum, weight_sum = squared_error(outputs, batch)
        return loss_sum * scale**2, weight_sum

    return loss


def _export(params: Params, options: RegressionOptions) -> Params:
    """The scaling undone in the last layer: the saved model gives the targets' own scale."""
    mean, scale = _scaling(options)
    if (mean, scale) == (0.0, 1.0):
        return params
    head = params["classifier"]
    kernel, bias = np.asarray(head["kernel"]), np.asarray(head["bias"])
    exported = {"kernel": kernel * np.float32(scale), "bias": bias * np.float32(scale)}
    exported["bias"] = exported["bias"] + np.float32(mean)
    return {**params, "classifier": exported}


def _score(
    examples: Sequence[TextExample],
    predictions: Sequence[float],
    options: RegressionOptions,
    cfg: BertConfig,
) -> dict[str, float]:
    references = [e.label for e in examples if isinstance(e.label, float)]
    return regression_scores(predictions, references)


REGRESSION = Task(
    name="regression",
    head="regression",
    losses={"mean_squared_error": squared_error, **WITH_BASE},
    evaluation_loss=_evaluation_loss,
    measure=None,
    best_metrics=("pearson", "spearmanr", "mse"),
    lower_is_better=frozenset({"mse"}),
    load=load_table,
    read=_read,
    label_of=lambda e: e.label,
    resolve=_resolve,
    labels=lambda examples, options: ("score",),
    encode=_encode,
    reduce=_reduce,
    decode=lambda examples, features, arrays, options, cfg: arrays["scores"].tolist(),
    score=_score,
    export=_export,
    files=lambda examples, predictions, options, cfg: {"predictions.json": list(predictions)},
)
