"""What a run remembers, read back: from older versions, from newer ones, and from damaged files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from jaxbert.errors import InputError
from jaxbert.training.progress import Plan, Progress

PLACE = Path("run/checkpoints/3/progress.json")


def plan(*metrics: str, lower_is_better: frozenset[str] = frozenset()) -> Plan:
    return Plan(9, 1, 1, 1, None, 3, metrics, lower_is_better)


def some() -> Progress:
    progress = Progress(skipped=2, skipped_now=[4], options={"seed": 1, "freeze": None})
    for step, f1, loss in ((1, 0.5, 0.9), (2, 0.9, 0.8), (3, 0.7, 0.7), (4, 0.6, 0.95)):
        progress.record(step, {"f1": f1, "loss": loss}, plan("f1"))
    return progress


def test_a_loss_that_is_not_finite_is_no_better() -> None:
    """An evaluation leaves such a loss out; that must not end the run."""
    by_loss, progress = plan("eval_loss", lower_is_better=frozenset({"eval_loss"})), Progress()
    for step, scores in enumerate(({"f1": 0.1}, {"eval_loss": 2.0}, {"f1": 0.2}), 1):
        progress.record(step, scores, by_loss)
    assert (progress.best_step, progress.best_score, progress.waited) == (2, 2.0, 1)


def test_what_was_saved_comes_back() -> None:
    saved = json.loads(json.dumps(dataclasses.asdict(some())))
    assert Progress.read(saved, PLACE) == some()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Progress)])
def test_a_field_that_an_older_version_did_not_have_is_as_at_the_start(name: str) -> None:
    saved = dataclasses.asdict(some())
    del saved[name]
    assert getattr(Progress.read(saved, PLACE), name) == getattr(Progress(), name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"best_loss": 1.0}, "best_loss is not known; resume with the version of jaxbert that"),
        ({"best\nstep": 1}, r"best\nstep is not known"),
        ({"best_step": "2"}, "best_step is 2, which it cannot be; bring the file back"),
        ({"best_score": [1]}, "best_score is [1], which"),
        ({"waited": None}, "waited is None, which"),
        ({"waited": True}, "waited is True, which"),
        ({"skipped_now": 3}, "skipped_now is 3, which"),
        ({"evaluations": {}}, "evaluations is {}, which"),
        ({"evaluations": [[1]]}, "evaluations is [[1]], which"),
        ({"evaluations": [{"step": "x"}]}, "an evaluation's step is x; bring the file back"),
        ({"evaluations": [{"f1": 1}]}, "an evaluation has no step"),
        ({"options": None}, "options is None, which"),
    ],
)
def test_another_field_or_type_is_told_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Progress.read(dataclasses.asdict(some()) | change, PLACE)
    assert str(caught.value).startswith(f"{PLACE}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("saved", [None, [], "x", 3])
def test_no_object_is_told_in_one_line(saved: Any) -> None:
    with pytest.raises(InputError, match="expected an object, found"):
        Progress.read(saved, PLACE)


def test_another_score_has_another_best_evaluation() -> None:
    """--allow_changed_options metric_for_best_model: the scores of before are not mixed with it."""
    progress = some()
    assert (progress.best_step, progress.best_score, progress.waited) == (2, 0.9, 2)
    before = dataclasses.replace(progress)
    progress.judge_again(plan("f1"))
    assert progress == before
    progress.judge_again(plan("loss", lower_is_better=frozenset({"loss"})))
    assert (progress.best_step, progress.best_score, progress.waited) == (3, 0.7, 1)
    with pytest.raises(InputError, match="--metric_for_best_model em: the evaluation gives f1, lo"):
        progress.judge_again(plan("em"))
