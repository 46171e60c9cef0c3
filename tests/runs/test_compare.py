"""train/compare.py: pairs of loss and seed, trained once, and what is kept of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from comparing import STOPPED, Trainer, begin, words
from conftest import DEMO
from opened_pages import Opened
from scripts import call, refuses

from jaxbert.metrics.class_scores import classification_scores
from jaxbert.model.config import BertConfig, config_to_dict
from jaxbert.runs.record import Request, RunRecord
from jaxbert.runs.train import Trained
from jaxbert.runtime.processes import EXIT_STOPPED
from jaxbert.tasks.task import Task

pytestmark = pytest.mark.integration

NAME = "train/compare.py"


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


def test_every_pair_is_trained_once(
    tiny_folder: Path, tmp_path: Path, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    focal = 'focal{"gamma": 1}'
    assert trainer.compare(*words(tiny_folder, tmp_path, focal)) == 0
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert record["seeds"] == [1, 2]
    found = {(row["loss"], row["metric"]): row for row in record["rows"]}
    assert found["cross_entropy", "accuracy"]["values"] == [14, 15]
    assert found[focal, "accuracy"]["values"] == [6, 7]
    assert found[focal, "accuracy"]["difference"] == -8
    assert found[focal, "f1"]["p"] is None
    assert [(o.loss, o.loss_args, o.seed) for o in trainer.runs] == [
        ("cross_entropy", None, 1),
        ("focal", '{"gamma": 1}', 1),
        ("cross_entropy", None, 2),
        ("focal", '{"gamma": 1}', 2),
    ]
    assert len({o.output_dir for o in trainer.runs}) == 4
    assert (tmp_path / "comparison.md").read_text() in capsys.readouterr().out
    assert trainer.compare(*words(tiny_folder, tmp_path, focal, "label_smoothing")) == 0
    assert [o.loss for o in trainer.runs[4:]] == ["label_smoothing"] * 2
    shutil.rmtree(tmp_path / "label_smoothing")  # as if it had been stopped between
    stopped = words(tiny_folder, tmp_path, "label_smoothing")
    stopped[stopped.index("2")] = "99"
    assert trainer.compare(*stopped) == EXIT_STOPPED


def test_a_run_of_anything_else_is_neither_done_nor_resumed(
    tiny_folder: Path, tmp_path: Path, trainer: Trainer
) -> None:
    own, model, runs = tmp_path / "own.py", tmp_path / "model", tmp_path / "runs"
    own.write_text("def mine(outputs, batch):\n    return 0.0, 1.0\n")
    shutil.copytree(tiny_folder, model)
    given = words(model, runs, f"{own}:mine")
    assert trainer.compare(*given) == 0
    assert trainer.compare(*given, "--debug") == 0
    assert len(trainer.runs) == 4
    assert "has a run of another --learning_rate; " in trainer.refuses(
        *given, "--learning_rate", "1"
    )
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    assert f"has a run of another {model / 'config.json'}; " in trainer.refuses(*given)
    (model / "config.json").write_text((model / "config.json").read_text()[:-1])
    own.write_text(own.read_text().replace("1.0", "2.0"))
    assert "has a run of another loss; " in trainer.refuses(*given)
    assert len(trainer.runs) == 4
    assert trainer.compare(*given, "--overwrite_output_dir") == 0
    assert len(trainer.runs) == 8


def test_another_data_set_is_another_run(
    tiny_folder: Path, tmp_path: Path, trainer: Trainer
) -> None:
    given = words(tiny_folder, tmp_path / "runs")
    at = given.index("--train_file")
    del given[at : at + 2]
    assert (
        trainer.compare(*given, "--dataset_name", "nyu-mll/glue", "--dataset_config_name", "cola")
        == 0
    )
    assert len(trainer.runs) == 2
    said = trainer.refuses(
        *given, "--dataset_name", "nyu-mll/glue", "--dataset_config_name", "sst2"
    )
    assert "has a run of another --dataset_config_name; " in said


@pytest.mark.parametrize("begun", [True, False])
def test_what_was_to_be_trained_again_is_so_after_an_interruption(
    begun: bool, tiny_folder: Path, tmp_path: Path
) -> None:
    class StoppedOnce(Trainer):
        """At the sixth run."""

        stopped = False

        def __call__(self, task: type[Task], options: Any, request: Request) -> Trained:
            if len(self.runs) == 5 and not self.stopped:
                self.stopped = True
                if begun:  # else it was stopped while it read its data
                    begin(task, options, request)
                    (Path(options.output_dir) / "metrics.json").unlink()
                return STOPPED
            return super().__call__(task, options, request)

    trainer = StoppedOnce()
    given = words(tiny_folder, tmp_path / "runs", "focal")
    assert trainer.compare(*given) == 0
    changed = [*given, "--learning_rate", "1e-3"]
    assert trainer.compare(*changed, "--overwrite_output_dir") == EXIT_STOPPED
    assert trainer.compare(*changed) == 0
    assert [(o.seed, o.overwrite_output_dir) for o in trainer.runs[4:]] == [
        (1, True),
        (1, not begun),  # if it had started over, it continues
        (2, True),
        (2, True),
    ]
    assert {o.learning_rate for o in trainer.runs[4:]} == {1e-3}
    assert trainer.compare(*changed) == 0
    assert len(trainer.runs) == 8


def as_before(folder: Path) -> dict[str, Any]:
    """Have the run in a folder look as if an earlier version had compared it; returns the file in
    which that kept what the run was asked for."""
    path = folder / "options.json"
    raw = json.loads(path.read_text())
    beside = {**raw.pop("given"), "loss": raw["loss"]}
    path.write_text(json.dumps(raw))
    (folder / "compared.json").write_text(json.dumps(beside))
    return beside


def test_runs_that_an_earlier_version_compared(
    tiny_folder: Path, tmp_path: Path, trainer: Trainer
) -> None:
    given = words(tiny_folder, tmp_path / "runs")
    assert trainer.compare(*given) == 0
    one, two = (tmp_path / "runs" / "cross_entropy" / f"seed_{n}" for n in (1, 2))
    for folder in (one, two):
        beside = as_before(folder)
        del beside["options"]["packing"]  # it is younger than that version
        (folder / "compared.json").write_text(json.dumps(beside))
    assert trainer.compare(*given) == 0  # all were done
    assert len(trainer.runs) == 2
    assert "has a run of another --learning_rate; " in trainer.refuses(
        *given, "--learning_rate", "1"
    )
    before = json.loads((two / "compared.json").read_text())
    (two / "compared.json").write_text(json.dumps(before | {"files": {}}))
    message = trainer.refuses(*given)  # all the files, of which four are named
    assert ", ...; give" in message
    assert str(min(DEMO / "classification_dev.tsv", tiny_folder / "config.json")) in message
    (two / "compared.json").write_text(json.dumps({"void": True}))
    assert trainer.compare(*given) == 0
    assert [(o.seed, o.overwrite_output_dir) for o in trainer.runs[2:]] == [(2, True)]
    assert not (two / "compared.json").exists()
    assert trainer.compare(*given) == 0
    assert len(trainer.runs) == 3
    # It had begun, and its record was not written yet.
    shutil.rmtree(two)
    two.mkdir()
    (two / "compared.json").write_text(json.dumps(before))
    assert trainer.compare(*given) == 0
    assert [o.seed for o in trainer.runs[3:]] == [2]


def test_a_run_that_was_not_compared_is_resumed_and_then_known(
    tiny_folder: Path, tmp_path: Path, trainer: Trainer
) -> None:
    given = words(tiny_folder, tmp_path / "runs")
    assert trainer.compare(*given) == 0
    folder = tmp_path / "runs" / "cross_entropy" / "seed_1"
    as_before(folder)
    (folder / "compared.json").unlink()
    assert trainer.compare(*given) == 0
    assert [(o.seed, o.overwrite_output_dir) for o in trainer.runs[2:]] == [(1, False)]
    assert trainer.compare(*given) == 0
    assert len(trainer.runs) == 3


@pytest.mark.slow
def test_two_losses_are_really_compared(tiniest_folder: Path, tmp_path: Path) -> None:
    given = words(tiniest_folder, tmp_path, "r_drop")
    assert call(NAME, *given) == 0
    rows = json.loads((tmp_path / "comparison.json").read_text())["rows"]
    assert {(row["loss"], len(row["values"])) for row in rows} == {
        ("cross_entropy", 2),
        ("r_drop", 2),
    }
    folder = tmp_path / "r_drop" / "seed_2"
    record = RunRecord.read(folder)
    assert record is not None
    assert record.request is not None
    assert record.request.options["seed"] == 2
    assert str(tiniest_folder / "config.json") in record.request.files
    assert not (folder / "compared.json").exists()
    scores = json.loads((folder / "metrics.json").read_text())
    assert scores["accuracy"] in [v for row in rows for v in row["values"]]
    opened = Opened.read(tmp_path / "report.html")
    (loss,) = (c for c in opened.data["charts"] if c["title"] == "Training loss")
    assert [(s["name"], len(s["x"]), len(s["low"])) for s in loss["series"]] == [
        ("cross_entropy", 1, 1),
        ("r_drop", 1, 1),
    ]
    assert "jaxbert compare classification" in opened.text
    assert "--losses cross_entropy r_drop --seeds 1 2" in opened.text
    assert len(opened.attributes("svg", "aria-label")) == len(rows) + len(rows) // 2
    assert {r["verdict"] for r in rows} <= {"", "no difference shown", "not tested"}
    pytest.importorskip("matplotlib")
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_loss_that_changes_meanwhile_is_noticed(tiny_folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def mine(outputs, batch):\n    return 0.0, 1.0\n")

    class Changing(Trainer):
        def __call__(self, task: type[Task], options: Any, request: Request) -> Trained:
            own.write_text(own.read_text() + "\n")
            return super().__call__(task, options, request)

    trainer = Changing()
    said = trainer.refuses(*words(tiny_folder, tmp_path / "runs", f"{own}:mine"))
    assert "has changed while it was trained" in said
    assert len(trainer.runs) == 2  # that of cross_entropy, which is done, and this one


def test_a_run_without_scores_ends_the_comparison(tiny_folder: Path, tmp_path: Path) -> None:
    class Scoreless(Trainer):
        def __call__(self, task: type[Task], options: Any, request: Request) -> Trained:
            super().__call__(task, options, request)
            return Trained(None, {}, True, ())  # type: ignore[arg-type]

    trainer = Scoreless()
    said = trainer.refuses(*words(tiny_folder, tmp_path / "runs", "focal"))
    assert "seed_1: the run has no scores; is there validation data?" in said
    assert len(trainer.runs) == 1


def test_a_folder_named_like_a_column_is_no_input(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").mkdir()
    Path("text", "other.txt").write_text("nothing of this run")
    trainer = Trainer()
    assert (
        trainer.compare(*words(tiny_folder, tmp_path / "runs"), "--text_column_name", "text") == 0
    )
    record = RunRecord.read(tmp_path / "runs" / "cross_entropy" / "seed_1")
    assert record is not None
    assert record.request is not None
    assert {Path(name).name for name in record.request.files} >= {"config.json"}
    assert not any(name.endswith("other.txt") for name in record.request.files)


def test_wrong_input_is_told_before_anything_is_trained(tiny_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for more, message in (
        (["focus"], "--loss focus: there are cross_entropy"),
        (['focal{"gamma": }'], "not JSON"),
        (["cross_entropy"], "--losses: one is there twice"),
        (["--learning_rates", "1"], "did you mean --learning_rate"),
    ):
        assert message in refuses(NAME, *words(tiny_folder, output, *more))
    assert "'squad' is not a task; the tasks are qa, " in refuses(NAME, "squad")
    assert "--losses" in refuses(NAME, "qa", "--output_dir", str(output))
    few = [NAME, "qa", "--losses", "focal", "--output_dir", str(output)]
    assert "give --train_file" in refuses(*few)
    data = str(DEMO / "qa_en_train.json")
    assert "give --validation_file" in refuses(*few, "--train_file", data)
    assert not output.exists()


def test_examples_are_drawn_from_what_the_runs_keep(tiny_folder: Path, tmp_path: Path) -> None:
    """Of three losses one predicts as the first does, and one nearly everything right."""
    rows = (DEMO / "classification_dev.tsv").read_text().splitlines()[1:]
    gold = [row.rpartition("\t")[2] for row in rows]
    wrong = {"cross_entropy": 30, "label_smoothing": 30, "focal": 3}

    class Predicting(Trainer):
        def __call__(self, task: type[Task], options: Any, request: Request) -> Trained:
            trained = super().__call__(task, options, request)
            folder, count = Path(options.output_dir), wrong[options.loss] + options.seed
            labels = [
                label if n >= count else {"positive": "negative", "negative": "positive"}[label]
                for n, label in enumerate(gold)
            ]
            found = [{"label": label, "scores": {}} for label in labels]
            (folder / "predictions.json").write_text(json.dumps(found))
            cfg = BertConfig(id2label=("negative", "positive"))
            (folder / "config.json").write_text(json.dumps(config_to_dict(cfg)))
            scores = classification_scores(labels, gold, cfg.id2label)
            (folder / "metrics.json").write_text(json.dumps(scores))
            return dataclasses.replace(trained, scores=scores)

    given = words(tiny_folder, tmp_path / "runs", "label_smoothing", "focal")
    assert Predicting().compare(*given) == 0
    record = json.loads((tmp_path / "runs" / "comparison.json").read_text())
    found = {(row["loss"], row["metric"]): row for row in record["rows"]}
    assert found["cross_entropy", "accuracy"]["verdict"] == ""
    assert found["cross_entropy", "accuracy"]["interval"] is None
    for metric in ("accuracy", "f1", "matthews_correlation"):
        same, better = found["label_smoothing", metric], found["focal", metric]
        assert same["interval"] == {"low": 0, "high": 0, "p": 1}
        assert same["verdict"] == "no difference shown"
        assert 0 < better["interval"]["low"] < better["difference"] < better["interval"]["high"]
        assert better["verdict"] == "better"
    # Of a mean the interval is that of a binomial's differences.
    interval, part = found["focal", "accuracy"]["interval"], 27 / 60
    error = 1.96 * (part * (1 - part) / 60) ** 0.5
    assert interval["high"] - interval["low"] == pytest.approx(2 * error, rel=0.1)
    opened = Opened.read(tmp_path / "runs" / "report.html")
    assert opened.text.count("no difference shown") == 5
    # A picture of the seeds of each row, and of each difference.
    assert len(opened.attributes("svg", "aria-label")) == 5 * (3 + 2)
