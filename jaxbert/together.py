"""train_together for Python programs: several tasks on one encoder, as `jaxbert train together`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxbert.api import (
    History,
    Run,
    given_function,
    history_of,
    learned_from,
    model_setting,
    place_of_run,
)
from jaxbert.callbacks.guarded_callbacks import check_callbacks
from jaxbert.data.in_memory import Paths, Rows
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.metrics.scores import Metric, Scores
from jaxbert.options.dependencies import Function
from jaxbert.options.keywords import Keyword
from jaxbert.runs.asked_tasks import ask, named_tasks
from jaxbert.runs.train_together import train_together as train_run
from jaxbert.runs.training_inputs import PythonInputs
from jaxbert.runtime.messages import shown_messages
from jaxbert.training.events import Notify


@dataclasses.dataclass(frozen=True)
class TogetherRun:
    """A training of several tasks that has ended, or that was interrupted and saved.

    Attributes:
        output_dir: where the checkpoints and the results are; of a bucket the address.
        scores: of all tasks, under names such as "tagging.f1", and eval_loss.
        history: of the whole run, with what was before it was resumed.
        done: False where it was interrupted: the same call resumes it.
        tasks: the model of each task, by its name in the run, as jaxbert.train gives one.
    """

    output_dir: Path | str
    scores: Scores
    history: History = dataclasses.field(repr=False)
    done: bool
    tasks: Mapping[str, Run]


def train_together(
    tasks: Mapping[str, Mapping[str, Any]],
    *,
    model: str | Path | None = None,
    optim: str | Function | None = None,
    callbacks: Sequence[Notify] = (),
    quiet: bool = False,
    **common: Keyword,
) -> TogetherRun:
    """Train several tasks on one encoder, in turns, or resume the run in `output_dir`.

    A step trains one task, drawn by the shares; each task has a head, data and a loss of its own,
    and all have one optimizer. Results of all are written to `output_dir`, and the model of each
    task to a folder of its name there.

    Args:
        tasks: of each task its own keywords of jaxbert.train: train_data, validation_data, loss,
            metrics, corruption, and settings such as max_seq_length; with "share", its steps in a
            cycle, 1 by default, and "task", the name of the task where the key is another one:
            {"classification": {"share": 2, "train_data": rows}, "news": {"task": "tagging", ...}}.
        model, optim, callbacks, quiet: see jaxbert.train.
        common: settings of the whole run, such as output_dir and learning_rate.

    Raises:
        InputError: something that was given cannot be used; nothing has been written.
    """
    common |= model_setting(model, common)
    function = given_function("optim", optim, common)
    own: dict[str, dict[str, Keyword]] = {}
    python_inputs: dict[str, PythonInputs] = {}
    if not isinstance(tasks, Mapping):
        raise InputError("tasks: give a dict, of each task a dict of its keywords")
    named = named_tasks([_word(name, given) for name, given in tasks.items()])
    for name, given in tasks.items():
        rest = {n: x for n, x in given.items() if n not in ("share", "task")}
        try:
            own[name], python_inputs[name] = _of_task(**rest)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    asked = ask(common, named, own, python_inputs)
    check_callbacks(callbacks)
    folder = place_of_run(asked.common.output_dir)
    with shown_messages(quiet=quiet):
        trained = train_run(asked, callbacks, function)
    history = history_of(folder, trained.evaluations)
    runs = {
        name: Run(
            task.task,
            folder / name if isinstance(folder, Path) else f"{folder.rstrip('/')}/{name}",
            {
                n.removeprefix(f"{name}."): x
                for n, x in trained.scores.items()
                if n.startswith(f"{name}.")
            },
            history,
            trained.done,
        )
        for name, task in named.items()
    }
    return TogetherRun(folder, trained.scores, history, trained.done, runs)


def _word(name: str, given: Mapping[str, Keyword]) -> str:
    """A task as --tasks has it."""
    if not isinstance(name, str) or not isinstance(given, Mapping):
        raise InputError(f"tasks {shown(str(name))}: give a dict of its keywords")
    share = given.get("share", 1)
    if type(share) is not int:
        raise InputError(f"{name}: share {shown(repr(share))}: give a whole number from 1 on")
    return f"{name}={given.get('task', name)}:{share}"


def _of_task(
    *,
    train_data: Paths | Rows | None = None,
    validation_data: Paths | Rows | None = None,
    loss: str | Mapping[str, float] | Function | None = None,
    metrics: Sequence[Function | Metric] = (),
    corruption: Function | None = None,
    **own: Keyword,
) -> tuple[dict[str, Keyword], PythonInputs]:
    """The settings of a task, and what a program gives beside them."""
    inputs = learned_from(
        own,
        train_data=train_data,
        validation_data=validation_data,
        loss=loss,
        metrics=metrics,
        corruption=corruption,
    )
    return own, inputs
