"""Which of two classes f1 is of, and what several labels a row are to the task."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import call, refuses

from jaxbert.data.features import Features
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.model.config import MULTI_LABEL, BertConfig
from jaxbert.options.task_settings import ClassificationSettings
from jaxbert.runs.evaluate import show_scores
from jaxbert.tasks.classification import Classification, MultiClassified

TWO = BertConfig(id2label=("no", "yes"))
SETS = BertConfig(id2label=("a", "b", "c"), problem_type=MULTI_LABEL)
NO_TOKENIZER: Any = None


def examples(*labels: Any) -> list[TextExample]:
    return [TextExample(f"f: row {n}", "text", None, label) for n, label in enumerate(labels)]


def task(**settings: Any) -> Classification:
    return Classification(ClassificationSettings(**settings))


def decoded(cfg: BertConfig, logits: Any, **options: Any) -> list[Any]:
    arrays = {"logits": np.array(logits, np.float32)}
    windows = np.arange(len(logits) + 1)  # one for each text
    features = Features(windows, {}, {}, windows[:-1])
    return [*task(**options).decode([], features, arrays, cfg)]


def test_f1_names_its_class_in_the_scores_and_in_the_log() -> None:
    predictions = decoded(TWO, [[0, 1], [0, 1], [1, 0]])  # yes, yes, no; right are yes, no, no
    references = examples("yes", "no", "no")
    for given, name, f1 in ((None, "yes", 2 / 3), ("yes", "yes", 2 / 3), ("no", "no", 2 / 3)):
        scores = task(positive_label=given).score(references, predictions, TWO)
        assert scores["positive_label"] == name
        assert scores["f1"] == pytest.approx(f1)
        assert f"f1 0.6667  positive_label {name}" in show_scores(scores)


def test_three_classes_have_no_positive_one() -> None:
    cfg = dataclasses.replace(TWO, id2label=("a", "b", "c"))
    predictions = decoded(cfg, [[1, 0, 0]])
    scores = task().score(examples("a"), predictions, cfg)
    assert "positive_label" not in scores


@pytest.mark.parametrize(
    ("cfg", "options", "message"),
    [
        (TWO, {"positive_label": "maybe"}, "--positive_label maybe: it is one of two classes"),
        (
            BertConfig(id2label=("a", "b", "c")),
            {"positive_label": "a"},
            "--positive_label a: it is one of two classes; the model has a, b, c",
        ),
        (SETS, {"positive_label": "a"}, "--positive_label a: not for any number of labels"),
        (TWO, {"threshold": 0.5}, "--threshold 0.5: it is for any number of labels"),
    ],
)
def test_options_for_another_kind_are_refused(
    cfg: BertConfig, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        task(**options).encode(examples("yes"), NO_TOKENIZER, cfg)


def test_score_names_and_chooses_the_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = ["same", "same", "other", "other", "same", "same"]
    found = ["same", "other", "same", "other", "same", "same"]
    path, predictions = tmp_path / "x.tsv", tmp_path / "p.json"
    path.write_text("text\tlabel\n" + "".join(f"t\t{label}\n" for label in gold))
    predictions.write_text(json.dumps(found))
    words = ["--metric", "classification", "--predictions", str(predictions)]
    words += ["--references", str(path)]
    for more, name, f1 in (
        ([], "same", 3 / 4),
        (["--positive_label", "other"], "other", 1 / 2),
        (["--positive_label", "same"], "same", 3 / 4),
    ):
        call("eval/score.py", *words, *more)
        scores = json.loads(capsys.readouterr().out)
        assert (scores["positive_label"], scores["f1"]) == (name, pytest.approx(f1))
    message = refuses("eval/score.py", *words, "--positive_label", "equal")
    assert "--positive_label equal: it is one of two classes; there are other, same" in message


def test_labels_above_the_threshold_are_predicted() -> None:
    logits = [[0.0, 2.0, -3.0], [-1.0, -1.0, -1.0]]
    first, second = decoded(SETS, logits)
    assert first.labels == ("b",)  # 1/2 is not above 1/2
    assert second == MultiClassified((), second.scores)
    p = 1 / (1 + np.exp(-np.array(logits)))
    assert [*first.scores.values()] == pytest.approx(p[0], rel=1e-6)
    assert decoded(SETS, logits, threshold=0.2)[1].labels == ("a", "b", "c")
    assert decoded(SETS, logits, threshold=0.0)[0].labels == ("a", "b", "c")


def test_what_is_trained_follows_the_data_before_the_model() -> None:
    lists, single = examples(("a",), ()), examples("a", "b")
    resolved = task().fit_to(lists, None)
    assert resolved.settings.problem_type == MULTI_LABEL
    assert resolved.problem_type(TWO) == MULTI_LABEL
    assert task().fit_to(single, None).settings == task().settings
    assert task().problem_type(TWO) == "single_label_classification"
    assert task().problem_type(SETS) == MULTI_LABEL
    with pytest.raises(InputError, match="f: row 0 has a list of labels"):
        task(problem_type="single_label_classification").fit_to(lists, None)


def test_labels_of_lists_are_all_that_occur_and_one_is_enough() -> None:
    assert task().labels(examples(("b", "a"), (), ("10",))) == ("10", "a", "b")
    assert task().labels(examples(("toxic",), ())) == ("toxic",)
    with pytest.raises(InputError, match="no label in any row"):
        task().labels(examples((), ()))


def test_balanced_weights_count_labels() -> None:
    fitted = task(class_weights=["balanced"]).fit_to(examples(("a", "b"), ("a",), ()), None)
    assert fitted.settings.class_weights == ["a=0.75", "b=1.5"]
    weights = fitted.loss_keywords(BertConfig(id2label=("a", "b")))["class_weights"]
    assert weights is not None
    assert weights.tolist() == [0.75, 1.5]


@pytest.mark.parametrize(("cfg", "known"), [(TWO, "matthews_correlation"), (SETS, "exact_match")])
def test_the_score_to_watch_is_one_of_what_is_trained(cfg: BertConfig, known: str) -> None:
    cfg = dataclasses.replace(cfg, problem_type=task().problem_type(cfg))
    for name in (None, known, f"eval_{known}", "f1_macro", "eval_loss", "loss"):
        task().check_metric(name, [], cfg)
    other = "accuracy" if cfg.multi_label else "exact_match"
    message = f"--metric_for_best_model {other}: the scores of {cfg.problem_type} are .*, eval_loss"
    with pytest.raises(InputError, match=message):
        task().check_metric(other, [], cfg)
