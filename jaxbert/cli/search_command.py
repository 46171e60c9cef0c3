r"""Search a few flags: trials are trained one after another, and the best is shown.

    jaxbert search classification --search learning_rate=1e-5:5e-5:log num_train_epochs=2,3,4 \
        --trials 20 --model_name_or_path bert-base-uncased --train_file train.tsv \
        --validation_file dev.tsv --output_dir runs/search ...

A flag has a range, LOW:HIGH or LOW:HIGH:log, or some values, A,B,C. Optuna's TPE draws them, as
--seed says. The trials are judged on the validation data by --metric_for_best_model. A search that
was stopped continues by the same command; a larger --trials adds to it. All other flags are
those of `jaxbert train` for that task. Needs the extra `search`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from jaxbert.cli import command_line
from jaxbert.cli.commands import check_training_data
from jaxbert.errors import InputError
from jaxbert.options.search_space import read_space
from jaxbert.runs.run_set import RunSet, TrainOne
from jaxbert.runs.search import search
from jaxbert.runs.search_trials import check_optuna
from jaxbert.runs.train import train
from jaxbert.runtime.signal_listener import EXIT_STOPPED
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task_commands import TASK_COMMANDS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help says more")


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags in addition to those of a training."""
    parser.add_argument("--search", nargs="+", metavar="NAME=VALUES", default=[])
    parser.add_argument("--trials", type=int, default=20, metavar="N")


def run(name: str, words: Sequence[str], train_one: TrainOne = train) -> int:
    """Train the trials, and write the table.

    Args:
        name: of the task.
        train_one: trains a run; see RunSet.

    Returns:
        The exit status.
    """
    task, options_cls = TASKS[name], TASK_COMMANDS[name].training
    prog = f"jaxbert search {name}"
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_search_arguments(parser)
    if {"-h", "--help"} & set(words):
        listed = {"loss": task.losses, "metric_for_best_model": task.metric_names()}
        command_line.parse(options_cls, ["--help"], prog=prog, description=__doc__, listed=listed)
    check_optuna()
    given, rest = parser.parse_known_args(words)
    if not given.search:
        raise InputError("give --search, the flags to search: --search learning_rate=1e-5:5e-5:log")
    if given.trials < 1:
        raise InputError(f"--trials {given.trials}: give 1 or more")
    space = read_space(given.search, options_cls)
    flags = {word.split("=")[0].lstrip("-").replace("-", "_") for word in rest if word[:2] == "--"}
    if twice := [flag.name for flag in space if flag.name in flags]:
        raise InputError(f"--{twice[0]} is given and searched; leave one of them out")
    options = command_line.parse(options_cls, rest)
    check_training_data(options.inputs())
    done = search(RunSet("jaxbert search", task, options, train_one), space, given.trials)
    return 0 if done else EXIT_STOPPED
