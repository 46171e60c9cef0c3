"""Question files that cannot be read, and fields of the wrong type: each one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from squad_files import (
    CONTEXT,
    LONDON,
    flat,
    only,
    qa,
    refusal,
    squad,
)

from jaxbert.data.questions import Answer, QAExample, read_qa

# --- files that cannot be read ----------------------------------------------------------------


def test_missing_file(tmp_path: Path, write: Callable[..., str]) -> None:
    assert "no such file" in refusal(str(tmp_path / "none.json"))
    assert "no such file" in refusal(write(squad(qa())), str(tmp_path / "none.json"))
    assert "cannot be read" in refusal(write(squad(qa())) + "/below.json")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_truncated_json_names_line_and_column(write: Callable[..., str], newline: str) -> None:
    text = json.dumps(squad(qa()), indent=1).replace("\n", newline)
    part = text[: text.index("London") + 3]
    message = refusal(write(part))
    line = part.count("\n") + 1
    column = part.rindex('"') - part.rindex("\n")
    assert f"line {line}, column {column} " in message


def test_jsonl_error_names_the_line_of_the_file(write: Callable[..., str]) -> None:
    row = json.dumps(flat())
    assert "line 4, column 8 " in refusal(write(f'{row}\n\n{row}\n{{"id": "b', "a.jsonl"))
    assert "line 1, column 1 " in refusal(write("\ufefffoo", "a.jsonl"))
    assert "line 2, column 1 " in refusal(write(f"{row}\nfoo", "a.jsonl"))
    assert "line 2, column 1 " in refusal(write(f"{row}\nfoo", "json_lines.json"))


def test_line_separators_inside_of_jsonl_strings(write: Callable[..., str]) -> None:
    context = "one\u2028two\x85three\u2029four"
    row = flat(context=context, answers={"text": ["four"], "answer_start": [14]})
    data = read_qa([write(json.dumps(row, ensure_ascii=False), "a.jsonl")])
    assert only(data) == QAExample("a", "Where?", context, (Answer("four", 14),))
    assert data.problems == ()


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(squad(qa())).encode("utf-16"),
        json.dumps(squad(qa("ä")), ensure_ascii=False).encode("latin-1"),
        b'["\xed\xa0\x80"]',
        b"\x80",
    ],
)
def test_not_utf_8(write: Callable[..., str], content: bytes) -> None:
    assert "not UTF-8 (byte " in refusal(write(content))


def test_byte_order_mark_and_windows_line_ends(write: Callable[..., str]) -> None:
    text = json.dumps(squad(qa()), indent=1).replace("\n", "\r\n")
    assert only(read_qa([write(b"\xef\xbb\xbf" + text.encode())])) == LONDON
    lines = f"{json.dumps(flat())}\r\n{json.dumps(flat('b'))}\r\n"
    assert len(read_qa([write(b"\xef\xbb\xbf" + lines.encode(), "a.jsonl")]).examples) == 2


@pytest.mark.parametrize("name", ["deep.json", "deep.jsonl"])
@pytest.mark.parametrize("opening", ["[", '{"data":', '[{"paragraphs":'])
def test_deep_nesting(write: Callable[..., str], name: str, opening: str) -> None:
    assert "nested too deeply" in refusal(write(opening * 50_000, name))


def test_nesting_that_json_still_takes(write: Callable[..., str]) -> None:
    for depth in (50, 500):
        refusal(write("[" * depth + "]" * depth))
        refusal(write('{"data":' * depth + "[]" + "}" * depth))


def test_numbers_of_thousands_of_digits(write: Callable[..., str]) -> None:
    assert "4300 digits" in refusal(write("9" * 5000))


@pytest.mark.parametrize("content", ["", "null", "NaN", "3", '"text"', "true", "[1]", "[[]]"])
def test_json_that_is_no_data_set(write: Callable[..., str], content: str) -> None:
    refusal(write(content))
    refusal(write(content, "a.jsonl"))


@pytest.mark.parametrize("content", [[], {"data": []}, squad(), {"data": [{"paragraphs": []}]}])
def test_no_question(write: Callable[..., str], content: Any) -> None:
    assert "no question" in refusal(write(content))


def test_no_question_in_empty_jsonl(write: Callable[..., str]) -> None:
    assert "no question" in refusal(write("", "a.jsonl"))


# --- fields -----------------------------------------------------------------------------------

WRONG = [None, True, 3, 2.5, float("nan"), "text", [], [1], {}, {"a": 1}]
SPOT = "article 0, paragraph 0, question 0"


def wrong_fields() -> list[Any]:
    """(content, what the message must name) for every field and every type it must not have."""
    cases: list[tuple[str, Any, str, tuple[type, ...]]] = [
        ("data", lambda x: {"data": x}, "", (list,)),
        ("article", lambda x: {"data": [x]}, "row 0", ()),
        ("paragraphs", lambda x: {"data": [{"paragraphs": x}]}, "article 0", (list,)),
        ("paragraph", lambda x: {"data": [{"paragraphs": [x]}]}, "article 0, paragraph 0", ()),
        ("context", lambda x: squad(qa(), context=x), "article 0, paragraph 0", (str,)),
        (
            "qas",
            lambda x: {"data": [{"paragraphs": [{"context": "", "qas": x}]}]},
            "article 0, paragraph 0",
            (list,),
        ),
        ("question 0", lambda x: squad(x), SPOT, ()),
        ("id", lambda x: squad(qa(x)), SPOT, (str, int)),
        ("question", lambda x: squad(qa(question=x)), SPOT, (str,)),
        ("answers", lambda x: squad(qa(answers=x)), SPOT, (list,)),
        ("is_impossible", lambda x: squad(qa(is_impossible=x)), SPOT, (bool, type(None))),
        ("answer", lambda x: squad(qa(answers=[x])), SPOT, ()),
        ("text", lambda x: squad(qa(answers=[{"text": x, "answer_start": 0}])), SPOT, (str,)),
        (
            "answer_start",
            lambda x: squad(qa(answers=[{"text": "Tea", "answer_start": x}])),
            SPOT,
            (int, type(None)),
        ),
        ("context_text", lambda x: [{"context_text": x, "qas": []}], "row 0", (str,)),
        ("qas", lambda x: [{"context_text": "", "qas": x}], "row 0", (list,)),
        ("question 0", lambda x: [{"context_text": "", "qas": [x]}], "row 0, question 0", ()),
        *(
            (
                name,
                lambda x, name=name: [
                    {
                        "context_text": CONTEXT,
                        "qas": [{"query_id": "a", "query_text": "Where?", "answers": [], name: x}],
                    }
                ],
                "row 0, question 0",
                kinds,
            )
            for name, kinds in {
                "query_id": (str, int),
                "query_text": (str,),
                "answers": (list,),
            }.items()
        ),
        (
            "answers",
            lambda x: [
                {
                    "context_text": CONTEXT,
                    "qas": [{"query_id": "a", "query_text": "Where?", "answers": [x]}],
                }
            ],
            "row 0, question 0",
            (str,),
        ),
        ("id", lambda x: [flat(x)], "row 0", (str, int)),
        ("question", lambda x: [flat(question=x)], "row 0", (str,)),
        ("context", lambda x: [flat(context=x)], "row 0", (str,)),
        ("answers", lambda x: [flat(answers={"text": [x]})], "row 0", (str,)),
        ("text", lambda x: [flat(answers={"text": x})], "row 0", (list,)),
        (
            "answer_start",
            lambda x: [flat(answers={"text": ["Tea"], "answer_start": x})],
            "row 0",
            (list, type(None)),
        ),
        (
            "answer_start",
            lambda x: [flat(answers={"text": ["Tea"], "answer_start": [x]})],
            "row 0",
            (int, type(None)),
        ),
    ]
    return [
        pytest.param(make(value), place, name, id=f"{number}-{name}-{value!r}")
        for number, (name, make, place, allowed) in enumerate(cases)
        for value in WRONG
        if not isinstance(value, allowed) or (isinstance(value, bool) and name == "answer_start")
    ]


@pytest.mark.parametrize(("content", "place", "field"), wrong_fields())
def test_wrong_type(write: Callable[..., str], content: Any, place: str, field: str) -> None:
    path = write(content)
    message = refusal(path)
    assert message.startswith(f"{path}: {place}")
    if f'"{field}"' not in message:  # not a field but an object that is something else
        if field in ("article", "paragraph", "question 0", "answer"):
            assert re.search(
                "expected (an object|{)|unknown form|no field|is (str|int|list)", message
            )
        else:
            raise AssertionError(message)


@pytest.mark.parametrize("answers", [0, False, "", "London", 3, ["London"], [None]])
def test_wrong_type_of_the_answers_of_a_flat_row(write: Callable[..., str], answers: Any) -> None:
    assert "row 1: " in refusal(write([flat("b"), flat(answers=answers)]))


@pytest.mark.parametrize("field", ["id", "question"])
def test_missing_field_of_a_question(write: Callable[..., str], field: str) -> None:
    whole = qa()
    part = {name: value for name, value in whole.items() if name != field}
    message = refusal(write(squad(part)))
    assert f'{SPOT}: no field "{field}"; it has {", ".join(part)}' in message


def test_other_missing_fields(write: Callable[..., str]) -> None:
    for content, expected in [
        ({}, "and has none"),
        ({"Data": []}, "and has Data"),
        ([{"qas": []}], ": row 0: unknown form"),
        ([{}], "has none"),
        (squad({}), f'{SPOT}: no field "answers"; it has none'),
        (squad(qa(answers=[{}])), f'{SPOT}: no field "text"; it has none'),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, ': article 0, paragraph 0: no field "context"'),
        ([{"context_text": ""}], ': row 0: no field "qas"; it has context_text'),
        ([{"context_text": "", "qas": [{}]}], ': row 0, question 0: no field "query_id"'),
        ([flat(answers={"answer_start": []})], ': row 0: no field "text"; it has answer_start'),
        ([flat(answers={"text": ["a", "b"], "answer_start": [1]})], "2 answer texts and 1 offsets"),
        ([flat(answers={"text": ["a"], "answer_start": []})], "1 answer texts and 0 offsets"),
    ]:
        assert expected in refusal(write(content)), content


def test_names_of_fields_are_shortened_and_in_one_line(write: Callable[..., str]) -> None:
    fields = {f"field\n{n}": n for n in range(5000)}
    assert len(refusal(write([fields]))) < 500
    assert len(refusal(write(fields))) < 500
    assert "(id x y): " in refusal(write([flat("x\ny", answers={"text": [3]})]))
