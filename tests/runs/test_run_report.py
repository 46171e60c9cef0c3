"""report.html of whole runs: what it has, when there is none, and that it never costs a run."""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path

import pytest
from conftest import DEMO, StrictReports
from opened_pages import Opened
from scripts import call, read

import jaxbert
from jaxbert.cli import command_line
from jaxbert.io.files import write_text
from jaxbert.options.task_settings import QATrainOptions
from jaxbert.runs import run_report
from jaxbert.runs.run_report import command_of, read_log

pytestmark = pytest.mark.integration

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rows, of which one has a script in it."""
    folder = tmp_path_factory.mktemp("data")
    lines = (DEMO / "classification_train.tsv").read_text(encoding="utf-8").splitlines()[:17]
    head, first, *rest = lines
    text, _, label = first.rpartition("\t")
    hostile = "\t".join([f"{text.split(chr(9))[0]} {HOSTILE}", *text.split("\t")[1:], label])
    write_text(folder / "rows.tsv", "\n".join([head, hostile, *rest]) + "\n")
    return folder / "rows.tsv"


def words(model: Path, data: Path, folder: Path, *more: str) -> list[str]:
    given = ["--model_name_or_path", str(model), "--train_file", str(data), *more]
    given += ["--validation_file", str(data), "--output_dir", str(folder), "--length_bucket", "0"]
    return [*given, "--max_seq_length", "64", "--num_train_epochs", "2"]


@pytest.fixture(scope="module")
def trained(tiniest_folder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    assert call("train/classification.py", *words(tiniest_folder, data, folder)) == 0
    return folder


def test_a_training_has_its_curves_scores_and_examples(trained: Path) -> None:
    opened = Opened.read(trained / "report.html")
    log = read_log(trained / "train_log.jsonl")
    charts = {chart["title"]: chart for chart in opened.data["charts"]}
    assert {"Loss", "Learning rate", "Gradient norm", "Throughput", "Calibration"} <= charts.keys()
    loss = charts["Loss"]["series"][0]
    assert loss["x"] == [line["step"] for line in log]
    assert loss["y"] == pytest.approx([line["loss"] for line in log], rel=1e-5)
    evaluated = charts["Scores of the evaluations"]["series"][0]["x"]
    assert evaluated == [len(log) / 2, len(log)]  # the end of each epoch, the saved model's too
    for name, value in read(trained / "metrics.json").items():
        assert name in opened.text
        shown = value if isinstance(value, str) else f"{value:.6g}" if value % 1 else f"{value:.0f}"
        assert shown in opened.text
    predictions = read(trained / "predictions.json")
    rows = opened.data["examples"]["rows"]
    assert sorted(row["n"] for row in rows) == list(range(16))
    assert {row["n"]: row["p"] for row in rows} == dict(enumerate(p["label"] for p in predictions))
    assert [row["b"] for row in rows] == sorted((row["b"] for row in rows), reverse=True)
    assert any(HOSTILE in text for text in opened.data["examples"]["texts"])
    assert len(opened.scripts) == 2  # those of the page
    assert "jaxbert train classification --" in opened.text
    for fact in ("padding", "shapes", "jaxlib", "XLA_FLAGS", "rows"):
        assert fact in opened.text


def test_a_run_that_is_resumed_and_one_that_was_not_have_the_same_curves(
    trained: Path, tiniest_folder: Path, data: Path, tmp_path: Path
) -> None:
    assert call("train/classification.py", *words(tiniest_folder, data, trained)) == 0
    before = Opened.read(trained / "report.html")
    more = words(tiniest_folder, data, tmp_path, "--report_to", "none")
    assert call("train/classification.py", *more) == 0
    assert not (tmp_path / "report.html").exists()
    assert call("train/classification.py", *words(tiniest_folder, data, tmp_path)) == 0
    after = Opened.read(tmp_path / "report.html")
    shown = [
        [c for c in page.data["charts"] if c["title"] not in ("Throughput", "Examples")]
        for page in (before, after)
    ]
    assert shown[0] == shown[1]
    assert before.data["examples"] == after.data["examples"]


def test_an_evaluation_has_a_page_of_its_own_unless_none_is_wanted(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    given = ["--model_name_or_path", str(trained), "--validation_file", str(data)]
    given += ["--output_dir", str(tmp_path)]
    assert call("eval/classification.py", *given) == 0
    opened = Opened.read(tmp_path / "report.html")
    assert "Classification: evaluation" in opened.text
    assert [row["id"] for row in opened.data["examples"]["rows"]]
    assert call("eval/classification.py", *given, "--report_to", "none") == 0
    assert not (tmp_path / "report.html").exists()  # that of the other evaluation is not left


def test_a_page_that_cannot_be_made_costs_no_result(
    trained: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    strict_reports: StrictReports,
) -> None:
    def fails(page: object) -> str:
        raise RuntimeError("no page\ntoday")

    monkeypatch.setattr(run_report, "html", fails)
    given = ["--model_name_or_path", str(trained), "--validation_file", str(data)]
    given += ["--output_dir", str(tmp_path)]
    with pytest.raises(AssertionError, match="could not be written"):  # in a test it is an error
        call("eval/classification.py", *given)
    strict_reports.expected = True
    with caplog.at_level(logging.WARNING, "jaxbert"):
        assert call("eval/classification.py", *given) == 0
    assert (
        "report.html could not be written (RuntimeError: no page); all other results are there"
        in caplog.messages
    )
    assert {p.name for p in tmp_path.iterdir()} == {"metrics.json", "predictions.json"}


def test_rows_of_a_python_program_are_in_its_page(trained: Path, tmp_path: Path) -> None:
    rows = [{"sentence": f"{HOSTILE} {n}", "label": n % 2} for n in range(4)]
    kept = json.loads((trained / "config.json").read_text())["id2label"]
    rows = [{**row, "label": kept[str(row["label"])]} for row in rows]
    jaxbert.evaluate("classification", model=str(trained), data=rows, output_dir=str(tmp_path))
    opened = Opened.read(tmp_path / "report.html")
    assert "jaxbert.evaluate(...) of a Python program" in opened.text
    assert len(opened.data["examples"]["rows"]) == 4


def test_a_command_has_what_is_not_the_default() -> None:
    settings = QATrainOptions(
        train_file=["a b.json", "c.json"], learning_rate=1e-4, packing=True, seed=3
    )
    words = shlex.split(command_of("train", "qa", settings.as_words(), in_python=False))
    assert words[:3] == ["jaxbert", "train", "qa"]
    assert len(words) == 3 + 8
    assert command_line.parse(QATrainOptions, words[3:]) == settings


def test_a_torn_line_of_the_log_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo\n[]\n{"step": 3, "loss": null}\n')
    assert read_log(path) == [{"step": 1, "loss": 2.0}, {"step": 3, "loss": None}]
