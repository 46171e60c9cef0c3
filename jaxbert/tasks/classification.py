"""Classification of a text or of a pair of texts: CoLA, SST-2, MRPC, RTE, MNLI.

One class a text, or any number of them (multi-label): config.json's problem_type says which.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.rows import Data
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError
from jaxbert.losses.label_losses import label_accuracy, supervised_contrastive
from jaxbert.metrics.class_scores import classification_scores, multi_label_scores
from jaxbert.metrics.scores import LOSS, Scores
from jaxbert.model.config import MULTI_LABEL, PROBLEM_TYPES, BertConfig
from jaxbert.options.settings import ClassificationOptions, ClassificationTrainOptions
from jaxbert.tasks.task import (
    OF_LABELS,
    WITH_BASE,
    Task,
    load_table,
    number_of,
    shown_classes,
    sorted_classes,
)

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class Classified:
    """A prediction: the best class, and the probability of each."""

    label: str
    scores: dict[str, float]


@dataclasses.dataclass(frozen=True)
class MultiClassified:
    """A prediction: the classes whose probability is above the threshold, and that of each."""

    labels: tuple[str, ...]
    scores: dict[str, float]


# What can tell the best checkpoint where a text has one class, and where it has any number.
_METRICS = {
    False: ("accuracy", "f1", "f1_micro", "f1_macro", "matthews_correlation"),
    True: (
        "f1_micro",
        "f1_macro",
        "exact_match",
        "average_precision_micro",
        "average_precision_macro",
    ),
}
SINGLE_LABEL = PROBLEM_TYPES[0]


def _read(tables: Any, options: ClassificationOptions) -> Data[TextExample]:
    columns = options.label_column_name or []
    return read_texts(
        tables,
        text_columns=options.text_column_name,
        label_column=columns[0] if len(columns) == 1 else None,
        numeric=False,
        strict=options.strict,
        indicator_columns=columns if len(columns) > 1 else (),
    )


def classes_of(example: TextExample) -> tuple[str, ...]:
    """Its classes, of which there is one where it has a label and not a list of them."""
    label = example.label
    if isinstance(label, tuple):
        return label
    return () if label is None else (str(label),)


def _labels(
    examples: Sequence[TextExample], options: ClassificationTrainOptions
) -> tuple[str, ...]:
    names = sorted_classes({name for e in examples for name in classes_of(e)})
    several = any(isinstance(e.label, tuple) for e in examples)
    if several and not names:
        raise InputError("the training data has no label in any row; at least 1 is needed")
    if len(names) > 1 and all(len(classes_of(e)) == len(names) for e in examples):
        hint = (
            "; of 0 and 1 for each label, give a column a label to --label_column_name"
            if {*names} == {"0", "1"}
            else ""
        )
        raise InputError(
            f"every row of the training data has all the labels, {shown_classes(names)}, so there "
            f"is nothing to learn{hint}"
        )
    if len(names) == 1 and not several and options.problem_type != MULTI_LABEL:
        raise InputError(f"the training data has one class only, {names[0]}; at least 2 are needed")
    return names


def _resolve(
    options: ClassificationOptions,
    examples: Sequence[TextExample] | None,
    held_out: Sequence[TextExample] | None,
) -> ClassificationOptions:
    """See whether rows have any number of labels, and count them for --class_weights balanced:
    n / (C n_c), as scikit-learn does."""
    if examples is None or not isinstance(options, ClassificationTrainOptions):
        return options
    several = next((e for e in examples if isinstance(e.label, tuple)), None)
    if several is not None and options.problem_type == SINGLE_LABEL:
        raise InputError(
            f"--problem_type {SINGLE_LABEL}: {several.where} has a list of labels, or a column for "
            "each; give one column with one label a row"
        )
    if several is not None:
        options = dataclasses.replace(options, problem_type=MULTI_LABEL)
    if options.class_weights != ["balanced"]:
        return options
    counts = collections.Counter(name for e in examples for name in classes_of(e))
    weights = [f"{n}={counts.total() / (len(counts) * counts[n]):.6g}" for n in sorted(counts)]
    return dataclasses.replace(options, class_weights=weights)


def _problem_type(options: ClassificationTrainOptions, cfg: BertConfig) -> str:
    """What is trained: as the options and the data say, else as the model is.

    Raises:
        InputError: there is no such metric for it.
    """
    found = options.problem_type or (MULTI_LABEL if cfg.multi_label else SINGLE_LABEL)
    if cfg.problem_type not in (None, found):
        logger.warning(
            "the model's problem_type is %s; from now on it is %s", cfg.problem_type, found
        )
    elif found == MULTI_LABEL and options.problem_type is None:
        logger.warning(
            "the model's problem_type is %s, and so it is trained, on one label a row; for one "
            "class a text give --problem_type %s",
            found,
            SINGLE_LABEL,
        )
    metric = (options.metric_for_best_model or LOSS).removeprefix("eval_")
    known = [LOSS.removeprefix("eval_"), *_METRICS[found == MULTI_LABEL]]
    if metric not in known:
        raise InputError(
            f"--metric_for_best_model {options.metric_for_best_model}: the scores of {found} are "
            f"{', '.join([*known[1:], LOSS])}"
        )
    return found


def _check_options(options: ClassificationOptions, cfg: BertConfig) -> None:
    """Raise InputError for an option that is not for the model's classes."""
    positive = options.positive_label
    if positive is not None and cfg.multi_label:
        raise InputError(f"--positive_label {positive}: not for any number of labels a row")
    if positive is not None and (len(cfg.id2label) != 2 or positive not in cfg.id2label):
        raise InputError(
            f"--positive_label {positive}: it is one of two classes; the model has "
            f"{shown_classes(cfg.id2label)}"
        )
    if options.threshold is not None and not cfg.multi_label:
        raise InputError(
            f"--threshold {options.threshold:g}: it is for any number of labels a row, and the "
            "model gives each text the best one of its classes"
        )


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
    _check_options(options, cfg)
    targets = None
    if all(e.label is not None for e in examples):
        targets = _sets(examples, cfg) if cfg.multi_label else _ids(examples, cfg)
    return encode_texts(examples, tokenizer, max_length=options.max_seq_length, targets=targets)


def _ids(examples: Sequence[TextExample], cfg: BertConfig) -> np.ndarray:
    """(M,) int32: the class of each."""
    several = next((e for e in examples if isinstance(e.label, tuple)), None)
    if several is not None:
        raise InputError(
            f"{several.where}: a list of labels, or a column for each, and the model gives one "
            "class a text; train one with such data, or name a column with one label a row"
        )
    return np.array([number_of(str(e.label), cfg, e.where) for e in examples], np.int32)


def _sets(examples: Sequence[TextExample], cfg: BertConfig) -> np.ndarray:
    """(M, C) float32: 1 for each class that an example has, else 0."""
    targets = np.zeros((len(examples), len(cfg.id2label)), np.float32)
    known = {name: number for number, name in enumerate(cfg.id2label)}
    for row, e in enumerate(examples):
        for name in classes_of(e):
            targets[row, known[name] if name in known else number_of(name, cfg, e.where)] = 1
    return targets


def _decode(
    examples: Sequence[TextExample],
    features: Features,
    arrays: dict[str, np.ndarray],
    options: ClassificationOptions,
    cfg: BertConfig,
) -> list[Classified] | list[MultiClassified]:
    function = jax.nn.sigmoid if cfg.multi_label else jax.nn.softmax
    probabilities = np.asarray(function(arrays["logits"]))
    scores = [dict(zip(cfg.id2label, row, strict=True)) for row in probabilities.tolist()]
    if not cfg.multi_label:
        best = np.argmax(probabilities, axis=-1).tolist()
        return [Classified(cfg.id2label[n], of) for n, of in zip(best, scores, strict=True)]
    least = 0.5 if options.threshold is None else options.threshold
    return [MultiClassified(tuple(n for n, p in of.items() if p > least), of) for of in scores]


def _score(
    examples: Sequence[TextExample],
    predictions: Sequence[Classified] | Sequence[MultiClassified],
    options: ClassificationOptions,
    cfg: BertConfig,
) -> Scores:
    names = cfg.id2label
    if not cfg.multi_label:
        found = [p.label for p in predictions if isinstance(p, Classified)]
        references = [str(e.label) for e in examples]
        return classification_scores(found, references, names, options.positive_label)
    sets = [p for p in predictions if isinstance(p, MultiClassified)]
    return multi_label_scores(
        [p.labels for p in sets],
        [classes_of(e) for e in examples],
        names,
        np.array([[p.scores[name] for name in names] for p in sets]),
    )


CLASSIFICATION = Task(
    name="classification",
    head="classification",
    losses={**OF_LABELS, "supervised_contrastive": supervised_contrastive, **WITH_BASE},
    loss_settings=lambda options, cfg: {"class_weights": _class_weights(options, cfg)},
    problem_type=_problem_type,
    measure=label_accuracy,
    best_metrics=tuple(dict.fromkeys((*_METRICS[False], *_METRICS[True]))),
    load=load_table,
    read=_read,
    label_of=lambda e: e.label,
    resolve=_resolve,
    labels=_labels,
    encode=_encode,
    # decode makes probabilities of them: the model's config says which.
    reduce=lambda options: lambda outputs, batch: {"logits": outputs["logits"]},
    decode=_decode,
    score=_score,
    files=lambda examples, predictions, options, cfg: {
        "predictions.json": [dataclasses.asdict(p) for p in predictions]
    },
)
