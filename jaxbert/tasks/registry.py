"""All tasks by name."""

from __future__ import annotations

from typing import Any, TypeAlias

from jaxbert.tasks.classification import Classification
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.tagging import Tagging
from jaxbert.tasks.task import Task

AnyTask: TypeAlias = Task[Any, Any, Any]

TASKS: dict[str, type[AnyTask]] = {
    task.name: task for task in (QA, Classification, Regression, MultipleChoice, Tagging, MLM)
}
