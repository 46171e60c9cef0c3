"""Intervals from the predictions that runs keep."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig, config_to_dict
from jaxbert.options.source_settings import Source
from jaxbert.options.task_settings import QAOptions, RegressionSettings
from jaxbert.runs.compared_examples import JudgedExamples, intervals_of
from jaxbert.tasks.qa import QA, score_qa
from jaxbert.tasks.regression import Regression

CONFIG = config_to_dict(BertConfig(id2label=("score",)))


def source(path: str | Path) -> Source:
    return Source(False, [str(path)], None, None, None, None)


def run(folder: Path, predictions: Any) -> Path:
    """What a run keeps of its evaluation."""
    folder.mkdir()
    (folder / "predictions.json").write_text(json.dumps(predictions))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.mark.parametrize(
    ("metric", "unanswerable"), [("squad", False), ("squad_v2", True), ("cmrc2018", False)]
)
def test_answers_have_the_official_scores(
    metric: str, unanswerable: bool, write_squad: Callable[..., Path], tmp_path: Path
) -> None:
    context = "in the old town of Ulm 在1889年的法国巴黎"
    answers = ["the old town", "Ulm", "1889年", "法国巴黎"]
    rows: list[Any] = [
        (f"q{n}", "where?", context, [(a, context.index(a))]) for n, a in enumerate(answers)
    ]
    rows += [("none", "why?", context, [])] * unanswerable
    path = write_squad(rows, is_impossible=False) if not unanswerable else write_squad(rows)
    given = {"q0": "old town", "q1": "Ulm.", "q2": "", "q3": "巴黎", "none": ""}
    folder = run(tmp_path / "run", given)
    settings = QAOptions(metric=metric, version_2_with_negative=unanswerable)
    judged = JudgedExamples(QA(settings), source(path))
    scores = judged.resampled(folder)
    ids = [row[0] for row in rows]
    counts = np.array([[1] * len(ids), [2, 0, 1, 1, 0][: len(ids)]])
    references = {e.id: [a.text for a in e.answers] for e in judged.examples}
    for row, count in enumerate(counts):
        chosen = np.repeat(ids, count).tolist()
        # Each of them under a name of its own: the official scripts count an id once.
        texts = {str(n): given[name] for n, name in enumerate(chosen)}
        expected = score_qa(metric, texts, {str(n): references[x] for n, x in enumerate(chosen)})
        for name, values in scores(counts).items():
            assert values[row] == pytest.approx(expected[name])


def test_the_interval_is_of_the_mean_over_the_seeds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=300)
    lines = [f"text {n}\t{value}" for n, value in enumerate(gold.tolist())]
    data = tmp_path / "dev.tsv"
    data.write_text("\n".join(["sentence\tscore", *lines]) + "\n")
    runs = {
        name: [
            run(tmp_path / f"{name}{seed}", (gold + rng.normal(0, noise, 300)).tolist())
            for seed in range(2)
        ]
        for name, noise in (("base", 1.0), ("alike", 1.0), ("near", 0.5))
    }
    runs["same"] = runs["base"]
    found = intervals_of(Regression(RegressionSettings()), source(data), runs)
    assert {*found} == {"alike", "near", "same"}
    assert found["near"]["pearson"].low > 0
    assert found["near"]["mse"].high < 0
    assert found["near"]["mse"].p < 0.01
    assert found["alike"]["pearson"].holds_zero
    assert set(found["same"].values()) == {(0.0, 0.0, 1.0)}


def test_what_cannot_be_read_costs_the_intervals_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "dev.tsv"
    data.write_text("sentence\tscore\na\t1\nb\t2\n")
    task = Regression(RegressionSettings())
    base, short = run(tmp_path / "base", [1.0, 2.0]), run(tmp_path / "short", [1.0])
    with pytest.raises(InputError, match=r"predictions.json: not a list of 2 predictions"):
        JudgedExamples(task, source(data)).resampled(short)
    with caplog.at_level(logging.INFO, "jaxbert"):
        assert intervals_of(task, source(data), {"a": [base], "b": [short]}) == {}
        assert "no intervals over the examples: " in caplog.text
        (short / "predictions.json").unlink()
        assert intervals_of(task, source(data), {"a": [base], "b": [short]}) == {}
        assert "there is no" in caplog.text
        assert intervals_of(task, source(data), {"a": [base]}) == {}
