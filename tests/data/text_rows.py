"""Rows of tests as texts, pairs and multiple choices."""

from __future__ import annotations

from typing import Any

import pytest

from jaxbert.data.choices import ChoiceExample, read_choices
from jaxbert.data.rows import Data
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError


def texts(*rows: Any, **options: Any) -> Data[TextExample]:
    defaults: dict[str, Any] = {
        "text_columns": None,
        "label_column": None,
        "numeric": False,
        "strict": False,
    }
    return read_texts([("x.json", list(rows))], **{**defaults, **options})


def labels(*values: Any, **options: Any) -> list[Any]:
    rows = [{"text": "a", "label": value} for value in values]
    return [e.label for e in texts(*rows, **options).examples]


def choices(*rows: Any, **options: Any) -> Data[ChoiceExample]:
    defaults: dict[str, Any] = {"label_column": None, "strict": False}
    return read_choices([("x.json", list(rows))], **{**defaults, **options})


def refusal(read: Any, *rows: Any, **options: Any) -> str:
    """The message of the InputError behind the origin; it is one line."""
    with pytest.raises(InputError) as caught:  # by default they are reported
        read(*rows, **{"strict": True, **options})
    message = str(caught.value)
    assert message.startswith("x.json: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix("x.json: ")
