"""eval/score.py for rows: references are not repaired in silence, and --strict stops at them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripts import call, refuses

CLASSES = "text,label\na,no\nb,yes\nc,yes\n"
TAGGED = "Anna B-PER\nOld I-PER\nruns O\n\nRome B-LOC\nis O\nold O\n"


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., list[str]]:
    """The script's words for references and predictions of these contents."""

    def words(metric: str, name: str, references: str, predictions: Any) -> list[str]:
        (tmp_path / name).write_text(references, encoding="utf-8")
        (tmp_path / "p.json").write_text(json.dumps(predictions))
        files = ["--references", str(tmp_path / name), "--predictions", str(tmp_path / "p.json")]
        return ["--metric", metric, *files]

    return words


@pytest.fixture
def scores(words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> Any:
    """The scores, and the messages beside them."""

    def scores(*case: Any) -> tuple[dict[str, float], list[str]]:
        call("eval/score.py", *words(*case))
        out, err = capsys.readouterr()
        return json.loads(out), err.splitlines()

    return scores


@pytest.mark.parametrize("strict", [[], ["--strict"]])
@pytest.mark.parametrize(
    ("metric", "name", "references", "expected"),
    [
        (
            "classification",
            "a.csv",
            CLASSES + ",no\n",
            'line 5: the text of column "text" is empty',
        ),
        (
            "classification",
            "a.jsonl",
            '{"text": "a", "label": {"1": "x"}}\n' * 3,
            "line 1: label column",
        ),
        ("classification", "a.csv", "text,label\na,0.5\nb,1\n", "train/regression.py learns"),
        ("regression", "a.csv", "text,score\na,1\nb,high\nc,2\n", "line 3: label column"),
        (
            "multiple_choice",
            "a.jsonl",
            '{"question": "a", "choices": ["b", "c"], "label": 0}\n'
            '{"question": "a", "choices": ["b", "c"], "label": 5}\n',
            "line 2: label column",
        ),
        ("tagging", "a.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n', "line 1: 2 words and 1"),
        ("tagging", "a.conll", "New York B-LOC\nis O\n", "line 2 has 2 columns, expected 3"),
    ],
)
def test_references_with_a_fault_are_refused(
    words: Callable[..., list[str]],
    metric: str,
    name: str,
    references: str,
    expected: str,
    strict: list[str],
) -> None:
    given = words(metric, name, references, ["no", "yes", "yes"])
    assert expected in refuses("eval/score.py", *given, *strict)


def test_rows_without_a_label_are_named(
    scores: Any, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    references = CLASSES + "d,\n"
    found, said = scores("classification", "a.csv", references, ["no", "yes", "no"])
    assert found["accuracy"] == 2 / 3
    [line] = said
    assert line.startswith("warning: ")
    assert line.endswith("a.csv: line 5: no label, but other rows have one; it is left out")
    given = words("classification", "a.csv", references, ["no", "yes", "no", "no"])
    message = refuses("eval/score.py", *given)
    assert message.endswith("has 3 rows; rows that are left out are named above")
    assert "line 5: no label" in capsys.readouterr().err
    given = words("classification", "a.csv", references, ["no", "yes", "no"])
    assert refuses("eval/score.py", *given, "--strict").endswith("it is left out (--strict)")


def test_whole_floats_are_the_classes_that_a_model_names(scores: Any) -> None:
    references = "text,label\na,1.0\nb,0.0\nc,1.0\n"
    found, said = scores("classification", "a.csv", references, ["1", "0", "0"])
    assert found["accuracy"] == 2 / 3
    assert said == []


def test_one_odd_tag_is_named(scores: Any, words: Callable[..., list[str]]) -> None:
    gold = [["B-PER", "I-PER", "O"], ["B-LOC", "O", "O"]]
    found, said = scores("tagging", "a.conll", TAGGED, gold)
    assert (found["f1"], found["accuracy"], said) == (1.0, 1.0, [])
    references = TAGGED.replace("is O", "is 0")
    found, said = scores("tagging", "a.conll", references, gold)
    assert found == {"accuracy": 5 / 6}
    [line] = said
    assert "a.conll: line 5, word 2 (is): the tag '0' occurs 1 time and is not of the" in line
    given = words("tagging", "a.conll", references, gold)
    assert refuses("eval/score.py", *given, "--strict").endswith("in the file (--strict)")


def test_entities_of_ioe2(scores: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    references = "New I-LOC\nYork E-LOC\nis O\nRome E-LOC\n"
    gold = [["I-LOC", "E-LOC", "O", "E-LOC"]]
    assert scores("tagging", "a.conll", references, gold)[0]["f1"] == 1.0
    files = ["--references", str(tmp_path / "a.conll"), "--predictions", str(tmp_path / "p.json")]
    call("eval/score.py", "--metric", "tagging", *files, "--entity_mode", "strict")
    assert json.loads(capsys.readouterr().out)["f1"] == 1.0


def test_predictions_of_other_words_are_refused(words: Callable[..., list[str]]) -> None:
    entries = [
        {"words": ["Rome", "is", "old"], "tags": ["B-LOC", "O", "O"]},
        {"words": ["Anna", "Old", "runs"], "tags": ["B-PER", "I-PER", "O"]},
    ]
    message = refuses("eval/score.py", *words("tagging", "a.conll", TAGGED, entries))
    assert "p.json: entry 0 is of other words than " in message
