"""The `jaxbert` command: which commands there are, and what it says by itself.

Nothing here imports JAX: --help, --version and a wrong command are answered at once.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.metadata
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, NoReturn

from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.runtime import launcher, meeting, preemption
from jaxbert.runtime.signal_listener import LeaveAtOnce
from jaxbert.tasks.task_commands import TASK_COMMANDS

_HELP = ("-h", "--help")
_WIDTH = 80
# What can stand for a task: several of them.
_TOGETHER = {"train": {"together": "Train several tasks on one encoder, in turns."}}
_RESUMABLE = ("train", "compare", "search")  # commands that, stopped by a signal, are given again


class Command(NamedTuple):
    """A command, and where it is.

    Attributes:
        summary: what it does, in a line.
        example: the words behind `jaxbert`.
        place: module:function in jaxbert.cli, called with the words behind the command; after the
            task's name where it takes a task.
        flags: whose flags it has, where it takes a task.
        default_task: the task where flags follow at once.
        quiet: it prints for other programs, so nothing is logged.
    """

    summary: str
    example: str
    place: str
    flags: Literal["", "training", "evaluation"] = ""
    default_task: str = ""
    quiet: bool = False


COMMANDS = {
    "train": Command(
        "Fine-tune a model for a task, or resume a run.",
        "train qa --model_name_or_path bert-base-uncased ...",
        "commands:train_command",
        flags="training",
    ),
    "eval": Command(
        "Scores and predictions of a fine-tuned model.",
        "eval qa --model_name_or_path runs/squad ...",
        "commands:evaluate_command",
        flags="evaluation",
    ),
    "ask": Command(
        "Ask a fine-tuned model; without a question, at a prompt.",
        "ask --model_name_or_path runs/squad ...",
        "ask_command:run",
        quiet=True,
    ),
    "serve": Command(
        "A page to ask fine-tuned models in, and an HTTP API.",
        "serve runs/squad",
        "serve_command:run",
        quiet=True,
    ),
    "score": Command(
        "Score a file of predictions as the official scripts do.",
        "score --predictions found.json --references dev.json",
        "commands:score_command",
        quiet=True,
    ),
    "calibrate": Command(
        "Threshold of no answer, and confidences to believe.",
        "calibrate --model_name_or_path runs/squad2 ...",
        "commands:calibrate_command",
    ),
    "compare": Command(
        "Train losses, seeds and parts of the data; a table with tests.",
        "compare qa --losses cross_entropy focal --seeds 0 1 ...",
        "compare_command:run",
        flags="training",
    ),
    "search": Command(
        "Search a few flags for the best score; resumable.",
        "search qa --search learning_rate=1e-5:5e-5:log ...",
        "search_command:run",
        flags="training",
    ),
    "push": Command(
        "Upload a fine-tuned folder to the Hugging Face Hub.",
        "push runs/squad USER/NAME",
        "push_command:run",
    ),
    "export": Command(
        "A model as a program that runs with JAX alone.",
        "export runs/squad --to stablehlo --output_dir exported",
        "export_command:run",
    ),
    "vocabulary": Command(
        "A vocabulary of your text, and a small BERT to train with it.",
        "vocabulary --train_file mine.txt --output_dir vocab",
        "vocabulary_command:run",
    ),
    "curve": Command(
        "Draw the training curves of runs.",
        "curve --runs runs/a runs/b --output curve.png",
        "curve_command:run",
    ),
    "launch": Command(
        "Several processes of one command, restarted when one dies.",
        "launch -n 2 -- train qa --output_dir runs/squad ...",
        "main:launch",
    ),
    "benchmark": Command(
        "Measure jaxbert beside PyTorch on this machine.",
        "benchmark --quick",
        "benchmark_command:run",
        quiet=True,
    ),
    "step_profile": Command(
        "Where the time of a training step goes.",
        "step_profile --model_name_or_path minilm-l6",
        "step_profile_command:run",
    ),
    "compile": Command(
        "Memory and speed of a training on a device that is not here.",
        "compile qa --target h100 --config_name bert-base ...",
        "compile_command:run",
        flags="training",
        default_task="qa",
    ),
    "baseline": Command(
        "Fine-tune the same with PyTorch, to compare the scores.",
        "baseline qa --model_name_or_path bert-base-uncased ...",
        "baseline_command:run",
        flags="training",
    ),
}


def main(*first: str) -> NoReturn:
    """The command line of this process, and its end.

    Args:
        first: words before those of the command line: a script is a command with its task.
    """
    words = [*first, *sys.argv[1:]]
    command = COMMANDS.get(words[0]) if len(words) > 1 else None
    if command and command.default_task and words[1].startswith("--") and words[1] not in _HELP:
        words.insert(1, command.default_task)
    try:
        text = answer(words)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(meeting.EXIT_WRONG_INPUT)
    if text is not None:
        print(text)
        sys.exit(0)
    if words[0] == "launch":  # it says what is wrong itself, and waits for no JAX
        sys.exit(launch(words[1:]))
    with LeaveAtOnce() if words[0] in _RESUMABLE else contextlib.nullcontext():
        if words[0] in _RESUMABLE:
            preemption.watch()
        from jaxbert.cli import command_line

        command_line.main(functools.partial(start, words), quiet=COMMANDS[words[0]].quiet)


def launch(words: Sequence[str]) -> int:
    """Start the processes of a script or of a command of jaxbert; returns the exit status."""
    return launcher.main(words, commands=COMMANDS.keys() - {"launch"})


def answer(words: Sequence[str]) -> str | None:
    """The text that answers the words at once; None where a command has to be started.

    Raises:
        InputError: there is no such command or task.
    """
    if not words or words[0] in _HELP:
        return _help()
    name, *rest = words
    if name == "--version":
        return f"jaxbert {importlib.metadata.version('jaxbert')}"
    if name == "--print-completion":
        from jaxbert.cli.completion import completion

        return completion(rest)
    _check("command", name, COMMANDS)
    if not COMMANDS[name].flags:
        return None
    if not rest or rest[0] in _HELP:
        return _tasks(name)
    _check("task", rest[0], [*TASK_COMMANDS, *_TOGETHER.get(name, ())])
    return None


def start(words: Sequence[str]) -> int:
    """Run the command that the words name, for which answer() has none.

    Raises:
        InputError: something the user gave cannot be used.
    """
    module, function = COMMANDS[words[0]].place.split(":")
    run = getattr(importlib.import_module(f"jaxbert.cli.{module}"), function)
    if COMMANDS[words[0]].flags:
        return run(words[1], words[2:]) or 0
    return run(words[1:]) or 0


def _check(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not there, with the closest one and all.

    Raises:
        InputError: it is not known.
    """
    if name in known:
        return
    names = ", ".join(known)
    if name.startswith("-"):
        raise InputError(f"give a {what} before {shown(name)}: {names}")
    close = difflib.get_close_matches(name.replace("-", "_").lower(), known, n=1)
    meant = f"did you mean {close[0]}? The" if close else "the"
    raise InputError(f"{shown(name)!r} is not a {what}; {meant} {what}s are {names}")


def _help() -> str:
    lines = [
        "usage: jaxbert COMMAND [TASK] [--flags]",
        "",
        "BERT fine-tuning in JAX: exact, resumable to the bit, small enough to read.",
        "",
        "  jaxbert train qa    without data: a demo of 3 minutes that answers questions",
        "",
        "Commands:",
    ]
    for name, command in COMMANDS.items():
        lines += [f"  {name:<14}{command.summary}", f"{'':16}jaxbert {command.example}"]
    tasks = f"Tasks of {_listed(n for n, c in COMMANDS.items() if c.flags)}: "
    lines += ["", *textwrap.wrap(tasks + ", ".join(TASK_COMMANDS), _WIDTH)]
    lines += [
        "jaxbert COMMAND --help                   its flags; with TASK, those of the task",
        "jaxbert train TASK runs/a/options.json   a run again, by its record",
        "jaxbert --version, --print-completion bash    (or zsh, tcsh)",
        "In Python: jaxbert.train, jaxbert.QuestionAnswerer, ... (README.md and docs/)",
    ]
    return "\n".join(lines)


def _tasks(name: str) -> str:
    """The tasks of a command, each with the first line of its --help."""
    command = COMMANDS[name]
    lines = [f"usage: jaxbert {name} TASK [--flags]", "", command.summary, "", "Tasks:"]
    for task, about in TASK_COMMANDS.items():
        flags = about.evaluation if command.flags == "evaluation" else about.training
        summary = (inspect.getdoc(flags) or "").splitlines()[0]
        lines.append(f"  {task:<17}{re.sub(r' [(].*[)][.]$', '.', summary)}")  # without the paper
    lines += [f"  {task:<17}{summary}" for task, summary in _TOGETHER.get(name, {}).items()]
    lines += ["", f"jaxbert {name} TASK --help has the flags. For example:"]
    return "\n".join([*lines, f"  jaxbert {command.example}"])


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}"
