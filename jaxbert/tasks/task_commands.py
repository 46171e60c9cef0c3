"""The flags and the demo of each task, for commands and Python. Light to import: no JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxbert import demo
from jaxbert.options import settings, task_settings
from jaxbert.options.fields import Value


class TaskCommand(NamedTuple):
    """The flags of a task's two commands, and its demo.

    Attributes:
        training: flags of `jaxbert train`; the docstring is its --help.
        evaluation: flags of `jaxbert eval`, likewise.
        recipe: option -> value of the demo.
        after_demo: given the folder of the finished demo, what to print.
    """

    training: type[settings.TrainingOptions]
    evaluation: type[settings.EvaluationOptions]
    recipe: Mapping[str, Value]
    after_demo: Callable[[str], str] | None = None


def _answers(folder: str) -> str:
    """The three demo questions with the model's answers and its confidence in each."""
    from jaxbert import QuestionAnswerer
    from jaxbert.data.questions import read_qa

    answerer = QuestionAnswerer.from_pretrained(folder)
    lines = []
    for example in read_qa([demo.path_of("qa_en_ask.json")]).examples:
        found = answerer(question=example.question, context=example.context)
        assert isinstance(found, dict)  # of one question one answer
        lines += [
            "",
            f"{example.question}",
            f"  {found['answer']}   (confidence {found['score']:.0%}; "
            f"expected {example.answers[0].text})",
        ]
    return "\n".join(lines)


TASK_COMMANDS: dict[str, TaskCommand] = {
    "qa": TaskCommand(task_settings.QATrainOptions, task_settings.QAEvalOptions, demo.QA, _answers),
    "classification": TaskCommand(
        task_settings.ClassificationTrainOptions,
        task_settings.ClassificationEvalOptions,
        demo.CLASSIFICATION,
    ),
    "regression": TaskCommand(
        task_settings.RegressionTrainOptions,
        task_settings.RegressionEvalOptions,
        demo.REGRESSION,
    ),
    "tagging": TaskCommand(
        task_settings.TaggingTrainOptions,
        task_settings.TaggingEvalOptions,
        demo.TAGGING,
    ),
    "multiple_choice": TaskCommand(
        task_settings.MultipleChoiceTrainOptions,
        task_settings.MultipleChoiceEvalOptions,
        demo.MULTIPLE_CHOICE,
    ),
    "mlm": TaskCommand(task_settings.MLMTrainOptions, task_settings.MLMEvalOptions, demo.MLM),
}
