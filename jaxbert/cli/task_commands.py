"""What the command line has of each task: its flags and its demo. Light to import: no JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxbert import demo
from jaxbert.options import settings


class TaskCommand(NamedTuple):
    """The flags of a task's two commands, and its demo.

    Attributes:
        training: flags of `jaxbert train`; the docstring is its --help.
        evaluation: flags of `jaxbert eval`, likewise.
        kept: the flags among them that an evaluation takes from the model's training.
        recipe: option -> value of the demo.
        after_demo: given the folder of the finished demo, what to print.
    """

    training: type[settings.TrainingOptions]
    evaluation: type[settings.EvaluationOptions]
    kept: type[settings.ReadingOptions]
    recipe: Mapping[str, Any]
    after_demo: Callable[[str], str] | None = None


def _answers(folder: str) -> str:
    from jaxbert import QuestionAnswerer

    return demo.show_answers(QuestionAnswerer.from_pretrained(folder))


TASK_COMMANDS: dict[str, TaskCommand] = {
    "qa": TaskCommand(
        settings.QATrainOptions, settings.QAEvalOptions, settings.QAOptions, demo.QA, _answers
    ),
    "classification": TaskCommand(
        settings.ClassificationTrainOptions,
        settings.ClassificationEvalOptions,
        settings.ClassificationOptions,
        demo.CLASSIFICATION,
    ),
    "regression": TaskCommand(
        settings.RegressionTrainOptions,
        settings.RegressionEvalOptions,
        settings.RegressionOptions,
        demo.REGRESSION,
    ),
    "tagging": TaskCommand(
        settings.TaggingTrainOptions,
        settings.TaggingEvalOptions,
        settings.TaggingOptions,
        demo.TAGGING,
    ),
    "multiple_choice": TaskCommand(
        settings.MultipleChoiceTrainOptions,
        settings.MultipleChoiceEvalOptions,
        settings.MultipleChoiceOptions,
        demo.MULTIPLE_CHOICE,
    ),
    "mlm": TaskCommand(
        settings.MLMTrainOptions, settings.MLMEvalOptions, settings.MLMOptions, demo.MLM
    ),
}
