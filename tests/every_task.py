"""The training options of every task, by its name."""

from __future__ import annotations

from typing import Any

from jaxbert.options import (
    ClassificationTrainOptions,
    MLMTrainOptions,
    MultipleChoiceTrainOptions,
    QATrainOptions,
    RegressionTrainOptions,
    TaggingTrainOptions,
)

OPTIONS: dict[str, Any] = {
    "qa": QATrainOptions,
    "classification": ClassificationTrainOptions,
    "regression": RegressionTrainOptions,
    "multiple_choice": MultipleChoiceTrainOptions,
    "tagging": TaggingTrainOptions,
    "mlm": MLMTrainOptions,
}
