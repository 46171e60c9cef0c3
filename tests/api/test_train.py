"""jaxbert.train and what it returns: history, predictions, predictors, callbacks, resume."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest
from python_rows import OF_TASK, SMALL_RUN, rows_of

import jaxbert
from jaxbert.errors import InputError
from jaxbert.tasks.registry import TASKS
from jaxbert.training.events import Evaluated, Event, Finished, Logged, Saved, Started

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]


def train(task: str, model: Path, folder: Path, **more: Any) -> jaxbert.Run:
    given: dict[str, Any] = {"train_data": rows_of(task, "train"), "output_dir": folder}
    settings = {**SMALL_RUN, **OF_TASK.get(task, {}), **given, **more}
    return jaxbert.train(task, model=model, **settings)


@pytest.fixture(scope="module", params=TASKS)
def run(request: pytest.FixtureRequest, tiniest_folder: Path, tmp_path_factory: Any) -> jaxbert.Run:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return train(
        request.param, tiniest_folder, folder, validation_data=rows_of(request.param, "dev")
    )


def test_scores_and_history_are_those_of_the_files(run: jaxbert.Run) -> None:
    assert run.done
    assert run.scores == json.loads((run.output_dir / "metrics.json").read_text())
    lines = (run.output_dir / "train_log.jsonl").read_text().splitlines()
    assert run.history == [*map(json.loads, lines), {"step": 6, **run.scores}]
    frame = run.history.to_pandas()
    assert list(frame["step"]) == [1, 2, 3, 4, 5, 6, 6]
    assert frame["eval_loss"].isna().tolist() == [True] * 6 + [False]
    assert frame["eval_loss"].iloc[-1] == run.scores["eval_loss"]
    assert isinstance(frame, pandas.DataFrame)


def test_evaluate_has_the_scores_and_predictions_of_the_run(
    run: jaxbert.Run, tmp_path: Path
) -> None:
    before = sorted(run.output_dir.rglob("*"))
    held_out = rows_of(run.task, "dev")
    more = {"per_device_eval_batch_size": 1, "max_eval_samples": 4, "quiet": True}
    found = jaxbert.evaluate(run.task, model=run.output_dir, data=held_out, **more)
    assert found.scores == pytest.approx(run.scores)
    assert sorted(run.output_dir.rglob("*")) == before  # nothing is written
    written = tmp_path / "eval"
    again = jaxbert.evaluate(
        run.task, model=run.output_dir, data=held_out, output_dir=written, **more
    )
    assert again.predictions == found.predictions
    assert json.loads((written / "metrics.json").read_text()) == found.scores


def test_predictions_need_no_labels_and_are_those_of_an_evaluation(run: jaxbert.Run) -> None:
    held_out = rows_of(run.task, "dev")
    if run.task == "mlm":
        with pytest.raises(InputError, match=r"predicts what is masked .* use predictor\(\)"):
            run.predict(held_out)
        return
    labels = {"label", "score", "ner_tags", "answers"}
    bare = [{n: x for n, x in row.items() if n not in labels} for row in held_out]
    wanted = jaxbert.evaluate(run.task, model=run.output_dir, data=held_out, quiet=True)
    found = run.predict(bare)
    assert len(found) == len(held_out)
    assert found == wanted.predictions
    json.dumps(found)
    bare[1] = {"nothing": 1}
    with pytest.raises(InputError, match="data: row 1: "):
        run.predict(bare)


def test_a_relative_folder_is_found_from_elsewhere(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train("classification", tiniest_folder, Path("run"))
    monkeypatch.chdir("/")
    assert run.output_dir == tmp_path / "run"
    assert len(run.predict([{"sentence": "Fine."}])) == 1


def test_predictors_are_those_of_the_task(run: jaxbert.Run) -> None:
    kinds = {
        "qa": jaxbert.QuestionAnswerer,
        "classification": jaxbert.TextClassifier,
        "regression": jaxbert.TextRegressor,
        "tagging": jaxbert.Tagger,
        "mlm": jaxbert.FillMask,
    }
    if run.task in kinds:
        assert type(run.predictor()) is kinds[run.task]
    else:
        with pytest.raises(InputError, match=f"no predictor for {run.task}; use predict"):
            run.predictor()


def test_callbacks_get_the_events_of_the_run(tiniest_folder: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    run = train(
        "classification",
        tiniest_folder,
        tmp_path / "run",
        validation_data=rows_of("classification", "dev"),
        callbacks=[events.append],
        eval_steps=3,
    )
    part = [Logged, Logged, Logged, Evaluated]
    kinds = [type(e) for e in events if not isinstance(e, Saved)]
    assert kinds == [Started, *part, *part, Finished]
    started, finished = events[0], events[-1]
    assert started == Started(0, 6)
    assert finished == Finished(6, run.scores, True)
    records = [dict(e.values) for e in events if isinstance(e, Logged)]
    records += [{"step": e.step, **e.scores} for e in events if isinstance(e, Evaluated)]
    assert sorted(records, key=lambda r: r["step"]) == run.history
    assert {e.step for e in events if isinstance(e, Saved)} == {2, 3, 4, 6}


def test_a_callback_that_fails_ends_nothing(
    tiniest_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Event] = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise ConnectionError("no route to host\nmore")

    run = train("classification", tiniest_folder, tmp_path / "run", callbacks=[broken])
    assert run.done
    assert len(calls) >= 4
    (line,) = capsys.readouterr().out.splitlines()  # quiet as it is, a warning is shown; once
    assert line.startswith("the callback broken failed at Started: ConnectionError: no route to")
    with pytest.raises(InputError, match="callbacks: 7 cannot be called"):
        train("classification", tiniest_folder, tmp_path / "other", callbacks=[7])
    assert not (tmp_path / "other").exists()


def test_an_interrupt_saves_and_the_same_call_resumes(tiniest_folder: Path, tmp_path: Path) -> None:
    """As a notebook's stop button: SIGINT to the process, in the middle of a cell."""

    def interrupt(event: Event) -> None:
        if isinstance(event, Logged) and event.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    whole = train("classification", tiniest_folder, tmp_path / "whole")
    part = train("classification", tiniest_folder, tmp_path / "run", callbacks=[interrupt])
    assert not part.done
    assert part.scores == {}
    assert 2 <= part.history[-1]["step"] < 6
    with pytest.raises(InputError, match="was interrupted and has no model yet; the same call"):
        part.predictor()
    rows = rows_of("classification", "train")
    rows[0] = {**rows[0], "sentence": "Another one."}
    with pytest.raises(InputError, match="started with other train data"):
        train("classification", tiniest_folder, tmp_path / "run", train_data=rows)
    events: list[Event] = []
    rest = train("classification", tiniest_folder, tmp_path / "run", callbacks=[events.append])
    assert rest.done
    assert events[0] == Started(part.history[-1]["step"], 6)
    assert [{**r, "examples_per_second": 0, "tokens_per_second": 0} for r in rest.history] == [
        {**r, "examples_per_second": 0, "tokens_per_second": 0} for r in whole.history
    ]
    weights = "model.safetensors"
    assert (rest.output_dir / weights).read_bytes() == (whole.output_dir / weights).read_bytes()


def test_messages_are_those_of_a_script_and_logging_is_left_alone(
    tiniest_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("jaxbert")
    before = (logger.level, logger.propagate, list(logger.handlers), list(logging.root.handlers))
    train("classification", tiniest_folder, tmp_path / "loud", quiet=False)
    out, err = capsys.readouterr()
    assert out.count("train_data: 240 examples\n") == 1
    assert out.count(f"model and results in {tmp_path / 'loud'}\n") == 1
    assert "6/6" in err  # the bar
    train("classification", tiniest_folder, tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    after = (logger.level, logger.propagate, list(logger.handlers), list(logging.root.handlers))
    assert after == before


def _row(outputs: Any, batch: Any) -> Any:
    return outputs["logits"][:, 0] * batch["labels"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learing_rate": 1e-3}, "--learing_rate is not an option; did you mean --learning_rate?"),
        ({"learning_rate": "fast"}, "--learning_rate 'fast'"),
        ({"dtype": "float64"}, "--dtype 'float64'"),
        ({"report_to": ["comet"]}, "--report_to comet: there are tensorboard, wandb, mlflow"),
        ({"loss": "nonsense"}, "--loss nonsense: there are cross_entropy"),
        ({"loss": 7}, "--loss (of type int): give a name, FILE.py:FUNCTION, or a Python function"),
        ({"loss": max}, "max is not a function written in Python; give one that calls it"),
        ({"loss": functools.partial(_row, nope=1)}, "--loss function _row: it cannot be called ("),
        ({"callbacks": print}, "callbacks (of type builtin_function_or_method): give a list"),
        ({"bogus": 1}, "--bogus is not an option; `jaxbert train classification --help` lists"),
        ({"a b\nc": 1}, r"--a b\nc is not an option; "),
    ],
)
def test_settings_are_checked_as_flags_are(
    settings: dict[str, Any], message: str, tiniest_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        train("classification", tiniest_folder, tmp_path / "run", **settings)
    assert str(error.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_the_root_logger_is_left_to_the_program() -> None:
    """absl, which Orbax imports, gives it a handler; logging.basicConfig would then do nothing."""
    code = "import logging, jaxbert; jaxbert.train; print(logging.root.handlers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("task", [None, ["qa"], {}])
def test_a_task_of_another_type_is_refused(task: Any) -> None:
    with pytest.raises(InputError, match=re.escape(f"there is no task {task!r}; there are qa")):
        jaxbert.train(task)


def test_a_task_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match="there is no task 'ner'; there are qa, classification"):
        jaxbert.train("ner")


def test_a_function_that_depends_on_something_else_is_refused(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    def make(scale: float) -> Any:
        return lambda outputs, batch: scale * (outputs["scores"] - batch["labels"]) ** 2

    folder = tmp_path / "run"
    wanted = train("regression", tiniest_folder, tmp_path / "named", loss="mean_squared_error")
    run = train("regression", tiniest_folder, folder, loss=make(1.0))
    losses = [[r["loss"] for r in each.history] for each in (run, wanted)]
    assert losses[0] == pytest.approx(losses[1])
    assert json.loads((folder / "options.json").read_text())["loss_values"] == {
        "closure scale": "1.0"
    }
    with pytest.raises(InputError) as error:
        train("regression", tiniest_folder, folder, loss=make(2.0))
    assert "--loss function " in str(error.value)
    assert "closure scale was 1.0 and is 2.0; give --allow_changed_options" in str(error.value)
