"""Command lines: unknown flags, tokens, a JSON file as the only word, addresses."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from every_task import OPTIONS
from parsed_lines import CLASSES, QA, refusal

from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.options import task_settings

# --- unknown flags ------------------------------------------------------------------------------


def test_all_that_cannot_be_used_is_named_at_once() -> None:
    line = "--foo 1 --optim galore_adamw --learning_rte 1 --deepspeed c.json --bar --seed 3"
    message = refusal(QA, *line.split())
    assert "--foo, --learning_rte, --bar are not options" in message
    assert "--optim galore_adamw is refused" in message
    assert "--deepspeed c.json is refused" in message
    assert message.count("did you mean") == 1
    assert "did you mean --learning_rate for --learning_rte?" in message


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--learning_rte", "--learning_rate"),
        ("--learning-rte", "--learning_rate"),
        ("--trian_file", "--train_file"),
        ("--num_train_epoch", "--num_train_epochs"),
        ("--sed", None),
        ("--lr", None),
        ("--max_train_step", None),
        ("--deepsped", None),
        ("--evaluate_file", None),
        ("--predictfile", None),
        ("--steps", None),
    ],
)
def test_a_flag_is_taken_for_another_only_where_they_are_alike(
    flag: str, meant: str | None
) -> None:
    message = refusal(QA, flag, "1")
    assert message.startswith(f"{flag} is not an option; ")
    assert ("did you mean" in message) == (meant is not None)
    assert meant is None or f"did you mean {meant}?" in message


@pytest.mark.parametrize("flag", ["--train", "--learning", "--out", "--max_train", "--no_debug"])
def test_the_beginning_of_a_flag_is_not_the_flag(flag: str) -> None:
    assert f"{flag} is not an option" in refusal(QA, flag, "1")


def test_a_word_that_belongs_to_no_option_is_named() -> None:
    assert "a.json belongs to no option; a JSON file" in refusal(QA, "--seed", "1", "a.json")
    assert "word belongs to no option" in refusal(QA, "--seed", "1", "word")


SECRET = "hf_abcdefgh"


@pytest.mark.parametrize(
    "words",
    [
        ["--token", SECRET],
        [f"--token={SECRET}"],
        ["--use_auth_token", SECRET],
        ["--hub_token", SECRET],
        ["--push_to_hub_token", SECRET],
        ["--push_to_hub", SECRET],
        ["--tokn", SECRET],
        [f"--api_key={SECRET}"],
        ["--trust_remote_code", SECRET],
    ],
)
def test_a_token_is_never_shown_or_kept(
    words: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = words[0].split("=")[0].removeprefix("--")
    path = tmp_path / "args.json"
    path.write_text(json.dumps({name: SECRET}))
    for line in (words, [str(path)]):
        try:
            with caplog.at_level(logging.DEBUG):
                found = repr(command_line.parse(QA, line))
        except InputError as error:
            found = str(error)
            assert name in found
        assert SECRET not in found
        assert SECRET not in caplog.text


# --- a JSON file as the only word ---------------------------------------------------------------


def test_a_json_file_is_a_command_line(write: Callable[..., str]) -> None:
    values = {
        "model_name_or_path": "m",
        "train_file": "a.tsv",
        "validation_file": ["b.tsv", "c.tsv"],
        "text_column_name": ["x", "y"],
        "do_train": True,
        "per_gpu_train_batch_size": 4,
        "learning_rate": 3e-5,
        "num_train_epochs": 2,
        "loss_args": {"smoothing": 0.1},
        "loss": "label_smoothing",
        "max_train_samples": None,
        "report_to": "none",
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "deepspeed": None,
        "packing": True,
    }
    assert command_line.parse(CLASSES, [write(values, "args.json")]) == CLASSES(
        model_name_or_path="m",
        train_file=["a.tsv"],
        validation_file=["b.tsv", "c.tsv"],
        text_column_name=["x", "y"],
        per_device_train_batch_size=4,
        learning_rate=3e-5,
        num_train_epochs=2.0,
        loss="label_smoothing",
        loss_args='{"smoothing": 0.1}',
        report_to=["none"],
        packing=True,
    )


def test_flags_behind_a_json_file_override_it(write: Callable[..., str]) -> None:
    path = write({"seed": 3, "max_steps": 5}, "args.json")
    assert command_line.parse(QA, [path, "--seed", "4"]) == QA(seed=4, max_steps=5)
    launched = ["--coordinator_address", "a:1", "--num_processes", "2", "--process_id", "1"]
    assert command_line.parse(QA, [path, *launched]).process_id == 1


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"learning_rate": "high"}, "--learning_rate 'high': it must be a number from 0 to 1000"),
        ({"seed": 1.5}, "--seed 1.5: it must be a whole number"),
        ({"seed": True}, "--seed True: it must be a whole number"),
        ({"output_dir": 3}, "--output_dir 3: it must be a string"),
        ({"packing": "yes please"}, "--packing 'yes please': it must be True or False"),
        ({"dtype": "float64"}, "--dtype 'float64': it must be one of float32, bfloat16, float16"),
        ({"train_file": ["--seed", "3"]}, "--seed begins as a flag does"),
        ({"learning_rte": 1, "foo": 2}, "--learning_rte, --foo are not options"),
        ({"optim": "apollo_adamw"}, "--optim apollo_adamw is refused"),
        ({"output_dir": "az://bucket/x"}, "az:// is not supported"),
        (["--seed", "3"], "expected an object"),
    ],
)
def test_a_json_file_is_held_to_the_same(values: Any, part: str, write: Callable[..., str]) -> None:
    path = write(values, "args.json")
    message = refusal(CLASSES, path)
    assert part in message
    assert message.startswith(path)
    assert message.count(path) == 1


def test_a_json_file_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "args.json")
    assert refusal(QA, path) == f"{path}: no such file"
    Path(path).write_text("{")
    assert "cannot be read as JSON" in refusal(QA, path)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_json_of_a_run_gives_its_options_back(name: str, write: Callable[..., str]) -> None:
    kind = OPTIONS[name]
    wanted = kind(train_file=["a b.json"], learning_rate=1e-5, freeze=["embeddings"], seed=0)
    record = {"task": name, "options": dataclasses.asdict(wanted), "rows_per_step": 8, "data": {}}
    assert command_line.parse(kind, [write(record, "options.json")]) == wanted


# --- addresses instead of paths -----------------------------------------------------------------


IN_BUCKETS = ["output_dir", "train_file", "validation_file", "model_name_or_path"]


@pytest.mark.parametrize("scheme", ["gs", "s3"])
@pytest.mark.parametrize("name", IN_BUCKETS)
def test_an_address_in_a_bucket_is_taken(name: str, scheme: str) -> None:
    options = command_line.parse(QA, [f"--{name}", f"{scheme}://bucket/run"])
    assert getattr(options, name) in (f"{scheme}://bucket/run", [f"{scheme}://bucket/run"])


@pytest.mark.parametrize("scheme", ["az", "hdfs", "https", "file", "GS"])
@pytest.mark.parametrize("name", [*IN_BUCKETS, "compilation_cache_dir"])
def test_an_address_is_refused_before_anything_is_read(name: str, scheme: str) -> None:
    message = refusal(QA, f"--{name}", f"{scheme}://bucket/run")
    assert f"--{name} {scheme}://bucket/run" in message
    assert "is not supported" in message


def test_an_evaluation_and_ask_refuse_addresses_too() -> None:
    line = ["--output_dir", "hdfs://bucket/run"]
    assert "--output_dir hdfs://" in refusal(task_settings.QAEvalOptions, *line)
    with pytest.raises(InputError, match="hdfs:// is not supported"):
        task_settings.QATrainOptions(output_dir="hdfs://bucket/run")  # from Python
