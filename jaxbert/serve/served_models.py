"""Fine-tuned folders of each task, asked for several requests at once."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from jaxbert.data.sampling import bucket_lengths
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.loaded.model import LoadedModel
from jaxbert.model.folders import find_model_folder
from jaxbert.predictors.fill_mask import FillMask
from jaxbert.predictors.question_answerer import QuestionAnswerer, Reading
from jaxbert.predictors.tagger import Tagger
from jaxbert.predictors.text_predictors import TextClassifier, TextRegressor
from jaxbert.runs.record import RunRecord, check_single
from jaxbert.serve import wire
from jaxbert.training.predict import cached_tokens


class Field(NamedTuple):
    """A text of a request.

    Attributes:
        name: in JSON.
        label: on the page.
        lines: how many the page shows; of 1, Enter asks.
        needed: a request must have it.
    """

    name: str
    label: str
    lines: int
    needed: bool = True


class ServedModel(abc.ABC):
    """A fine-tuned folder that answers requests.

    Attributes:
        task: its name.
        title: what the page calls it.
        fields: its texts.
        takes_top_k: whether there are several answers.
        examples: name -> the texts that the page offers.
        name: what requests call the model.
        place: the folder.
    """

    task: ClassVar[str]
    title: ClassVar[str]
    fields: ClassVar[tuple[Field, ...]]
    takes_top_k: ClassVar[bool] = True
    examples: ClassVar[dict[str, tuple[str, ...]]]

    def __init__(self, name: str, place: str, rows: int) -> None:
        """Open a folder.

        Args:
            rows: computed at once.

        Raises:
            InputError: it is no model of this task.
        """
        self.name, self.place = name, place
        model, longest = self._open(place, rows)
        self._shapes = _shapes(model.compute.target.platform, rows, longest)

    @abc.abstractmethod
    def _open(self, place: str, rows: int) -> tuple[LoadedModel, int]:
        """Make the predictor; returns its model, and the tokens of its longest row."""

    @abc.abstractmethod
    def answer(self, asks: Sequence[wire.Ask]) -> list[wire.Answer]:
        """The answers to requests that `check` has taken, computed together.

        Raises:
            InputError: one of them cannot be answered.
        """

    def of_tokens(self, tokens: int) -> wire.Ask:
        """A request that is a row of this number of tokens, at least 5."""
        return wire.Ask(text=" ".join(["a"] * (tokens - 2)))  # [CLS] ... [SEP]

    def check(self, ask: wire.Ask) -> None:
        """Refuse a request that has not the fields of the task.

        Raises:
            InputError: one is missing, empty, or another task's.
        """
        takes = [field.name for field in self.fields] + ["top_k"] * self.takes_top_k
        for name in sorted(ask.model_fields_set - {"model", *takes}):
            if getattr(ask, name) is not None:
                raise InputError(
                    f"{name}: {shown(self.name)} was trained for {self.task}; "
                    f"give {', '.join(takes)}"
                )
        for field in self.fields:
            value = getattr(ask, field.name)
            if field.needed and (value is None or not value.strip()):
                raise InputError(f"{field.name} is {'missing' if value is None else 'empty'}")

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows and tokens of the batches that are computed, one program each."""
        return self._shapes

    def warm_up(self) -> Iterator[tuple[int, int]]:
        """Compile the program of each shape, one a step."""
        for rows, tokens in self.shapes:
            self.answer([self.of_tokens(tokens)] * rows)
            yield rows, tokens


def _shapes(platform: str, rows: int, longest: int) -> tuple[tuple[int, int], ...]:
    """The shapes of training.predict: rows are halved, and long ones are fewer on a processor."""
    most = cached_tokens(platform)
    counts = [rows]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return tuple(
        (count, length)
        for length in bucket_lengths(64, longest)
        for count in counts
        if count == 1 or most is None or count * length <= most
    )


class ServedQuestions(ServedModel):
    """Question answering, as QuestionAnswerer answers with calibrated=True."""

    task = QuestionAnswerer.task.name
    title = "Questions"
    fields = (Field("context", "Text", 9), Field("question", "Question", 1))
    examples: ClassVar[dict[str, tuple[str, ...]]] = {
        "English": (
            "The lighthouse of Grey Point was built in 1871 by the engineer Helen Marsh, after two "
            "ships had been lost on the reef in a single winter. Its lamp burned whale oil until "
            "1904, when it was replaced by electric light. The tower is 38 metres high, and on "
            "clear nights its beam can be seen from 21 nautical miles away. Since 1986 nobody has "
            "lived there: a computer in the harbour of Easton turns the light on and off.",
            "Who built the lighthouse?",
        ),
        "中文": (
            "青石桥建于1623年，横跨在柳河之上，全长八十二米。桥由当地的石匠陈文远设计，一共用了六年时间才建成。"
            "1931年的洪水冲毁了桥的两个桥拱，直到1954年才修复。今天，汽车不能从桥上通过，"
            "但是每年春天都有许多人来这里看河边的樱花。",
            "青石桥是谁设计的？",
        ),
    }

    def _open(self, place: str, rows: int) -> tuple[LoadedModel, int]:
        self._predictor = QuestionAnswerer.from_pretrained(place, batch_size=rows)
        return self._predictor.model, self._predictor.longest

    def answer(self, asks: Sequence[wire.Ask]) -> list[wire.Answer]:
        readings = self._predictor.read(
            questions=[ask.question or "" for ask in asks],
            contexts=[ask.context or "" for ask in asks],
        )
        return [
            self._one(ask.context or "", ask.top_k, reading)
            for ask, reading in zip(asks, readings, strict=True)
        ]

    def _one(self, context: str, top_k: int, reading: Reading) -> wire.QuestionAnswers:
        prediction = reading.prediction
        given = prediction.answer
        ranked = [given, *(c for c in prediction.nbest if c != given)]
        no_answer = None
        if prediction.null_odds is not None:
            empty = next(c for c in prediction.nbest if not c.text)
            no_answer = wire.NoAnswer(
                score=empty.probability, odds=prediction.null_odds, threshold=reading.threshold
            )
        return wire.QuestionAnswers(
            model=self.name,
            answers=[
                wire.SpanAnswer(answer=c.text, start=c.start, end=c.end, score=c.probability)
                for c in ranked[:top_k]
            ],
            no_answer=no_answer,
            windows=[
                wire.WindowRead(
                    start=w.start,
                    end=w.end,
                    answer=context[w.best_start : w.best_end],
                    score=w.score if w.best_end else None,
                )
                for w in reading.windows
            ],
        )

    def of_tokens(self, tokens: int) -> wire.Ask:
        # [CLS] a [SEP] ... [SEP]
        return wire.Ask(question="a", context=" ".join(["a"] * (tokens - 4)))


class _ServedTexts(ServedModel):
    """Texts and pairs; a long one is cut, or read in windows, as in the training."""

    fields = (Field("text", "Text", 5), Field("text_pair", "Second text (optional)", 3, False))
    _predictor: TextClassifier | TextRegressor

    def _cut(self, ask: wire.Ask) -> bool:
        """Whether the end is not read."""
        if self._predictor.reads_windows:
            return False
        longest = self._predictor.longest
        texts = [ask.text or ""] + ([ask.text_pair] if ask.text_pair else [])
        if sum(map(len, texts)) + len(texts) + 1 <= longest:  # a token has a character or more
            return False
        backend = self._predictor.model.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        found = backend.encode_batch(texts, add_special_tokens=False)
        return sum(len(each.ids) for each in found) + len(texts) + 1 > longest


def _pair(ask: wire.Ask) -> dict[str, str]:
    text = ask.text or ""
    return {"text": text, "text_pair": ask.text_pair} if ask.text_pair else {"text": text}


class ServedClasses(_ServedTexts):
    """Classes of texts and pairs, as TextClassifier gives them."""

    task = TextClassifier.task.name
    title = "Classes"
    examples: ClassVar[dict[str, tuple[str, ...]]] = {
        "English": ("I laughed all evening, and the ending is a small wonder.", ""),
        "中文": ("房间很干净，早餐也好吃，下次还会再来。", ""),
    }

    def _open(self, place: str, rows: int) -> tuple[LoadedModel, int]:
        self._predictor = TextClassifier.from_pretrained(place, batch_size=rows)
        return self._predictor.model, self._predictor.longest

    def answer(self, asks: Sequence[wire.Ask]) -> list[wire.Answer]:
        rows = self._predictor([_pair(ask) for ask in asks], top_k=None)
        return [
            wire.Classes(
                model=self.name,
                answers=[wire.ClassScore.model_validate(each) for each in row[: ask.top_k]],
                multi_label=self._predictor.model.cfg.multi_label,
                cut=self._cut(ask),
            )
            for ask, row in zip(asks, rows, strict=True)
            if isinstance(row, list)
        ]


class ServedNumbers(_ServedTexts):
    """Numbers, such as the similarity of two texts, as TextRegressor gives them."""

    task = TextRegressor.task.name
    title = "Similarity"
    fields = (Field("text", "First text", 4), Field("text_pair", "Second text", 4, False))
    takes_top_k = False
    examples: ClassVar[dict[str, tuple[str, ...]]] = {
        "English": ("A man is playing a guitar on the street.", "Someone makes music outside."),
        "中文": ("一个男人在街上弹吉他。", "有人在外面演奏音乐。"),
    }

    def _open(self, place: str, rows: int) -> tuple[LoadedModel, int]:
        self._predictor = TextRegressor.from_pretrained(place, batch_size=rows)
        return self._predictor.model, self._predictor.longest

    def answer(self, asks: Sequence[wire.Ask]) -> list[wire.Answer]:
        rows = self._predictor([_pair(ask) for ask in asks])
        return [
            wire.Number.model_validate({"model": self.name, "cut": self._cut(ask), **row})
            for ask, row in zip(asks, rows, strict=True)
            if isinstance(row, dict)
        ]


class ServedEntities(ServedModel):
    """Entities, each word with the label of its first token, as `jaxbert ask` gives them."""

    task = Tagger.task.name
    title = "Entities"
    fields = (Field("text", "Text", 7),)
    takes_top_k = False
    examples: ClassVar[dict[str, tuple[str, ...]]] = {
        "English": (
            "Anna Lindqvist moved from Oslo to Lisbon in May and now works for the Atlantic "
            "Institute. Her brother Jonas stayed in Norway.",
        ),
        "中文": ("李明去年从上海搬到了柏林，现在在西门子公司工作。",),
    }

    def _open(self, place: str, rows: int) -> tuple[LoadedModel, int]:
        # What is asked together is of several requests, and no document.
        self._predictor = Tagger.from_pretrained(
            place, batch_size=rows, aggregation_strategy="first", document_context=False
        )
        return self._predictor.model, self._predictor.longest

    def answer(self, asks: Sequence[wire.Ask]) -> list[wire.Answer]:
        texts = [ask.text or "" for ask in asks]
        return [
            wire.Entities(
                model=self.name,
                answers=[
                    wire.Entity(
                        entity_group=each["entity_group"],
                        score=float(each["score"]),
                        word=text[each["start"] : each["end"]],
                        start=each["start"],
                        end=each["end"],
                    )
                    for each in found
                ],
            )
            for text, found in zip(texts, self._predictor(texts), strict=True)
            if isinstance(found, list)
        ]


class ServedMasks(ServedModel):
    """Words for each [MASK], as FillMask gives them."""

    task = FillMask.task.name
    title = "Masked words"
    fields = (Field("text", "Text with [MASK]", 4),)
    examples: ClassVar[dict[str, tuple[str, ...]]] = {
        "English": ("Every morning she drinks a cup of [MASK] before work.",),
        "中文": ("今天的天[MASK]很好，我们去公园吧。",),
    }

    def _open(self, place: str, rows: int) -> tuple[LoadedModel, int]:
        self._predictor = FillMask.from_pretrained(place, batch_size=rows)
        return self._predictor.model, self._predictor.longest

    def check(self, ask: wire.Ask) -> None:
        super().check(ask)
        mask = str(self._predictor.model.tokenizer.mask_token)
        if mask not in (ask.text or ""):
            raise InputError(f"text has no {mask}; write it where a word is missing")

    def answer(self, asks: Sequence[wire.Ask]) -> list[wire.Answer]:
        # All words that any request may have, so that one program computes them.
        most = min(wire.MOST_ANSWERS, self._predictor.model.cfg.vocab_size)
        found = self._predictor(iter([ask.text or "" for ask in asks]), top_k=most)
        assert isinstance(found, Iterator)
        answers: list[wire.Answer] = []
        for ask, row in zip(asks, found, strict=True):
            # Of several masks a list each; of one its fillings alone.
            of_one = [each for each in row if isinstance(each, dict)]
            several = [each for each in row if isinstance(each, list)]
            masks = [
                [wire.Filling.model_validate(each) for each in mask[: ask.top_k]]
                for mask in several or [of_one]
            ]
            answers.append(wire.Fillings(model=self.name, masks=masks))
        return answers

    def of_tokens(self, tokens: int) -> wire.Ask:
        mask = str(self._predictor.model.tokenizer.mask_token)
        return wire.Ask(text=" ".join([*["a"] * (tokens - 3), mask]))


_KINDS: tuple[type[ServedModel], ...] = (
    ServedQuestions,
    ServedClasses,
    ServedNumbers,
    ServedEntities,
    ServedMasks,
)
SERVED = {kind.task: kind for kind in _KINDS}


def open_models(places: Sequence[str], rows: int) -> dict[str, ServedModel]:
    """Name -> model, for folders of runs or Hub names.

    A model is called as its folder; where two are called alike, all are called by their places.

    Args:
        rows: of a batch that is computed at once.

    Raises:
        InputError: one is named twice, or is not a fine-tuned model of a task that can be asked.
    """
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise InputError(f"{shown(twice)} is given twice")
    names = [place.rstrip("/").rpartition("/")[2] or place for place in places]
    if len(set(names)) < len(names):
        names = list(places)
    models: dict[str, ServedModel] = {}
    for name, place in zip(names, places, strict=True):
        folder = find_model_folder(place)  # once: it may come from a bucket or the Hub
        record = RunRecord.read(folder)
        check_single(place, record)
        task = ServedQuestions.task if record is None else record.task
        if task not in SERVED:
            raise InputError(
                f"{shown(place)} was trained for {shown(task)}, which cannot be asked; "
                f"give models of {', '.join(SERVED)}"
            )
        models[name] = SERVED[task](name, str(folder), rows)
    return models
