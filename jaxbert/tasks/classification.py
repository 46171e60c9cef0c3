"""Classification of a text or of a pair of texts: CoLA, SST-2, MRPC, RTE, MNLI."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.rows import Data
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError
from jaxbert.losses.labels import label_accuracy, supervised_contrastive
from jaxbert.metrics.labels import classification_scores
from jaxbert.model.config import BertConfig
from jaxbert.options import ClassificationOptions, ClassificationTrainOptions
from jaxbert.tasks.task import (
    OF_LABELS,
    WITH_BASE,
    Task,
    in_order,
    load_table,
    number_of,
    reduce_logits,
)


@dataclasses.dataclass(frozen=True)
class Classified:
    """A prediction: the best class, and the probability of each."""

    label: str
    scores: dict[str, float]


def _read(tables: Any, options: ClassificationOptions) -> Data[TextExample]:
    return read_texts(
        tables,
        text_columns=options.text_column_name,
        label_column=options.label_column_name,
        numeric=False,
        strict=options.strict,
    )


def _labels(examples: Sequence[TextExample], options: ClassificationOptions) -> tuple[str, ...]:
    names = in_order({str(e.label) for e in examples if e.label is not None})
    if len(names) == 1:
        raise InputError(f"the training data has one class only, {names[0]}; at least 2 are needed")
    return names


def _settle(
    options: Any, examples: Sequence[TextExample] | None, held_out: Sequence[TextExample] | None
) -> Any:
    """Count the classes for --class_weights balanced: n / (C n_c), as scikit-learn does."""
    if examples is None or options.class_weights != ["balanced"]:
        return options
    counts = collections.Counter(str(e.label) for e in examples)
    weights = [f"{n}={len(examples) / (len(counts) * counts[n]):.6g}" for n in sorted(counts)]
    return dataclasses.replace(options, class_weights=weights)


def _class_weights(options: ClassificationTrainOptions, cfg: BertConfig) -> np.ndarray | None:
    """(C,) float32 from NAME=WEIGHT words; 1 for a class that is not named."""
    if not options.class_weights:
        return None
    weights = np.ones(len(cfg.id2label), np.float32)
    for word in options.class_weights:
        name, _, value = word.rpartition("=")
        try:
            weight = float(value)
        except ValueError:
            weight = math.nan
        if name not in cfg.id2label or not 0 <= weight < math.inf:
            raise InputError(
                f"--class_weights {word}: give balanced, or NAME=WEIGHT with a class of "
                f"{', '.join(cfg.id2label)}"
            )
        weights[cfg.id2label.index(name)] = weight
    if not weights.any():
        raise InputError(f"--class_weights {' '.join(options.class_weights)}: all are 0")
    return weights


def _encode(
    examples: Sequence[TextExample], tokenizer: Any, options: ClassificationOptions, cfg: BertConfig
) -> Features:
    targets = None
    if all(e.label is not None for e in examples):
        ids = [number_of(str(e.label), cfg, e.where) for e in examples]
        targets = np.array(ids, np.int32)
    return encode_texts(examples, tokenizer, max_length=options.max_seq_length, targets=targets)


def _decode(
    examples: Sequence[TextExample],
    features: Features,
    arrays: dict[str, np.ndarray],
    options: ClassificationOptions,
    cfg: BertConfig,
) -> list[Classified]:
    return [
        Classified(
            cfg.id2label[int(np.argmax(row))],
            {name: float(p) for name, p in zip(cfg.id2label, row, strict=True)},
        )
        for row in arrays["probabilities"]
    ]


def _score(
    examples: Sequence[TextExample],
    predictions: Sequence[Classified],
    options: ClassificationOptions,
    cfg: BertConfig,
) -> dict[str, float]:
    references = [str(e.label) for e in examples]
    return classification_scores([p.label for p in predictions], references, cfg.id2label)


CLASSIFICATION = Task(
    name="classification",
    head="classification",
    losses={**OF_LABELS, "supervised_contrastive": supervised_contrastive, **WITH_BASE},
    loss_settings=lambda options, cfg: {"class_weights": _class_weights(options, cfg)},
    measure=label_accuracy,
    best_metrics=("accuracy", "f1", "f1_macro", "matthews_correlation"),
    load=load_table,
    read=_read,
    label_of=lambda e: e.label,
    settle=_settle,
    labels=_labels,
    encode=_encode,
    reduce=reduce_logits,
    decode=_decode,
    score=_score,
    files=lambda examples, predictions, options, cfg: {
        "predictions.json": [dataclasses.asdict(p) for p in predictions]
    },
)
