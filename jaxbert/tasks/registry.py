"""All tasks by name, each with its training options."""

from __future__ import annotations

from typing import Any

from jaxbert.options import settings
from jaxbert.tasks.classification import CLASSIFICATION
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MULTIPLE_CHOICE
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import REGRESSION
from jaxbert.tasks.tagging import TAGGING
from jaxbert.tasks.task import Task

TASKS: dict[str, tuple[Task, type[Any]]] = {
    "qa": (QA, settings.QATrainOptions),
    "classification": (CLASSIFICATION, settings.ClassificationTrainOptions),
    "regression": (REGRESSION, settings.RegressionTrainOptions),
    "multiple_choice": (MULTIPLE_CHOICE, settings.MultipleChoiceTrainOptions),
    "tagging": (TAGGING, settings.TaggingTrainOptions),
    "mlm": (MLM, settings.MLMTrainOptions),
}
