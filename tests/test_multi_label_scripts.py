"""The scripts on rows with any number of labels: train, evaluate, score, and transformers."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import transformers
from multi_label import LABELS, texts, write_columns, write_lists, write_vocabulary
from scripts import call, passed, read, refuses, script, weights
from sklearn.metrics import average_precision_score, f1_score

from jaxbert import TextClassifier

HELD_OUT = texts(24, seed=1)
pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]


def write_data(folder: Path) -> tuple[Path, Path]:
    """Training data as lists and the same as columns, and held-out data beside them."""
    for split, rows in (("train", texts(96)), ("dev", HELD_OUT)):
        lists = write_lists(folder / f"{split}.jsonl", rows)
        columns = write_columns(folder / f"{split}.csv", rows)
    return lists, columns


def words_of(folder: Path, suffix: str, output: Path, *more: str) -> list[str]:
    files = [str(folder / f"{split}.{suffix}") for split in ("train", "dev")]
    recipe = ["--max_seq_length", "16", "--learning_rate", "5e-3", "--length_bucket", "0"]
    recipe += ["--per_device_train_batch_size", "2", "--eval_steps", "1000", "--save_steps", "1000"]
    given = ["--train_file", files[0], "--validation_file", files[1], "--output_dir", str(output)]
    return ["--config_name", str(folder / "v"), *given, *recipe, *more]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    write_vocabulary(folder / "v")
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "lists"
    more = ["--num_train_epochs", "16", "--per_device_train_batch_size", "16"]
    out = passed(script("train/classification.py", *words_of(data, "jsonl", folder, *more)))
    assert "  3 outputs: food, money, travel" in out
    return folder


def test_a_training_learns_and_writes_what_is_promised(trained: Path) -> None:
    scores = read(trained / "metrics.json")
    names = "f1_micro f1_macro exact_match average_precision_micro average_precision_macro"
    assert list(scores) == [*names.split(), "eval_loss"]
    assert scores["f1_micro"] > 0.8
    assert scores["average_precision_macro"] > 0.85
    predictions = read(trained / "predictions.json")
    gold = np.array([[label in labels for label in LABELS] for _, labels in HELD_OUT], int)
    ranked = np.array([[entry["scores"][name] for name in LABELS] for entry in predictions])
    assert scores["f1_micro"] == pytest.approx(f1_score(gold, ranked > 0.5, average="micro"))
    wanted = average_precision_score(gold, ranked, average="macro")
    assert scores["average_precision_macro"] == pytest.approx(wanted)
    loss = -np.where(gold == 1, np.log(ranked), np.log1p(-ranked)).mean()
    assert scores["eval_loss"] == pytest.approx(loss, rel=1e-4)
    for entry, row in zip(predictions, ranked, strict=True):
        assert entry["labels"] == [name for name, p in zip(LABELS, row, strict=True) if p > 0.5]
    config = read(trained / "config.json")
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {str(n): name for n, name in enumerate(LABELS)}


def test_the_pipeline_and_the_predictor_give_the_same_scores(trained: Path) -> None:
    inputs = [text for text, _ in HELD_OUT[:6]]
    theirs = transformers.pipeline("text-classification", model=str(trained), top_k=None)(inputs)
    ours = TextClassifier.from_pretrained(trained)(inputs, top_k=None)
    predictions = read(trained / "predictions.json")
    for one, other, entry in zip(ours, theirs, predictions, strict=False):
        for found in (one, other):
            assert {x["label"]: x["score"] for x in found} == pytest.approx(
                entry["scores"], abs=1e-5
            )
        assert [x["label"] for x in one] == [x["label"] for x in other]
    assert any(abs(sum(x["score"] for x in one) - 1) > 0.2 for one in ours)  # no softmax


def test_columns_of_0_and_1_are_the_same_run(data: Path, tmp_path: Path) -> None:
    more = ["--max_steps", "2", "--parallel", "jit"]
    lists, columns = tmp_path / "lists", tmp_path / "columns"
    assert call("train/classification.py", *words_of(data, "jsonl", lists, *more)) == 0
    more += ["--label_column_name", *LABELS]
    assert call("train/classification.py", *words_of(data, "csv", columns, *more)) == 0
    assert weights(columns) == weights(lists)
    assert read(columns / "metrics.json") == read(lists / "metrics.json")
    # An evaluation finds the columns again, and does without where there are none.
    bare = tmp_path / "bare.jsonl"
    bare.write_text("\n".join(json.dumps({"text": text}) for text, _ in HELD_OUT))
    for path in (data / "dev.csv", bare):
        given = ["--model_name_or_path", str(columns), "--validation_file", str(path)]
        call("eval/classification.py", *given, "--output_dir", str(tmp_path / path.stem))
        assert read(tmp_path / path.stem / "predictions.json") == read(columns / "predictions.json")
    assert read(tmp_path / "bare" / "metrics.json") == {}


@pytest.mark.parametrize(
    "more",
    [
        ["--packing", "--length_bucket", "8", "--gradient_accumulation_steps", "2"],
        [
            *(
                "--loss",
                "r_drop",
                "--loss_args",
                '{"base": "focal"}',
                "--class_weights",
                "balanced",
            ),
            *("--metric_for_best_model", "loss", "--load_best_model_at_end"),
        ],
    ],
)
def test_other_trainings_of_it(data: Path, tmp_path: Path, more: list[str]) -> None:
    words = words_of(data, "jsonl", tmp_path / "o", "--max_steps", "2", *more)
    assert call("train/classification.py", *words) == 0
    assert read(tmp_path / "o" / "metrics.json")["eval_loss"] > 0


def test_evaluate_at_another_threshold_and_score(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model_name_or_path", str(trained), "--validation_file", str(data / "dev.jsonl")]
    words += ["--output_dir", str(tmp_path), "--threshold", "0.2"]
    call("eval/classification.py", *words)
    found, before = (read(f / "predictions.json") for f in (tmp_path, trained))
    for one, other in zip(found, before, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-6)
        assert one["labels"] == [name for name, p in one["scores"].items() if p > 0.2]
    scores = read(tmp_path / "metrics.json")
    assert scores["f1_micro"] != read(trained / "metrics.json")["f1_micro"]
    del scores["eval_loss"]

    capsys.readouterr()
    given = ["--metric", "classification", "--predictions"]
    lists = ["--references", str(data / "dev.jsonl")]
    columns = ["--references", str(data / "dev.csv"), "--label_column_name", *LABELS]
    for references in (lists, columns):
        call("eval/score.py", *given, str(tmp_path / "predictions.json"), *references)
        assert json.loads(capsys.readouterr().out) == pytest.approx(scores)
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps([entry["labels"] for entry in found]))
    call("eval/score.py", *given, str(bare), *lists)
    alone = json.loads(capsys.readouterr().out)
    assert alone == {n: x for n, x in scores.items() if not n.startswith("average")}
    bare.write_text(json.dumps([3, *found[1:]]))
    assert "entry 0 is 3, expected a list of names" in refuses(
        "eval/score.py", *given, str(bare), *lists
    )


def test_another_kind_of_model_is_told_in_one_line(
    trained: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [json.dumps({"text": text, "label": label}) for label in LABELS for text, _ in HELD_OUT]
    single = tmp_path / "single.jsonl"
    single.write_text("\n".join(rows))
    words = ["--train_file", str(single), "--max_steps", "1", "--max_seq_length", "16"]
    words += ["--per_device_train_batch_size", "1", "--model_name_or_path"]
    kept, turned, back = (tmp_path / name for name in ("kept", "turned", "back"))
    call("train/classification.py", *words, str(trained), "--output_dir", str(kept))
    assert "is multi_label_classification, and so it is trained, on one label a row" in caplog.text
    flag = ["--problem_type", "single_label_classification"]
    call("train/classification.py", *words, str(trained), "--output_dir", str(turned), *flag)
    assert "from now on it is single_label_classification" in caplog.text
    words[1] = str(data / "train.jsonl")
    call("train/classification.py", *words, str(turned), "--output_dir", str(back))
    assert "from now on it is multi_label_classification" in caplog.text
    kinds = [read(folder / "config.json")["problem_type"] for folder in (kept, turned, back)]
    assert kinds == [f"{n}_label_classification" for n in ("multi", "single", "multi")]
    words = ["--model_name_or_path", str(turned), "--output_dir", str(tmp_path / "o")]
    message = refuses(
        "eval/classification.py", *words, "--validation_file", str(data / "dev.jsonl")
    )
    assert "dev.jsonl: line 1: a list of labels" in message
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--positive_label", "food"], "--positive_label food: not for any number of labels"),
        (["--metric_for_best_model", "accuracy"], "the scores of multi_label_classification are"),
        (["--loss", "supervised_contrastive"], "--loss supervised_contrastive: rows with several"),
        (["--threshold", "1.5"], "--threshold 1.5: it must be from 0 to 1"),
        (["--class_weights", "fun=2"], "give balanced, or NAME=WEIGHT with a class of food"),
    ],
)
def test_what_is_not_for_it_is_refused(
    data: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    words = words_of(data, "jsonl", tmp_path / "o", *more)
    assert message in refuses("train/classification.py", *words)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("rows", "hint"), [(["food", "fun"], ""), ([0, 1], "; for a 0 or 1 per label")]
)
def test_labels_that_every_row_has_are_refused(
    data: Path, tmp_path: Path, rows: list[object], hint: str
) -> None:
    """Most likely they are no names: [1, 0] says of two labels whether a row has them."""
    both = [
        {"text": text, "labels": rows[:: 1 - 2 * (n % 2)]} for n, (text, _) in enumerate(HELD_OUT)
    ]
    path = tmp_path / "both.jsonl"
    path.write_text("\n".join(map(json.dumps, both)))
    words = words_of(data, "jsonl", tmp_path / "o", "--train_file", str(path))
    names = ", ".join(map(str, rows))
    assert f"has all the labels, {names}, so there is nothing to learn{hint}" in refuses(
        "train/classification.py", *words
    )
    assert not (tmp_path / "o").exists()


def test_labels_in_another_form_than_the_trainings_are_not_passed_over_in_silence(
    trained: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["--model_name_or_path", str(trained), "--output_dir", str(tmp_path)]
    words += ["--validation_file", str(data / "dev.csv")]
    with caplog.at_level(logging.INFO, "jaxbert"):
        call("eval/classification.py", *words)
    columns = ", ".join(["text", *LABELS])
    assert (
        f"no labels, so no scores; the columns are {columns} (see --label_column_name)"
        in caplog.text
    )
    assert read(tmp_path / "metrics.json") == {}
    call("eval/classification.py", *words, "--label_column_name", *LABELS)
    wanted = read(trained / "metrics.json")
    assert read(tmp_path / "metrics.json") == pytest.approx(wanted, rel=1e-5)


def test_a_run_begun_before_is_resumed(data: Path, tmp_path: Path) -> None:
    """Whose record has one column as a text, and whose config has no problem type."""
    rows = [
        json.dumps({"text": text, "label": "yes" if labels else "no"}) for text, labels in HELD_OUT
    ]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows))
    shutil.copytree(data / "v", tmp_path / "v")
    words = words_of(tmp_path, "jsonl", tmp_path / "o", "--label_column_name", "label")
    assert call("train/classification.py", *words, "--max_steps", "1") == 0
    record = read(tmp_path / "o" / "options.json")
    assert record["options"]["label_column_name"] == ["label"]
    record["options"]["label_column_name"] = "label"
    for name in ("positive_label", "threshold", "problem_type"):
        del record["options"][name]
    (tmp_path / "o" / "options.json").write_text(json.dumps(record))
    assert call("train/classification.py", *words, "--max_steps", "1") == 0
    given = ["--model_name_or_path", str(tmp_path / "o"), "--output_dir", str(tmp_path / "e")]
    call("eval/classification.py", *given, "--validation_file", str(tmp_path / "dev.jsonl"))
    assert read(tmp_path / "e" / "metrics.json")["positive_label"] == "yes"
    call(
        *("eval/classification.py", *given, "--validation_file", str(tmp_path / "dev.jsonl")),
        *("--positive_label", "no"),
    )
    assert read(tmp_path / "e" / "metrics.json")["positive_label"] == "no"
