"""What the scripts of train/ and eval/ are: the same two commands for every task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxbert import cli
from jaxbert.evaluation import evaluate
from jaxbert.option_values import HARMLESS
from jaxbert.output import saved_options
from jaxbert.processes import EXIT_STOPPED
from jaxbert.run import train
from jaxbert.tasks.task import Task


def train_command(
    task: Task,
    kind: type[Any],
    demo: dict[str, Any],
    description: str | None,
    *,
    afterwards: Callable[[str], str] | None = None,
) -> int:
    """Train as the command line says; where it names no data, on the demo with its own recipe.

    Args:
        kind: the option dataclass.
        demo: option -> value.
        afterwards: given the folder of a finished run on the demo, what to print.
    """

    def defaults(options: Any) -> dict[str, Any]:
        named = ("train_file", "dataset_name", "validation_file", "config_name")
        return {} if any(getattr(options, name) for name in named) else demo

    options = cli.parse(kind, defaults=defaults, description=description)
    trained = train(task, options)
    if not trained.done:
        return EXIT_STOPPED
    if afterwards is not None and options.train_file == demo["train_file"]:
        print(afterwards(options.output_dir))
    return 0


def evaluate_command(
    task: Task,
    kind: type[Any],
    own: type[Any],
    description: str | None,
) -> None:
    """Evaluate as the command line says; dtype and the task's own options are the training's.

    Args:
        kind: the option dataclass.
        own: the task's part of it.
    """

    def defaults(options: Any) -> dict[str, Any]:
        return options_of_training(task, own, options)

    evaluate(task, cli.parse(kind, defaults=defaults, description=description))


def options_of_training(
    task: Task, own: type[Any], options: Any, *, calibrated: bool = True
) -> dict[str, Any]:
    """The task's own options as the folder of options.model_name_or_path has them, and dtype.

    Args:
        calibrated: see saved_options.
    """
    if not options.model_name_or_path:
        return {}
    folder = Path(options.model_name_or_path).expanduser()
    saved = saved_options(folder, type(options), calibrated=calibrated)
    names = {field.name for field in dataclasses.fields(own)} - task.fresh - HARMLESS
    names.add("dtype")
    taken = {name: value for name, value in saved.items() if name in names}
    columns = taken.get("label_column_name")
    if columns:  # data to predict need not have them
        several = isinstance(columns, list)
        taken["label_column_name"] = [f"{c}?" for c in columns] if several else f"{columns}?"
    return taken
