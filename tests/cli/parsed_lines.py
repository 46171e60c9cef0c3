"""Settings of every task, and the one line of a command line that is refused."""

from __future__ import annotations

from typing import Any

import pytest
from every_task import OPTIONS

from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.options import command_settings, task_settings

QA, MLM = OPTIONS["qa"], OPTIONS["mlm"]
CLASSES, NUMBERS = OPTIONS["classification"], OPTIONS["regression"]
TAGS, CHOICES = OPTIONS["tagging"], OPTIONS["multiple_choice"]
EVALUATIONS = (
    *(task_settings.QAEvalOptions, task_settings.ClassificationEvalOptions),
    command_settings.CalibrateOptions,
    *(task_settings.RegressionEvalOptions, task_settings.TaggingEvalOptions),
    *(task_settings.MultipleChoiceEvalOptions, task_settings.MLMEvalOptions),
)
KINDS = (*OPTIONS.values(), *EVALUATIONS)


def refusal(kind: Any, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        command_line.parse(kind, words)
    message = str(caught.value)
    assert "\n" not in message
    return message
