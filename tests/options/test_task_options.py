"""The flags of each task's commands: defaults that differ from task to task."""

from __future__ import annotations

import pytest

from jaxbert.tasks.task_commands import TASK_COMMANDS


@pytest.mark.parametrize(
    ("name", "loss", "max_seq_length", "length_bucket"),
    [
        ("qa", "cross_entropy", 384, 64),
        ("classification", "cross_entropy", 128, 32),
        ("regression", "mean_squared_error", 128, 32),
        ("tagging", "cross_entropy", 128, 32),
        ("multiple_choice", "cross_entropy", 128, 32),
        ("mlm", "cross_entropy", 128, 64),
    ],
)
def test_defaults_are_the_tasks(
    name: str, loss: str, max_seq_length: int, length_bucket: int
) -> None:
    training, evaluation = TASK_COMMANDS[name].training(), TASK_COMMANDS[name].evaluation()
    assert training.loss == loss
    for options in (training, evaluation):
        assert options.length_bucket == length_bucket
        assert vars(options)["max_seq_length"] == max_seq_length
