"""Multiple choice: which of K endings or answers fits (SWAG, RACE)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbert.data.choices import ChoiceExample, read_choices
from jaxbert.data.encode_texts import encode_choices
from jaxbert.data.features import Features
from jaxbert.data.rows import Data
from jaxbert.losses.label_losses import label_accuracy
from jaxbert.metrics.class_scores import choice_scores
from jaxbert.model.config import BertConfig
from jaxbert.options.settings import MultipleChoiceOptions
from jaxbert.tasks.task import OF_LABELS, WITH_BASE, Task, load_table, reduce_logits


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A prediction: the number of the best choice, and the probability of each."""

    label: int
    scores: tuple[float, ...]


def _read(tables: Any, options: MultipleChoiceOptions) -> Data[ChoiceExample]:
    return read_choices(tables, label_column=options.label_column_name, strict=options.strict)


def _encode(
    examples: Sequence[ChoiceExample],
    tokenizer: Any,
    options: MultipleChoiceOptions,
    cfg: BertConfig,
) -> Features:
    targets = None
    if all(e.label is not None for e in examples):
        targets = np.array([e.label for e in examples], np.int32)
    return encode_choices(examples, tokenizer, max_length=options.max_seq_length, targets=targets)


def _score(
    examples: Sequence[ChoiceExample],
    predictions: Sequence[Chosen],
    options: MultipleChoiceOptions,
    cfg: BertConfig,
) -> dict[str, float]:
    return choice_scores([p.label for p in predictions], [e.label or 0 for e in examples])


MULTIPLE_CHOICE = Task(
    name="multiple_choice",
    head="multiple_choice",
    losses={**OF_LABELS, **WITH_BASE},
    measure=label_accuracy,
    packs=False,
    best_metrics=("accuracy",),
    load=load_table,
    read=_read,
    label_of=lambda e: e.label,
    encode=_encode,
    reduce=reduce_logits,
    decode=lambda examples, features, arrays, options, cfg: [
        Chosen(int(np.argmax(row)), tuple(row.tolist())) for row in arrays["probabilities"]
    ],
    score=_score,
    files=lambda examples, predictions, options, cfg: {
        "predictions.json": [dataclasses.asdict(p) for p in predictions]
    },
)
