"""A new task from outside the package is trained and evaluated by the same code as the others.

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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.rows import Content, Data
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.losses.label_losses import label_cross_entropy
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.options.fields import option
from jaxbert.options.settings import EvaluationOptions, TrainingOptions
from jaxbert.options.task_settings import TextOptions
from jaxbert.runs.evaluate import evaluate
from jaxbert.runs.train import train
from jaxbert.tasks.task import Reduce, Task, number_of, probabilities

pytestmark = pytest.mark.integration


@dataclasses.dataclass(frozen=True)
class CountOptions(TextOptions):
    most: int = option(2, "The largest count that is told apart.", range=(1, 9))


@dataclasses.dataclass(frozen=True)
class CountTrainOptions(CountOptions, TrainingOptions):
    pass


@dataclasses.dataclass(frozen=True)
class CountEvalOptions(CountOptions, EvaluationOptions):
    pass


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

    def encode(
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


def test_a_task_of_its_own_is_trained_and_evaluated(tiniest_folder: Path, tmp_path: Path) -> None:
    texts = ["the of and", "who was at", "the the who", "in the which"]
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    shared: dict[str, Any] = {"validation_file": [str(data)], "max_seq_length": 16}
    options = CountTrainOptions(
        model_name_or_path=str(tiniest_folder),
        train_file=[str(data)],
        output_dir=str(tmp_path / "run"),
        per_device_train_batch_size=2,
        max_steps=2,
        parallel="jit",
        **shared,
    )
    trained = train(Counting, options)
    assert trained.done
    assert trained.scores.keys() == {"mean_error", "eval_loss"}
    record = json.loads((tmp_path / "run" / "options.json").read_text())
    assert (record["task"], record["options"]["most"]) == ("counting", 2)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["id2label"] == {"0": "0", "1": "1", "2": "2"}
    found = evaluate(
        Counting,
        CountEvalOptions(
            model_name_or_path=str(tmp_path / "run"), output_dir=str(tmp_path / "eval"), **shared
        ),
    )
    assert found.scores == trained.scores
    assert len(json.loads((tmp_path / "eval" / "predictions.json").read_text())) == len(texts)
    with pytest.raises(InputError, match="--metric_for_best_model f1: give mean_error, eval_loss"):
        train(Counting, dataclasses.replace(options, metric_for_best_model="f1"))
