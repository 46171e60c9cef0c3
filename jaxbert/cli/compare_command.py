r"""Compare losses over seeds: every pair is trained, resumable, and a table says what differs.
With --train_fractions each is trained on parts of the data too: a learning curve.

    jaxbert compare qa --losses cross_entropy joint_span 'focal{"gamma": 1}' my.py:my_loss \
        --seeds 0 1 2 --model_name_or_path bert-base-uncased --train_file train-v1.1.json \
        --validation_file dev-v1.1.json --output_dir runs/losses ...
    jaxbert compare qa --train_fractions 0.01 0.1 1 --seeds 0 1 2 --output_dir runs/curve ...

The first word is the task: qa, classification, regression, tagging, multiple_choice, mlm. All other
flags are those of `jaxbert train` for that task. Options of a loss are JSON behind its name.
"""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from jaxbert.cli import command_line
from jaxbert.cli.commands import check_training_data
from jaxbert.errors import InputError
from jaxbert.runs.compare import compare
from jaxbert.runs.run_set import RunSet, TrainOne
from jaxbert.runs.train import train
from jaxbert.runtime.signal_listener import EXIT_STOPPED
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task_commands import TASK_COMMANDS

# Flags of a training that each run has its own of.
_OF_RUNS = ("--loss", "--loss_args", "--seed", "--train_fraction")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help says more")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags in addition to those of a training."""
    parser.add_argument("--losses", nargs="+", metavar="LOSS")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--train_fractions", nargs="+", type=float, default=[1.0], metavar="X")


def run(name: str, words: Sequence[str], train_one: TrainOne = train) -> int:
    """Train every loss with every seed and part of the data, and write the table.

    Args:
        name: of the task.
        train_one: trains a run; see RunSet.

    Returns:
        The exit status.
    """
    task = TASKS[name]
    options_cls = TASK_COMMANDS[name].training
    prog = f"jaxbert compare {name}"
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_arguments(parser)
    if {"-h", "--help"} & set(words):
        listed = {"metric_for_best_model": task.metric_names()}
        epilog = f"The losses of this task: {', '.join(task.losses)}."
        command_line.parse(
            options_cls, ["--help"], prog=prog, description=__doc__, epilog=epilog, listed=listed
        )
    given, rest = parser.parse_known_args(words)
    for word in rest:
        if word.split("=")[0] in _OF_RUNS:
            raise InputError(f"{word}: give --losses, --seeds and --train_fractions")
    losses = given.losses
    if losses is None and given.train_fractions == [1]:
        raise InputError("give --losses, two or more, or --train_fractions, parts of the data")
    losses = losses or [next(iter(task.losses))]
    options = command_line.parse(options_cls, rest)
    check_training_data(options.inputs())
    runs = RunSet("jaxbert compare", task, options, train_one)
    done = compare(runs, losses, given.seeds, given.train_fractions)
    return 0 if done else EXIT_STOPPED
