"""What commands do before any training: the demo or the user's data, --help, folders, the page."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from every_task import OPTIONS
from migrating_page import PAGE, page
from scripts import call, refuses

from jaxbert import demo
from jaxbert.cli import command_line
from jaxbert.cli.commands import training_options
from jaxbert.errors import InputError
from jaxbert.options import settings, task_settings
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task_commands import TASK_COMMANDS

DEMOS: dict[str, dict[str, Any]] = {
    "qa": demo.QA,
    "classification": demo.CLASSIFICATION,
    "regression": demo.REGRESSION,
    "tagging": demo.TAGGING,
    "multiple_choice": demo.MULTIPLE_CHOICE,
    "mlm": demo.MLM,
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


# --- the demo -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", DEMOS)
def test_without_model_and_data_it_is_the_demo(task: str) -> None:
    plain = OPTIONS[task]()
    wanted = dataclasses.replace(plain, **DEMOS[task])
    assert training_options(task, []) == wanted
    words = ["--output_dir", "o", "--num_train_epochs", "1", "--dtype", "bfloat16"]
    words += ["--max_steps", "3", "--do_train", "--seed", "5", "--max_train_samples", "9"]
    changes = {"output_dir": "o", "num_train_epochs": 1.0, "dtype": "bfloat16", "max_steps": 3}
    changes |= {"seed": 5, "max_train_samples": 9}
    assert training_options(task, words) == dataclasses.replace(wanted, **changes)


@pytest.mark.parametrize("task", DEMOS)
@pytest.mark.parametrize(
    "line",
    [
        "--model_name_or_path m --do_train --output_dir o",
        "--config_name c --output_dir o",
        "--tokenizer_name t",
        "--validation_file v.json",
        "--dataset_config_name mrpc",
        "--validation_split test",
    ],
)
def test_forgotten_data_is_an_error_and_not_the_demo(task: str, line: str, tmp_path: Path) -> None:
    message = refuses(f"train/{task}.py", *line.split())
    assert "give --train_file or --dataset_name" in message
    assert line.split()[0] in message
    assert list(tmp_path.iterdir()) == []


def test_columns_without_data_are_an_error_too() -> None:
    message = refuses("train/classification.py", "--text_column_name", "a", "--quoted_tsv")
    assert "beside --quoted_tsv, --text_column_name" in message


@pytest.mark.parametrize("name", ["train_file", "dataset_name"])
def test_with_data_nothing_is_the_demos(name: str) -> None:
    words = f"--{name} x --model_name_or_path m --output_dir o".split()
    value = ["x"] if name == "train_file" else "x"
    wanted = {"model_name_or_path": "m", "output_dir": "o", name: value}
    assert training_options("qa", words) == task_settings.QATrainOptions(**wanted)


def test_a_comparison_has_no_demo(tmp_path: Path) -> None:
    words = ["qa", "--losses", "cross_entropy", "--output_dir", "o", "--validation_file", "v"]
    message = refuses("train/compare.py", *words, "--model_name_or_path", "m")
    assert "give --train_file or --dataset_name" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", DEMOS)
def test_an_evaluation_has_no_demo(task: str, tmp_path: Path) -> None:
    words = ["--model_name_or_path", str(tmp_path), "--output_dir", str(tmp_path / "o")]
    assert "give --validation_file" in refuses(f"eval/{task}.py", *words)
    assert not (tmp_path / "o").exists()


# --- --help -------------------------------------------------------------------------------------

SCRIPTS = [*(f"train/{n}.py" for n in DEMOS), *(f"eval/{n}.py" for n in (*DEMOS, "calibrate"))]


def help_of(script: str, width: int, monkeypatch: Any, capsys: Any) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit) as caught:
        call(script, "--help")
    assert caught.value.code == 0
    return str(capsys.readouterr().out)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_every_option_once_in_a_group(
    script: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(script, width, monkeypatch, capsys)
    flags = re.findall(r"^  --(\w+)", text, re.MULTILINE)
    assert len(flags) == len(set(flags))
    groups = re.findall(r"^(\w[^\n]*):$", text, re.MULTILINE)
    assert "options" in groups
    assert [name for name in settings.GROUPS if name in groups] == [
        name for name in groups if name in settings.GROUPS
    ]
    assert {"model", "data", "devices, speed and debugging"} <= set(groups)
    # Only -h stands in the group that argparse makes itself.
    assert text.split("\nmodel:")[0].count("\n  --") == 0
    assert "default: None" not in text
    listed = text.split("\noptions:")[1]
    assert max(map(len, listed.splitlines())) <= width
    assert "--no_" not in text
    if script.startswith("train/"):
        task = TASKS[Path(script).stem]
        options_cls = TASK_COMMANDS[task.name].training
        assert set(flags) == {field.name for field in dataclasses.fields(options_cls)}
        flat = " ".join(text.split())
        assert f"There are: {', '.join(task.losses)}." in flat
        assert f"There are: {', '.join(task.metric_names())}." in flat
        assert "Part of the steps in which the learning rate rises. (default: 0.0)" in flat
        recipe = DEMOS[task.name]
        assert f"--num_train_epochs {recipe['num_train_epochs']}" in flat
        assert "the built-in demo runs" in flat


# --- folders that are no models -----------------------------------------------------------------


def test_an_unfinished_run_is_told_as_such(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints" / "4").mkdir(parents=True)
    (run / "checkpoints" / "4" / "manifest.json").write_text("{}")
    record = {"task": "qa", "options": {}, "rows_per_step": 8, "data": {}}
    (run / "options.json").write_text(json.dumps(record))
    ask = ["--question", "who?", "--context", "Ada", "--model_name_or_path"]
    assert "an unfinished run has no model yet" in refuses("eval/ask.py", *ask, str(run))
    place = run / "checkpoints" / "4"
    message = refuses("eval/ask.py", *ask, str(place))
    assert message == f"{place}: a checkpoint is not a model; {run} has it when the run is finished"
    words = ["--validation_file", str(REPOSITORY / "jaxbert" / "demo" / "qa_en_dev.json")]
    words += ["--output_dir", str(tmp_path / "o"), "--model_name_or_path", str(run)]
    assert "an unfinished run has no model yet" in refuses("eval/qa.py", *words)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("files", "given", "part"),
    [
        (["bert_model.ckpt.index", "bert_config.json"], "", "bert_model.ckpt.index"),
        (["bert_config.json"], "", "from_json_file"),
        (["bert_model.ckpt.index"], "bert_model.ckpt", "from_tf=True"),
        (["model.ckpt-100.index"], "", "from_tf=True"),
        (["config.json", "tf_model.h5"], "", "from_tf=True"),
    ],
)
def test_a_tensorflow_checkpoint_is_told_as_such(
    files: list[str], given: str, part: str, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tf"
    folder.mkdir()
    for name in files:
        (folder / name).write_text("")
    if "config.json" in files:
        (folder / "config.json").write_text((tiny_folder / "config.json").read_text())
    words = ["--question", "who?", "--context", "Ada", "--model_name_or_path", str(folder / given)]
    message = refuses("eval/ask.py", *words)
    assert "convert" in message
    assert "TensorFlow" in message
    assert part in message


# --- docs/migrating.md --------------------------------------------------------------------------


def test_the_page_has_the_tables_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/migrating_page.py"


def takes(kind: Any, words: list[str]) -> bool:
    """Whether a script has the option, or takes the words."""
    if len(words) == 1:
        return words[0].removeprefix("--") in {field.name for field in dataclasses.fields(kind)}
    try:
        return bool(command_line.parse(kind, words))
    except InputError:
        return False


def test_the_pages_advice_on_differences_is_taken() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Differences")[1].split("## Flags")[0]
    cells = [line.split("|")[-2] for line in text.splitlines() if line.startswith("|")]
    advice = [words.split() for cell in cells for words in re.findall(r"`(--[^`]*)`", cell)]
    assert len(advice) > 10
    for words in advice:
        assert any(takes(kind, words) for kind in OPTIONS.values()), words
