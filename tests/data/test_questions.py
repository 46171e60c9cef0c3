"""Files to examples: every layout that is read, and rows that are repaired or left out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from squad_files import (
    CHINESE,
    CONTEXT,
    LONDON,
    at,
    flat,
    hub,
    only,
    qa,
    refusal,
    squad,
    unknown,
    whats,
)

from jaxbert.data.questions import Answer, QAExample, read_qa
from jaxbert.errors import InputError

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


def test_flat_rows_in_every_container(write: Callable[..., str], tmp_path: Path) -> None:
    import datasets

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
