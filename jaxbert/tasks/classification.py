"""Classification of a text or of a pair of texts: CoLA, SST-2, MRPC, RTE, MNLI.

One class a text, or any number of them (multi-label): config.json's problem_type says which.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable, Sequence
from typing import ClassVar, Self

import jax
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.data.mapped import Mapped
from jaxbert.data.rows import Cell, Content, Data, names_of
from jaxbert.data.soft_labels import SoftLabel
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError
from jaxbert.io.files import JsonArray, JsonFile
from jaxbert.losses.forms import Arrays, Measure
from jaxbert.losses.label_losses import label_accuracy, supervised_contrastive
from jaxbert.metrics.class_scores import classification_scores, multi_label_scores
from jaxbert.metrics.resampled_scores import (
    ResampledScores,
    resampled_classes,
    resampled_sets,
)
from jaxbert.metrics.scores import LOSS, Metric, Scores
from jaxbert.model.config import MULTI_LABEL, PROBLEM_TYPES, BertConfig
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.options.task_settings import (
    ClassificationSettings,
)
from jaxbert.report.records import Findings
from jaxbert.tasks.class_weights import ClassWeight, balanced, read_weight, weight_array
from jaxbert.tasks.shown_classes import classes_shown, sets_shown
from jaxbert.tasks.task import (
    OF_LABELS,
    WITH_BASE,
    Losses,
    Reduce,
    entry_of,
    needed,
    number_of,
    shown_classes,
    sorted_classes,
)
from jaxbert.tasks.text_task import TextTask, scores_of_windows

logger = logging.getLogger("jaxbert")


@dataclasses.dataclass(frozen=True)
class Classified:
    """A prediction: the best class, and the probability of each."""

    label: str
    scores: dict[str, float]


@dataclasses.dataclass(frozen=True)
class MultiClassified:
    """A prediction: the classes whose probability is above the threshold, and that of each; one of
    another program may have no probabilities."""

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
_BALANCED = ["balanced"]
_SOFT = "soft labels"  # features have a distribution over classes for each row
_FEW = 20  # examples; with fewer, each class may have one


def classes_of(example: TextExample) -> tuple[str, ...]:
    """Its classes, of which there is one where it has a label and not a list of them."""
    label = example.label
    if isinstance(label, tuple):
        return label
    return () if label is None else (str(label),)


def _has_soft(examples: Sequence[TextExample]) -> bool:
    return any(isinstance(e.label, SoftLabel) for e in examples)


def _named_by(example: TextExample) -> tuple[str, ...]:
    """The classes that its label names, those of a soft label with probability 0 among them."""
    label = example.label
    return label.names if isinstance(label, SoftLabel) else classes_of(example)


class Classification(TextTask[ClassificationSettings, Classified | MultiClassified]):
    """A class for each text or pair, or any number of them."""

    name = "classification"
    head = "classification"
    output = "logits"
    pipeline_tag = "text-classification"
    losses: ClassVar[Losses] = {
        **OF_LABELS,
        "supervised_contrastive": supervised_contrastive,
        **WITH_BASE,
    }
    metrics = tuple(map(Metric, dict.fromkeys((*_METRICS[False], *_METRICS[True]))))
    has_classes = True
    settings_cls = ClassificationSettings

    @functools.cached_property
    def class_weights(self) -> tuple[ClassWeight, ...]:
        """Of classes that count more or less in the loss: those of the settings, until measured."""
        return tuple(map(read_weight, self.settings.class_weights or ()))

    def read(self, sources: Iterable[tuple[str, Content]]) -> Data[TextExample]:
        columns = self.settings.label_column_name or []
        return read_texts(
            sources,
            text_columns=self.settings.text_column_name,
            label_column=columns[0] if len(columns) == 1 else None,
            numeric=False,
            strict=self.settings.strict,
            indicator_columns=columns if len(columns) > 1 else (),
        )

    def check(self, data: Data[TextExample], origin: str, *, training: bool) -> None:
        """Refuse to learn classes of which hardly any has a second row: ids, or texts."""
        if not training or not data.label_column or data.classes:
            return
        labels = [e.label for e in data.examples if isinstance(e.label, str)]
        different = len(set(labels))
        if len(labels) >= _FEW and 10 * different > 9 * len(labels):
            raise InputError(
                f'{origin}: label column "{data.label_column}" has {different} different values in '
                f"{len(labels)} rows, so they are no classes; name another with "
                f"--label_column_name; the columns are {names_of(data.columns)}"
            )

    def labels(self, examples: Sequence[TextExample]) -> tuple[str, ...]:
        names = sorted_classes({name for e in examples for name in _named_by(e)})
        several = any(isinstance(e.label, tuple) for e in examples)
        if several and not names:
            raise InputError("the training data has no label in any row; at least 1 is needed")
        if len(names) > 1 and all(len(classes_of(e)) == len(names) for e in examples):
            hint = (
                "; for a 0 or 1 per label, give --label_column_name one column per label"
                if {*names} == {"0", "1"}
                else ""
            )
            raise InputError(
                f"every row of the training data has all the labels, {shown_classes(names)}, so "
                f"there is nothing to learn{hint}"
            )
        if len(names) == 1 and not several and self.settings.problem_type != MULTI_LABEL:
            raise InputError(
                f"the training data has one class only, {names[0]}; at least 2 are needed"
            )
        return names

    def fit_to(
        self, train: Sequence[TextExample] | None, held_out: Sequence[TextExample] | None
    ) -> Self:
        """See whether rows have any number of labels, and count them for --class_weights
        balanced."""
        is_soft = _has_soft(train or ()) or _has_soft(held_out or ())
        if train is None:
            self.variant = _SOFT * is_soft
            return self
        settings, class_weights = self.settings, self.class_weights
        several = next((e for e in train if isinstance(e.label, tuple)), None)
        if several is not None and settings.problem_type == SINGLE_LABEL:
            raise InputError(
                f"--problem_type {SINGLE_LABEL}: {several.where} has a list of labels, or a column "
                "for each; give one column with one label a row"
            )
        if several is not None:
            settings = dataclasses.replace(settings, problem_type=MULTI_LABEL)
        if settings.class_weights == _BALANCED:
            class_weights = balanced(name for e in train for name in classes_of(e))
            weights = [weight.given for weight in class_weights]
            settings = dataclasses.replace(settings, class_weights=weights)
        fitted = type(self)(settings)
        fitted.class_weights = class_weights
        fitted.variant = _SOFT * is_soft
        return fitted

    def problem_type(self, cfg: BertConfig) -> str:
        """As the settings and the data say, else as the model is."""
        given = self.settings.problem_type
        found = given or (MULTI_LABEL if cfg.multi_label else SINGLE_LABEL)
        if cfg.problem_type not in (None, found):
            logger.warning(
                "the model's problem_type is %s; from now on it is %s", cfg.problem_type, found
            )
        elif found == MULTI_LABEL and given is None:
            logger.warning(
                "the model's problem_type is %s, and so it is trained, on one label a row; for one "
                "class a text give --problem_type %s",
                found,
                SINGLE_LABEL,
            )
        return found

    def check_metric(
        self, given: str | None, train: Sequence[TextExample], cfg: BertConfig
    ) -> None:
        metric = (given or LOSS).removeprefix("eval_")
        known = _METRICS[cfg.multi_label]
        if metric not in (LOSS.removeprefix("eval_"), *known):
            raise InputError(
                f"--metric_for_best_model {given}: the scores of {cfg.problem_type} are "
                f"{', '.join([*known, LOSS])}"
            )

    def loss_keywords(self, cfg: BertConfig) -> dict[str, np.ndarray | None]:
        """class_weights, (C,) float32; 1 for a class that is not named."""
        if not self.class_weights:
            return {"class_weights": None}
        return {"class_weights": weight_array(self.class_weights, cfg.id2label)}

    def encode_part(
        self, examples: Sequence[TextExample], tokenizer: PreTrainedTokenizerFast, cfg: BertConfig
    ) -> Features:
        self._check_positive(cfg, "the model has")
        threshold = self.settings.threshold
        if threshold is not None and not cfg.multi_label:
            raise InputError(
                f"--threshold {threshold:g}: it is for any number of labels a row, and the model "
                "gives each text the best one of its classes"
            )
        targets = None
        if all(e.label is not None for e in examples):
            targets = _sets(examples, cfg) if cfg.multi_label else _ids(examples, cfg)
        features = self._encoded(examples, tokenizer, cfg, targets)
        if targets is None or not (self.variant or _has_soft(examples)):
            return features
        soft = {"soft_labels": _distributions(examples, cfg)[features.example]}
        return dataclasses.replace(features, rows={**features.rows, **soft})

    def _check_positive(self, cfg: BertConfig, whose: str) -> None:
        """Raise InputError for a positive label that is none of two classes."""
        positive = self.settings.positive_label
        if positive is not None and cfg.multi_label:
            raise InputError(f"--positive_label {positive}: not for any number of labels a row")
        if positive is not None and (len(cfg.id2label) != 2 or positive not in cfg.id2label):
            raise InputError(
                f"--positive_label {positive}: it is one of two classes; {whose} "
                f"{shown_classes(cfg.id2label)}"
            )

    def measure(self) -> Measure:
        return label_accuracy

    def reduce(self) -> Reduce:
        """The logits (B, C): decode makes probabilities of them as the model's config says."""
        return _kept

    def decode(
        self,
        examples: Sequence[TextExample],
        features: Features,
        arrays: dict[str, np.ndarray],
        cfg: BertConfig,
    ) -> list[Classified] | list[MultiClassified]:
        function = jax.nn.sigmoid if cfg.multi_label else jax.nn.softmax
        probabilities = np.asarray(function(self._pooled(features, arrays)))
        scores = [dict(zip(cfg.id2label, row, strict=True)) for row in probabilities.tolist()]
        if not cfg.multi_label:
            best = np.argmax(probabilities, axis=-1).tolist()
            return [Classified(cfg.id2label[n], of) for n, of in zip(best, scores, strict=True)]
        least = 0.5 if self.settings.threshold is None else self.settings.threshold
        return [MultiClassified(tuple(n for n, p in of.items() if p > least), of) for of in scores]

    def score(
        self,
        examples: Sequence[TextExample],
        predictions: Sequence[Classified | MultiClassified],
        cfg: BertConfig,
    ) -> Scores:
        names = cfg.id2label
        if not cfg.multi_label:
            found, references = Mapped(_label_of, predictions), Mapped(_gold_of, examples)
            return classification_scores(found, references, names, self.settings.positive_label)
        sets, rows = _sets_and_scores(predictions, names)
        return multi_label_scores(sets, Mapped(classes_of, examples), names, rows)

    def resampled(
        self,
        examples: Sequence[TextExample],
        predictions: Sequence[Classified | MultiClassified],
        cfg: BertConfig,
    ) -> ResampledScores:
        names = cfg.id2label
        if not cfg.multi_label:
            found, references = Mapped(_label_of, predictions), Mapped(_gold_of, examples)
            return resampled_classes(found, references, names, self.settings.positive_label)
        sets, rows = _sets_and_scores(predictions, names)
        return resampled_sets(sets, Mapped(classes_of, examples), names, rows)

    def artifacts(
        self,
        examples: Sequence[TextExample],
        predictions: Sequence[Classified | MultiClassified],
        cfg: BertConfig,
    ) -> dict[str, JsonFile]:
        return {"predictions.json": JsonArray(map(dataclasses.asdict, predictions))}

    def findings(
        self,
        examples: Sequence[TextExample],
        predictions: Sequence[Classified | MultiClassified],
        cfg: BertConfig,
    ) -> Findings:
        scores = Mapped(lambda p: p.scores, predictions)
        if cfg.multi_label:
            golds = Mapped(lambda e: None if e.label is None else classes_of(e), examples)
            return sets_shown(
                examples, golds, Mapped(_labels_of, predictions), scores, cfg.id2label
            )
        gold = Mapped(lambda e: None if e.label is None else _gold_of(e), examples)
        return classes_shown(examples, gold, Mapped(_label_of, predictions), scores, cfg.id2label)

    def read_predictions(
        self, entries: Sequence[Cell], data: Data[TextExample], path: str
    ) -> tuple[Sequence[Classified | MultiClassified], BertConfig]:
        if _are_sets(entries, data):
            cfg = BertConfig(problem_type=MULTI_LABEL)
            self._check_positive(cfg, "there are")
            sets, order = _read_sets(entries, data, path)
            return sets, dataclasses.replace(cfg, id2label=order)
        single, order = _read_single(entries, data, path)
        cfg = BertConfig(id2label=order)
        self._check_positive(cfg, "there are")
        return single, cfg


def _gold_of(example: TextExample) -> str:
    return str(example.label)


def _label_of(prediction: Classified | MultiClassified) -> str:
    assert isinstance(prediction, Classified)
    return prediction.label


def _labels_of(prediction: Classified | MultiClassified) -> tuple[str, ...]:
    assert isinstance(prediction, MultiClassified)
    return prediction.labels


def _sets_and_scores(
    predictions: Sequence[Classified | MultiClassified], names: Sequence[str]
) -> tuple[Sequence[tuple[str, ...]], np.ndarray | None]:
    """The classes of each prediction, and their scores, (M, C), where all have such."""
    sets = Mapped(_labels_of, predictions)
    if not all(p.scores for p in predictions):
        return sets, None
    rows = np.fromiter((p.scores[name] for p in predictions for name in names), np.float64)
    return sets, rows.reshape(-1, len(names))


def _kept(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
    return {**scores_of_windows(outputs), "logits": outputs["logits"]}


def _ids(examples: Sequence[TextExample], cfg: BertConfig) -> np.ndarray:
    """(N,) int32: the class of each."""
    several = next((e for e in examples if isinstance(e.label, tuple)), None)
    if several is not None:
        raise InputError(
            f"{several.where}: a list of labels, or a column for each, and the model gives one "
            "class a text; train one with such data, or name a column with one label a row"
        )
    return np.array([number_of(str(e.label), cfg, e.where) for e in examples], np.int32)


def _distributions(examples: Sequence[TextExample], cfg: BertConfig) -> np.ndarray:
    """(N, C) float32: the probabilities of each example's soft label; 1 at a class that is none."""
    if cfg.multi_label:
        where = next(e.where for e in examples if isinstance(e.label, SoftLabel))
        raise InputError(
            f"{where}: a distribution over classes, and the model gives any number of classes a "
            f"text; give lists of labels, or --problem_type {SINGLE_LABEL}"
        )
    targets = np.zeros((len(examples), len(cfg.id2label)), np.float32)
    for row, e in enumerate(examples):
        label = e.label if isinstance(e.label, SoftLabel) else SoftLabel((str(e.label),), (1.0,))
        for name, probability in zip(label.names, label.probabilities, strict=True):
            targets[row, number_of(name, cfg, e.where)] = probability
    return targets


def _sets(examples: Sequence[TextExample], cfg: BertConfig) -> np.ndarray:
    """(N, C) float32: 1 for each class that an example has, else 0."""
    targets = np.zeros((len(examples), len(cfg.id2label)), np.float32)
    known = {name: number for number, name in enumerate(cfg.id2label)}
    for row, e in enumerate(examples):
        for name in classes_of(e):
            targets[row, known[name] if name in known else number_of(name, cfg, e.where)] = 1
    return targets


# --- a predictions file ---


def _are_sets(entries: Sequence[Cell], data: Data[TextExample]) -> bool:
    """Whether predictions or references are of any number of classes."""
    return any(isinstance(e.label, tuple) for e in data.examples) or any(
        isinstance(entry, list) or (isinstance(entry, dict) and "labels" in entry)
        for entry in entries
    )


def _read_single(
    entries: Sequence[Cell], data: Data[TextExample], path: str
) -> tuple[Sequence[Classified], tuple[str, ...]]:
    """Predictions of one class each, and all classes in order: that which the data declare, or the
    model's own. It says whose F1 two classes have."""
    found: list[Classified] = []
    names: dict[str, Classified] = {}  # of all that are predicted one and the same
    for number, (entry, e) in enumerate(zip(entries, data.examples, strict=True)):
        gold, label = needed(e.label, e.where), entry_of(entry, "label")
        if not isinstance(label, str):
            raise InputError(
                f"{path}: entry {number} is {str(label)[:40]}, expected the name of a class"
            )
        for name in (label, str(gold)):
            if name not in names:
                names[name] = Classified(name, {})
        found.append(names[label])
    scores = entries[0].get("scores") if isinstance(entries[0], dict) else None
    orders = (data.classes, tuple(scores) if isinstance(scores, dict) else ())
    return found, next((o for o in orders if names.keys() <= set(o)), sorted_classes(names))


def _read_sets(
    entries: Sequence[Cell], data: Data[TextExample], path: str
) -> tuple[Sequence[MultiClassified], tuple[str, ...]]:
    """Predictions of any number of classes, with their scores where all have such, and all
    classes in order."""
    seen = {*data.classes}
    of_scores: set[str] = set()
    scored = True
    for number, (entry, e) in enumerate(zip(entries, data.examples, strict=True)):
        names = entry.get("labels") if isinstance(entry, dict) else entry
        strings = [n for n in names if isinstance(n, str)] if isinstance(names, list) else None
        if strings != names or strings is None:
            raise InputError(
                f"{path}: entry {number} is {str(entry)[:40]}, expected a list of names of classes"
            )
        needed(e.label, e.where)
        seen |= {*strings, *classes_of(e)}
        scores = _scores_of(entry)
        scored = scored and scores is not None
        of_scores |= scores.keys() if scores and scored else set()
    order = sorted_classes(seen | of_scores if scored else seen)
    if not order:
        raise InputError(f"{path}: no label in any entry, and none in the references")
    if scored:
        for number, entry in enumerate(entries):
            _read_scores(_scores_of(entry) or {}, order, f"{path}: entry {number}")

    def read(entry: Cell) -> MultiClassified:
        names = entry_of(entry, "labels")
        assert isinstance(names, list)
        found = _read_scores(_scores_of(entry) or {}, order, path) if scored else {}
        return MultiClassified(tuple(map(str, names)), found)

    return Mapped(read, entries), order


def _scores_of(entry: Cell) -> dict[str, Cell] | None:
    scores = entry.get("scores") if isinstance(entry, dict) else None
    return scores if isinstance(scores, dict) else None


def _read_scores(scores: dict[str, Cell], order: Sequence[str], where: str) -> dict[str, float]:
    """The score of each class."""
    found = {}
    for name in order:
        value = scores.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(value, int | float) or not is_number or not abs(value) <= 1e30:
            raise InputError(f"{where} has no score of {name!r}, a number")  # NaN is none either
        found[name] = float(value)
    return found
