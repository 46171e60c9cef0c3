"""`jaxbert compare --train_fractions`: parts of the data as one more axis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comparing import STOPPED, Trainer, words
from conftest import DEMO
from opened_pages import Opened

from jaxbert.data.parts import size_of
from jaxbert.runs.record import Request
from jaxbert.runs.train import Trained, train
from jaxbert.runtime.processes import EXIT_STOPPED
from jaxbert.tasks.task import Task

pytestmark = pytest.mark.integration


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


def test_a_learning_curve_is_one_more_axis(
    tiny_folder: Path, tmp_path: Path, trainer: Trainer
) -> None:
    given = words(tiny_folder, tmp_path)
    assert trainer.compare(*given) == 0
    assert trainer.compare(*given, "--train_fractions", "1", "0.1", "0.5") == 0
    assert [(o.train_fraction, o.seed) for o in trainer.runs[2:]] == [
        *((0.1, 1), (0.5, 1), (0.1, 2), (0.5, 2))  # the runs of all data were there
    ]
    assert Path(trainer.runs[2].output_dir) == tmp_path / "cross_entropy" / "part_0.1" / "seed_1"
    rows = json.loads((tmp_path / "comparison.json").read_text())["rows"]
    assert [row["fraction"] for row in rows if row["metric"] == "f1"] == [0.1, 0.5, 1]
    text = (tmp_path / "comparison.md").read_text()
    assert "| score | loss | examples | mean | std. dev. | n |\n" in text
    opened = Opened.read(tmp_path / "report.html")
    assert "1 loss, 3 parts of the data, 2 seeds each" in opened.text
    assert "--train_fractions 1 0.1 0.5" in opened.text
    accuracy, _ = opened.data["charts"]
    assert (accuracy["title"], accuracy["log"]) == ("accuracy", True)
    (series,) = accuracy["series"]
    assert (series["y"], series["low"], series["high"]) == ([14.5] * 3, [14] * 3, [15] * 3)
    # Losses are compared where they have learned from as much.
    both = [*given, "focal", "--train_fractions", "0.1", "1"]
    assert trainer.compare(*both) == 0
    assert len(trainer.runs) == 6 + 4
    rows = json.loads((tmp_path / "comparison.json").read_text())["rows"]
    shown = [(r["loss"], r["fraction"], r["difference"]) for r in rows if r["metric"] == "accuracy"]
    assert shown == [
        ("cross_entropy", 0.1, None),
        ("focal", 0.1, -8),
        ("cross_entropy", 1, None),
        ("focal", 1, -8),
    ]


def test_wrong_parts_are_refused(tiny_folder: Path, tmp_path: Path, trainer: Trainer) -> None:
    given = words(tiny_folder, tmp_path / "runs")
    for more, message in (
        (["--train_fractions", "0"], "--train_fractions 0: give parts above 0, up to 1"),
        (["--train_fractions", "1.5"], "--train_fractions 1.5: give parts above 0, up to 1"),
        (["--train_fractions", "nan"], "give parts above 0, up to 1"),
        (["--train_fractions", "0.1", "0.1"], "--train_fractions: one is there twice"),
        (["--train_fractions", "few"], "invalid float value: 'few'"),
        (["--train_fraction", "0.1"], "give --losses, --seeds and --train_fractions"),
    ):
        assert message in trainer.refuses(*given, *more)
    at = given.index("--losses")
    assert "give --losses, two or more, or --train_fractions" in trainer.refuses(*given[:at])
    assert not (tmp_path / "runs").exists()
    assert trainer.compare(*given[:at], "--train_fractions", "0.5", "1") == 0
    assert {o.loss for o in trainer.runs} == {"cross_entropy"}


@pytest.mark.usefixtures("compilations")
def test_a_learning_curve_is_really_trained_and_resumed(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    """With a run that is stopped before its end; what is done is not trained again."""

    class Stopping(Trainer):
        stop = True

        def __call__(self, task: type[Task], options: Any, request: Request) -> Trained:
            self.runs.append(options)
            if self.stop and len(self.runs) == 2:
                return STOPPED
            return train(task, options, request)

    given = words(tiniest_folder, tmp_path)
    given = [word for word in given if word not in ("--losses", "cross_entropy", "2")]
    given += ["--train_fractions", "0.05", "0.2", "--parallel", "jit"]
    trainer = Stopping()
    assert trainer.compare(*given) == EXIT_STOPPED
    trainer.stop = False
    assert trainer.compare(*given) == 0
    assert [o.train_fraction for o in trainer.runs] == [0.05, 0.2, 0.2]
    rows = json.loads((tmp_path / "comparison.json").read_text())["rows"]
    lines = len((DEMO / "classification_train.tsv").read_text().splitlines()) - 1
    assert [row["examples"] for row in rows if row["metric"] == "accuracy"] == [
        size_of(lines, 0.05),
        size_of(lines, 0.2),
    ]
    opened = Opened.read(tmp_path / "report.html")
    charts = {chart["title"]: chart for chart in opened.data["charts"]}
    assert charts["accuracy"]["series"][0]["x"] == [size_of(lines, 0.05), size_of(lines, 0.2)]
    names = [series["name"] for series in charts["Training loss"]["series"]]
    assert names == ["cross_entropy, 0.05 of the data", "cross_entropy, 0.2 of the data"]
    pytest.importorskip("matplotlib")
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
