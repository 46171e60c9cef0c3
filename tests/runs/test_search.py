"""jaxbert search: trials in a folder, which a kill costs nothing but the one that runs."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO
from opened_pages import Opened

from jaxbert.cli import search_command
from jaxbert.errors import InputError, NotFiniteError
from jaxbert.losses.choose import choose_loss
from jaxbert.runs.record import Request, RunRecord
from jaxbert.runs.train import Trained, train
from jaxbert.runtime.processes import EXIT_STOPPED
from jaxbert.tasks.task import Task
from jaxbert.training.step import TrainState

pytest.importorskip("optuna")

pytestmark = pytest.mark.integration

STATE = TrainState(np.int32(0), {}, ())
SPACE = ["--search", "learning_rate=1e-5:1e-2:log", "num_train_epochs=2,3,4"]


def words(model: Path, output: Path, *more: str) -> list[str]:
    given = ["classification", "--model_name_or_path", str(model), "--max_seq_length", "64"]
    given += ["--train_file", str(DEMO / "classification_train.tsv"), "--length_bucket", "0"]
    given += ["--validation_file", str(DEMO / "classification_dev.tsv"), "--parallel", "jit"]
    return [*given, "--output_dir", str(output), *more]


def score_of(options: Any) -> float:
    """Best at a learning rate of 1e-3 and 3 epochs."""
    far = abs(math.log10(options.learning_rate) + 3) + abs(options.num_train_epochs - 3)
    return 0.9 - 0.1 * far


class Trainer:
    """In the place of a training.

    Attributes:
        runs: the options of every run.
        stopped: at the run of this number a signal comes.
    """

    def __init__(self, stopped: int | None = None) -> None:
        self.runs: list[Any] = []
        self.stopped = stopped

    def __call__(self, task: type[Task], options: Any, request: Request) -> Trained:
        self.runs.append(options)
        folder = Path(options.output_dir)
        source = choose_loss(task.losses, options.loss, options.loss_args).source
        record = RunRecord.of(task.name, options, loss=source, rows_per_step=1, request=request)
        record.write(folder)
        (folder / "checkpoints" / "1").mkdir(parents=True, exist_ok=True)
        if len(self.runs) == self.stopped:
            return Trained(STATE, {}, False, ())
        scores = self.scores(options)
        (folder / "model.safetensors").write_text("")
        (folder / "metrics.json").write_text(json.dumps(scores))
        return Trained(STATE, scores, True, ())

    def scores(self, options: Any) -> dict[str, float]:
        return {"accuracy": score_of(options), "f1": 0.5, "total": 60}

    def search(self, *words: str) -> int:
        return search_command.run(words[0], words[1:], self)

    def refuses(self, *words: str) -> str:
        """The message with which it ends."""
        with pytest.raises(InputError) as caught:
            self.search(*words)
        assert "\n" not in str(caught.value)
        return str(caught.value)


def tried(output: Path) -> list[Any]:
    return json.loads((output / "search.json").read_text())["trials"]


def test_the_best_trial_is_shown_and_its_model_kept(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "runs"
    trainer = Trainer()
    given = words(tiny_folder, output, *SPACE, "--weight_decay", "0.01")
    assert trainer.search(*given, "--trials", "25") == 0
    record = json.loads((output / "search.json").read_text())
    assert record["metric"] == "accuracy"
    trials = record["trials"]
    assert [t["number"] for t in trials] == list(range(1, 26))
    best = max(trials, key=lambda t: t["score"])
    assert record["best"] == best["number"]
    assert best["score"] > 0.85  # a tenth of the space is as good
    assert all(1e-5 <= t["values"]["learning_rate"] <= 1e-2 for t in trials)
    assert {t["values"]["num_train_epochs"] for t in trials} == {2, 3, 4}
    kept = {path.parent.name for path in output.glob("trial_*/model.safetensors")}
    assert kept == {f"trial_{best['number']}"}
    assert not list(output.glob("trial_*/checkpoints"))
    out = capsys.readouterr().out
    command = record["command"]
    assert command in out
    assert command.startswith("jaxbert train classification ")
    assert f"--learning_rate {best['values']['learning_rate']}" in command
    assert "--weight_decay 0.01" in command
    assert f"--output_dir {output}_best" in command
    assert f"--num_train_epochs {best['values']['num_train_epochs']}" in command
    assert "so its score there is optimistic" in out
    assert f"| {best['number']} (best) |" in (output / "search.md").read_text()
    opened = Opened.read(output / "report.html")
    assert [chart["title"] for chart in opened.data["charts"]] == [
        "accuracy over trial",
        "accuracy over learning_rate",
        "accuracy over num_train_epochs",
    ]
    # More trials go on; none is trained again.
    count = len(trainer.runs)
    assert trainer.search(*given, "--trials", "25") == 0
    assert len(trainer.runs) == count
    assert trainer.search(*given, "--trials", "27") == 0
    assert len(trainer.runs) <= count + 2
    assert tried(output)[:25] == trials


def test_stopped_and_killed_it_tries_what_it_would_have_tried(
    tiny_folder: Path, tmp_path: Path
) -> None:
    def given(name: str) -> list[str]:
        return [*words(tiny_folder, tmp_path / name, *SPACE), "--trials", "14"]

    assert Trainer().search(*given("whole")) == 0
    stopping = Trainer(stopped=3)
    assert stopping.search(*given("stopped")) == EXIT_STOPPED
    stopping.stopped = None
    assert stopping.search(*given("stopped")) == 0
    assert tried(tmp_path / "stopped") == tried(tmp_path / "whole")
    assert stopping.runs[2].output_dir == stopping.runs[3].output_dir
    # A kill between the end of a run and its entry in the journal: the run is not repeated.
    text = (tmp_path / "whole" / "trials.journal").read_text()
    journal = re.sub('"worker_id":"[^"]*"', '"worker_id":"of another process"', text).splitlines()
    ends = [n for n, line in enumerate(journal) if re.search(r'"op_code":6.*"values":\[', line)]
    starts = [n for n, line in enumerate(journal) if '"param_name":"num_train_epochs"' in line]
    assert len(ends) == len(starts) == 14
    # And one while the flags of a trial were drawn: a line is torn, or some are not there.
    for name, kept in (
        ("ended", [*journal[: ends[6]], ""]),
        ("drawn", [*journal[: starts[9]], ""]),
        ("torn", [*journal[: starts[9]], journal[starts[9]][:20]]),
    ):
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        (tmp_path / name / "trials.journal").write_text("\n".join(kept))
        (tmp_path / name / "trials.journal.lock").symlink_to("nothing")
        killed = Trainer()
        assert killed.search(*given(name)) == 0
        assert killed.runs == []  # they are all in the folder
        assert tried(tmp_path / name) == tried(tmp_path / "whole")


def test_a_damaged_journal_is_one_line(tiny_folder: Path, tmp_path: Path) -> None:
    given = words(tiny_folder, tmp_path / "runs", *SPACE, "--trials", "1")
    assert Trainer().search(*given) == 0
    journal = tmp_path / "runs" / "trials.journal"
    journal.write_text("{\n" + journal.read_text())
    assert f"{journal}: damaged" in Trainer().refuses(*given)
    assert Trainer().search(*given, "--overwrite_output_dir") == 0


def test_another_seed_tries_others(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("1", "2"):
        given = words(tiny_folder, tmp_path / name, *SPACE, "--seed", name, "--trials", "2")
        assert Trainer().search(*given) == 0
    assert tried(tmp_path / "1") != tried(tmp_path / "2")


def test_a_trial_that_is_not_finite_has_no_score(tiny_folder: Path, tmp_path: Path) -> None:
    class Diverging(Trainer):
        def scores(self, options: Any) -> dict[str, float]:
            if options.learning_rate > 1e-3:
                raise NotFiniteError("the loss is not finite; give a lower --learning_rate")
            return super().scores(options)

    output = tmp_path / "runs"
    assert Diverging().search(*words(tiny_folder, output, *SPACE), "--trials", "12") == 0
    trials = tried(output)
    assert {t["failed"] for t in trials if t["values"]["learning_rate"] > 1e-3} == {"not finite"}
    assert {t["failed"] for t in trials if t["score"] is not None} == {""}
    assert "| not finite |" in (output / "search.md").read_text()
    high = ["--search", "learning_rate=1,2"]
    said = Diverging().refuses(*words(tiny_folder, tmp_path / "high", *high), "--trials", "3")
    assert "no trial has a score; search lower learning rates" in said


def test_equal_trials_are_trained_once(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = Trainer()
    given = words(tiny_folder, tmp_path / "runs", "--search", "num_train_epochs=2,3")
    assert trainer.search(*given, "--trials", "8") == 0
    assert len(trainer.runs) == 2
    assert len(tried(tmp_path / "runs")) == 8


def test_a_lower_score_is_the_better_where_it_is(tiny_folder: Path, tmp_path: Path) -> None:
    class WithLoss(Trainer):
        def scores(self, options: Any) -> dict[str, float]:
            return {**super().scores(options), "eval_loss": 1 - score_of(options)}

    output = tmp_path / "runs"
    given = words(tiny_folder, output, *SPACE, "--metric_for_best_model", "eval_loss")
    assert WithLoss().search(*given, "--trials", "5") == 0
    record = json.loads((output / "search.json").read_text())
    scores = [t["score"] for t in record["trials"]]
    assert (record["metric"], record["best"]) == ("eval_loss", scores.index(min(scores)) + 1)


def test_a_search_of_something_else_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "runs"
    given = words(tiny_folder, output, "--trials", "2")
    trainer = Trainer()
    assert trainer.search(*given, *SPACE) == 0
    other = trainer.refuses(*given, *SPACE, "--weight_decay", "0.1")
    assert f"{output} has a run of another --weight_decay; " in other
    assert "another --search; " in trainer.refuses(*given, "--search", "learning_rate=1e-5:1e-2")
    assert len(trainer.runs) == 2
    assert trainer.search(*given, *SPACE, "--weight_decay", "0.1", "--overwrite_output_dir") == 0
    assert [o.weight_decay for o in trainer.runs[2:]] == [0.1, 0.1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "give --search, the flags to search"),
        (["--search", "learning_rates=1:2"], "did you mean --learning_rate?"),
        (["--search", "loss=cross_entropy,focus"], "--loss focus: there are cross_entropy"),
        (["--search", "optim=adamw,adamx"], "--optim adamx"),
        ([*SPACE, "--trials", "0"], "--trials 0: give 1 or more"),
        ([*SPACE, "--trials", "few"], "invalid int value: 'few'"),
        ([*SPACE, "--learning_rate", "1"], "--learning_rate is given and searched"),
        ([*SPACE, "--weight_decays", "1"], "did you mean --weight_decay"),
        (
            [*SPACE, "--output_dir", "s3://bucket/a"],
            "jaxbert search writes to a folder of this machine",
        ),
    ],
)
def test_wrong_input_is_told_before_anything_is_read(
    more: list[str], message: str, tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = Trainer()
    assert message in trainer.refuses(*words(tiny_folder, tmp_path / "runs", *more))
    assert trainer.runs == []
    assert not (tmp_path / "runs").exists()


def test_what_the_first_trial_refuses_leaves_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    class Reading(Trainer):
        def __call__(self, task: type[Task], options: Any, request: Request) -> Trained:
            if not Path(options.train_file[0]).exists():
                raise InputError(f"{options.train_file[0]}: no such file")
            return super().__call__(task, options, request)

    output = tmp_path / "runs"
    given = words(tiny_folder, output, *SPACE, "--trials", "1")
    at = given.index("--train_file") + 1
    wrong = [*given[:at], "none.tsv", *given[at + 1 :]]
    assert "none.tsv: no such file" in Reading().refuses(*wrong)
    assert not output.exists()
    assert Reading().search(*given) == 0
    output = tmp_path / "mine"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    wrong[wrong.index("--output_dir") + 1] = str(output)
    assert "none.tsv: no such file" in Reading().refuses(*wrong)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]


def test_without_optuna_one_line_says_so(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    said = Trainer().refuses(*words(tiny_folder, tmp_path / "runs", *SPACE))
    assert said == 'jaxbert search needs optuna; pip install "jaxbert[search]"'


@pytest.mark.usefixtures("compilations")
def test_trials_are_really_trained(tiniest_folder: Path, tmp_path: Path) -> None:
    class Counting(Trainer):
        def __call__(self, task: type[Task], options: Any, request: Request) -> Trained:
            self.runs.append(options)
            return train(task, options, request)

    output = tmp_path / "runs"
    given = words(tiniest_folder, output, "--search", "learning_rate=1e-5:1e-2:log", "--trials")
    given += ["1", "--max_steps", "1", "--max_train_samples", "8", "--max_eval_samples", "8"]
    assert Counting().search(*given) == 0
    best = json.loads((output / "search.json").read_text())["best"]
    metrics = json.loads((output / f"trial_{best}" / "metrics.json").read_text())
    assert max(t["score"] for t in tried(output)) == metrics["accuracy"]
    assert (output / f"trial_{best}" / "model.safetensors").exists()
