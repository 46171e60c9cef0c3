"""Askers: a fine-tuned folder of each task, asked at a command line or prompt."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, TypeAlias

from jaxbert.predictors.fill_mask import FillMask
from jaxbert.predictors.question_answerer import QuestionAnswerer
from jaxbert.predictors.tagger import Tagger
from jaxbert.predictors.text_predictors import TextClassifier, TextRegressor

Row: TypeAlias = Mapping[str, str | int | float]
Nested: TypeAlias = "Row | Iterable[Nested]"

_BAR = 20  # characters of a score of 1
_TOP_K = 5


class Asker(abc.ABC):
    """A task's model with what `jaxbert ask` needs to know of it.

    Attributes:
        flags: the flags that the task takes; the first is the text that is asked about.
        beside: the flag of the text that goes with it; "" where there is none.
        needs_beside: whether nothing can be asked without that text.
    """

    flags: ClassVar[tuple[str, ...]]
    beside: ClassVar[str] = ""
    needs_beside: ClassVar[bool] = False

    @abc.abstractmethod
    def __init__(self, model: str, top_k: int | None) -> None:
        """Open a folder or Hub name; top_k is how many answers there may be, None the default.

        Raises:
            InputError: there is no such model, or it is of another task.
        """

    @abc.abstractmethod
    def ask(self, text: str, beside: str | None) -> list[Row]:
        """The answers, best first.

        Raises:
            InputError: the texts or top_k cannot be used.
        """

    @abc.abstractmethod
    def lines(self, rows: Sequence[Row]) -> list[str]:
        """The answers for people."""

    def to_json(self, rows: Sequence[Row]) -> Row | Sequence[Row]:
        """The answers for programs."""
        return rows


class _QuestionAsker(Asker):
    flags = ("question", "context", "context_file", "top_k")
    beside = "context"
    needs_beside = True

    def __init__(self, model: str, top_k: int | None) -> None:
        self._predictor, self._top_k = QuestionAnswerer.from_pretrained(model), top_k

    def ask(self, text: str, beside: str | None) -> list[Row]:
        found = self._predictor(question=text, context=beside, top_k=self._top_k)
        answers = [found] if isinstance(found, dict) else [a for a in found if isinstance(a, dict)]
        return [
            {"score": a["score"], "start": a["start"], "end": a["end"], "answer": a["answer"]}
            for a in answers
        ]

    def lines(self, rows: Sequence[Row]) -> list[str]:
        return [
            f"{row['score']:6.1%}  {row['answer']}   "
            f"({_characters(row) if row['answer'] else 'no answer'})"
            for row in rows
        ]

    def to_json(self, rows: Sequence[Row]) -> Row | Sequence[Row]:
        return rows[0] if len(rows) == 1 else rows


class _ClassAsker(Asker):
    flags = ("text", "text_pair", "top_k")
    beside = "text_pair"

    def __init__(self, model: str, top_k: int | None) -> None:
        self._predictor = TextClassifier.from_pretrained(model)
        self._top_k = _TOP_K if top_k is None else top_k

    def ask(self, text: str, beside: str | None) -> list[Row]:
        return _rows(self._predictor(_pair(text, beside), top_k=self._top_k))

    def lines(self, rows: Sequence[Row]) -> list[str]:
        bars = ["#" * round(_BAR * float(row["score"])) for row in rows]
        return [
            f"{row['score']:6.1%}  {bar:<{_BAR}}  {row['label']}"
            for row, bar in zip(rows, bars, strict=True)
        ]


class _NumberAsker(Asker):
    flags = ("text", "text_pair")
    beside = "text_pair"

    def __init__(self, model: str, top_k: int | None) -> None:
        self._predictor = TextRegressor.from_pretrained(model)

    def ask(self, text: str, beside: str | None) -> list[Row]:
        return _rows(self._predictor(_pair(text, beside)))

    def lines(self, rows: Sequence[Row]) -> list[str]:
        return [f"{row['score']:8.3f}  {row['label']}" for row in rows]

    def to_json(self, rows: Sequence[Row]) -> Row | Sequence[Row]:
        return rows[0]


class _EntityAsker(Asker):
    flags = ("text",)

    def __init__(self, model: str, top_k: int | None) -> None:
        # A word has the label of its first token, as in training and evaluation.
        self._predictor = Tagger.from_pretrained(model, aggregation_strategy="first")

    def ask(self, text: str, beside: str | None) -> list[Row]:
        return [
            {
                "entity_group": entity["entity_group"],
                "score": float(entity["score"]),
                "word": text[entity["start"] : entity["end"]],
                "start": entity["start"],
                "end": entity["end"],
            }
            for entity in self._predictor(text)
            if isinstance(entity, dict)
        ]

    def lines(self, rows: Sequence[Row]) -> list[str]:
        width = max((len(str(row["entity_group"])) for row in rows), default=0)
        found = [
            f"{row['score']:6.1%}  {row['entity_group']:<{width}}  {row['word']}   "
            f"({_characters(row)})"
            for row in rows
        ]
        return found or ["no entity"]


class _MaskAsker(Asker):
    flags = ("text", "top_k")

    def __init__(self, model: str, top_k: int | None) -> None:
        self._predictor = FillMask.from_pretrained(model)
        self._top_k = _TOP_K if top_k is None else top_k

    def ask(self, text: str, beside: str | None) -> list[Row]:
        found = _rows(self._predictor(text, top_k=self._top_k))
        return [{"mask": n // self._top_k + 1, **row} for n, row in enumerate(found)]

    def lines(self, rows: Sequence[Row]) -> list[str]:
        if rows[-1]["mask"] == 1:
            return [
                f"{row['score']:6.1%}  {row['token_str']}   ({row['sequence']})" for row in rows
            ]
        return [f"{row['score']:6.1%}  {row['token_str']}   (mask {row['mask']})" for row in rows]


ASKERS: dict[str, type[Asker]] = {
    QuestionAnswerer.task.name: _QuestionAsker,
    TextClassifier.task.name: _ClassAsker,
    TextRegressor.task.name: _NumberAsker,
    Tagger.task.name: _EntityAsker,
    FillMask.task.name: _MaskAsker,
}


def _pair(text: str, beside: str | None) -> dict[str, str]:
    return {"text": text} if beside is None else {"text": text, "text_pair": beside}


def _rows(found: Nested) -> list[Row]:
    if isinstance(found, Mapping):
        return [found]
    return [row for each in found for row in _rows(each)]


def _characters(row: Row) -> str:
    return f"characters {row['start']} to {row['end']}"
