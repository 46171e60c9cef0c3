"""Multiple choice: which of K endings or answers fits (SWAG, RACE)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from jaxbert.data.choices import ChoiceExample, read_choices
from jaxbert.data.encode_texts import encode_choices
from jaxbert.data.features import Features
from jaxbert.data.rows import Cell, Content, Data
from jaxbert.data.sources import load_rows
from jaxbert.errors import InputError
from jaxbert.io.files import JsonArray, JsonFile
from jaxbert.losses.forms import Measure
from jaxbert.losses.label_losses import label_accuracy
from jaxbert.metrics.class_scores import choice_scores
from jaxbert.metrics.resampled_scores import ResampledScores, resampled_means
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.options.task_settings import (
    MultipleChoiceOptions,
)
from jaxbert.report.records import Findings, Passage, Shown
from jaxbert.tasks.shown_examples import class_shown, judged_findings
from jaxbert.tasks.task import (
    OF_LABELS,
    WITH_BASE,
    Losses,
    Reduce,
    RowTask,
    entry_of,
    needed,
    probabilities,
)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A prediction: the number of the best choice, and the probability of each."""

    label: int
    scores: tuple[float, ...]


class MultipleChoice(RowTask[MultipleChoiceOptions, ChoiceExample, Chosen]):
    """One of several choices for each row."""

    name = "multiple_choice"
    head = "multiple_choice"
    pipeline_tag = "multiple-choice"
    losses: ClassVar[Losses] = {**OF_LABELS, **WITH_BASE}
    metrics = (Metric("accuracy"),)
    packs = False
    settings_cls = MultipleChoiceOptions
    example_cls = ChoiceExample

    def load(self, path: str) -> Content:
        return load_rows(path, quoted_tsv=self.settings.quoted_tsv)

    def read(self, sources: Iterable[tuple[str, Content]]) -> Data[ChoiceExample]:
        column, strict = self.settings.label_column_name, self.settings.strict
        return read_choices(sources, label_column=column, strict=strict)

    def label_of(self, example: ChoiceExample) -> int | None:
        return example.label

    def encode_part(
        self, examples: Sequence[ChoiceExample], tokenizer: PreTrainedTokenizerFast, cfg: BertConfig
    ) -> Features:
        targets = None
        if all(e.label is not None for e in examples):
            targets = np.array([e.label for e in examples], np.int32)
        length = self.settings.max_seq_length
        return encode_choices(examples, tokenizer, max_length=length, targets=targets)

    def measure(self) -> Measure:
        return label_accuracy

    def reduce(self) -> Reduce:
        return probabilities

    def decode(
        self,
        examples: Sequence[ChoiceExample],
        features: Features,
        arrays: dict[str, np.ndarray],
        cfg: BertConfig,
    ) -> list[Chosen]:
        rows = arrays["probabilities"]
        return [Chosen(int(np.argmax(row)), tuple(row.tolist())) for row in rows]

    def score(
        self, examples: Sequence[ChoiceExample], predictions: Sequence[Chosen], cfg: BertConfig
    ) -> dict[str, float]:
        return choice_scores([p.label for p in predictions], [e.label or 0 for e in examples])

    def resampled(
        self, examples: Sequence[ChoiceExample], predictions: Sequence[Chosen], cfg: BertConfig
    ) -> ResampledScores:
        right = [float(p.label == e.label) for e, p in zip(examples, predictions, strict=True)]
        return resampled_means({"accuracy": right})

    def artifacts(
        self, examples: Sequence[ChoiceExample], predictions: Sequence[Chosen], cfg: BertConfig
    ) -> dict[str, JsonFile]:
        return {"predictions.json": JsonArray(map(dataclasses.asdict, predictions))}

    def findings(
        self, examples: Sequence[ChoiceExample], predictions: Sequence[Chosen], cfg: BertConfig
    ) -> Findings:
        pairs = zip(examples, predictions, strict=True)
        return judged_findings(_shown(e, p) for e, p in pairs)

    def read_predictions(
        self, entries: Sequence[Cell], data: Data[ChoiceExample], path: str
    ) -> tuple[list[Chosen], BertConfig]:
        found = []
        for number, (entry, e) in enumerate(zip(entries, data.examples, strict=True)):
            needed(e.label, e.where)
            label = entry_of(entry, "label")
            if not isinstance(label, int) or isinstance(label, bool):
                raise InputError(
                    f"{path}: entry {number} is {str(label)[:40]}, expected the number of a choice"
                )
            found.append(Chosen(label, ()))
        return found, BertConfig()


def _shown(example: ChoiceExample, prediction: Chosen) -> Shown:
    """An example of a report. Each choice is known by its letter: two may have one text."""
    names = [f"{_letter(n)}  {ending}" for n, ending in enumerate(example.endings)]
    gold = None if example.label is None else names[example.label]
    scores = dict(zip(names, prediction.scores, strict=True))
    passages = [Passage("", example.context)]
    said = names[prediction.label]
    return class_shown(example.where, passages, gold, said, scores, by_class=False)


def _letter(number: int) -> str:
    """A, B, C, ...; after Z the number."""
    return chr(ord("A") + number) if number < 26 else str(number + 1)
