"""What goes over the wire: requests and answers as JSON, from which the OpenAPI page is made."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jaxbert.data.rows import replace_surrogates

MOST_ANSWERS = 20
# JSON can have lone surrogates, which no answer could repeat.
_Text = Annotated[str, AfterValidator(replace_surrogates)]


class Ask(BaseModel):
    """What is asked. Each task has its own fields; GET /models lists those of each model."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[
        str | None, Field(description="The model's name; it may be left out where there is one.")
    ] = None
    question: Annotated[_Text | None, Field(description="For qa.")] = None
    context: Annotated[str | None, Field(description="For qa: the text that holds the answer.")] = (
        None
    )
    text: Annotated[_Text | None, Field(description="For other tasks; for mlm with [MASK].")] = None
    text_pair: Annotated[
        _Text | None, Field(description="For classification and regression: a second text.")
    ] = None
    top_k: Annotated[
        int, Field(ge=1, le=MOST_ANSWERS, description="The most answers, classes or words.")
    ] = 5


class SpanAnswer(BaseModel):
    """An answer of question answering: context[start:end], or "" with start and end 0 for none.

    Characters are counted as Unicode code points. The scores of a question sum to at most 1.
    """

    answer: str
    start: int
    end: int
    score: float


class NoAnswer(BaseModel):
    """Whether the text says nothing of it: so it is where the odds are above the threshold."""

    score: float
    odds: float
    threshold: float


class WindowRead(BaseModel):
    """Characters of the text that were read at once, and the best answer there, if any."""

    start: int
    end: int
    answer: str
    score: Annotated[float | None, Field(description="Start logit + end logit of the answer.")]


class QuestionAnswers(BaseModel):
    """Answers, the given one first. Without no_answer the model was trained to answer always."""

    model: str
    task: Literal["qa"] = "qa"
    answers: list[SpanAnswer]
    no_answer: NoAnswer | None
    windows: list[WindowRead]


class ClassScore(BaseModel):
    """A class and its probability."""

    label: str
    score: float


class Classes(BaseModel):
    """Classes, best first. With multi_label each is true or not by itself, else one of them is."""

    model: str
    task: Literal["classification"] = "classification"
    answers: list[ClassScore]
    multi_label: bool
    cut: Annotated[bool, Field(description="The end of the text was not read.")]


class Number(BaseModel):
    """A number, on the scale of the labels of the training."""

    model: str
    task: Literal["regression"] = "regression"
    label: str
    score: float
    cut: Annotated[bool, Field(description="The end of the text was not read.")]


class Entity(BaseModel):
    """An entity: word is text[start:end]."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


class Entities(BaseModel):
    """Entities in the order of the text."""

    model: str
    task: Literal["tagging"] = "tagging"
    answers: list[Entity]


class Filling(BaseModel):
    """A word for a [MASK], and the text with it."""

    token_str: str
    token: int
    score: float
    sequence: str


class Fillings(BaseModel):
    """For each [MASK] the words, best first."""

    model: str
    task: Literal["mlm"] = "mlm"
    masks: list[list[Filling]]


Answer: TypeAlias = QuestionAnswers | Classes | Number | Entities | Fillings


class Fault(BaseModel):
    """Why there is no answer, in a sentence."""

    error: str


class About(BaseModel):
    """A model: its task and the fields that a request has."""

    name: str
    task: str
    fields: list[str]


class Health(BaseModel):
    """loading: the models are being compiled; ready; stopping: no new request is taken."""

    status: Literal["loading", "ready", "stopping"]
    version: str
