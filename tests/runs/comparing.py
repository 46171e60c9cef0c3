"""What tests of comparisons share: the words of a command, and a trainer that trains nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO

from jaxbert.cli import compare_command
from jaxbert.errors import InputError
from jaxbert.losses.choose import choose_loss
from jaxbert.runs.record import Request, RunRecord
from jaxbert.runs.train import Trained
from jaxbert.tasks.task import Task
from jaxbert.training.step import TrainState


def words(tiny_folder: Path, output: Path, *more: str) -> list[str]:
    given = ["classification", "--model_name_or_path", str(tiny_folder), "--max_steps", "1"]
    given += ["--train_file", str(DEMO / "classification_train.tsv"), "--max_seq_length", "64"]
    given += ["--validation_file", str(DEMO / "classification_dev.tsv"), "--length_bucket", "0"]
    given += ["--per_device_train_batch_size", "1", "--output_dir", str(output)]
    return [*given, "--seeds", "1", "2", "--losses", "cross_entropy", *more]


def begin(task: type[Task], options: Any, request: Request) -> None:
    """Write the record of a run."""
    source = choose_loss(task.losses, options.loss, options.loss_args).source
    record = RunRecord.of(task.name, options, loss=source, rows_per_step=1, request=request)
    record.write(Path(options.output_dir))


STATE = TrainState(np.int32(0), {}, ())
STOPPED = Trained(STATE, {}, False, ())


class Trainer:
    """In the place of a training: a run's score is made of its loss and seed.

    Attributes:
        runs: the options of every run.
    """

    def __init__(self) -> None:
        self.runs: list[Any] = []

    def __call__(self, task: type[Task], options: Any, request: Request) -> Trained:
        self.runs.append(options)
        if options.seed == 99:
            return STOPPED
        scores = {"accuracy": options.seed + len(options.loss), "f1": 0.5, "total": 60}
        folder = Path(options.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(scores))
        begin(task, options, request)
        return Trained(STATE, scores, True, ())

    def compare(self, *words: str) -> int:
        """The exit status of a comparison of such runs."""
        return compare_command.run(words[0], words[1:], self)

    def refuses(self, *words: str) -> str:
        """The message with which it ends."""
        with pytest.raises(InputError) as caught:
            self.compare(*words)
        message = str(caught.value)
        assert "\n" not in message
        return message
