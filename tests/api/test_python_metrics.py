"""Metrics that are Python functions: their scores, what they are checked for, and resume."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python_rows import OF_TASK, SMALL_RUN, rows_of

import jaxbert
from jaxbert.errors import InputError
from jaxbert.tasks.registry import TASKS
from jaxbert.training.events import Evaluated, Event, Saved

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

Records = list[dict[str, Any]]


def train(task: str, model: Path, folder: Path, **more: Any) -> jaxbert.Run:
    given: dict[str, Any] = {
        "train_data": rows_of(task, "train"),
        "validation_data": rows_of(task, "dev"),
        "output_dir": folder,
    }
    return jaxbert.train(
        task, model=model, **{**SMALL_RUN, **OF_TASK.get(task, {}), **given, **more}
    )


def count(predictions: Records, examples: Records) -> int:
    return len(predictions)


def right(predictions: Records, examples: Records) -> Any:
    """A numpy number of no type of Python's."""
    pairs = zip(predictions, examples, strict=True)
    return np.mean(np.array([p["label"] == e["label"] for p, e in pairs]), dtype=np.float32)


def cost(predictions: Records, examples: Records) -> float:
    pairs = zip(predictions, examples, strict=True)
    value = -float(np.mean([math.log(p["scores"][e["label"]]) for p, e in pairs]))
    for record in [*predictions, *examples]:
        record.clear()  # they are the function's own
    return value


def falling(predictions: Records, examples: Records) -> float:
    return -predictions[0]["scores"]["positive"]


RIGHT_FIELDS: dict[str, Any] = {
    "qa": lambda ps, es: (
        sum(
            p["id"] == e["id"] and p["answer"]["text"] in [a["text"] for a in e["answers"]]
            for p, e in zip(ps, es, strict=True)
        )
        * (100 / len(es))
    ),
    "classification": right,
    "regression": lambda ps, es: np.mean(
        [(p["score"] - e["label"]) ** 2 for p, e in zip(ps, es, strict=True)]
    ),
    "multiple_choice": right,
    "tagging": lambda ps, es: np.mean(
        np.concatenate([p["tags"] for p in ps]) == np.concatenate([e["tags"] for e in es])
    ),
    "mlm": lambda ps, es: math.exp(
        math.fsum(p["loss"] for p in ps) / math.fsum(p["count"] for p in ps)
    ),
}
SAME = {
    "classification": "accuracy",
    "regression": "mse",
    "multiple_choice": "accuracy",
    "tagging": "accuracy",
    "mlm": "perplexity",
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_its_predictions_and_examples(
    task: str, tiniest_folder: Path, tmp_path: Path
) -> None:
    """A formula of the task's own score has its value, in training and in an evaluation."""
    metrics = [count, jaxbert.Metric("mine", RIGHT_FIELDS[task])]
    run = train(task, tiniest_folder, tmp_path / "run", metrics=metrics)
    assert list(run.scores)[-2:] == ["count", "mine"]
    if task in SAME:
        assert run.scores["mine"] == pytest.approx(run.scores[SAME[task]], rel=1e-5)
    found = jaxbert.evaluate(
        task,
        model=run.output_dir,
        data=rows_of(task, "dev"),
        metrics=metrics,
        max_eval_samples=4,
        quiet=True,
    )
    assert found.scores == pytest.approx(run.scores)
    assert found.scores["count"] == len(found.predictions)


def test_scores_are_in_files_history_and_events(tiniest_folder: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    run = train(
        "classification",
        tiniest_folder,
        tmp_path / "run",
        metrics=[right, jaxbert.Metric("cost", cost, lower_is_better=True)],
        metric_for_best_model="cost",
        eval_steps=2,
        callbacks=[events.append],
    )
    plain = train("classification", tiniest_folder, tmp_path / "plain", eval_steps=2)
    assert {n: x for n, x in run.scores.items() if n not in ("right", "cost")} == plain.scores
    assert run.scores["right"] == pytest.approx(run.scores["accuracy"])
    assert run.scores["cost"] == pytest.approx(run.scores["eval_loss"], rel=1e-4)
    assert json.loads((run.output_dir / "metrics.json").read_text()) == run.scores
    evaluated = [e.scores["cost"] for e in events if isinstance(e, Evaluated)]
    assert evaluated == [r["cost"] for r in run.history if "cost" in r]
    assert len(evaluated) == 3
    predictions = json.loads((run.output_dir / "predictions.json").read_text())
    assert predictions == json.loads((plain.output_dir / "predictions.json").read_text())


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_the_best_checkpoint_is_that_of_the_metric(
    lower_is_better: bool, tiniest_folder: Path, tmp_path: Path
) -> None:
    run = train(
        "classification",
        tiniest_folder,
        tmp_path / "run",
        metrics=[jaxbert.Metric("first", falling, lower_is_better)],
        metric_for_best_model="first",
        load_best_model_at_end=True,
        learning_rate=1e-3,
        eval_steps=1,
        save_steps=1,
    )
    values = [r["first"] for r in run.history if "first" in r]
    assert len({*values}) > 1
    assert run.scores["first"] == (min if lower_is_better else max)(values)


def test_what_is_not_finite_is_left_out(
    tiniest_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("jaxbert").addHandler(caplog.handler)
    run = train(
        "classification",
        tiniest_folder,
        tmp_path / "run",
        metrics=[jaxbert.Metric("never", lambda predictions, examples: math.nan)],
        metric_for_best_model="never",
        early_stopping_patience=2,
        eval_steps=1,
    )
    logging.getLogger("jaxbert").removeHandler(caplog.handler)
    assert "never" not in run.scores
    assert run.history[-1]["step"] == 2  # no evaluation was better
    assert "the metric never is nan; it is left out of the scores" in caplog.text


METRIC: Any = jaxbert.Metric  # called as its types forbid


def broken(predictions: Records, examples: Records) -> float:
    return 1 / (len(predictions) - len(examples))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": right}, "metrics (of type function): give a list of functions, or of jaxbert"),
        ({"metrics": {"right": right}}, "metrics (of type dict): give a list of functions"),
        ({"metrics": [7]}, "metrics (of type int): give a Python function"),
        ({"metrics": [len]}, "len is not a function written in Python; give one that calls it"),
        ({"metrics": [lambda p, e: 1]}, "metrics function <lambda>: '<lambda>' cannot be the name"),
        ({"metrics": [jaxbert.Metric("x")]}, "metrics 'x': no function; give jaxbert.Metric(name"),
        ({"metrics": [METRIC("x", True)]}, "metrics 'x': True is no function; give jaxbert.Metric"),
        ({"metrics": [METRIC(right)]}, "metrics <function right at"),
        (
            {"metrics": [METRIC(7, right)]},
            "metrics function right: 7 cannot be the name of a score",
        ),
        (
            {"metrics": [METRIC("x", right, "no")]},
            "metrics 'x': lower_is_better is 'no', not a bool; give jaxbert.Metric(name, function",
        ),
        ({"metrics": [jaxbert.Metric("step", right)]}, "metrics step: give another name"),
        ({"metrics": [jaxbert.Metric("eval_x", right)]}, "metrics eval_x: give another name"),
        ({"metrics": [right, right]}, "metrics right: two metrics have this name"),
        ({"metrics": [jaxbert.Metric("f1", right)]}, "metrics f1: the task has a score of this"),
        (
            {"metrics": [jaxbert.Metric("positive_label", right)]},
            "metrics positive_label: the task has a score of this",
        ),
        ({"metrics": [broken]}, f"metrics broken: {__file__}:"),
        (
            {"metrics": [jaxbert.Metric("text", lambda p, e: "0.5")]},
            "metrics text: it returned str, not a number (tried on 4 of the validation",
        ),
        (
            {"metrics": [jaxbert.Metric("several", lambda p, e: {"a": 0.5})]},
            "metrics several: it returned dict, not a number; give one function for each score",
        ),
        (
            {"metrics": [jaxbert.Metric("yes", lambda p, e: np.bool_(True))]},
            "metrics yes: it returned bool, not a number",
        ),
        ({"metrics": [right], "validation_data": None}, "metrics: give validation_data"),
        (
            {"metrics": [right], "metric_for_best_model": "wrong"},
            "--metric_for_best_model wrong: give accuracy, f1, ",
        ),
    ],
)
def test_what_cannot_be_a_metric_is_refused_before_the_first_step(
    settings: dict[str, Any], message: str, tiniest_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        train("classification", tiniest_folder, tmp_path / "run", **settings)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_error_says_where_it_is_and_data_need_labels(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    run = train("classification", tiniest_folder, tmp_path / "run")
    data = rows_of("classification", "dev")
    with pytest.raises(InputError, match=r"broken: .*py:\d+: ZeroDivisionError: division by zero$"):
        jaxbert.evaluate("classification", model=run.output_dir, data=data, metrics=[broken])
    bare = [{"sentence": row["sentence"]} for row in data]
    with pytest.raises(InputError, match="metrics right: the data have no labels to score with"):
        jaxbert.evaluate("classification", model=run.output_dir, data=bare, metrics=[right])


def test_resume_needs_the_same_metrics(tiniest_folder: Path, tmp_path: Path) -> None:
    def make(scale: float) -> Any:
        return lambda predictions, examples: scale * predictions[0]["scores"]["positive"]

    def call(folder: str, scale: float, lower: bool = False, **more: Any) -> jaxbert.Run:
        metrics = [right, jaxbert.Metric("scaled", make(scale), lower)]
        settings = {"metrics": metrics, "eval_steps": 2, "save_steps": 2, **more}
        return train("classification", tiniest_folder, tmp_path / folder, **settings)

    def stop(event: Event) -> None:
        if isinstance(event, Saved) and event.step == 4:
            raise KeyboardInterrupt

    def files() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}

    best: dict[str, Any] = {"metric_for_best_model": "scaled", "load_best_model_at_end": True}
    whole = call("whole", 1.0, **best)
    with pytest.raises(KeyboardInterrupt):
        call("run", 1.0, **best, callbacks=[stop])
    before = files()
    for change, message in [
        ({"scale": 2.0}, "metrics scaled: closure scale was 1.0 and is 2.0; it tells the best"),
        (
            {"scale": 2.0, "allow_changed_options": ["metrics"]},
            "metrics scaled: closure scale was 1.0 and is 2.0; it tells the best checkpoint",
        ),
        ({"lower": True}, "metrics scaled: lower_is_better was False and is True; it tells the"),
        (
            {"metrics": [jaxbert.Metric("scaled", make(1.0))]},
            "metrics right: the run has this Python function, and none was given now; give "
            "--allow_changed_options metrics",
        ),
        (
            {"metrics": [right, count, jaxbert.Metric("scaled", make(1.0))]},
            "metrics count: the run was started without it; give --allow_changed_options metrics",
        ),
        (
            {"metrics": [jaxbert.Metric("right", count), jaxbert.Metric("scaled", make(1.0))]},
            "metrics right: the text is not the one that the run was started with, which is in",
        ),
    ]:
        with pytest.raises(InputError) as error:
            call("run", **{"scale": 1.0, **best, **change})
        assert str(error.value).startswith(f"--output_dir {tmp_path / 'run'}: {message}")
        assert files() == before
    changed = [count, jaxbert.Metric("scaled", make(1.0))]
    rest = call("run", 1.0, **best, metrics=changed, allow_changed_options=["metrics"])
    assert rest.scores["count"] == 4
    weights = "model.safetensors"
    assert (rest.output_dir / weights).read_bytes() == (whole.output_dir / weights).read_bytes()
    assert [r["scaled"] for r in rest.history if "scaled" in r] == [
        r["scaled"] for r in whole.history if "scaled" in r
    ]
