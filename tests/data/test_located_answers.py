"""Answers held against their paragraph: which part of it they are, and what is reported of each."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.data.questions import Answer, QAExample, read_qa, read_questions
from jaxbert.data.rows import Data
from jaxbert.errors import InputError

CONTEXT = "Oats  grow in\nwet\u00a0 soil.\tRye grows in dry\u3000soil \r\n and in sand."


def read(*answers: Any, context: str = CONTEXT, strict: bool = False) -> Data[QAExample]:
    row = {"id": "a", "question": "Where?", "context": context, "answers": list(answers)}
    return read_questions([("rows", [row])], strict=strict)


def located(text: str, start: int | None, context: str = CONTEXT) -> str | None:
    """The part of the paragraph that an answer is found to be."""
    data = read({"text": text, "answer_start": start}, context=context)
    [answer] = data.examples[0].answers
    assert answer.text == text  # as given: the scores are of it
    return None if answer.start is None else context[answer.start : answer.end]


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("Oats grow", 0, "Oats  grow"),
        ("Oats\ngrow", 0, "Oats  grow"),
        ("Oats \t grow", 0, "Oats  grow"),
        ("in wet soil", 11, "in\nwet\u00a0 soil"),
        ("wet\u00a0soil", 14, "wet\u00a0 soil"),
        ("dry soil", 38, "dry\u3000soil"),
        ("dry  soil\n", 38, "dry\u3000soil"),
        ("soil and in", 42, "soil \r\n and in"),
        ("\n Rye grows ", 24, "Rye grows"),
        ("Rye grows\u3000", 25, "Rye grows"),
        (" Oats", 0, "Oats"),
        ("sand. \n", 56, "sand."),
        # Where the offset is wrong too: nearby, or where there is only one.
        ("Oats grow", 9, "Oats  grow"),
        ("in dry soil", 50, "in dry\u3000soil"),
        ("in dry soil", 10**30, "in dry\u3000soil"),
        ("wet soil", -1, "wet\u00a0 soil"),
        ("wet soil", None, "wet\u00a0 soil"),
        # White space alone: no word, no letter, no mark may differ, and none is made of nothing.
        ("oats grow", 0, None),
        ("Oatsgrow", 0, None),
        ("wet soil!", 14, None),
        ("we t soil", 14, None),
        ("wet\u200bsoil", 14, None),
    ],
)
def test_an_answer_with_other_white_space_is_the_part_of_the_paragraph(
    text: str, start: int | None, expected: str | None
) -> None:
    assert located(text, start) == expected


def test_what_is_said_of_it() -> None:
    answer = {"text": "wet soil", "answer_start": 14}
    [problem] = read(answer).problems
    assert problem.what == (
        "the answer 'wet soil' is in the paragraph with different white space, as 'wet\\xa0 soil' "
        "at 14; repaired"
    )
    with pytest.raises(InputError, match=r"different white space.*\(--strict\)$"):
        read(answer, strict=True)


def test_of_two_places_the_nearer_one_counts() -> None:
    """The text as it is may be elsewhere; the offset says which is meant."""
    context = "in  Rome, and later in Rome again"
    assert located("in Rome", 0, context) == "in  Rome"
    assert located("in Rome", 3, context) == "in  Rome"
    assert located("in Rome", 20, context) == "in Rome"
    assert located("in Rome", 15, context) == "in Rome"
    assert located("in Rome", None, context) == "in Rome"
    far = "in  Rome" + "." * 300 + "in  Rome"
    data = read({"text": "in Rome", "answer_start": 150}, context=far)
    assert data.examples[0].answers == (Answer("in Rome", None),)
    assert "not near 150 but in several places" in data.problems[0].what


def test_an_answer_beside_one_that_is_not_found_is_trained() -> None:
    data = read({"text": "mud", "answer_start": 3}, {"text": "dry soil", "answer_start": 38})
    assert data.examples[0].answers == (Answer("mud", None), Answer("dry soil", 38, 46))
    assert [problem.what.rpartition("; ")[2] for problem in data.problems] == [
        "scoring only",
        "repaired",
    ]


def test_a_question_of_which_no_answer_is_found_says_what_becomes_of_it() -> None:
    data = read({"text": "mud", "answer_start": 3}, {"text": "", "answer_start": 0})
    assert data.examples[0].answers == (Answer("mud", None), Answer("", None))
    left_out = "the question is left out of training and kept for scoring"
    assert [problem.what for problem in data.problems] == [
        f"the answer 'mud' is not in the paragraph; {left_out}",
        f"an answer is empty; {left_out}",
    ]


SPACE = st.text(" \n\t\r\u00a0\u2003\u3000", min_size=1, max_size=70)
WORD = st.sampled_from(["ab", "a", "b", "茶", "é", "🍵"])


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    words=st.lists(st.tuples(WORD, SPACE), min_size=1, max_size=12),
    first=st.integers(0, 11),
    count=st.integers(1, 4),
    spaces=st.lists(SPACE, min_size=5, max_size=5),
)
def test_any_white_space_is_found_at_its_offset(
    words: list[tuple[str, str]], first: int, count: int, spaces: list[str]
) -> None:
    """Every run of white space in the answer is another one than in the paragraph."""
    first %= len(words)
    part = [word for word, _ in words[first : first + count]]
    context = "".join(word + space for word, space in words)
    start = sum(len(word + space) for word, space in words[:first])
    text = "".join(word + space for word, space in zip(part, spaces, strict=False))
    data = read({"text": text, "answer_start": start}, context=context)
    [answer] = data.examples[0].answers
    assert answer.start == start
    assert context[start : answer.end].split() == part
    if not context.startswith(text, start):
        assert "with different white space" in data.problems[0].what
        assert context[start : answer.end] == context[start : answer.end].strip()


@pytest.mark.parametrize(
    ("context", "text"),
    [
        (" " * 1_000_000 + "x", " " * 500_000 + "y"),
        ("a " * 500_000 + "b", "a  " * 200_000 + "b"),
        ("a" + " \n" * 500_000, "a" + "\n " * 499_000 + "a"),
        ("\u3000 " * 300_000 + "a b" + " " * 300_000, "a" + "\t" * 300_000 + "b"),
    ],
    ids=["space", "words", "runs", "one long run"],
)
def test_time_in_a_paragraph_of_a_megabyte(context: str, text: str) -> None:
    answers = {"text": [text] * 20, "answer_start": [0, 500_000] * 10}
    row = {"id": "a", "question": "Where?", "context": context, "answers": answers}
    started = time.process_time()
    read_questions([("rows", [row])])
    assert time.process_time() - started < 4.0


# --- the forms that answers have --------------------------------------------------------------


def flat(answers: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "a", "question": "Where?", "context": CONTEXT, "answers": answers, **fields}


OATS = (Answer("Oats", 0),)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([{"text": "Oats", "answer_start": 0}], OATS),
        ([{"text": "Oats"}], OATS),
        ([{"text": "Oats", "answer_start": None}], OATS),
        ([{"text": "Oats", "answer_start": 0, "answer_end": 4}], OATS),
        ([{"text": "Rye", "answer_start": 25}, {"text": "Oats"}], (Answer("Rye", 25), *OATS)),
        ({"text": ["Oats"], "answer_start": [0]}, OATS),
        ({"text": ["Oats"]}, OATS),
        ([], ()),
        ({"text": [], "answer_start": []}, ()),
    ],
)
def test_answers_of_a_flat_row(answers: Any, expected: tuple[Answer, ...]) -> None:
    data = read_questions([("rows", [flat(answers)])], strict=True)
    assert data.examples[0].answers == expected
    assert data.examples[0].labelled
    assert data.problems == ()


def test_a_list_of_answers_in_every_container(tmp_path: Path) -> None:
    """JSON Lines, Parquet of Arrow's lists of structs, of pandas' objects, and a saved folder; one
    row has an empty list and one has null."""
    import datasets

    rows = [
        flat([{"text": "Oats", "answer_start": 0}, {"text": "Rye", "answer_start": 25}]),
        flat([], id="b"),
        flat(None, id="c"),
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "rows.json").write_text(json.dumps({"data": rows}))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "arrow.parquet")
    pandas.DataFrame(rows).to_parquet(tmp_path / "pandas.parquet")
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    expected = [(*OATS, Answer("Rye", 25)), (), ()]
    for name in ("rows.jsonl", "rows.json", "arrow.parquet", "pandas.parquet", "saved"):
        data = read_qa([str(tmp_path / name)])
        assert [e.answers for e in data.examples] == expected, name
        assert [e.labelled for e in data.examples] == [True, True, False], name
        assert [p.what[:14] for p in data.problems] == ["no answers are"], name


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("Oats", 'field "answers" is str, expected [{"text": ..., "answer_start": ...}] or {'),
        ("", 'field "answers" is str'),
        (
            ["Oats"],
            'an answer of field "answers" is str, expected {"text": ..., "answer_start": ...}',
        ),
        ([None], 'an answer of field "answers" is NoneType, expected {'),
        ([{"answer_start": 0}], 'no field "text"; it has answer_start'),
        ([{"text": ["Oats"]}], 'field "text" is list, expected str'),
        ([{"text": "Oats", "answer_start": "0"}], 'field "answer_start" is str, expected int'),
        ({"text": "Oats", "answer_start": 0}, 'field "text" is str, expected list'),
    ],
)
def test_other_forms_are_left_out_by_name(answers: Any, expected: str) -> None:
    """Beside a row that is sound; alone, they are refused."""
    sound = flat([{"text": "Oats"}], id="b")
    data = read_questions([("rows", [flat(answers), sound])])
    assert [example.id for example in data.examples] == ["b"]
    [problem] = data.problems
    assert problem.malformed
    assert expected in problem.what
    with pytest.raises(InputError) as caught:
        read_questions([("rows", [flat(answers)])])
    assert expected in str(caught.value)


# --- whether there is an answer ---------------------------------------------------------------

GIVEN = [{"text": "Oats", "answer_start": 0}]
TRUE = "is_impossible is true, but it has answers; the answers count"
FALSE = "is_impossible is false, but it has no answer; left out of training, scored as unanswerable"


def nested(question: dict[str, Any]) -> dict[str, Any]:
    context = question.pop("context")
    return {"data": [{"paragraphs": [{"context": context, "qas": [question]}]}]}


@pytest.mark.parametrize("shape", ["nested", "flat"])
@pytest.mark.parametrize(
    ("fields", "answers", "labelled", "problems"),
    [
        ({"is_impossible": True, "answers": GIVEN}, OATS, True, [TRUE]),
        ({"is_impossible": True, "answers": []}, (), True, []),
        ({"is_impossible": True}, (), True, []),
        ({"is_impossible": True, "answers": None}, (), True, []),
        ({"is_impossible": False, "answers": GIVEN}, OATS, True, []),
        ({"is_impossible": False, "answers": []}, (), False, [FALSE]),
        ({"is_impossible": None, "answers": []}, (), True, []),
        ({"answers": []}, (), True, []),
        ({}, (), False, []),
        ({"is_impossible": False}, (), False, []),
        (
            {"is_impossible": True, "answers": [], "plausible_answers": GIVEN},
            (),
            True,
            [],
        ),
    ],
)
def test_the_answers_decide(
    shape: str,
    fields: dict[str, Any],
    answers: tuple[Answer, ...],
    labelled: bool,
    problems: list[str],
) -> None:
    row = {"id": "a", "question": "Where?", "context": CONTEXT, **fields}
    content = nested(row) if shape == "nested" else [row]
    data = read_questions([("rows", content)])
    assert data.examples[0].answers == answers
    assert data.examples[0].labelled == labelled
    assert [problem.what for problem in data.problems] == problems
    if problems:
        with pytest.raises(InputError, match=r"is_impossible .* \(--strict\)$"):
            read_questions([("rows", content)], strict=True)


def test_the_mark_is_true_or_false_in_flat_rows_too() -> None:
    with pytest.raises(InputError, match='field "is_impossible" is str, expected bool'):
        read_questions([("rows", [flat([], is_impossible="no")])])


def test_the_digest_of_examples_is_that_of_earlier_versions() -> None:
    """A run of an earlier version would otherwise be refused as one of other validation data."""
    example = QAExample("1", "Who?", "Ada.", (Answer("Ada", 0),))
    shown = "answers=(Answer(text='Ada', start=0),)"
    assert repr(example) == f"QAExample(id='1', question='Who?', context='Ada.', {shown})"


def test_a_row_of_json_lines_has_the_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    row = {"id": "1", "question": "Who?", "context": "Ada.", "answers": [{"text": "Bob"}]}
    path.write_text(f"\n{json.dumps(row)}\n", encoding="utf-8")
    [problem] = read_qa([str(path)]).problems
    assert problem.where == f"{path}: line 2 (id 1)"
