"""Files in the forms of the fixtures of transformers' example tests, read as training data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxbert.options.task_settings import (
    ClassificationTrainOptions,
    MLMTrainOptions,
    MultipleChoiceTrainOptions,
    QATrainOptions,
    RegressionTrainOptions,
    TaggingTrainOptions,
)
from jaxbert.runs.inputs import read_examples
from jaxbert.tasks.classification import Classification
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.multiple_choice import MultipleChoice
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.tagging import Tagging

ANSWERED = {
    "id": "a1",
    "title": "Tea",
    "context": "Tea was grown in Assam.",
    "question": "Where?",
    "answers": {"text": ["Assam"], "answer_start": [17]},
}
SWAG = {
    "ending0": "drinks tea.",
    "ending1": "sails away.",
    "ending2": "is a ship.",
    "ending3": "was sold.",
    "label": 0,
    "sent1": "She sits down.",
    "sent2": "She",
    "startphrase": "She sits down. She",
    "video-id": "v_1",
}


def lines(*rows: Any) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    def read(task: Any, options: Any, name: str, text: str, **more: Any) -> list[Any]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        given = options(train_file=[str(tmp_path / name)], strict=True, **more)
        data = read_examples(task(given.part(task.settings_cls)), given.training_source())
        assert data is not None
        return list(data.examples)

    return read


def test_mrpc(read: Callable[..., Any]) -> None:
    text = 'label,sentence1,sentence2\nequivalent,Tea is sold .,"It , tea , is sold ."\nno,a,b\n'
    first, _ = read(Classification, ClassificationTrainOptions, "train.csv", text)
    assert (first.text, first.pair, first.label) == (
        "Tea is sold .",
        "It , tea , is sold .",
        "equivalent",
    )
    # GLUE's own file has a mark at its beginning, and other names.
    text = '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta "b\t"c\n0\t7\t8\td\te\n'
    columns = {"text_column_name": ["#1 String", "#2 String"], "label_column_name": ["Quality"]}
    first, _ = read(Classification, ClassificationTrainOptions, "train.tsv", text, **columns)
    assert (first.text, first.pair, first.label) == ('a "b', '"c', "1")


def test_sts_b(read: Callable[..., Any]) -> None:
    text = (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tmain\tf\t2012\t1\tnone\tnone\tA ship sails.\tA ship is sailing.\t5.000\n"
    )
    [one] = read(Regression, RegressionTrainOptions, "train.tsv", text)
    assert (one.text, one.pair, one.label) == ("A ship sails.", "A ship is sailing.", 5.0)


@pytest.mark.parametrize("indent", [None, 2])
def test_squad(read: Callable[..., Any], indent: int | None) -> None:
    content = {"version": 2.0, "data": [ANSWERED, {**ANSWERED, "id": "a2"}]}
    text = json.dumps(content, indent=indent)
    for form in (text, lines(ANSWERED, {**ANSWERED, "id": "a2"})):
        one, two = read(QA, QATrainOptions, "sample.json", form)
        assert (one.id, two.id, one.answers[0].start) == ("a1", "a2", 17)


def test_conll_as_json_lines(read: Callable[..., Any]) -> None:
    rows = [{"words": ["Tea", "is"], "ner": ["B-X", "O"]}, {"words": ["She"], "ner": ["O"]}]
    one, two = read(Tagging, TaggingTrainOptions, "sample.json", lines(*rows))
    assert (one.words, one.tags, two.tags) == (("Tea", "is"), ("B-X", "O"), ("O",))
    assert one.where.endswith("sample.json: line 1")


def test_germeval(read: Callable[..., Any]) -> None:
    one, two = read(Tagging, TaggingTrainOptions, "dev.txt", "Tee B-LOC\nist O\n\nSie O\n")
    assert (one.words, one.tags, two.words) == (("Tee", "ist"), ("B-LOC", "O"), ("Sie",))


def test_swag(read: Callable[..., Any]) -> None:
    text = lines(SWAG, {**SWAG, "label": 3})
    one, two = read(MultipleChoice, MultipleChoiceTrainOptions, "sample.json", text)
    assert (one.endings[1], one.label, two.label) == ("She sails away.", 0, 3)


def test_text_and_rows_of_text(read: Callable[..., Any]) -> None:
    found = read(MLM, MLMTrainOptions, "sample_text.txt", "Tea is sold.\n\n Ships sail.\n")
    assert [line.text for line in found] == ["Tea is sold.", " Ships sail."]
    found = read(MLM, MLMTrainOptions, "sample.json", lines({"text": "a"}, {"text": "b"}))
    assert [line.text for line in found] == ["a", "b"]
    found = read(MLM, MLMTrainOptions, "sample.json", json.dumps({"data": [ANSWERED]}))
    assert [line.text for line in found] == ["Tea was grown in Assam."]


def test_classes_in_json_lines(read: Callable[..., Any]) -> None:
    rows = [{"label": 1.0, "sentence": "a"}, {"label": 0.0, "sentence": "b"}]
    one, two = read(Classification, ClassificationTrainOptions, "train.json", lines(*rows))
    assert (one.label, two.label) == ("1", "0")
    rows = [{"label": "x", "title": "a", "body": "c"}, {"label": "y", "title": "b", "body": "d"}]
    one, _ = read(Classification, ClassificationTrainOptions, "train.json", lines(*rows))
    assert (one.text, one.pair) == ("a", "c")
    rows = [{"score": 1.5, "text": "a"}, {"score": 2, "text": "b"}]
    one, two = read(Regression, RegressionTrainOptions, "train.json", lines(*rows))
    assert (one.label, two.label) == (1.5, 2.0)
