"""Completion of commands, tasks and flags in a shell, by shtab.

shtab writes a script once. argcomplete would start Python at every press of the key, and the flags
are known only when transformers has been imported, which takes seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from jaxbert.cli.ask_command import AskOptions
from jaxbert.cli.benchmark_command import BenchmarkOptions
from jaxbert.cli.compare_command import add_arguments
from jaxbert.cli.curve_command import CurveOptions
from jaxbert.cli.export_command import ExportOptions
from jaxbert.cli.flags import make_parser
from jaxbert.cli.main import COMMANDS
from jaxbert.cli.push_command import PushOptions
from jaxbert.cli.search_command import add_search_arguments
from jaxbert.cli.serve_command import ServeOptions
from jaxbert.cli.step_profile_command import StepProfileOptions
from jaxbert.cli.vocabulary_command import VocabularyOptions
from jaxbert.errors import InputError
from jaxbert.options.command_settings import CalibrateOptions, ScoreOptions
from jaxbert.options.fields import Settings
from jaxbert.options.together_settings import OF_TASKS, REFUSED, TogetherOptions
from jaxbert.runtime import launcher
from jaxbert.tasks.task_commands import TASK_COMMANDS

# The flags of the commands that take no task.
FLAGS: dict[str, type[Settings]] = {
    "ask": AskOptions,
    "score": ScoreOptions,
    "calibrate": CalibrateOptions,
    "vocabulary": VocabularyOptions,
    "curve": CurveOptions,
    "benchmark": BenchmarkOptions,
    "step_profile": StepProfileOptions,
    "serve": ServeOptions,
    "push": PushOptions,
    "export": ExportOptions,
}


def completion(words: Sequence[str]) -> str:
    """The script that makes a shell complete the command.

    Args:
        words: the name of the shell.

    Raises:
        InputError: it is none that shtab knows, or shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise InputError('shtab is not installed; pip install "jaxbert[completion]"') from None
    shells = ", ".join(shtab.SUPPORTED_SHELLS)
    if len(words) != 1 or words[0] not in shtab.SUPPORTED_SHELLS:
        raise InputError(f"--print-completion: give the shell: {shells}")
    root = argparse.ArgumentParser(prog="jaxbert")
    root.add_argument("--version", action="store_true", help="the version")
    root.add_argument("--print-completion", choices=shtab.SUPPORTED_SHELLS, help="this script")
    commands = root.add_subparsers()
    for name, command in COMMANDS.items():
        parser: argparse.ArgumentParser
        if not command.flags:
            flags = launcher.make_parser() if name == "launch" else make_parser(FLAGS[name])
            parser = commands.add_parser(
                name, help=command.summary, parents=[flags], add_help=False
            )
            _complete_files(parser)
            continue
        tasks = commands.add_parser(name, help=command.summary).add_subparsers()
        for task, about in TASK_COMMANDS.items():
            taken = about.evaluation if command.flags == "evaluation" else about.training
            parser = tasks.add_parser(
                task, help=command.summary, parents=[make_parser(taken)], add_help=False
            )
            if name == "compare":
                add_arguments(parser)
            elif name == "search":
                add_search_arguments(parser)
            _complete_files(parser)
        if name == "train":
            hidden = OF_TASKS | REFUSED.keys()
            shared = make_parser(TogetherOptions, hidden=hidden)
            parser = tasks.add_parser(
                "together", help=command.summary, parents=[shared], add_help=False
            )
            _complete_files(parser)
    return str(shtab.complete(root, shell=words[0]))


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Let the values of flags that name files or folders be completed as such."""
    import shtab

    for action in parser._actions:
        kinds = {"file": shtab.FILE, "dir": shtab.DIRECTORY, "path": shtab.DIRECTORY}
        kind = kinds.get(action.dest.rpartition("_")[2])
        if kind is not None:
            setattr(action, "complete", kind)  # noqa: B010  (shtab's own attribute)
