"""Files to examples: every layout that is read, and every fault named in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

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


# --- layouts ----------------------------------------------------------------------------------


def test_squad_of_version_1(write: Callable[..., str]) -> None:
    several = qa("b", answers=[at("Assam"), at("in Assam")], title="ignored")
    data = read_qa([write(squad(qa(), several))])
    assert data.problems == ()
    assert data.examples == (
        LONDON,
        QAExample("b", "Where?", CONTEXT, (Answer("Assam", 17), Answer("in Assam", 14))),
    )


def test_squad_of_version_2(write: Callable[..., str]) -> None:
    impossible = qa("b", is_impossible=True, answers=[], plausible_answers=[at("Assam")])
    without = {"id": "c", "question": "Where?", "is_impossible": True}
    unlabelled = {"id": "d", "question": "Where?"}
    data = read_qa([write(squad(qa(is_impossible=False), impossible, without, unlabelled))])
    assert whats(data) == [unknown("id, question")]
    assert data.problems[0].where.endswith("question 3 (id d)")
    assert [e.answers for e in data.examples] == [LONDON.answers, (), (), ()]
    assert [e.labelled for e in data.examples] == [True, True, True, False]


def test_cmrc2018_in_its_own_layout(write: Callable[..., str]) -> None:
    paragraph = {
        "context_id": "DEV_0",
        "context_text": CHINESE,
        "qas": [
            {"query_id": "DEV_0_Q", "query_text": "在哪里?", "answers": ["伦敦", "在伦敦"]},
            {"query_id": 7, "query_text": "何时?"},
        ],
        "title": "茶",
    }
    data = read_qa([write([paragraph])])
    assert whats(data) == [unknown("query_id, query_text")]
    assert data.examples == (
        QAExample("DEV_0_Q", "在哪里?", CHINESE, (Answer("伦敦", 13), Answer("在伦敦", 12))),
        QAExample("7", "何时?", CHINESE, labelled=False),
    )


def test_cmrc2018_in_the_layout_of_squad(write: Callable[..., str]) -> None:
    data = read_qa([write(squad(qa(answers=[at("伦敦", CHINESE)]), context=CHINESE))])
    assert only(data).answers == (Answer("伦敦", 13),)


def test_flat_rows_in_every_container(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [flat(), flat("b", answers={"text": [], "answer_start": []})]
    expected = (LONDON, QAExample("b", "Where?", CONTEXT))
    lines = "\n".join(json.dumps(row) for row in rows)
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(str(tmp_path / "data.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": table, "validation": table.select([1])}).save_to_disk(
        str(tmp_path / "splits")
    )
    paths = [
        write(rows, "list.json"),
        write({"data": rows}, "dict.json"),
        write(lines, "rows.jsonl"),
        write(f"\n{lines}\n\n", "blank_lines.jsonl"),
        str(tmp_path / "data.parquet"),
        str(tmp_path / "saved"),
    ]
    for path in paths:
        data = read_qa([path])
        assert (data.examples, data.problems) == (expected, ()), path
    splits = str(tmp_path / "splits")
    assert hub(splits, "train").examples == expected
    assert hub(splits, "validation").examples == expected[1:]
    assert "train, validation" in refusal(splits)
    for name, split in [(splits, "test"), (str(tmp_path / "cache"), "train")]:
        with pytest.raises(InputError, match=f"^--dataset_name {re.escape(name)}.*{split}.*$"):
            hub(name, split)
    (tmp_path / "empty").mkdir()
    assert "datasets cannot read it" in refusal(str(tmp_path / "empty"))
    assert "datasets cannot read it" in refusal(write(b"PAR1 no more", "bad.parquet"))
    assert "no such file" in refusal(str(tmp_path / "none.parquet"))


def test_flat_rows_without_answers_or_offsets(write: Callable[..., str]) -> None:
    rows = [
        {"id": 1, "question": "Where?", "context": CONTEXT},
        flat(2, answers=None),
        flat(3, answers={"text": ["London"]}),
        flat(4, answers={"text": ["Assam"], "answer_start": [None]}),
    ]
    data = read_qa([write(rows)])
    fields = ["id, question, context", "id, question, context, answers"]
    assert whats(data) == [unknown(names) for names in fields]
    assert [e.labelled for e in data.examples] == [False, False, True, True]
    starts = [[a.start for a in e.answers] for e in data.examples]
    assert starts == [[], [], [LONDON.answers[0].start], [17]]


def test_several_files_of_different_layouts(write: Callable[..., str]) -> None:
    paths = [write(squad(qa())), write([flat("b"), flat("a")], "flat.json")]
    data = read_qa(paths)
    assert [e.id for e in data.examples] == ["a", "b"]
    assert [(p.where, p.what) for p in data.problems] == [
        (f"{paths[1]}: row 1 (id a)", "duplicate id; this row is left out")
    ]


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


# --- rows that are repaired or left out -------------------------------------------------------


def test_duplicate_ids_keep_the_first(write: Callable[..., str]) -> None:
    path = write(squad(qa("1"), qa(1, question="When?"), qa("b")))
    data = read_qa([path])
    assert [(e.id, e.question) for e in data.examples] == [("1", "Where?"), ("b", "Where?")]
    assert [p.where for p in data.problems] == [
        f"{path}: article 0, paragraph 0, question 1 (id 1)"
    ]
    assert "duplicate id" in refusal(path, strict=True)


@pytest.mark.parametrize("error", [-17, -3, -1, 1, 2, 10])
def test_offset_some_characters_off(write: Callable[..., str], error: int) -> None:
    answer = at("Assam")
    path = write(squad(qa(answers=[{**answer, "answer_start": 17 + error}])))
    data = read_qa([path])
    assert only(data).answers == (Answer("Assam", 17),)
    assert whats(data) == [f"the answer 'Assam' is at 17, not {17 + error}; repaired"]
    assert "repaired (--strict)" in refusal(path, strict=True)


@pytest.mark.parametrize("unit", ["utf-8", "utf-16-le"])
def test_offset_in_another_unit(write: Callable[..., str], unit: str) -> None:
    context = "🍵茶" * 80 + "London" + "茶" * 9
    start = len(context[:160].encode(unit)) // (2 if unit == "utf-16-le" else 1)
    answers = [{"text": "London", "answer_start": start}]
    data = read_qa([write(squad(qa(answers=answers), context=context))])
    assert only(data).answers == (Answer("London", 160),)
    assert len(data.problems) == 1


def test_far_offset_of_a_text_in_several_places(write: Callable[..., str]) -> None:
    context = "Assam " * 2 + "x" * 300
    answers = [{"text": "Assam", "answer_start": 200}]
    data = read_qa([write(squad(qa(answers=answers), context=context))])
    assert only(data).answers == (Answer("Assam", None),)
    assert whats(data) == [
        "the answer 'Assam' is not near 200 but in several places in the paragraph; the question "
        "is left out of training and kept for scoring"
    ]


def test_answer_that_is_not_in_the_paragraph(write: Callable[..., str]) -> None:
    answers = [{"text": "Paris", "answer_start": 3}, at("London"), {"text": "Rome"}]
    path = write(squad(qa(answers=answers)))
    data = read_qa([path])
    assert only(data).answers == (Answer("Paris", None), *LONDON.answers, Answer("Rome", None))
    assert whats(data) == [
        f"the answer '{name}' is not in the paragraph; scoring only" for name in ("Paris", "Rome")
    ]
    assert "'Paris' is not in the paragraph" in refusal(path, strict=True)


def test_empty_answers_questions_and_paragraphs(write: Callable[..., str]) -> None:
    data = read_qa([write(squad(qa(answers=[{"text": " ", "answer_start": 3}, at("London")])))])
    # The official scripts look at every answer, so an empty one is kept for the scores.
    assert only(data).answers == (Answer(" ", None), *LONDON.answers)
    assert whats(data) == ["an answer is empty; scoring only"]
    data = read_qa([write(squad(qa(question="\t"), context=" \u3000"))])
    assert only(data) == QAExample("a", "\t", " \u3000", (Answer("London", None),))
    assert [what.split(";")[0] for what in whats(data)] == [
        "the paragraph is empty",
        "the question is empty",
        "the answer 'London' is not in the paragraph",
    ]


def test_lone_surrogates_are_replaced_one_for_one(write: Callable[..., str]) -> None:
    context = "\ud83d 🍵 \udf75\udf75 London \ud83d"
    broken = qa("\ud83d", question="Where\udf75?", answers=[at("London \ud83d", context)])
    data = read_qa([write(squad(broken, context=context))])
    found = only(data)
    assert found.context == "\ufffd 🍵 \ufffd\ufffd London \ufffd"
    assert (found.id, found.question) == ("\ufffd", "Where\ufffd?")
    assert found.answers == (Answer("London \ufffd", context.index("London")),)
    assert whats(data) == ["lone surrogates in the text; replaced by U+FFFD"]
    json.dumps([found.id, data.problems[0].where], ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ("Tea\0in\0London\0", "in\0London"),
        ("चाय लंदन में बिकी", "लंदन"),
        ("الشاي في لندن", "لندن"),
        ("Te\u200ba in\ufeff Lon\u00addon", "Lon\u00addon"),
        ("👩‍🔬 in Cafe\u0301", "👩‍🔬"),
        ("İstanbul ǅ ﬁn", "ﬁn"),
        (" London ", " London "),
    ],
)
def test_characters_are_kept_as_they_are(
    write: Callable[..., str], context: str, text: str
) -> None:
    data = read_qa([write(squad(qa(answers=[at(text, context)]), context=context))])
    assert data.problems == ()
    assert only(data).context == context
    assert only(data).answers == (Answer(text, context.index(text)),)


def test_nan_literals(write: Callable[..., str]) -> None:
    ignored = json.dumps(squad(qa(score=float("nan"), other=float("inf"))))
    assert only(read_qa([write(ignored)])) == LONDON
    assert '"answer_start" is float' in refusal(
        write(squad(qa(answers=[{"text": "Tea", "answer_start": float("nan")}])))
    )


# --- whatever a file holds --------------------------------------------------------------------

NAMES = [
    "data",
    "paragraphs",
    "qas",
    "context",
    "context_text",
    "id",
    "question",
    "query_id",
    "query_text",
    "answers",
    "text",
    "answer_start",
    "is_impossible",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 99)
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "London", CONTEXT, "\ud800", "\n"])
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=20,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A good file in which one value, anywhere, is another; or any value at all."""
    content = json.loads(
        json.dumps(draw(st.sampled_from([squad(qa(), qa("b")), [flat(), flat("b")], None])))
    )
    if content is None:
        return draw(VALUES)
    place: Any = content
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            place[key] = draw(VALUES)
            return content
        place = place[key]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


def sound(data: Data[QAExample]) -> bool:
    """Every text is as Unicode wants it, every answer where it says, every id once."""
    for row in data.examples:
        for text in (row.id, row.question, row.context, *(a.text for a in row.answers)):
            text.encode()
        for answer in row.answers:
            if answer.start is None:
                continue
            found = row.context[answer.start : answer.end]
            if found != answer.text and (found.split() != answer.text.split() or not found.strip()):
                return False
    return len({row.id for row in data.examples}) == len(data.examples)


@unhurried
@given(content=damaged(), suffix=st.sampled_from(["json", "jsonl"]), strict=st.booleans())
@example(content=[{"context_text": "a", "qas": [{"answers": 3}]}], suffix="json", strict=False)
def test_any_json_gives_data_or_one_line(
    folder: Path, content: Any, suffix: str, strict: bool
) -> None:
    path = folder / f"any.{suffix}"
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        data = read_qa([str(path)], strict=strict)
    except InputError as error:
        message = str(error)
    else:
        assert sound(data)
        return
    assert str(path) in message
    assert len(message.splitlines()) == 1


@unhurried
@given(content=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_give_one_line(folder: Path, content: bytes) -> None:
    path = folder / "bytes.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_qa([str(path)])
    assert len(str(caught.value).splitlines()) == 1


@unhurried
@given(
    context=st.text("ab \u0301é🍵\n", min_size=1, max_size=200),
    span=st.tuples(st.integers(0, 199), st.integers(1, 12)),
    error=st.integers(-80, 80) | st.just(0),
)
def test_every_offset_is_right_or_none(
    folder: Path, context: str, span: tuple[int, int], error: int
) -> None:
    start = span[0] % len(context)
    text = context[start : start + span[1]]
    answers = [{"text": text, "answer_start": start + error}]
    path = folder / "offsets.json"
    path.write_text(json.dumps(squad(qa(answers=answers), context=context)), encoding="utf-8")
    data = read_qa([str(path)])
    for answer in only(data).answers:
        assert answer.text == text
        found = context[answer.start : answer.end]
        if not text.strip():
            assert answer.start is None
        elif answer.start is not None:
            assert found == text or (found == found.strip() and found.split() == text.split())
        if error == 0 and text.strip():
            assert (answer.start, found) == (start, text)
        if (answer.start, found) != (start + error, text):
            assert data.problems
