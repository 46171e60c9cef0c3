"""Wrong input of every task but question answering: one line that names it, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import refused, refuses, script

pytestmark = pytest.mark.integration

RECIPE = [
    *("--max_seq_length", "64", "--length_bucket", "0", "--per_device_train_batch_size", "1"),
    *("--max_steps", "6", "--save_steps", "2", "--parallel", "jit"),
]
ROWS = "sentence\tlabel\na good day\tgood\na bad day\tbad\n"
PAIRS = "sentence1\tsentence2\tscore\na\tb\t1\nc\td\t2.5\n"
ROWS_JSONL = '{"text": "a", "label": "b"}\n'
CHOICES = '{"question": "who?", "choices": ["Ada", "Bob"], "label": 1}\n'
CONLL = "Ada B-PER\nslept O\n\nBob B-PER\n"
WRONG: dict[str, tuple[str, str, str, str, list[str], list[str]]] = {
    # case: task, file name, content to train on, content to evaluate on, more words, the message
    "unknown label": (
        *("classification", "x.tsv", ROWS, ROWS + "so so\tmiddling\n", []),
        ["dev.x.tsv: line 4", "'middling'", "bad, good"],
    ),
    "empty text": (
        *("classification", "x.tsv", ROWS + " \tbad\n", ROWS, ["--strict"]),
        ["train.x.tsv: line 4", '"sentence" is empty'],
    ),
    "too few columns": (
        *("classification", "x.tsv", ROWS + "good\n", ROWS, []),
        ["train.x.tsv: line 4 has 1 column, expected 2", "sentence, label"],
    ),
    "missing column": (
        *("classification", "x.tsv", ROWS, ROWS, ["--text_column_name", "review"]),
        ["train.x.tsv", 'no column "review"', "sentence, label"],
    ),
    "missing label column": (
        *("regression", "x.tsv", PAIRS, PAIRS, ["--label_column_name", "stars"]),
        ["train.x.tsv", 'no column "stars"', "sentence1, sentence2, score"],
    ),
    "one class": (
        *("classification", "x.tsv", ROWS.replace("bad\n", "good\n"), ROWS, []),
        ["one class only, good", "at least 2"],
    ),
    "some labels": (
        *("classification", "x.tsv", ROWS + "a day\t\n", ROWS, ["--strict"]),
        ["train.x.tsv: line 4", "no label", "other rows have one"],
    ),
    "a label that is an object": (
        *("classification", "x.jsonl", '{"text": "a", "label": {"b": "x"}}\n', "{}", []),
        ["train.x.jsonl: line 1", '"label"', "the probability of b is x, expected a number"],
    ),
    "lists for one class": (
        *("classification", "x.jsonl", '{"text": "a", "label": ["b"]}\n', ROWS_JSONL),
        ["--problem_type", "single_label_classification"],
        ["--problem_type single_label_classification", "train.x.jsonl: line 1", "list of labels"],
    ),
    "positive label of no class": (
        *("classification", "x.tsv", ROWS, ROWS, ["--positive_label", "best"]),
        ["--positive_label best", "one of two classes", "bad, good"],
    ),
    "a threshold for one class": (
        *("classification", "x.tsv", ROWS, ROWS, ["--threshold", "0.3"]),
        ["--threshold 0.3", "any number of labels"],
    ),
    "nan target": (
        *("regression", "x.tsv", PAIRS, PAIRS + "e\tf\tNaN\n", ["--strict"]),
        ["dev.x.tsv: line 4", "'NaN'", "finite number"],
    ),
    "a target that is a word": (
        *("regression", "x.tsv", PAIRS + "e\tf\tgood\n", PAIRS, ["--strict"]),
        ["train.x.tsv: line 4", "'good'", "finite number"],
    ),
    "no such scaling": (
        *("regression", "x.tsv", PAIRS, PAIRS, ["--target_scaling", "2", "0"]),
        ["--target_scaling 2 0", "scale above 0"],
    ),
    "a line of one column": (
        *("tagging", "x.conll", CONLL + "slept\n", CONLL, []),
        ["train.x.conll: line 5 has 1 column, expected 2 as in line 1"],
    ),
    "unknown tag": (
        *("tagging", "x.conll", CONLL, CONLL + "\nEve B-ORG\n", []),
        ["dev.x.conll: line 6", "'B-ORG'", "B-PER, O"],
    ),
    "too much overlap": (
        *("tagging", "x.conll", CONLL, CONLL, ["--doc_stride", "31"]),
        ["--doc_stride 31", "from 0 to 30"],
    ),
    "f1 of words": (
        *("tagging", "x.conll", "a DET\n", "a DET\n", ["--metric_for_best_model", "eval_f1"]),
        ["--metric_for_best_model eval_f1", "give accuracy"],
    ),
    "no such choice": (
        *("multiple_choice", "x.jsonl", CHOICES, CHOICES.replace("1}", "2}"), []),
        ["dev.x.jsonl: line 1", '"label"', "none of the 2 choices"],
    ),
    "nothing but blank lines": (*("mlm", "x.txt", "a text", "\n \n", []), ["dev.x.txt: no text"]),
    "no room": (
        *("mlm", "x.txt", "a text", "a text", ["--max_seq_length", "2"]),
        ["--max_seq_length 2", "3 or more"],
    ),
    "no such probability": (
        *("mlm", "x.txt", "a text", "a text", ["--mlm_probability", "nan"]),
        ["--mlm_probability nan", "from 0.001 to 0.9"],
    ),
    "not parquet": (
        *("mlm", "x.parquet", "a text", "a text", []),
        ["train.x.parquet", "cannot read it"],
    ),
    **{
        f"the loss of {task}": (
            *(task, "x.txt", "", "", ["--loss", "hinge"]),
            [
                "--loss hinge: there are "
                + ("mean_squared_error" if task == "regression" else "cross_entropy")
            ],
        )
        for task in ("classification", "regression", "tagging", "multiple_choice", "mlm")
    },
    **{
        f"class weights {words}": (
            *("classification", "x.tsv", ROWS, ROWS, ["--class_weights", *words.split()]),
            [f"--class_weights {told}"],
        )
        for words, told in [
            ("best=2", "best=2: give balanced, or NAME=WEIGHT with a class of bad, good"),
            ("good", "good: give balanced"),
            ("good=-1", "good=-1: give balanced"),
            ("good=nan", "good=nan: give balanced"),
            ("bad=1 good=inf", "good=inf: give balanced"),
            ("balanced good=1", "balanced: give balanced"),
            ("bad=0 good=0", "bad=0 good=0: all are 0"),
        ]
    },
}


def write_wrong(case: str, tmp_path: Path, model: Path) -> tuple[str, list[str], list[str]]:
    """The files of the case; its script, its command line, and what the message has."""
    task, name, training, held_out, more, parts = WRONG[case]
    for split, text in (("train", training), ("dev", held_out)):
        (tmp_path / f"{split}.{name}").write_text(text, encoding="utf-8")
    files = ["--train_file", str(tmp_path / f"train.{name}")]
    files += ["--validation_file", str(tmp_path / f"dev.{name}")]
    words = ["--model_name_or_path", str(model), *files, "--output_dir", str(tmp_path / "o")]
    words += ["--doc_stride", "8"] * (task == "tagging")
    return f"train/{task}.py", [*words, *RECIPE, *more], parts


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_and_nothing_is_written(
    case: str, tiny_folder: Path, tmp_path: Path
) -> None:
    name, words, parts = write_wrong(case, tmp_path, tiny_folder)
    message = refuses(name, *words)
    for part in parts:
        assert part in message
    assert not (tmp_path / "o").exists()


def test_wrong_input_is_one_line_on_standard_error(tiny_folder: Path, tmp_path: Path) -> None:
    name, words, parts = write_wrong("unknown label", tmp_path, tiny_folder)
    refused(script(name, *words), *parts)
    assert not (tmp_path / "o").exists()
