"""References that are odd: the numbers of the official scripts, the warnings, and --strict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import official_scripts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import call, refuses

from jaxbert.errors import InputError
from jaxbert.runs.score_questions import score_files

CONTEXT = "Oats grow in wet soil. Rye grows in dry soil."
CHINESE = "燕麦长在湿土里，黑麦长在干土里。"
OFFICIAL: dict[str, Callable[[Any, Any], dict[str, float]]] = {
    "squad": official_scripts.squad,
    "squad_v2": official_scripts.squad_v2,
    "cmrc2018": official_scripts.cmrc2018,
}


def question(name: Any, *texts: str, **fields: Any) -> dict[str, Any]:
    answers = [{"text": text, "answer_start": max(0, CONTEXT.find(text))} for text in texts]
    return {"id": name, "question": "Where?", "answers": answers, **fields}


def dataset(*questions: dict[str, Any], context: str = CONTEXT) -> dict[str, Any]:
    paragraphs = [{"context": context, "qas": [one]} for one in questions]
    return {"version": "x", "data": [{"title": "t", "paragraphs": paragraphs}]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., list[str]]:
    """A function that writes predictions and references and gives their paths."""

    def write(predictions: Any, references: Any) -> list[str]:
        paths = [tmp_path / "predictions.json", tmp_path / "references.json"]
        for path, content in zip(paths, (predictions, references), strict=True):
            path.write_text(json.dumps(content))
        return [str(path) for path in paths]

    return write


def agree(metric: str, paths: list[str]) -> dict[str, float]:
    """Our scores, which have every number of the official script, to the last digit."""
    predictions, references = (json.loads(Path(path).read_text()) for path in paths)
    scores = score_files(metric, *paths)
    expected = OFFICIAL[metric](references, predictions)
    assert {name: scores[name] for name in expected} == expected
    return scores


# --- by hand ----------------------------------------------------------------------------------


def test_each_question_of_one_id_counts_in_squad(write: Callable[..., list[str]]) -> None:
    references = dataset(question("a", "wet soil"), question("a", "dry soil"), question("b", "Rye"))
    paths = write({"a": "dry soil", "b": "Rye"}, references)
    scores = agree("squad", paths)
    assert (scores["total"], scores["exact_match"]) == (3, 100 * 2 / 3)
    assert scores["f1"] == pytest.approx(100 * (1 / 2 + 1 + 1) / 3)


def test_the_last_question_of_one_id_counts_in_squad_v2(write: Callable[..., list[str]]) -> None:
    paths = write({"a": "dry soil"}, dataset(question("a", "dry soil"), question("a")))
    scores = agree("squad_v2", paths)
    assert (scores["total"], scores["exact"], scores["NoAns_total"]) == (1, 0, 1)
    assert "HasAns_total" not in scores


def test_each_question_of_one_id_counts_in_cmrc2018(write: Callable[..., list[str]]) -> None:
    references = dataset(question("a", "湿土"), question(" a ", "干土"), context=CHINESE)
    scores = agree("cmrc2018", write({"a": "干土"}, references))
    assert (scores["total"], scores["exact_match"], scores["skip"]) == (2, 50, 0)


def test_an_empty_answer_counts(write: Callable[..., list[str]]) -> None:
    """In v1.1 and CMRC it is one of the answers; v2.0 passes over it where there is another, and
    has an answer all the same."""
    references = dataset(question("a", "", "Rye"), question("b", "", " "), question("c", "dry"))
    paths = write({"a": "", "b": "", "c": "dry"}, references)
    assert agree("squad", paths)["exact_match"] == 100
    assert agree("cmrc2018", paths)["exact_match"] == 100
    scores = agree("squad_v2", paths)
    assert (scores["exact"], scores["HasAns_total"]) == (100 * 2 / 3, 3)


def test_lone_surrogates_are_compared_as_they_are(write: Callable[..., list[str]]) -> None:
    references = dataset(question("\ud83d", "wet \ud83d"), question("b", "dry \udf75"))
    paths = write({"\ud83d": "wet \ud83d", "b": "dry \ufffd"}, references)
    for metric in ("squad", "squad_v2"):
        assert agree(metric, paths)["exact_match"] == 50


@pytest.mark.parametrize("impossible", [True, False, None])
def test_the_answers_decide_whether_there_is_one(
    write: Callable[..., list[str]], impossible: bool | None
) -> None:
    marks = {"is_impossible": impossible} if impossible is not None else {}
    references = dataset(
        question("a", "Rye", **marks), question("b", **marks), question("c", "the", **marks)
    )
    scores = agree("squad_v2", write({"a": "Rye", "b": "", "c": ""}, references))
    assert (scores["exact"], scores["HasAns_total"], scores["NoAns_total"]) == (100, 2, 1)


def test_a_question_without_answer_or_prediction_scores_nothing(
    write: Callable[..., list[str]],
) -> None:
    """The official script gets to its answers only where there is a prediction."""
    references = dataset(question("a", "Rye"), question("b"))
    for metric in ("squad", "cmrc2018"):
        assert agree(metric, write({"a": "Rye"}, references))["exact_match"] == 50
        with pytest.raises(InputError, match="question b has no answer; is --metric squad_v2"):
            score_files(metric, *write({"a": "Rye", "b": "Rye"}, references))


# --- any ---------------------------------------------------------------------------------------

TEXT = st.sampled_from(
    ["wet soil", "The dry  soil", "dry", "", " ", "a", "...", "soil \ud83d", "土"]
)
CHINESE_TEXT = st.sampled_from(["湿土", "干土里", "黑麦。", "", "。", "土 rye", "abc"])


@st.composite
def odd_files(draw: st.DrawFn, text: st.SearchStrategy[str], least: int) -> tuple[Any, Any]:
    names = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=7))
    questions = []
    for name in names:
        fields: dict[str, Any] = {}
        if draw(st.booleans()):
            fields["is_impossible"] = draw(st.booleans())
        if draw(st.booleans()):
            fields["question"] = draw(st.sampled_from(["", "Where\udf75?"]))
        texts = draw(st.lists(text, min_size=least, max_size=3))
        one = question(name, *texts, **fields)
        for answer in one["answers"]:
            answer["answer_start"] += draw(st.sampled_from([0, 0, 1, 500]))
        questions.append(one)
    predictions = {name: draw(text) for name in dict.fromkeys(names)}
    return predictions, dataset(*questions, context=draw(st.sampled_from([CONTEXT, CHINESE, ""])))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.data(), st.sampled_from(sorted(OFFICIAL)))
def test_any_references_are_scored_as_the_script_does(
    folder: Path, data: st.DataObject, metric: str
) -> None:
    least = int(metric != "squad_v2")
    files = data.draw(odd_files(CHINESE_TEXT if metric == "cmrc2018" else TEXT, least))
    paths = [str(folder / "predictions.json"), str(folder / "references.json")]
    for path, content in zip(paths, files, strict=True):
        Path(path).write_text(json.dumps(content))
    agree(metric, paths)


# --- the warnings -----------------------------------------------------------------------------

SPOT = "article 0, paragraph 1, question 0"
ODD = [
    (question("a", "Rye"), f"{SPOT} (id a): duplicate id"),
    (question(7, "Rye"), f"{SPOT} (id 7): the id is a number; read as text"),
    (question("\ud83d", "Rye"), "lone surrogates in the text"),
    (question("b", "Rye\udf75"), f"{SPOT} (id b): lone surrogates in the text"),
    (question("b", "", "Rye"), f"{SPOT} (id b): an answer is empty"),
    (question("b", "sand"), f"{SPOT} (id b): the answer 'sand' is not in the paragraph"),
    (
        question("b", "dry\nsoil"),
        "is in the paragraph with different white space, as 'dry soil' at 36",
    ),
    (
        question("b") | {"answers": [{"text": "Rye", "answer_start": 20}]},
        f"{SPOT} (id b): the answer 'Rye' is at 23, not 20",
    ),
    (question("b", "Rye", question=" "), f"{SPOT} (id b): the question is empty"),
    (
        question("b", "Rye", is_impossible=True),
        f"{SPOT} (id b): is_impossible is true, but it has answers",
    ),
]
# Beside the line that counts them and says what is counted.
LAST = {"squad": "each", "cmrc2018": "each", "squad_v2": "the last"}


@pytest.mark.parametrize("metric", sorted(OFFICIAL))
@pytest.mark.parametrize(("odd", "expected"), ODD)
def test_what_is_odd_is_said_or_refused(
    write: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    metric: str,
    odd: dict[str, Any],
    expected: str,
) -> None:
    predictions = {"a": "Rye", str(odd["id"]): "Rye"}
    paths = write(predictions, dataset(question("a", "Rye"), odd))
    words = ["--metric", metric, "--predictions", paths[0], "--references", paths[1]]
    call("eval/score.py", *words)
    out, err = capsys.readouterr()
    assert json.loads(out)["total"] == len(predictions) + (
        odd["id"] == "a" and metric != "squad_v2"
    )
    first, *others = err.splitlines()
    assert first.startswith(f"warning: {paths[1]}: {len(others)} odd thing")
    assert "; scored as it stands, as the official script does, " in first
    assert f"which counts {LAST[metric]} of the questions with one id" in first
    assert any(expected in line for line in others)
    message = refuses("eval/score.py", *words, "--strict")
    assert message.startswith(f"{paths[1]}: ")
    assert message.endswith("(--strict)")


@pytest.mark.parametrize("metric", sorted(OFFICIAL))
def test_sound_references_are_scored_in_silence(
    write: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], metric: str
) -> None:
    paths = write({"a": "Rye"}, dataset(question("a", "Rye", "dry soil", is_impossible=False)))
    assert score_files(metric, *paths, strict=True)["f1"] == 100
    assert capsys.readouterr() == ("", "")


def test_many_oddities_are_counted(
    write: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write({"a": "Rye"}, dataset(*[question("a", "Rye")] * 100))
    assert score_files("squad", *paths)["total"] == 100
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    assert "99 odd things; scored" in lines[0]
    assert lines[-1] == "warning: ... 99 problems in all; --strict stops at the first"


@pytest.mark.parametrize("metric", sorted(OFFICIAL))
@pytest.mark.parametrize("fields", [{}, {"answer": {"text": "Rye"}}, {"is_impossible": False}])
def test_a_question_of_which_nothing_is_said_is_not_scored(
    write: Callable[..., list[str]], metric: str, fields: dict[str, Any]
) -> None:
    """The official scripts end at it as well."""
    odd = {"id": "b", "question": "Where?", **fields}
    paths = write({"a": "Rye", "b": ""}, dataset(question("a", "Rye"), odd))
    with pytest.raises(InputError) as caught:
        score_files(metric, *paths)
    assert str(caught.value) == (
        f"{paths[1]}: {SPOT} (id b): no answers are given; its fields are {', '.join(odd)}; "
        'expected answers: [{"text": ..., "answer_start": ...}]; it is left out, and a score is of '
        "all questions"
    )
