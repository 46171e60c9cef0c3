"""The commands of a task, train and eval, and those that are no more than their flags."""

from __future__ import annotations

import functools
import json
import logging
import textwrap
from collections.abc import Collection, Mapping, Sequence

from jaxbert.cli import command_line, together_command
from jaxbert.cli.repeating import words_to_repeat
from jaxbert.errors import InputError
from jaxbert.options.command_settings import CalibrateOptions, ScoreOptions
from jaxbert.options.fields import Value, settings_of
from jaxbert.options.settings import TrainingOptions
from jaxbert.runs.calibrate import calibrate
from jaxbert.runs.evaluate import evaluate
from jaxbert.runs.saved import options_of_training
from jaxbert.runs.score_questions import score_files
from jaxbert.runs.score_rows import score_rows
from jaxbert.runs.train import train
from jaxbert.runs.train_together import TOGETHER
from jaxbert.runtime.signal_listener import EXIT_STOPPED
from jaxbert.tasks.qa import QA
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task_commands import TASK_COMMANDS

logger = logging.getLogger("jaxbert")


def train_command(name: str, words: Sequence[str]) -> int:
    """Train as the command line says.

    Args:
        name: of the task, or together.

    Returns:
        The exit status.

    Raises:
        InputError: something the user gave cannot be used, or there is no data.
    """
    if name == TOGETHER:
        return together_command.run(words)
    options = training_options(name, words)
    about = TASK_COMMANDS[name]
    named = {s.name for s in settings_of(about.training) if s.facts.names_input}
    recipe = {name: value for name, value in about.recipe.items() if name in named}
    is_demo = options.inputs() == recipe
    if is_demo:
        logger.info("no option says which model or data, so this is the demo")
    trained = train(TASKS[name], options)
    if not trained.done:
        return EXIT_STOPPED
    if about.after_demo is not None and is_demo and options.output_dir:
        print(about.after_demo(options.output_dir))
    return 0


def training_options(name: str, words: Sequence[str]) -> TrainingOptions:
    """What a command line asks of a training; the demo where it says nothing of a model or data.

    Args:
        name: of the task.

    Raises:
        InputError: something the user gave cannot be used, or there is no data.
    """
    task = TASKS[name]
    about = TASK_COMMANDS[name]
    options = command_line.parse(
        about.training,
        words_to_repeat(name, words),
        prog=f"jaxbert train {name}",
        defaults=lambda options: {} if options.inputs() else about.recipe,
        epilog=_epilog(about.recipe, name),
        listed={"loss": task.losses, "metric_for_best_model": task.metric_names()},
    )
    check_training_data(options.inputs())
    return options


def check_training_data(named: Collection[str]) -> None:
    """Refuse to train without data, before anything else is looked at.

    Args:
        named: the options of a model or data that were given.

    Raises:
        InputError: none is named.
    """
    if "train_file" not in named and "dataset_name" not in named:
        others = f" beside {', '.join(f'--{name}' for name in named)}" if named else ""
        raise InputError(
            f"give --train_file or --dataset_name{others}, the data to train on (the demo of a "
            "task runs where no option says which model or data)"
        )


def _epilog(recipe: Mapping[str, Value], name: str) -> str:
    """What --help says of the demo, and of a run's record.

    Args:
        name: of the task.
    """
    shown = {n: x for n, x in recipe.items() if n not in ("train_file", "validation_file")}
    words = {n: x if isinstance(x, list) else [x] for n, x in shown.items()}
    flags = " ".join(f"--{n} {' '.join(map(str, values))}" for n, values in words.items())
    text = (
        "Without any option that says which model or data, the built-in demo runs, with other "
        f"defaults: {flags}."
    )
    again = (
        f"jaxbert train {name} RUN/options.json --output_dir NEW repeats a run by its record; "
        "further flags override. Without --output_dir it resumes that very run. A JSON file of "
        'flags alone, {"learning_rate": 3e-5, ...}, can stand there too.'
    )
    wrap = functools.partial(
        textwrap.wrap, width=78, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join([*wrap(text), "", *wrap(again)])


def evaluate_command(name: str, words: Sequence[str]) -> None:
    """Evaluate as the command line says; dtype and the task's own options are the training's.

    Args:
        name: of the task.

    Raises:
        InputError: something the user gave cannot be used, or there is no data.
    """
    task = TASKS[name]
    about = TASK_COMMANDS[name]
    options = command_line.parse(
        about.evaluation,
        words,
        prog=f"jaxbert eval {name}",
        defaults=functools.partial(options_of_training, task),
        epilog="Options of the task and --dtype are by default as the model was trained.",
    )
    if not options.output_dir:
        raise InputError("give --output_dir, the folder for the results")
    evaluate(task, options)


def calibrate_command(words: Sequence[str]) -> None:
    """Fit the threshold and the temperature of a model for questions."""
    calibrate(
        command_line.parse(
            CalibrateOptions,
            words,
            prog="jaxbert calibrate",
            defaults=functools.partial(options_of_training, QA, calibrated=False),
        )
    )


def score_command(words: Sequence[str]) -> None:
    """Print the scores of a file of predictions as JSON."""
    options = command_line.parse(ScoreOptions, words, prog="jaxbert score")
    files = options.predictions, options.references
    if options.metric in ("squad", "squad_v2", "cmrc2018"):
        official = score_files(options.metric, *files, options.null_odds, strict=options.strict)
        print(json.dumps(official))
    else:
        print(json.dumps(score_rows(options.metric, *files, options)))
