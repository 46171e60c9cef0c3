"""What each task shows of its examples: gold and predicted in their texts, and what is worst."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.choices import ChoiceExample
from jaxbert.data.questions import Answer, QAExample
from jaxbert.data.texts import TextExample
from jaxbert.data.words import WordsExample
from jaxbert.decoding.answers import Candidate, Prediction
from jaxbert.model.config import MULTI_LABEL, BertConfig
from jaxbert.options.task_settings import (
    ClassificationSettings,
    MLMOptions,
    MultipleChoiceOptions,
    QAOptions,
    RegressionSettings,
    TaggingOptions,
)
from jaxbert.report.records import Findings, Shown
from jaxbert.tasks import shown_numbers
from jaxbert.tasks.classification import Classification, Classified, MultiClassified
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import Chosen, MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.shown_answers import question_word
from jaxbert.tasks.tagging import Tagged, Tagging

CONTEXT = "The Normans came in 911 from Denmark, Iceland and Norway."


def found(findings: Findings | None) -> Findings:
    assert findings is not None
    return findings


def worst_first(findings: Findings) -> list[str]:
    return [s.name for s in sorted(findings.shown, key=lambda s: -s.badness)]


def marked(shown: Shown, by: str) -> list[str]:
    return [p.text[m.start : m.end] for p in shown.passages for m in p.marks if m.by == by]


def question(name: str, text: str, *answers: str) -> QAExample:
    return QAExample(name, text, CONTEXT, tuple(Answer(a, CONTEXT.find(a)) for a in answers))


def answered(*texts: str, odds: float | None = None) -> Prediction:
    """An n-best list in which each entry is half as probable as the one before."""
    nbest = tuple(
        Candidate(
            t, max(CONTEXT.find(t), 0) if t else 0, CONTEXT.find(t) + len(t) if t else 0, 1, p
        )
        for t, p in zip(texts, (0.6, 0.3, 0.1), strict=False)
    )
    return Prediction(nbest, odds, nbest[0])


def test_questions_have_their_answers_in_the_paragraph() -> None:
    task = QA(QAOptions(metric="squad_v2", version_2_with_negative=True))
    examples = [
        question("right", "When did they come?", "911", "in 911"),
        question("sure", "From where did they come?", "Denmark, Iceland and Norway"),
        question("none", "How many came?"),
    ]
    predictions = [
        answered("in 911", "Denmark", "", odds=-3.0),
        answered("Denmark", "Norway", odds=-1.0),
        answered("", "911", odds=2.0),
    ]
    findings = found(task.findings(examples, predictions, BertConfig()))
    right, sure, none = findings.shown
    assert [s.right for s in findings.shown] == [True, False, True]
    assert worst_first(findings)[0] == "sure"
    assert (marked(right, "gold"), marked(right, "predicted")) == (["911", "in 911"], ["in 911"])
    assert [c.gold for c in right.choices] == [True, False, False]
    assert [c.predicted for c in sure.choices] == [True, False]
    assert sure.facets["words"] == "some right"
    assert sure.facets["answer"] == "has an answer, answered"
    assert (none.gold, none.predicted, marked(none, "gold")) == ("(no answer)", "(no answer)", [])
    assert none.facets["answer"] == "has no answer, left empty"
    assert none.choices[0].gold
    assert [s.facets["asks"] for s in findings.shown] == ["when", "where", "how many"]
    assert [*findings.confidences] == [(0.6, True), (0.6, False), (0.6, True)]


def test_a_question_without_a_known_answer_is_neither_right_nor_wrong() -> None:
    task = QA(QAOptions(metric="squad"))
    example = QAExample("q", "Who?", CONTEXT, labelled=False)
    findings = found(task.findings([example], [answered("Normans")], BertConfig()))
    (shown,) = findings.shown
    assert (shown.right, shown.gold) == (None, None)
    assert [*findings.confidences] == []


@given(st.text(max_size=40))
def test_every_question_has_a_word(text: str) -> None:
    assert question_word(text)


def test_classes_have_a_confusion_matrix_and_the_surest_mistakes_first() -> None:
    task = Classification(ClassificationSettings())
    cfg = BertConfig(id2label=("no", "yes"))
    examples = [TextExample(f"row {n}", "a text", label="yes") for n in range(4)]
    scores = [0.9, 0.4, 0.1, 0.6]
    predictions = [Classified("yes" if p > 0.5 else "no", {"no": 1 - p, "yes": p}) for p in scores]
    findings = found(task.findings(examples, predictions, cfg))
    assert worst_first(findings) == ["row 2", "row 1", "row 3", "row 0"]
    assert findings.confusion is not None
    assert findings.confusion.counts == [[0, 0], [2, 2]]
    assert [s.right for s in findings.shown] == [True, False, False, True]
    assert [*findings.confidences][2] == (0.9, False)


def test_any_number_of_classes_have_a_table() -> None:
    task = Classification(ClassificationSettings(problem_type=MULTI_LABEL))
    cfg = BertConfig(id2label=("a", "b"), problem_type=MULTI_LABEL)
    examples = [
        TextExample("row 1", "one", label=("a", "b")),
        TextExample("row 2", "two", label=()),
    ]
    predictions = [
        MultiClassified(("a",), {"a": 0.9, "b": 0.2}),
        MultiClassified(("a",), {"a": 0.6, "b": 0.1}),
    ]
    findings = found(task.findings(examples, predictions, cfg))
    assert findings.tables[0].rows == [("a", "1", "0", "1"), ("b", "0", "1", "0")]
    assert [s.gold for s in findings.shown] == ["a, b", "(none)"]
    assert worst_first(findings) == ["row 1", "row 2"]  # 0.8 of b, 0.6 of a
    assert len(findings.confidences) == 4


def test_numbers_have_a_scatter_and_the_furthest_apart_first() -> None:
    task = Regression(RegressionSettings())
    examples = [TextExample(f"row {n}", "x", "y", label=float(n)) for n in range(3)]
    findings = found(task.findings(examples, [0.1, 3.0, 2.0], BertConfig()))
    assert worst_first(findings) == ["row 1", "row 0", "row 2"]
    guide, points = findings.charts[0].series
    assert (points.x, points.y) == ([0.0, 1.0, 2.0], [0.1, 3.0, 2.0])
    assert guide.look == "guide"
    assert findings.charts[0].says == "3 examples, on average 0.7 apart"
    assert [s.facets["off"] for s in findings.shown] == ["too high", "too high", "equal"]


def test_of_many_numbers_the_points_of_a_chart_are_spread_over_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown_numbers, "_POINTS", 3)
    examples = [TextExample(f"row {n}", "x", label=float(n % 5)) for n in range(5)]
    findings = found(Regression(RegressionSettings()).findings(examples, [1.0] * 5, BertConfig()))
    guide, points = findings.charts[0].series
    assert (points.x, points.y) == ([0.0, 2.0, 4.0], [1.0] * 3)
    assert guide.x == [0.0, 4.0]
    assert findings.charts[0].says == "5 examples, on average 1.4 apart"
    assert len(findings.shown) == 5


def test_sentences_have_their_entities_and_a_confusion_of_types() -> None:
    task = Tagging(TaggingOptions())
    cfg = BertConfig(id2label=("O", "B-PER", "I-PER", "B-LOC"))
    examples = [
        WordsExample(
            "row 1", ("Ada", "Lovelace", "saw", "Turin"), ("B-PER", "I-PER", "O", "B-LOC")
        ),
        WordsExample("row 2", ("No", "one"), ("O", "O")),
    ]
    predictions = [
        Tagged(["B-PER", "I-PER", "O", "B-PER"], [0.9, 0.9, 0.9, 0.5]),
        Tagged(["O", "O"], [1.0, 1.0]),
    ]
    findings = found(task.findings(examples, predictions, cfg))
    first, second = findings.shown
    assert marked(first, "gold") == ["Ada Lovelace", "Turin"]
    assert [m.label for p in first.passages for m in p.marks] == ["PER", "LOC", "PER", "PER"]
    assert [p.title for p in second.passages] == ["gold and predicted"]
    assert findings.confusion is not None
    assert findings.confusion.names == ["O", "PER", "LOC"]
    assert findings.confusion.counts == [[3, 0, 0], [0, 2, 0], [0, 1, 0]]
    assert worst_first(findings) == ["row 1", "row 2"]
    assert [row[0] for row in findings.tables[0].rows] == ["LOC", "PER"]


def test_words_that_are_no_entities_have_each_its_tag() -> None:
    task = Tagging(TaggingOptions())
    cfg = BertConfig(id2label=("NOUN", "VERB"))
    examples = [WordsExample("row 1", ("上", "海", "去"), None)]
    findings = found(task.findings(examples, [Tagged(["NOUN", "NOUN", "VERB"], [1, 1, 1])], cfg))
    (shown,) = findings.shown
    assert shown.passages[0].text == "上海去"
    assert marked(shown, "predicted") == ["上", "海", "去"]
    assert (findings.confusion, shown.right) == (None, None)


def test_choices_of_one_text_are_told_apart() -> None:
    task = MultipleChoice(MultipleChoiceOptions())
    examples = [ChoiceExample("row 1", "He said", ("yes.", "yes.", "no."), 1)]
    findings = found(task.findings(examples, [Chosen(0, (0.5, 0.3, 0.2))], BertConfig()))
    (shown,) = findings.shown
    assert [(c.text, c.gold, c.predicted) for c in shown.choices] == [
        ("A  yes.", False, True),
        ("B  yes.", True, False),
        ("C  no.", False, False),
    ]
    assert shown.right is False


def test_masked_texts_have_scores_alone() -> None:
    assert MLM(MLMOptions()).findings([], [], BertConfig()) is None
