"""A new task is trained and evaluated by the same command, and the same functions, as the others.

A real new task touches four files, and a fifth if it has a head of its own:

- jaxbert/options/task_settings.py: its settings, and the flags of its two commands;
- jaxbert/tasks/NAME.py: the class;
- jaxbert/tasks/registry.py: its place among the others;
- jaxbert/tasks/task_commands.py: its flags and its demo;
- jaxbert/model/heads.py: the head, where none of those that are there serves.

A predictor is a module of jaxbert/predictors/, and its asker is in jaxbert/cli/askers.py.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

import jaxbert
from jaxbert.cli.main import answer, start
from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.rows import Content, Data
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.losses.label_losses import label_cross_entropy
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.options.fields import Value, option
from jaxbert.options.settings import EvaluationOptions, TrainingOptions
from jaxbert.options.task_settings import TextOptions
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task import Reduce, Task, number_of, probabilities
from jaxbert.tasks.task_commands import TASK_COMMANDS, TaskCommand

pytestmark = pytest.mark.integration


@dataclasses.dataclass(frozen=True)
class CountOptions(TextOptions):
    most: int = option(2, "The largest count that is told apart.", range=(1, 9))


@dataclasses.dataclass(frozen=True)
class CountTrainOptions(CountOptions, TrainingOptions):
    """Count the word."""


@dataclasses.dataclass(frozen=True)
class CountEvalOptions(CountOptions, EvaluationOptions):
    """Evaluate a counter."""


class Counting(Task[CountOptions, TextExample, int]):
    """How often a text has the word "the": the text is its own label."""

    name = "counting"
    head = "classification"
    losses = {"cross_entropy": label_cross_entropy}  # noqa: RUF012
    metrics = (Metric("mean_error", lower_is_better=True),)
    has_classes = True
    settings_cls = CountOptions

    def read(self, sources: Iterable[tuple[str, Content]]) -> Data[TextExample]:
        return read_texts(
            sources, text_columns=["text"], label_column=None, numeric=False, strict=True
        )

    def count(self, example: TextExample) -> int:
        return min(example.text.split().count("the"), self.settings.most)

    def labels(self, examples: Sequence[TextExample]) -> tuple[str, ...]:
        return tuple(str(n) for n in range(self.settings.most + 1))

    def encode_part(
        self, examples: Sequence[TextExample], tokenizer: PreTrainedTokenizerFast, cfg: BertConfig
    ) -> Features:
        ids = [number_of(str(self.count(e)), cfg, e.where) for e in examples]
        targets = np.array(ids, np.int32)
        length = self.settings.max_seq_length
        return encode_texts(examples, tokenizer, max_length=length, targets=targets)

    def reduce(self) -> Reduce:
        return probabilities

    def decode(
        self,
        examples: Sequence[TextExample],
        features: Features,
        arrays: dict[str, np.ndarray],
        cfg: BertConfig,
    ) -> list[int]:
        return [int(n) for n in arrays["probabilities"].argmax(-1)]

    def score(
        self, examples: Sequence[TextExample], predictions: Sequence[int], cfg: BertConfig
    ) -> dict[str, float]:
        pairs = zip(examples, predictions, strict=True)
        return {"mean_error": float(np.mean([abs(self.count(e) - n) for e, n in pairs]))}

    def artifacts(
        self, examples: Sequence[TextExample], predictions: Sequence[int], cfg: BertConfig
    ) -> dict[str, Json]:
        return {"predictions.json": list(predictions)}


TEXTS = ["the of and", "who was at", "the the who", "in the which"]
ROWS = [{"text": text} for text in TEXTS]


@pytest.fixture
def data(tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a demo; the task is registered as the two files of tasks/ do it."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    demo: dict[str, Value] = {
        "model_name_or_path": str(tiniest_folder),
        "train_file": [str(path)],
        "validation_file": [str(path)],
        "per_device_train_batch_size": 2,
        "max_seq_length": 16,
        "max_steps": 2,
        "parallel": "jit",
    }
    command = TaskCommand(CountTrainOptions, CountEvalOptions, demo, "see {}/eval".format)
    monkeypatch.setitem(TASKS, "counting", Counting)
    monkeypatch.setitem(TASK_COMMANDS, "counting", command)
    return path


def test_the_command_has_it(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.search(r"^  counting +Count the word\.$", str(answer(["train"])), re.MULTILINE)
    assert answer(["train", "counting"]) is None  # it is started, with its demo
    assert " counting" in str(answer(["--print-completion", "bash"]))
    run = tmp_path / "run"
    assert start(["train", "counting", "--most", "3", "--output_dir", str(run)]) == 0
    assert capsys.readouterr().out.endswith(f"see {run}/eval\n")
    record = json.loads((run / "options.json").read_text())
    assert (record["task"], record["options"]["most"]) == ("counting", 3)
    assert list(json.loads((run / "config.json").read_text())["id2label"].values()) == [*"0123"]
    scores = json.loads((run / "metrics.json").read_text())
    assert scores.keys() == {"mean_error", "eval_loss"}
    again = ["eval", "counting", "--model_name_or_path", str(run), "--validation_file", str(data)]
    assert start([*again, "--output_dir", str(run / "eval")]) == 0  # --most is as it was trained
    assert json.loads((run / "eval" / "metrics.json").read_text()) == scores
    assert len(json.loads((run / "eval" / "predictions.json").read_text())) == len(TEXTS)
    with pytest.raises(InputError, match="--metric_for_best_model f1: give mean_error, eval_loss"):
        start(["train", "counting", "--metric_for_best_model", "f1", "--output_dir", f"{run}2"])
    with pytest.raises(SystemExit):
        start(["train", "counting", "--help"])
    shown = capsys.readouterr().out
    assert "The largest count that is told apart." in " ".join(shown.split())


def test_python_has_it(tiniest_folder: Path, tmp_path: Path, data: Path) -> None:
    run = jaxbert.train(
        "counting",
        model=tiniest_folder,
        train_data=ROWS,
        validation_data=ROWS,
        output_dir=tmp_path / "run",
        most=1,
        max_steps=2,
        per_device_train_batch_size=2,
        max_seq_length=16,
        parallel="jit",
    )
    assert run.scores.keys() == {"mean_error", "eval_loss"}
    found = jaxbert.evaluate("counting", model=run.output_dir, data=data)
    assert found.scores == run.scores
    counts = [entry["score"] for entry in found.predictions]
    assert run.scores["mean_error"] == np.mean(
        [abs(n - m) for n, m in zip(counts, [1, 0, 1, 1], strict=True)]
    )
    assert run.predict(ROWS) == found.predictions
    with pytest.raises(InputError, match=r"no predictor for counting; use predict\(rows\)"):
        run.predictor()
    with pytest.raises(InputError, match="--most 10: it must be from 1 to 9"):
        jaxbert.train("counting", train_data=ROWS, output_dir=tmp_path / "other", most=10)
