"""Rows to multiple choices: columns, the right choice, and every fault with its row."""

from __future__ import annotations

from typing import Any

import pytest
from text_rows import choices, refusal

from jaxbert.data.choices import ChoiceExample
from jaxbert.data.rows import Data
from jaxbert.errors import InputError

SWAG = {
    "video-id": "anetv_1",
    "sent1": "A drum line passes.",
    "sent2": "Members",
    "gold-source": "gold",
    **{f"ending{n}": f"do {n}." for n in range(4)},
}
QUESTION = {"question": "Where?", "choices": ["London", "Assam", "Paris"]}


def test_columns_of_swag() -> None:
    endings = tuple(f"Members do {n}." for n in range(4))
    for label, number in ((2, 2), ("3", 3), ("B", 1), ("do 0.", 0), (None, None), ("", None)):
        data = choices({**SWAG, "label": label})
        assert data == Data(
            (ChoiceExample("x.json: row 0", "A drum line passes.", endings, number),)
        )
    assert choices(SWAG).examples[0].label is None
    assert choices({**SWAG, "sent2": ""}).examples[0].endings[0] == "do 0."
    without = {name: text for name, text in SWAG.items() if name != "ending1"}
    assert refusal(choices, without).startswith('row 0: no field "ending1"; it has ')
    assert refusal(choices, {**SWAG, "ending3": " "}).startswith(
        'row 0: the text of column "ending3" is empty'
    )
    assert '"sent1" is empty' in refusal(choices, {**SWAG, "sent1": " "})
    assert '"sent2" is NoneType' in refusal(choices, {**SWAG, "sent2": None})


def test_questions_with_choices() -> None:
    assert choices({**QUESTION, "answer": "C"}).examples == (
        ChoiceExample("x.json: row 0", "Where?", ("London", "Assam", "Paris"), 2),
    )
    endings = ("Where? London", "Where? Assam", "Where? Paris")
    for name in ("context", "article", "passage"):
        row = {**QUESTION, name: "Tea was sold.", "label": 0, "answer": "C"}
        assert choices(row).examples == (
            ChoiceExample("x.json: row 0", "Tea was sold.", endings, 0),
        )
        assert choices(row, label_column="answer").examples[0].label == 2
        row[name] = None
        assert choices(row).examples[0].context == "Where?"
    row = {"question": "a", "options": ["b", "c"]}
    assert choices(row).examples[0].endings == ("b", "c")
    with pytest.raises(InputError, match='no column "gold"; it has question, options'):
        choices(row, label_column="gold")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "a"}, "unknown form"),
        ({"choices": ["a", "b"]}, "unknown form"),
        ({"sent1": "a", "sent2": "b"}, "unknown form"),
        ({**QUESTION, "question": " "}, 'the text of column "question" is empty'),
        ({**QUESTION, "question": 3}, 'field "question" is int, expected str'),
        ({**QUESTION, "context": " "}, 'the text of column "context" is empty'),
        ({**QUESTION, "context": 3}, 'field "context" is int, expected str'),
        ({**QUESTION, "choices": "a b"}, 'field "choices" is str, expected list'),
        ({**QUESTION, "choices": ["a", 3]}, 'choice 1 of "choices" is int, expected a text'),
        ({**QUESTION, "choices": ["", "a"]}, 'choice 0 of "choices" is empty, expected a text'),
        ({**QUESTION, "choices": ["a"]}, "1 choices, expected at least 2"),
        ({**QUESTION, "choices": []}, "0 choices, expected at least 2"),
    ],
)
def test_choices_that_cannot_be_read(row: Any, message: str) -> None:
    assert refusal(choices, row).startswith(f"row 0: {message}")


def test_every_row_has_as_many_choices() -> None:
    more = {"question": "a", "choices": ["b", "c"]}
    assert refusal(choices, QUESTION, more) == "row 1: 2 choices, expected 3 as in the first row"


@pytest.mark.parametrize(
    ("options", "label", "number"),
    [
        ("3012", "7", None),
        ("3012", 0, 0),
        ("3012", "9", None),
        ("3412", "0", 0),
        ("3412", "4", 1),  # no choice has the number 4
        ("3412", "1", None),  # the second choice, or the one whose text is 1?
        ("0123", "1", 1),
        ("BAxy", "B", None),
        ("ABxy", "B", 1),
        ("DExy", "E", 1),
        ("abcd", "d", 3),
        ("abcd", " D ", 3),
        ("aacd", "a", None),
        ("abcd", "E", None),
        ("abcd", 4, None),
        ("abcd", -1, None),
        ("abcd", "-1", None),
        ("abcd", "e", None),
        ("abcd", "9" * 4000, None),
        ("abcd", "two\nlines", None),
    ],
)
def test_the_right_choice(options: str, label: Any, number: int | None) -> None:
    row = {"question": "a", "choices": list(options), "label": label}
    if number is not None:
        assert choices(row).examples[0].label == number
    else:
        message = refusal(choices, row)
        assert message.startswith('row 0: label column "label" is ')
        assert message.endswith("give the number of the right one, from 0 to 3")


def test_right_choices_that_are_whole_floats() -> None:
    found = [{**QUESTION, "label": v} for v in (2.0, "1.0", 0.0, float("nan"))]
    data = choices(*found)
    assert [e.label for e in data.examples] == [2, 1, 0]
    assert data.problems[0].what.startswith("no label, but other rows have one")
    assert "which is none of the 3 choices" in refusal(choices, {**QUESTION, "label": 3.0})
    bad = {**QUESTION, "label": 7}
    assert "which is none of the 3 choices" in refusal(choices, bad, QUESTION, strict=False)


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {}])
def test_right_choices_of_the_wrong_type(value: Any) -> None:
    message = refusal(choices, {**QUESTION, "label": value})
    assert f'"label" has the wrong type: {type(value).__name__}' in message


def test_right_choices_of_all_rows_or_of_none() -> None:
    assert [e.label for e in choices(QUESTION, {**QUESTION, "label": None}).examples] == [None] * 2
    message = refusal(choices, {**QUESTION, "label": 0}, {**QUESTION, "label": ""})
    assert message.startswith("row 1: no label, but other rows have one")
