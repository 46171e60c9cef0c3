"""Regression on a text or a pair of texts: one output, mean squared error (STS-B)."""

from __future__ import annotations

import dataclasses
import functools
from array import array
from collections.abc import Iterable, Sequence
from typing import ClassVar, Self

import jax
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.data.rows import Cell, Content, Data
from jaxbert.data.sampling import NumpyBatch
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError
from jaxbert.io.files import JsonArray, JsonFile
from jaxbert.losses.forms import Arrays, Loss
from jaxbert.losses.label_losses import squared_error
from jaxbert.metrics.class_scores import regression_scores
from jaxbert.metrics.resampled_scores import ResampledScores, resampled_numbers
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Params
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.options.task_settings import (
    RegressionSettings,
)
from jaxbert.report.records import Findings
from jaxbert.tasks.shown_numbers import numbers_shown
from jaxbert.tasks.task import WITH_BASE, Losses, Reduce, entry_of, needed
from jaxbert.tasks.text_task import TextTask, scores_of_windows


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The model learns (target - mean) / scale."""

    mean: float = 0.0
    scale: float = 1.0

    def of(self, targets: np.ndarray) -> np.ndarray:
        """What is learned of targets, or of scores in their scale, float32."""
        return ((targets - self.mean) / self.scale).astype(np.float32)

    def undone(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        """What is kept of each row: its score (B,), in the scale of the targets as given."""
        scores = outputs["scores"] * self.scale + self.mean
        return {**scores_of_windows(outputs), "scores": scores}

    def squared_error(
        self, outputs: Arrays, batch: Batch[jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """The squared error in the scale of the targets as they were given, and its weight."""
        loss_sum, weight_sum = squared_error(outputs, batch)
        return loss_sum * self.scale**2, weight_sum


class Regression(TextTask[RegressionSettings, float]):
    """A number for each text or pair."""

    name = "regression"
    head = "regression"
    output = "scores"
    pipeline_tag = "text-classification"
    losses: ClassVar[Losses] = {"mean_squared_error": squared_error, **WITH_BASE}
    metrics = (Metric("pearson"), Metric("spearmanr"), Metric("mse", lower_is_better=True))
    has_classes = True
    settings_cls = RegressionSettings

    @functools.cached_property
    def scaling(self) -> Scaling:
        """Of the targets that are learned: that of the settings, until it is measured."""
        return Scaling(*self.settings.mean_and_scale())

    def read(self, sources: Iterable[tuple[str, Content]]) -> Data[TextExample]:
        return read_texts(
            sources,
            text_columns=self.settings.text_column_name,
            label_column=self.settings.label_column_name,
            numeric=True,
            strict=self.settings.strict,
        )

    def labels(self, examples: Sequence[TextExample]) -> tuple[str, ...]:
        return ("score",)

    def fit_to(
        self, train: Sequence[TextExample] | None, held_out: Sequence[TextExample] | None
    ) -> Self:
        """Measure the targets for --target_scaling standard."""
        if train is None or not self.settings.measures_targets:
            return self
        targets = np.array([e.label for e in train], np.float64)
        # Rounded as options.json keeps them: repeated by its record, a run has the same.
        words = [f"{targets.mean():.9g}", f"{targets.std() or 1.0:.9g}"]
        fitted = type(self)(dataclasses.replace(self.settings, target_scaling=words))
        fitted.scaling = Scaling(*map(float, words))
        return fitted

    def encode_part(
        self, examples: Sequence[TextExample], tokenizer: PreTrainedTokenizerFast, cfg: BertConfig
    ) -> Features:
        targets = None
        if all(e.label is not None for e in examples):
            targets = self.scaling.of(np.array([e.label for e in examples], np.float64))
        return self._encoded(examples, tokenizer, cfg, targets)

    def export(self, params: Params) -> Params:
        """The scaling undone in the last layer: the saved model gives the targets' own scale."""
        if self.scaling == Scaling():
            return params
        mean, scale = self.scaling.mean, self.scaling.scale
        head = params["classifier"]
        kernel, bias = np.asarray(head["kernel"]), np.asarray(head["bias"])
        exported = {"kernel": kernel * np.float32(scale), "bias": bias * np.float32(scale)}
        exported["bias"] = exported["bias"] + np.float32(mean)
        return {**params, "classifier": exported}

    def evaluation_loss(self) -> Loss:
        return self.scaling.squared_error

    @property
    def without_teacher(self) -> str | None:
        if not self.settings.target_scaling:
            return super().without_teacher
        return "not with --target_scaling; a teacher's scores are not scaled"

    def pooled(
        self, features: Features, arrays: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], NumpyBatch]:
        outputs, rows = super().pooled(features, arrays)
        return {"scores": self.scaling.of(outputs["scores"])}, rows

    def reduce(self) -> Reduce:
        return self.scaling.undone

    def decode(
        self,
        examples: Sequence[TextExample],
        features: Features,
        arrays: dict[str, np.ndarray],
        cfg: BertConfig,
    ) -> list[float]:
        found: list[float] = self._pooled(features, arrays).tolist()
        return found

    def score(
        self, examples: Sequence[TextExample], predictions: Sequence[float], cfg: BertConfig
    ) -> dict[str, float]:
        references = array("d", (e.label for e in examples if isinstance(e.label, float)))
        return regression_scores(predictions, references)

    def resampled(
        self, examples: Sequence[TextExample], predictions: Sequence[float], cfg: BertConfig
    ) -> ResampledScores:
        references = array("d", (e.label for e in examples if isinstance(e.label, float)))
        return resampled_numbers(predictions, references)

    def artifacts(
        self, examples: Sequence[TextExample], predictions: Sequence[float], cfg: BertConfig
    ) -> dict[str, JsonFile]:
        return {"predictions.json": JsonArray(predictions)}

    def findings(
        self, examples: Sequence[TextExample], predictions: Sequence[float], cfg: BertConfig
    ) -> Findings:
        return numbers_shown(examples, predictions)

    def read_predictions(
        self, entries: Sequence[Cell], data: Data[TextExample], path: str
    ) -> tuple[list[float], BertConfig]:
        found: list[float] = []
        for number, (entry, e) in enumerate(zip(entries, data.examples, strict=True)):
            needed(e.label, e.where)
            value = entry_of(entry, "score")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not isinstance(value, int | float) or not is_number or not abs(value) <= 1e30:
                wanted = "a finite number" if is_number else "a number"  # NaN is not finite
                raise InputError(f"{path}: entry {number} is {str(value)[:40]}, expected {wanted}")
            found.append(value)
        return found, BertConfig()
