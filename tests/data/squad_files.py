"""The rows and layouts of SQuAD for tests, and how they are read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from jaxbert.data.questions import Answer, QAExample, read_qa, read_questions
from jaxbert.data.rows import Data
from jaxbert.data.sources import load_hub_rows
from jaxbert.errors import InputError

CONTEXT = "Tea was grown in Assam. In 1838 it was sold in London; in Assam, it stayed cheap."
CHINESE = "1838年,阿萨姆的茶叶在伦敦售出。"


def at(text: str, context: str = CONTEXT) -> dict[str, Any]:
    return {"text": text, "answer_start": context.index(text)}


def qa(id_: Any = "a", **fields: Any) -> dict[str, Any]:
    return {"id": id_, "question": "Where?", "answers": [at("London")], **fields}


def squad(*qas: Any, context: Any = CONTEXT) -> dict[str, Any]:
    return {"version": "1.1", "data": [{"paragraphs": [{"context": context, "qas": list(qas)}]}]}


def flat(id_: Any = "a", **fields: Any) -> dict[str, Any]:
    answers = {"text": ["London"], "answer_start": [CONTEXT.index("London")]}
    return {"id": id_, "question": "Where?", "context": CONTEXT, "answers": answers, **fields}


# A busy machine is no fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

LONDON = QAExample("a", "Where?", CONTEXT, (Answer("London", CONTEXT.index("London")),))


def refusal(*paths: str, strict: bool = True) -> str:
    """The message of the InputError; it is one line and names the (last) file."""
    with pytest.raises(InputError) as caught:
        read_qa(list(paths), strict=strict)
    message = str(caught.value)
    assert paths[-1] in message
    assert len(message.splitlines()) == 1
    return message


def hub(name: str, split: str) -> Data[QAExample]:
    return read_questions([(f"{name}[{split}]", load_hub_rows(name, None, split))])


def only(data: Data[QAExample]) -> QAExample:
    assert len(data.examples) == 1
    return data.examples[0]


def whats(data: Data[QAExample]) -> list[str]:
    return [problem.what for problem in data.problems]


def unknown(fields: str) -> str:
    return (
        f"no answers are given, unlike for other questions; its fields are {fields}; left out of "
        "training, scored as unanswerable"
    )
