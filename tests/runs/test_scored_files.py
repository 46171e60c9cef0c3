"""Predictions files that are read entry by entry give what the whole file gives."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.data.record_blocks import Blocks
from jaxbert.errors import InputError
from jaxbert.io.fetched import scratch
from jaxbert.options.command_settings import ScoreOptions
from jaxbert.options.source_settings import Source
from jaxbert.options.task_settings import QAOptions
from jaxbert.runs import scored_files
from jaxbert.runs.compared_examples import JudgedExamples
from jaxbert.runs.score_questions import score_files
from jaxbert.runs.score_rows import score_rows
from jaxbert.runs.scored_files import TextsById, read_predictions_file
from jaxbert.tasks.registry import TASKS, AnyTask

COUNT = 40
SCORED = [(1.5, -2), (0.25, 3.5)]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few entries already are many."""
    monkeypatch.setattr(scored_files, "_IN_MEMORY", 3)


def sets(rng: random.Random) -> list[str]:
    return rng.sample(["x", "y", "z"], rng.randrange(3))


# Task -> a row of the references, and entries in every form that is taken.
ROWS: dict[str, tuple[Any, list[Any]]] = {
    "classification": (
        lambda rng: {"text": "a", "label": rng.choice("xy")},
        [
            lambda rng: rng.choice("xy"),
            lambda rng: {"label": rng.choice("xy"), "scores": {"y": rng.random(), "x": 1}},
        ],
    ),
    "classification of sets": (
        lambda rng: {"text": "a", "label": sets(rng)},
        [sets, lambda rng: {"labels": sets(rng), "scores": {n: rng.random() for n in "zyx"}}],
    ),
    "regression": (
        lambda rng: {"text": "a", "label": rng.random()},
        [lambda rng: rng.random(), lambda rng: {"score": rng.randrange(9)}],
    ),
    "multiple_choice": (
        lambda rng: {"question": "a", "choices": ["b", "c"], "label": rng.randrange(2)},
        [lambda rng: rng.randrange(2), lambda rng: {"label": rng.randrange(2), "scores": []}],
    ),
    "tagging": (
        lambda rng: {"tokens": ["a", "b"], "tags": rng.choices(["O", "B-X", "I-X"], k=2)},
        [
            lambda rng: rng.choices(["O", "B-X", "I-X"], k=2),
            lambda rng: {"words": ["a", "b"], "tags": rng.choices(["O", "B-X"], k=2)},
        ],
    ),
}


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str, form: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(form)
    row, forms = ROWS[name]
    metric = name.partition(" ")[0]
    references, predictions = tmp_path / "r.jsonl", tmp_path / "predictions.json"
    references.write_text("".join(json.dumps(row(rng)) + "\n" for _ in range(COUNT)))
    predictions.write_text(json.dumps([forms[form](rng) for _ in range(COUNT)], indent=2))
    (tmp_path / "config.json").write_text('{"id2label": {"0": "x", "1": "y"}}')
    task = TASKS[metric](TASKS[metric].settings_cls())

    def found() -> Any:
        options = ScoreOptions(metric=metric)
        scores = score_rows(metric, str(predictions), str(references), options)
        return scores, of_counts(task, references, tmp_path) if "sets" not in name else None

    in_memory = found()
    monkeypatch.setattr(scored_files, "_IN_MEMORY", 3)
    assert isinstance(read_predictions_file(str(predictions)), Blocks)
    assert found() == in_memory
    assert not list(scratch().glob("predictions-*"))
    predictions.write_text(json.dumps([forms[form](rng) for _ in range(COUNT - 1)]))
    with pytest.raises(InputError, match=r"39 entries, and .* has 40 rows"):
        found()


def of_counts(task: AnyTask, references: Path, folder: Path) -> dict[str, list[float]]:
    """What `jaxbert compare` draws its intervals from."""
    source = Source(False, [str(references)], None, None, None, None)
    judged = JudgedExamples(task, source)
    counts = np.random.default_rng(0).integers(1, 4, (3, COUNT))
    return {n: values.tolist() for n, values in judged.resampled(folder)(counts).items()}


@pytest.mark.parametrize("metric", ["squad", "squad_v2", "cmrc2018"])
def test_questions_in_another_order(
    metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)
    rows = [
        {
            "id": f"q{n}",
            "question": "what?",
            "context": "one two three 中文",
            "answers": {"text": ["one two"], "answer_start": [0]},
        }
        for n in range(COUNT)
    ]
    texts = {f"q{n}": rng.choice(["one", "two", "one two", "", "中", "\ud800"]) for n in range(45)}
    odds = {name: rng.choice([0.5, -1, 2.25]) for name in texts}
    paths = {name: tmp_path / f"{name}.json" for name in ("r", "predictions", "odds")}
    paths["r"].write_text(json.dumps({"data": rows}))
    for name, content in (("predictions", texts), ("odds", odds)):
        pairs = list(content.items())
        rng.shuffle(pairs)
        paths[name].write_text(json.dumps(dict(pairs)))
    (tmp_path / "config.json").write_text("{}")
    task = TASKS["qa"](QAOptions(metric=metric))
    given = [str(paths[n]) for n in ("predictions", "r", "odds")]

    def found() -> Any:
        return score_files(metric, *given), of_counts(task, paths["r"], tmp_path)

    in_memory = found()
    monkeypatch.setattr(scored_files, "_IN_MEMORY", 3)
    content = read_predictions_file(given[0])
    assert isinstance(content, TextsById)
    assert dict(content) == json.loads(paths["predictions"].read_text()) == texts
    assert found() == in_memory


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    "text",
    [
        '{"a": "1", "b": "2", "a": "3", "c": "4"}',
        '{"a": "1", "b": "2", "c": "3", "d": 4}',  # no text: as it stands
        '{"a": "1", "b": "2", "c": "3", "d": null, "d": "5"}',
        '["a", "b", "\\ud800", "d"]',  # which no message pack can hold
        f"[1, 2, 3, {10**30}]",
        "[1, 2, 3, NaN]",
        "[]",
        "{}",
        "3",
    ],
)
def test_odd_content_is_that_of_the_whole_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(text)
    found: Any = read_predictions_file(str(path))
    if isinstance(found, Mapping):
        found = dict(found)
    elif not isinstance(found, int):
        found = list(found)
    assert repr(found) == repr(json.loads(text))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("text", ["", "[1, 2, 3, 4", '{"a": "b"', "[1, 2, 3, 4,]", "[1]\n[2]", "x"])
def test_what_is_wrong_is_said_as_before(text: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(text)
    with pytest.raises(InputError) as expected:
        scored_files.read_json(str(path))
    with pytest.raises(InputError) as found:
        read_predictions_file(str(path))
    assert str(found.value) == str(expected.value)


def test_texts_are_not_in_memory(tmp_path: Path) -> None:
    """10,000 answers of 1,000 characters; of each there is its id and where it lies."""
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps({str(n): str(n).ljust(1000) for n in range(10_000)}))
    tracemalloc.start()
    try:
        found: Any = read_predictions_file(str(path))
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found["9999"] == "9999".ljust(1000)
    assert left < 10_000 * 200
    assert most < scored_files._IN_MEMORY * 2000 + 10_000 * 200
