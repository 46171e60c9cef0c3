"""What the scripts of train/ and eval/ are: the same two commands for every task."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.options.fields import Settings, settings_of
from jaxbert.options.settings import TrainingOptions
from jaxbert.runs.evaluate import evaluate
from jaxbert.runs.saved import saved_options
from jaxbert.runs.train import train
from jaxbert.runtime.processes import EXIT_STOPPED
from jaxbert.tasks.task import Task

logger = logging.getLogger("jaxbert")


def train_command(
    task: type[Task],
    kind: type[TrainingOptions],
    demo: dict[str, Any],
    description: str | None,
    *,
    afterwards: Callable[[str], str] | None = None,
) -> int:
    """Train as the command line says; the demo where it says nothing of a model or data.

    Args:
        kind: the option dataclass.
        demo: option -> value.
        afterwards: given the folder of a finished run on the demo, what to print.

    Raises:
        InputError: something the user gave cannot be used, or there is no data.
    """

    def defaults(options: Any) -> dict[str, Any]:
        return {} if _given(options) else demo

    options = command_line.parse(
        kind,
        defaults=defaults,
        description=description,
        epilog=_describe(demo),
        listed={"loss": task.losses, "metric_for_best_model": task.metric_names()},
    )
    check_training_data(options)
    is_demo = all(
        (getattr(options, setting.name) or None) == demo.get(setting.name)
        for setting in settings_of(kind)
        if setting.facts.names_input
    )
    if is_demo:
        logger.info("no option says which model or data, so this is the demo")
    trained = train(task, options)
    if not trained.done:
        return EXIT_STOPPED
    if afterwards is not None and is_demo and options.output_dir:
        print(afterwards(options.output_dir))
    return 0


def _given(options: Settings) -> list[str]:
    """The options of a model or data that a command line has."""
    named = [s.name for s in settings_of(type(options)) if s.facts.names_input]
    return [name for name in named if getattr(options, name)]


def check_training_data(options: Settings) -> None:
    """Refuse to train without data, before anything else is looked at.

    Raises:
        InputError: none is named.
    """
    given = _given(options)
    if "train_file" not in given and "dataset_name" not in given:
        beside = f" beside {', '.join(f'--{name}' for name in given)}" if given else ""
        raise InputError(
            f"give --train_file or --dataset_name{beside}, the data to train on (the demo of a "
            "script in train/ runs where no option says which model or data)"
        )


def _describe(demo: Mapping[str, object]) -> str:
    """What --help says of the demo."""
    shown = {n: x for n, x in demo.items() if n not in ("train_file", "validation_file")}
    flags = " ".join(f"--{name} {value}" for name, value in shown.items())
    text = (
        "Without any option that says which model or data, the built-in demo runs, with other "
        f"defaults: {flags}."
    )
    return "\n".join(textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False))


def evaluate_command(
    task: type[Task],
    kind: type[Settings],
    own: type[Settings],
    description: str | None,
) -> None:
    """Evaluate as the command line says; dtype and the task's own options are the training's.

    Args:
        kind: the option dataclass.
        own: the task's part of it.
    """

    def defaults(options: Any) -> dict[str, Any]:
        return options_of_training(task, own, options)

    epilog = "Options of the task and --dtype are by default as the model was trained."
    evaluate(
        task, command_line.parse(kind, defaults=defaults, description=description, epilog=epilog)
    )


def options_of_training(
    task: type[Task], own: type[Settings], options: Any, *, calibrated: bool = True
) -> dict[str, Any]:
    """The task's own options as the folder of options.model_name_or_path has them, and dtype.

    Args:
        calibrated: see saved_options.
    """
    if not options.model_name_or_path:
        return {}
    folder = Path(options.model_name_or_path).expanduser()
    saved = saved_options(folder, type(options), calibrated=calibrated)
    names = {s.name for s in settings_of(own) if s.facts.resume != "free"} - task.fresh
    names &= {s.name for s in settings_of(type(options))}  # not those of training alone
    names.add("dtype")
    taken = {name: value for name, value in saved.items() if name in names}
    columns = taken.get("label_column_name")
    if isinstance(columns, list):  # data to predict need not have them
        taken["label_column_name"] = [f"{c}?" for c in columns]
    elif columns:
        taken["label_column_name"] = f"{columns}?"
    return taken
