"""Rows to texts and pairs: columns, labels, and every fault with its row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import public_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_rows import choices, labels, refusal, texts

from jaxbert.data.choices import ChoiceExample, read_choices
from jaxbert.data.rows import Data, Problem, Row
from jaxbert.data.sources import load_rows
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError

# A busy machine is no fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# --- columns ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [
        ("sentence",),
        ("text",),
        ("review",),
        ("sentence1", "sentence2"),
        ("premise", "hypothesis"),
        ("question1", "question2"),
        ("question", "sentence"),
    ],
)
def test_known_columns_are_found(columns: tuple[str, ...]) -> None:
    pair = "two" if len(columns) == 2 else None
    row = {"idx": 3, "label": "yes", **dict(zip(reversed(columns), ["two", "one"], strict=False))}
    row[columns[0]] = "one"
    assert texts(row).examples == (TextExample("x.json: row 0", "one", pair, "yes"),)


def test_the_order_in_which_columns_are_looked_for() -> None:
    row = {"review": "a", "text": "b", "sentence": "c", "sentence1": "d"}
    assert texts(row).examples[0].text == "c"
    row |= {"question": "e", "premise": "f", "hypothesis": "g", "target": 1}
    example = texts(row).examples[0]
    assert (example.text, example.pair, example.label) == ("f", "g", None)
    example = texts(row | {"sentence2": "h"}).examples[0]
    assert (example.text, example.pair) == ("d", "h")


def test_columns_that_are_asked_for() -> None:
    row = {"text": "a", "label": "no", "body": "b", "title": "c", "kind": "yes"}
    found = texts(row, text_columns=["body"], label_column="kind").examples[0]
    assert found == TextExample("x.json: row 0", "b", None, "yes")
    found = texts(row, text_columns=("title", "body")).examples[0]
    assert found == TextExample("x.json: row 0", "c", "b", "no")
    there = "it has text, label, body, title, kind"
    for options in ({"text_columns": ["title", "none"]}, {"label_column": "none"}):
        assert refusal(texts, row, **options) == f'no column "none"; {there}'
        assert refusal(texts, row, numeric=True, **options) == f'no column "none"; {there}'
    with pytest.raises(InputError, match="one name or two, not 3"):
        texts(row, text_columns=["text", "body", "title"])


def test_no_known_column() -> None:
    message = refusal(texts, {"sentence1": "a", "body": "b"})
    assert message.startswith("no column is known to hold texts; it has sentence1, body; ")
    assert "it has none" in refusal(texts, {})


def test_several_tables_each_with_its_columns() -> None:
    tables = [
        ("a.tsv", [Row({"sentence1": "a", "sentence2": "b", "label": "1"}, 17)]),
        ("b[train]", [{"hypothesis": "d", "premise": "c", "label": 2}]),
        ("c.json", {"data": []}),
    ]
    data = read_texts(tables, text_columns=None, label_column=None, numeric=False, strict=True)
    assert data.examples == (
        TextExample("a.tsv: line 17", "a", "b", "1"),
        TextExample("b[train]: row 0", "c", "d", "2"),
    )


def test_no_rows() -> None:
    assert refusal(texts) == "no example in it"
    assert refusal(texts, label_column="none", text_columns=["none"]) == "no example in it"
    with pytest.raises(InputError, match=r"^a, b: no example in it$"):
        read_choices([("a", []), ("b", {"data": []})], label_column=None, strict=False)


# --- texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sentence1", "sentence2"])
def test_texts_that_are_none(name: str) -> None:
    row = {"sentence1": "a", "sentence2": "b"}
    for empty in ("", " \t\n", "\u3000\xa0"):
        message = refusal(texts, row, row | {name: empty})
        assert message == f'row 1: the text of column "{name}" is empty'
    for value in (None, 3, 2.5, True, ["a"], {"a": 1}):
        message = refusal(texts, row, row | {name: value})
        assert message == f'row 1: field "{name}" is {type(value).__name__}, expected str'
    other = {"sentence1": "sentence2", "sentence2": "sentence1"}[name]
    assert refusal(texts, row, {other: "a"}) == f'row 1: no field "{name}"; it has {other}'


def test_texts_are_kept_as_they_are() -> None:
    text = " Te\u200ba\0 \ufeffin\n\tCafe\u0301 \u2028👩‍🔬 "
    data = texts({"text": text})
    assert data == Data((TextExample("x.json: row 0", text),))


def test_lone_surrogates() -> None:
    row = {"sentence1": "a\ud83d", "sentence2": "b", "label": "\udf75"}
    data = texts(row)
    assert data.examples == (TextExample("x.json: row 0", "a\ufffd", "b", "\ufffd"),)
    problem = Problem("x.json: row 0", "lone surrogates in the text; replaced by U+FFFD")
    assert data.problems == (problem,)
    assert refusal(texts, row, strict=True) == f"row 0: {problem.what} (--strict)"
    chosen = {"question": "a\ud83d", "choices": ["b", "\udf75"], "label": 0}
    assert choices(chosen) == Data(
        (ChoiceExample("x.json: row 0", "a\ufffd", ("b", "\ufffd"), 0),), (problem,)
    )
    assert refusal(choices, chosen, strict=True) == f"row 0: {problem.what} (--strict)"


# --- labels -----------------------------------------------------------------------------------


def test_classes() -> None:
    found = labels("yes", " no\n", "v1.0", 1, -1, 0, True, False)
    assert found == ["yes", "no", "v1.0", "1", "-1", "0", "true", "false"]


def test_classes_that_are_whole_floats() -> None:
    """As pandas writes numbers of a column with gaps; a class has one name in all files."""
    found = labels(1, 1.0, "1", "1.0", " 1.00 ", 0.0, -0.0, "-0.0", -2.0, "12.0")
    assert found == ["1"] * 5 + ["0"] * 3 + ["-2", "12"]
    gaps = texts(*({"text": "a", "label": v} for v in (1.0, 0.0, None, float("nan"), 0.0)))
    assert [e.label for e in gaps.examples] == ["1", "0", "0"]
    assert [p.where for p in gaps.problems] == ["x.json: row 2", "x.json: row 3"]
    assert all(p.what.startswith("no label, but other rows have one") for p in gaps.problems)
    assert labels(None, float("nan")) == [None, None]


@pytest.mark.parametrize("values", [[1.0, 2.5], ["1", "0.5"], [3, " 4.25"], ["-1e-1"]])
def test_numbers_with_decimals_are_no_classes(values: list[Any]) -> None:
    message = refusal(labels, *values)
    last = values[-1].strip() if isinstance(values[-1], str) else values[-1]
    start = f'row {len(values) - 1}: label column "label" is '
    assert message.startswith(start)
    assert str(last) in message
    assert "and all labels are numbers; train/regression.py learns numbers" in message
    assert refusal(labels, *values, strict=False) == message
    # Beside a name it is a name too.
    assert labels("2.5", "high") == ["2.5", "high"]


def test_names_are_no_numbers() -> None:
    message = refusal(labels, "low", "high", None, numeric=True, strict=False)
    assert message == (
        "row 0: label column \"label\" is 'low', expected a finite number, but no row has one; "
        "train/classification.py learns classes"
    )
    data = texts({"text": "a", "label": "low"}, {"text": "b", "label": 2}, numeric=True)
    assert [e.label for e in data.examples] == [2.0]


def test_one_column_for_text_and_label() -> None:
    row = {"text": "a", "label": "b"}
    for numeric in (False, True):
        message = refusal(texts, row, label_column="text", numeric=numeric)
        assert message.startswith('column "text" cannot hold both the text and the label; name bo')


@pytest.mark.parametrize("numeric", [False, True])
def test_labels_none_of_which_can_be_used(numeric: bool) -> None:
    """Such data is not unlabelled: an evaluation of it must not end well."""
    bad: Any = 1e300 if not numeric else "1e400"
    rows = [{"text": "a", "label": bad}, {"text": "b", "label": None}]
    message = refusal(texts, *rows, numeric=numeric, strict=False)
    verb = "is" if numeric else "has"
    assert message.startswith(f'row 0: label column "label" {verb} ')
    # A row that is left out for its text, in data without labels, is another case.
    data = texts({"text": " ", "label": None}, {"text": "b", "label": None}, numeric=numeric)
    assert [e.label for e in data.examples] == [None]
    message = refusal(texts, {"text": " ", "label": "1"}, {"text": "b"}, strict=False)
    assert message == 'row 0: the text of column "text" is empty'


def test_other_columns_as_run_glue_takes_them() -> None:
    data = texts({"label": 1, "body": "a b"})
    assert (data.examples[0].text, data.examples[0].pair) == ("a b", None)
    assert data.notes == ('x.json: texts are in the column "body"',)
    data = texts({"idx": "a7", "title": "a", "label": 1, "body": "b", "stars": "5", "n": 2})
    assert (data.examples[0].text, data.examples[0].pair) == ("a", "b")
    assert data.notes == ('x.json: pairs of texts are in columns "title" and "body"',)
    assert texts({"body": "a"}).examples[0].text == "a"
    assert "to hold texts; it has title, body; " in refusal(texts, {"title": "a", "body": "b"})
    three = {"title": "a", "body": "b", "author": "c", "label": 1}
    assert "to hold texts; it has title, body, author, label; " in refusal(texts, three)
    assert texts({"text": "a", "body": "b", "label": 1}).notes == ()


@pytest.mark.parametrize("value", [float("inf"), 1e300, ["a"], []])
def test_classes_of_the_wrong_type(value: Any) -> None:
    message = refusal(labels, "a", value)
    start = f'row 1: label column "label" has the wrong type: {type(value).__name__}, '
    assert message.startswith(start)


def test_numbers() -> None:
    found = labels("5.000", " 2 ", 3, -2.5, "1e3", numeric=True)
    assert found == [5.0, 2.0, 3.0, -2.5, 1000.0]
    assert all(type(label) is float for label in found)


@pytest.mark.parametrize("value", [None, " ", float("nan")])
def test_rows_without_a_number_are_left_out(value: Any) -> None:
    assert labels(1, value, 2.5, numeric=True) == [1.0, 2.5]


@pytest.mark.parametrize(
    "value", ["high", "1,5", "nan", float("inf"), "-inf", "1e999", 10**400, "\n1\n2"]
)
def test_labels_that_are_no_finite_numbers(value: Any) -> None:
    message = refusal(labels, 1, value, numeric=True)
    assert message.startswith('row 1: label column "label" is ')
    assert message.endswith(", expected a finite number")


def test_numbers_whose_squares_are_too_large() -> None:
    assert refusal(labels, 1, "-1e308", numeric=True).endswith("a finite number of at most 1e+15")


@pytest.mark.parametrize("value", [True, [1.0], {"a": 1}])
def test_numbers_of_the_wrong_type(value: Any) -> None:
    message = refusal(labels, 1, value, numeric=True)
    assert f'"label" has the wrong type: {type(value).__name__}, expected a number' in message


@pytest.mark.parametrize("numeric", [False, True])
@pytest.mark.parametrize("empty", [None, "", " "])
def test_labels_of_all_rows_or_of_none(empty: Any, numeric: bool) -> None:
    assert labels(empty, empty, numeric=numeric) == [None, None]
    message = refusal(labels, "1", empty, "0", empty, numeric=numeric)
    assert message.startswith("row 1: no label, but other rows have one")
    without = refusal(texts, {"text": "a", "label": 1}, {"text": "a"}, numeric=numeric)
    assert without.startswith("row 1: no label, but other rows have one")


def test_labels_in_one_table_of_two() -> None:
    tables = [("a", [{"text": "a", "label": 1}]), ("b", [{"text": "a"}])]
    data = read_texts(tables, text_columns=None, label_column=None, numeric=False, strict=False)
    assert [e.where for e in data.examples] == ["a: row 0"]
    assert [p.where for p in data.problems] == ["b: row 0"]


def test_no_label_column() -> None:
    row = {"text": "a", "score": 1.5}
    assert texts(row).examples[0].label is None
    assert texts(row, numeric=True).examples[0].label == 1.5
    assert texts({"text": "a"}, numeric=True).examples[0].label is None


def test_the_column_that_holds_numbers() -> None:
    row = {"text": "a", "label": "neutral", "target": 3, "similarity": 2.0, "relatedness": "1.0"}
    assert texts(row, numeric=True).examples[0].label == 1.0
    assert texts({**row, "label": "0.5"}, numeric=True).examples[0].label == 0.5
    assert texts({**row, "score": 9}, numeric=True).examples[0].label == 9.0
    assert texts(row, numeric=True, label_column="target").examples[0].label == 3.0
    message = refusal(texts, {"text": "a", "label": "neutral"}, numeric=True)
    assert "\"label\" is 'neutral', expected a finite number" in message
    # The first label decides; a later one that is no number is a fault.
    message = refusal(texts, {**row, "label": 1}, row, numeric=True)
    assert message.startswith("row 1: label column \"label\" is 'neutral'")
    unlabelled = {"text": "a", "label": None, "score": 3}
    assert texts(unlabelled, numeric=True).examples[0].label == 3.0


# --- whatever a file holds --------------------------------------------------------------------

NAMES = ["text", "sentence1", "sentence2", "label", "score", "question", "choices", "context"]
NAMES += ["sent1", "sent2", "ending0", "ending1", "answer"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.floats()
    | st.sampled_from(["", "a", "A", "0", "\ud800", " \n", "2.5"])
)
ROWS = st.dictionaries(st.sampled_from(NAMES), SCALARS | st.lists(SCALARS, max_size=3))
LIKELY = st.fixed_dictionaries(
    {name: st.sampled_from(["a", "b\nc", "\ud800"]) for name in ("text", "question", "context")}
    | {"choices": st.just(["a", "b"]), "label": SCALARS}
)


@unhurried
@given(
    rows=st.lists(ROWS | LIKELY, max_size=3) | st.lists(LIKELY, max_size=3) | SCALARS,
    numeric=st.booleans(),
    strict=st.booleans(),
)
def test_any_rows_give_examples_or_one_line(rows: Any, numeric: bool, strict: bool) -> None:
    asked: dict[str, Any] = {"text_columns": None, "numeric": numeric}
    found: list[Data[Any]] = []
    messages = []
    for read, options in ((read_texts, asked), (read_choices, {})):
        try:
            found.append(read([("x", rows)], label_column=None, strict=strict, **options))
        except InputError as error:
            messages.append(str(error))
    assert all(message.startswith("x: ") for message in messages)
    assert all(len(message.splitlines()) == 1 for message in messages)
    for data in found:
        left_out = sum("left out" in problem.what for problem in data.problems)
        assert len(data.examples) == len(rows) - left_out > 0
        assert not (strict and data.problems)
        json.dumps([str(e) for e in data.examples], ensure_ascii=False).encode()
        assert len({e.label is None for e in data.examples}) == 1
        for e in data.examples:
            if isinstance(e, ChoiceExample):
                assert e.label is None or 0 <= e.label < len(e.endings)
            else:
                assert isinstance(e.label, float if numeric else str) or e.label is None


# --- public data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "pairs", "numeric", "found"),
    [
        ("cola_train", 7235, False, False, {"0", "1"}),
        ("cola_dev", 1296, False, False, {"0", "1"}),
        ("sst2_train", 6917, False, False, {"0", "1"}),
        ("sst2_dev", 872, False, False, {"0", "1"}),
        ("sst5_train", 8540, False, False, set("01234")),
        ("sst5_dev", 1101, False, False, set("01234")),
        ("sst2_phrases_train", 60596, False, False, {"0", "1"}),
        ("stsb_train", 5725, True, True, None),
        ("stsb_dev", 1497, True, True, None),
        ("rte_train", 2127, True, False, {"entailment", "not_entailment"}),
        ("rte_dev", 362, True, False, {"entailment", "not_entailment"}),
        ("sick_train", 7930, True, False, {"entailment", "neutral", "contradiction"}),
        ("sick_dev", 598, True, False, {"entailment", "neutral", "contradiction"}),
        ("sick_dev", 598, True, True, None),
        ("mrpc_train", 3641, True, False, {"0", "1"}),
        ("mrpc_dev", 435, True, False, {"0", "1"}),
        ("chnsenticorp_train", 7130, False, False, {"positive", "negative"}),
        ("chnsenticorp_dev", 784, False, False, {"positive", "negative"}),
    ],
)
def test_public_data(
    name: str, count: int, pairs: bool, numeric: bool, found: set[str] | None
) -> None:
    path = str(public_data(f"{name}.tsv"))
    data = read_texts(
        [(path, load_rows(path))],
        text_columns=None,
        label_column=None,
        numeric=numeric,
        strict=True,
    )
    assert len(data.examples) == count
    assert data.examples[-1].where == f"{path}: line {count + 1}"
    assert {e.pair is not None for e in data.examples} == {pairs}
    if found is None:
        assert all(isinstance(e.label, float) and 0 <= e.label <= 5 for e in data.examples)
    else:
        assert {e.label for e in data.examples} == found


def test_a_column_that_may_be_missing() -> None:
    """What an evaluation takes over from the training: no labels where the column is not there."""
    for row, expected in (({"text": "a"}, None), ({"text": "a", "stars": "5"}, "5")):
        data = read_texts(
            [("x", [row])], text_columns=None, label_column="stars?", numeric=False, strict=False
        )
        assert data.examples[0].label == expected
