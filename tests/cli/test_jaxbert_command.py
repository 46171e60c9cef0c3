"""The `jaxbert` command: what it says by itself, what it starts, and a run by its record."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from scripts import call, refuses

from jaxbert.cli import main
from jaxbert.cli.commands import training_options
from jaxbert.errors import InputError
from jaxbert.options import task_settings
from jaxbert.options.settings import TrainingOptions
from jaxbert.runtime import launcher
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task_commands import TASK_COMMANDS

SLOW = {"jax", "flax", "transformers", "scipy"}


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train"], ["launch", "--help"]])
def test_what_it_says_by_itself_waits_for_no_jax(words: list[str]) -> None:
    code = (
        "import sys; from jaxbert.cli import main\n"
        f"sys.argv[1:] = {words}\n"
        "try: main.main()\n"
        "except SystemExit as end: status = end.code\n"
        f"print(); print(status, {SLOW} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 set()"


def test_python_m_jaxbert_is_the_command() -> None:
    words = [sys.executable, "-m", "jaxbert"]
    done = subprocess.run([*words, "trian"], capture_output=True, text=True, check=False)
    names = ", ".join(main.COMMANDS)
    message = f"error: 'trian' is not a command; did you mean train? The commands are {names}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_help_fits_two_screens_and_has_every_command() -> None:
    lines = str(main.answer(["--help"])).splitlines()
    assert len(lines) <= 48
    assert max(map(len, lines)) <= 80
    assert main.answer([]) == main.answer(["-h"]) == "\n".join(lines)
    for name in main.COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1
        assert any(line.strip().startswith(f"jaxbert {name} ") for line in lines)
    assert set(TASK_COMMANDS) == set(TASKS)
    flat = " ".join(" ".join(lines).split())
    assert f"baseline: {', '.join(TASK_COMMANDS)}" in flat


def test_a_command_without_a_task_lists_the_tasks() -> None:
    for name in ("train", "eval", "compare", "baseline"):
        text = str(main.answer([name]))
        assert all(f"\n  {task} " in text for task in TASKS)
    assert "qa               Fine-tune BERT for extractive question answering.\n" in str(
        main.answer(["train"])
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "tagger"], "'tagger' is not a task; did you mean tagging? The tasks are qa, "),
        (["eval", "Multiple-Choice"], "did you mean multiple_choice? The tasks are "),
        (["xyzzy"], "'xyzzy' is not a command; the commands are train, eval, "),
        (["train", "--output_dir", "x"], "give a task before --output_dir: qa, classification, "),
        (["--versoin"], "give a command before --versoin: train, eval, "),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(words: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        main.answer(words)
    assert message in str(caught.value)


def test_every_command_is_where_it_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    """Its --help begins with its name; a script of the same name is the same command."""
    folders = {"train": ("train", "eval"), "eval": ("train", "eval")}
    for name, command in main.COMMANDS.items():
        if name == "launch":
            continue
        words = [name, "tagging", "--help"] if command.flags else [name, "--help"]
        with pytest.raises(SystemExit) as caught:
            main.start(words)
        assert caught.value.code == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: jaxbert {' '.join(words[:-1])} [options]\n\n")
        script = (
            f"{name}/tagging.py"
            if name in folders
            else next(
                f"{folder}/{name}.py"
                for folder in ("train", "eval")
                if (REPOSITORY / folder / f"{name}.py").exists()
            )
        )
        more = ["tagging", "--help"] if command.flags and name not in folders else ["--help"]
        with pytest.raises(SystemExit):
            call(script, *more)
        assert capsys.readouterr().out == text


# --- several processes --------------------------------------------------------------------------


def test_the_launcher_starts_a_command_or_a_script() -> None:
    names = main.COMMANDS.keys() - {"launch"}
    _, command = launcher._parse(["-n", "2", "--", "train", "qa", "--seed", "1"], names)
    assert command == [sys.executable, "-m", "jaxbert", "train", "qa", "--seed", "1"]
    path = str(REPOSITORY / "train" / "qa.py")
    _, command = launcher._parse(["-n", "2", "--", path, "--seed", "1"], names)
    assert command == [sys.executable, path, "--seed", "1"]


def test_the_launcher_does_not_launch_itself(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.launch(["-n", "2", "--", "launch", "-n", "2"]) == 2
    assert "launch: no such script or program" in capfd.readouterr().err


# --- a run by its record ------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of one process of a job, begun with --overwrite_output_dir."""

    options = task_settings.QATrainOptions(
        model_name_or_path="m",
        train_file=["a.json", "b.json"],
        learning_rate=1e-4,
        version_2_with_negative=True,
        output_dir="somewhere/else",
        overwrite_output_dir=True,
        allow_changed_options=["seed"],
        coordinator_address="127.0.0.1:99",
        num_processes=2,
        process_id=0,
    )
    folder = tmp_path / "old"
    (folder / "checkpoints").mkdir(parents=True)
    record = {"task": "qa", "options": dataclasses.asdict(options), "rows_per_step": 8, "data": {}}
    (folder / "options.json").write_text(json.dumps(record))
    return folder


PLAIN = task_settings.QATrainOptions(
    model_name_or_path="m",
    train_file=["a.json", "b.json"],
    learning_rate=1e-4,
    version_2_with_negative=True,
)


def asked(*words: str) -> TrainingOptions:
    """What the command line asks of a training for questions."""
    return training_options("qa", words)


def test_a_record_repeats_a_run_in_another_folder(run: Path) -> None:
    """What is of one start alone is not repeated: least of all what would remove the old run."""
    found = asked(str(run / "options.json"), "--output_dir", "new", "--learning_rate", "3e-5")
    assert found == dataclasses.replace(PLAIN, output_dir="new", learning_rate=3e-5)
    assert asked(str(run / "options.json"), "--output-dir=new").output_dir == "new"


def test_a_record_without_another_folder_resumes_that_very_run(run: Path) -> None:
    found = asked(str(run / "options.json"))
    assert found == dataclasses.replace(PLAIN, output_dir=str(run))
    (run / "checkpoints").rmdir()  # the record alone, copied from somewhere
    assert "give --output_dir" in refuses("train/qa.py", str(run / "options.json"))


def test_a_record_does_not_repeat_functions_of_a_python_program(run: Path) -> None:
    """They are recorded as text, which is not run."""
    path = run / "options.json"
    record = json.loads(path.read_text())
    functions = {"metrics errors": {"source": "def errors(p, e): ..."}, "corruption": {}}
    for loss, recorded, names in [
        ("function my_loss", {}, "loss my_loss"),
        ("cross_entropy", functions, "metrics errors, corruption"),
        ("function my_loss", functions, "loss my_loss, metrics errors, corruption"),
    ]:
        options = {**record["options"], "loss": loss}
        path.write_text(json.dumps({**record, "options": options, "functions": recorded}))
        assert refuses("train/qa.py", str(path), "--output_dir", "new") == (
            f"{path}: the run used functions of a Python program ({names}); repeat it from Python, "
            "by the same call of jaxbert.train with another output_dir"
        )
    path.write_text(json.dumps({**record, "options": options}))  # another loss: no function is left
    assert asked(str(path), "--output_dir", "new", "--loss", "joint_span").loss == "joint_span"


def test_a_record_of_another_task_is_refused(run: Path) -> None:
    path = str(run / "options.json")
    message = refuses("train/tagging.py", path, "--output_dir", "new")
    assert message == (
        f"{path} is the record of a run of qa, not of tagging; give it to the command of that task"
    )


def test_a_file_of_flags_alone_is_taken_as_it_is(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({"train_file": "t.json", "output_dir": "o", "seed": 7}))
    assert asked(str(path)) == task_settings.QATrainOptions(
        train_file=["t.json"], output_dir="o", seed=7
    )
    assert "no such file" in refuses("train/qa.py", str(tmp_path / "none.json"))


# --- completion ---------------------------------------------------------------------------------


def test_a_shell_completes_commands_tasks_and_flags(tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    script = str(main.answer(["--print-completion", "bash"]))
    cases = {
        "jaxbert calib": "calibrate",
        "jaxbert train mul": "multiple_choice",
        "jaxbert train qa --learning_r": "--learning_rate",
        "jaxbert eval tagging --entity_m": "--entity_mode",
        "jaxbert train together --tas": "--tasks",
        "jaxbert compare qa --los": "--loss --loss_args --losses",
        "jaxbert search qa --tri": "--trials",
        "jaxbert ask --quest": "--question",
        "jaxbert launch --stall": "--stall_timeout",
    }
    lines = [script]
    for typed in cases:
        words = typed.split()
        lines += [
            f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; COMPREPLY=()",
            '_shtab_jaxbert; echo "${COMPREPLY[@]}"',
        ]
    # As its input: the script is longer than an argument may be.
    done = subprocess.run(["bash"], input="\n".join(lines), capture_output=True, text=True)
    found = [set(line.split()) for line in done.stdout.splitlines()]
    for (typed, expected), words in zip(cases.items(), found, strict=True):
        assert set(expected.split()) <= words, typed
        assert all(word.startswith(typed.split()[-1]) for word in words), typed
    with pytest.raises(InputError, match="give the shell: bash, zsh, tcsh"):
        main.answer(["--print-completion"])


def test_without_shtab_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(InputError, match=r'pip install "jaxbert\[completion\]"'):
        main.answer(["--print-completion", "bash"])
