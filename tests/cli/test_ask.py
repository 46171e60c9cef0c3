"""`jaxbert ask`: folders of every task, at a command line and at a prompt."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import tiny_model, tiny_run

from jaxbert import (
    FillMask,
    InputError,
    QuestionAnswerer,
    Tagger,
    TextClassifier,
    TextRegressor,
)
from jaxbert.cli import ask_command
from jaxbert.cli.askers import ASKERS
from jaxbert.tasks.registry import TASKS

pytestmark = pytest.mark.integration

TEXT = "Ada was at the STATION in 北京."
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a tiny run of a task."""
    made: dict[str, Path] = {}

    def make(task: str) -> Path:
        if task not in made:
            made[task] = tiny_run(tmp_path_factory.mktemp(task), task)
        return made[task]

    return make


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command prints."""

    def call(model: Path, *words: str) -> str:
        ask_command.run(["--model_name_or_path", str(model), *words])
        return capsys.readouterr().out

    return call


def refusal(model: Path | str, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        ask_command.run(["--model_name_or_path", str(model), *words])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[str]:
    """These lines are typed at the prompts, which are returned."""
    prompts: list[str] = []
    waiting = iter(lines)

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(builtins, "input", answer)
    return prompts


def test_every_task_with_a_predictor_can_be_asked() -> None:
    assert ASKERS.keys() == TASKS.keys() - {"multiple_choice"}


def test_classes_with_their_scores(folder: Folder, ask: Callable[..., str]) -> None:
    model = folder("classification")
    found = TextClassifier.from_pretrained(model)({"text": TEXT, "text_pair": "who?"}, top_k=3)
    words = ["--text", TEXT, "--text_pair", "who?"]
    assert json.loads(ask(model, *words, "--json")) == found
    assert json.loads(ask(model, *words, "--json", "--top_k", "1")) == found[:1]
    lines = ask(model, *words).splitlines()
    assert [line.split()[-1] for line in lines] == [row["label"] for row in found]
    for line, row in zip(lines, found, strict=True):
        assert line.startswith(f"{row['score']:6.1%}  ")
        assert line.count("#") == round(20 * row["score"])
    alone = json.loads(ask(model, "--text", TEXT, "--json"))
    assert alone == TextClassifier.from_pretrained(model)(TEXT, top_k=3)
    assert alone != found


def test_a_number(folder: Folder, ask: Callable[..., str]) -> None:
    model = folder("regression")
    found = TextRegressor.from_pretrained(model)({"text": TEXT, "text_pair": "who?"})
    words = ["--text", TEXT, "--text_pair", "who?"]
    assert json.loads(ask(model, *words, "--json")) == found
    assert ask(model, *words) == f"{found['score']:8.3f}  score\n"


def test_entities_are_slices_of_the_text(folder: Folder, ask: Callable[..., str]) -> None:
    model = folder("tagging")
    expected = Tagger.from_pretrained(model)(TEXT, aggregation_strategy="first")
    found = json.loads(ask(model, "--text", TEXT, "--json"))
    assert found
    for row, entity in zip(found, expected, strict=True):
        assert row["word"] == TEXT[row["start"] : row["end"]]
        same = {"entity_group", "start", "end"}
        assert {n: row[n] for n in same} == {n: entity[n] for n in same}
        assert row["score"] == pytest.approx(float(entity["score"]), abs=1e-6)
    lines = ask(model, "--text", TEXT).splitlines()
    for line, row in zip(lines, found, strict=True):
        place = f"(characters {row['start']} to {row['end']})"
        assert line == f"{row['score']:6.1%}  {row['entity_group']}  {row['word']}   {place}"
    assert ask(model, "--text", "") == "no entity\n"
    assert json.loads(ask(model, "--text", "", "--json")) == []


def test_tokens_for_a_mask(folder: Folder, ask: Callable[..., str]) -> None:
    model = folder("mlm")
    fill = FillMask.from_pretrained(model)
    found = json.loads(ask(model, "--text", "It is [MASK].", "--json"))
    assert found == [{"mask": 1, **row} for row in fill("It is [MASK].")]
    assert len(found) == 5
    best = ask(model, "--text", "It is [MASK].", "--top_k", "1")
    row = found[0]
    assert best == f"{row['score']:6.1%}  {row['token_str']}   ({row['sequence']})\n"
    several = "[MASK] is [MASK]."
    found = json.loads(ask(model, "--text", several, "--json", "--top_k", "2"))
    expected = [
        {"mask": n, **row} for n, rows in enumerate(fill(several, top_k=2), 1) for row in rows
    ]
    assert found == expected
    lines = ask(model, "--text", several, "--top_k", "2").splitlines()
    assert [line.split("(")[1] for line in lines] == ["mask 1)", "mask 1)", "mask 2)", "mask 2)"]


def test_questions_as_ever_and_without_a_record(
    folder: Folder, ask: Callable[..., str], tmp_path: Path
) -> None:
    plain = tiny_model(tmp_path, "qa", cased=True)
    for model in (folder("qa"), plain):
        answerer = QuestionAnswerer.from_pretrained(model)
        words = ["--question", "who?", "--context", TEXT]
        found = answerer(question="who?", context=TEXT)
        assert json.loads(ask(model, *words, "--json")) == found
        place = f"(characters {found['start']} to {found['end']})"
        assert ask(model, *words) == f"{found['score']:6.1%}  {found['answer']}   {place}\n"
        three = answerer(question="who?", context=TEXT, top_k=3)
        assert json.loads(ask(model, *words, "--json", "--top_k", "3")) == three
    assert "give --context or --context_file" in refusal(plain, "--question", "who?")
    message = refusal(plain, "--text", TEXT)
    assert "--text: " in message
    assert "has no options.json, so it is asked as a model for qa; give --question" in message


@pytest.mark.parametrize(
    ("task", "flags", "right"),
    [
        ("classification", ["--context", "x"], "--text, --text_pair, --top_k"),
        ("classification", ["--question", "x", "--text", "y"], "--text, --text_pair, --top_k"),
        ("regression", ["--text", "x", "--top_k", "2"], "--text, --text_pair"),
        ("tagging", ["--text", "x", "--text_pair", "y"], "--text"),
        ("mlm", ["--context_file", "x"], "--text, --top_k"),
        ("qa", ["--text", "x"], "--question, --context, --context_file, --top_k"),
    ],
)
def test_a_flag_of_another_task_is_refused(
    folder: Folder, task: str, flags: list[str], right: str
) -> None:
    message = refusal(folder(task), *flags)
    assert message.endswith(f" was trained for {task}; give {right}")
    assert message.startswith("--")


def test_a_task_without_a_predictor_says_what_to_use(folder: Folder, tmp_path: Path) -> None:
    model = folder("multiple_choice")
    message = refusal(model, "--text", "x")
    assert message.startswith(f"{model} was trained for multiple_choice, which has no prompt; ")
    assert f"jaxbert eval multiple_choice --model_name_or_path {model} " in message
    record = {"task": "counting", "options": {}, "rows_per_step": 8, "data": {}}
    (tmp_path / "options.json").write_text(json.dumps(record))
    assert "was trained for counting, which has no prompt" in refusal(tmp_path)


def test_texts_and_pairs_at_a_prompt(
    folder: Folder, ask: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder("classification")
    classify = TextClassifier.from_pretrained(model)
    prompts = typed(monkeypatch, TEXT, "who?", "to", "")
    out = ask(model, "--json").splitlines()
    assert json.loads(out[0]) == classify({"text": TEXT, "text_pair": "who?"}, top_k=3)
    assert json.loads(out[1]) == classify("to", top_k=3)
    assert prompts == ["text> ", "text_pair (or nothing)> "] * 2 + ["text> "]
    prompts = typed(monkeypatch, TEXT, "")
    assert json.loads(ask(model, "--json", "--text_pair", "who?")) == json.loads(out[0])
    assert prompts == ["text> ", "text> "]


def test_a_question_at_a_prompt(
    folder: Folder, ask: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = typed(monkeypatch, " ", TEXT, "who?", "where?", "")
    assert len(ask(folder("qa")).splitlines()) == 2
    assert prompts == ["context> "] * 2 + ["question> "] * 3


def test_a_text_that_cannot_be_used_at_a_prompt(
    folder: Folder,
    ask: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A person is asked again; a pipe ends with the error."""
    typed(monkeypatch, "no mask", "It is [MASK].")
    assert "it has no [MASK]" in refusal(folder("mlm"))
    typed(monkeypatch, "no mask", "It is [MASK].")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert len(ask(folder("mlm")).splitlines()) == 6
