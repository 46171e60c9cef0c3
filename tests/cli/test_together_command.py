"""jaxbert train together: what its words ask for, and what is refused before anything is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import jaxbert
from jaxbert.cli import main
from jaxbert.cli.together_command import asked_by
from jaxbert.errors import InputError
from jaxbert.options.task_settings import ClassificationTrainOptions, TaggingTrainOptions
from jaxbert.options.together_settings import OF_TASKS, REFUSED

GIVEN = [
    *("--tasks", "classification:2", "tagging"),
    *("--classification.train_file", "a.tsv", "b.tsv", "--tagging.train_file", "c.conll"),
    *("--output_dir", "runs/both", "--config_name", "bert-base"),
]


def test_each_task_has_its_options_and_those_of_the_run() -> None:
    asked = asked_by(
        [
            *GIVEN,
            *("--classification.max-seq-length=64", "--learning_rate", "3e-4", "--seed", "7"),
            *("--per_device_train_batch_size", "4", "--tagging.per_device_train_batch_size", "2"),
            *("--classification.long_texts", "windows", "--tagging.label_all_tokens"),
        ]
    )
    assert asked.common.tasks == ["classification:2", "tagging:1"]
    assert asked.turns.shares == {"classification": 2, "tagging": 1}
    assert asked.turns.seed == 7
    one, other = (of.options for of in asked.tasks.values())
    assert isinstance(one, ClassificationTrainOptions)
    assert isinstance(other, TaggingTrainOptions)
    assert (one.train_file, other.train_file) == (["a.tsv", "b.tsv"], ["c.conll"])
    assert (one.max_seq_length, other.max_seq_length) == (64, 128)
    assert (one.per_device_train_batch_size, other.per_device_train_batch_size) == (4, 2)
    assert (one.long_texts, other.label_all_tokens) == ("windows", True)
    assert one.learning_rate == other.learning_rate == 3e-4
    assert one.length_bucket == 32  # the task's default, where the run says nothing
    assert asked_by(asked.as_words()) == asked


REFUSALS: dict[str, tuple[list[str], str]] = {
    "no tasks": (["--learning_rate", "1"], "give --tasks, two or more, such as"),
    "one task": (["--tasks", "qa"], "one alone is trained by `jaxbert train qa`"),
    "no such task": (["--tasks", "qa", "parsing:2"], "there is no task 'parsing'; there are qa"),
    "share 0": (
        ["--tasks", "qa", "tagging:0"],
        "--tasks tagging:0: the share is '0': give a whole",
    ),
    "share of words": (["--tasks", "qa", "tagging:x"], "the share is 'x'"),
    "another form": (["--tasks", "qa", "a=b=qa"], "give TASK, TASK:SHARE or NAME=TASK:SHARE"),
    "twice": (["--tasks", "qa", "qa"], "there is a qa before it; give each a name of its own"),
    "a file's name": (["--tasks", "qa", "checkpoints=qa"], "'checkpoints' cannot be a task's name"),
    "the encoder's": (["--tasks", "qa", "bert=qa"], "'bert' cannot be a task's name in a run"),
    "a path": (["--tasks", "qa", "../x=qa"], "'../x' cannot be a task's name in a run"),
    "another task's option": (
        [*GIVEN, "--qa.doc_stride", "3"],
        "--qa.doc_stride: --tasks names no qa; it names classification, tagging",
    ),
    "no option of the task": (
        [*GIVEN, "--tagging.long_texts", "windows"],
        "tagging: --long_texts is not an option",
    ),
    "a typo": ([*GIVEN, "--tagging.max_seq_lenth", "3"], "did you mean --max_seq_length?"),
    "a value": (
        [*GIVEN, "--tagging.max_seq_length", "0"],
        "tagging: --max_seq_length 0: it must be",
    ),
    "of the run": (
        [*GIVEN, "--tagging.learning_rate", "1"],
        "--tagging.learning_rate is of the whole run; give --learning_rate",
    ),
    "of a task": (
        [*GIVEN, "--train_file", "x"],
        "--train_file is of a task; give it to one: --TASK.train_file",
    ),
    "a task's own": ([*GIVEN, "--max_seq_length", "64"], "--max_seq_length is not an option"),
    "no data": (
        ["--tasks", "qa", "mlm", "--qa.train_file", "x"],
        "give --mlm.train_file or --mlm.dataset_name, the data of mlm to train on",
    ),
    "adapters": ([*GIVEN, "--lora_rank", "4"], "--lora_rank is not for several tasks: adapters"),
    "uploads": ([*GIVEN, "--push_to_hub"], "--push_to_hub is not for several tasks: each task has"),
    "auto": (
        [*GIVEN, "--per_device_train_batch_size", "auto"],
        "--per_device_train_batch_size auto is not for several tasks",
    ),
    "auto of a task": (
        [*GIVEN, "--tagging.per_device_train_batch_size", "auto"],
        "--tagging.per_device_train_batch_size auto is not for several tasks",
    ),
    "a loss": ([*GIVEN, "--tagging.loss", "joint_span"], "tagging: --loss joint_span: there are"),
    "a score": (
        [*GIVEN, "--metric_for_best_model", "f1"],
        "--metric_for_best_model f1: give eval_loss, classification.accuracy",
    ),
    "packing": (
        [
            *("--tasks", "multiple_choice", "mlm", "--multiple_choice.train_file", "x"),
            *("--mlm.train_file", "y", "--output_dir", "o", "--packing"),
        ],
        "--packing is not for multiple_choice",
    ),
    "no folder": (GIVEN[: GIVEN.index("--output_dir")], "give --output_dir"),
    "allowed": (
        [*GIVEN, "--allow_changed_options", "tagging.learning_rate"],
        "--allow_changed_options tagging.learning_rate: no such option",
    ),
    "a word": (["tagging", *GIVEN], "tagging belongs to no option"),
}


@pytest.mark.parametrize(("words", "told"), REFUSALS.values(), ids=REFUSALS)
def test_wrong_input_is_refused_in_one_line(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        main.start(["train", "together", *words])
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


ROWS = [{"text": "the of", "label": "a"}, {"text": "and in", "label": "b"}]


@pytest.mark.parametrize(
    ("tasks", "common", "told"),
    [
        ({"tagging": {"share": 0}, "qa": {}}, {}, "--tasks tagging=tagging:0: the share is '0'"),
        ({"tagging": {"share": 1.5}, "qa": {}}, {}, "tagging: share 1.5: give a whole number"),
        ({"tagging": {}, "parsing": {}}, {}, "there is no task 'parsing'"),
        ({"tagging": {}, "qa": []}, {}, "tasks qa: give a dict of its keywords"),
        (["tagging", "qa"], {}, "tasks: give a dict, of each task a dict of its keywords"),
        (
            {"classification": {"train_data": "no.tsv"}, "qa": {}},
            {},
            "classification: train_data: no.tsv: no such file",
        ),
        (
            {"classification": {"train_data": ROWS}, "qa": {}},
            {"model": "x", "model_name_or_path": "y"},
            "model and model_name_or_path are the same",
        ),
        ({"classification": {"train_data": ROWS}, "qa": {}}, {}, "give --qa.train_file"),
        (
            {"classification": {"train_data": ROWS, "max_length": 3}, "qa": {}},
            {},
            "--classification.max_length is not an option",
        ),
        (
            {"classification": {"train_data": ROWS}, "mlm": {"train_data": ROWS}},
            {"output_dir": "o", "config_name": "bert-base", "early_stopping_patience": 1},
            "--early_stopping_patience needs validation data to tell what is better; give "
            "--classification.validation_file",
        ),
    ],
)
def test_wrong_keywords_are_refused(
    tasks: Any, common: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(told)):
        jaxbert.train_together(tasks, quiet=True, **common)
    assert not any(tmp_path.iterdir())


def test_help_has_the_options_of_the_run_and_no_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main.start(["train", "together", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: jaxbert train together [options]")
    flags = set(re.findall(r"^  --(\w+)", text, re.MULTILINE))
    assert {"tasks", "learning_rate", "output_dir", "model_name_or_path"} <= flags
    assert not flags & {*OF_TASKS, *REFUSED, "max_seq_length"}
    assert max(map(len, text.splitlines())) <= 100


def test_it_stands_beside_the_tasks_of_train_alone() -> None:
    assert "  together         Train several tasks on one encoder" in str(main.answer(["train"]))
    assert "together" not in str(main.answer(["eval"]))
    with pytest.raises(InputError, match="'together' is not a task"):
        main.answer(["eval", "together"])


def test_a_file_of_flags_stands_for_them(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    flags = {"tasks": ["qa", "mlm:3"], "qa.train_file": "x", "mlm.train_file": ["y", "z"]}
    path.write_text(json.dumps({**flags, "seed": 3}))
    with pytest.raises(InputError, match=r"^give --output_dir"):
        main.start(["train", "together", str(path)])
    path.write_text(json.dumps({**flags, "mlm.nope": 3}))
    with pytest.raises(InputError, match="mlm: --nope is not an option"):
        main.start(["train", "together", str(path), "--output_dir", str(tmp_path / "o")])
    with pytest.raises(InputError, match="no such file"):
        main.start(["train", "together", str(tmp_path / "none.json")])
