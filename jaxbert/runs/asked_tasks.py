"""What a run of several tasks is asked for: the options that all share, and those of each task."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

from jaxbert.data.task_shares import TaskShares
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import shown
from jaxbert.options.fields import AUTO, Value, settings_of
from jaxbert.options.keywords import Keyword, make_settings, unknown_options
from jaxbert.options.settings import TrainingOptions
from jaxbert.options.together_settings import OF_EITHER, OF_TASKS, SHARED, TogetherOptions
from jaxbert.runs.run_files import RUN_FILES
from jaxbert.runs.training_inputs import PythonInputs
from jaxbert.tasks.registry import TASKS, AnyTask
from jaxbert.tasks.task_commands import TASK_COMMANDS

_TASK = re.compile(r"(?:([^=:]*)=)?([^=:]*)(?::([^=:]*))?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# What the parameters and the scores of a run have beside those of its tasks.
_TAKEN = ("bert", "loss", *(name for name in RUN_FILES if "." not in name))


@dataclasses.dataclass(frozen=True)
class NamedTask:
    """A task of several.

    Attributes:
        name: its own in the run, by default that of the task.
        task: the name of the task.
        share: its steps in a cycle.
    """

    name: str
    task: str
    share: int

    def __str__(self) -> str:
        """As --tasks has it."""
        name = f"{self.name}=" if self.name != self.task else ""
        return f"{name}{self.task}:{self.share}"

    @property
    def options_cls(self) -> type[TrainingOptions]:
        """The flags of its training."""
        return TASK_COMMANDS[self.task].training


def named_tasks(words: Sequence[str]) -> dict[str, NamedTask]:
    """The tasks that --tasks names, by their names in the run.

    Raises:
        InputError: a word has another form, a task is not known, a name cannot be one of a folder,
            there are two of a name, or there is only one task.

    >>> [str(task) for task in named_tasks(["news=classification:2", "tagging"]).values()]
    ['news=classification:2', 'tagging:1']
    """
    found: dict[str, NamedTask] = {}
    for word in words:
        match = _TASK.fullmatch(word)
        if match is None:
            raise InputError(f"--tasks {shown(word)}: give TASK, TASK:SHARE or NAME=TASK:SHARE")
        task, share = match[2], match[3]
        name = task if match[1] is None else match[1]
        if task not in TASKS:
            raise InputError(
                f"--tasks {shown(word)}: there is no task {shown(repr(task))}; there are "
                f"{', '.join(TASKS)}"
            )
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise InputError(
                f"--tasks {shown(word)}: {shown(repr(name))} cannot be a task's name in a run; "
                "give letters, digits and _, and not a name of what a run writes"
            )
        if name in found:
            raise InputError(
                f"--tasks {shown(word)}: there is a {name} before it; give each a name of its "
                f"own: NAME={task}"
            )
        if share is not None and not re.fullmatch(r"[1-9][0-9]{0,5}", share):
            raise InputError(
                f"--tasks {shown(word)}: the share is {shown(repr(share))}: give a whole number "
                "from 1 to 999999"
            )
        found[name] = NamedTask(name, task, 1 if share is None else int(share))
    if len(found) < 2:
        only = next(iter(found.values())).task if found else "TASK"
        raise InputError(
            "give --tasks, two or more, such as --tasks classification:2 tagging:1; one alone is "
            f"trained by `jaxbert train {only}`"
        )
    return found


@dataclasses.dataclass(frozen=True)
class AskedTask:
    """What one of several tasks is asked for.

    Attributes:
        options: all of a training of the task, those of the run among them.
        python_inputs: of what they name.
    """

    named: NamedTask
    options: TrainingOptions
    python_inputs: PythonInputs

    @property
    def task(self) -> type[AnyTask]:
        """The class of the task."""
        return TASKS[self.named.task]


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a run of several tasks is asked for.

    Attributes:
        common: the options that all share, --tasks with all shares.
        tasks: by their names in the run.
    """

    common: TogetherOptions
    tasks: Mapping[str, AskedTask]

    @property
    def turns(self) -> TaskShares:
        """Which task a step trains."""
        shares = {name: asked.named.share for name, asked in self.tasks.items()}
        return TaskShares(shares, self.common.seed)

    def deciding(self) -> dict[str, Json]:
        """All options that decide what the run computes."""
        of_tasks = {name: asked.options.deciding() for name, asked in self.tasks.items()}
        return {**self.common.deciding(), "of tasks": of_tasks}

    def allowable(self) -> set[str]:
        """What --allow_changed_options may name: options of the run, and TASK.option."""
        names = {s.name for s in settings_of(TogetherOptions)} - OF_TASKS
        for name, asked in self.tasks.items():
            own = own_options(type(asked.options))
            names |= {f"{name}.{other}" for other in (*own, "metrics", "corruption")}
        return names

    def as_words(self) -> list[str]:
        """The words of a command line that asks for it."""
        words = self.common.as_words()
        for name, asked in self.tasks.items():
            kept = asked.options.with_values(_defaults(SHARED))
            words += [re.sub(r"^--", f"--{name}.", word) for word in kept.as_words()]
        return words


def own_options(cls: type[TrainingOptions]) -> list[str]:
    """The options that a task can be given for itself, in the order of its flags."""
    return [s.name for s in settings_of(cls) if s.name not in SHARED]


def ask(
    common: Mapping[str, Keyword],
    tasks: Mapping[str, NamedTask],
    own: Mapping[str, Mapping[str, Keyword]],
    python_inputs: Mapping[str, PythonInputs],
) -> Asked:
    """What is asked for by these values of options.

    Args:
        common: those of the run.
        tasks: by their names in the run.
        own: of each task, by its name.
        python_inputs: of each task; those of a task that is not named are none.

    Raises:
        InputError: a value cannot be used, an option is not one of a task, or one is given to a
            task that is of the run.
    """
    words = [str(task) for task in tasks.values()]
    options = make_settings(
        TogetherOptions,
        {**common, "tasks": words},
        listed_by=(
            "`jaxbert train together --help` lists those of the run, `jaxbert train TASK --help` "
            "those of a task, which are given as TASK.option"
        ),
    )
    shared = {n: x for n, x in common.items() if n in SHARED | OF_EITHER}
    found = {}
    for name, task in tasks.items():
        given = own.get(name, {})
        _check_own(name, task.options_cls, given)
        try:
            its = make_settings(task.options_cls, {**shared, **given})
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        inputs = python_inputs.get(name, PythonInputs())
        if its.train_file is None and its.dataset_name is None and inputs.train is None:
            raise InputError(
                f"give --{name}.train_file or --{name}.dataset_name, the data of {name} to train on"
            )
        if its.per_device_train_batch_size == AUTO:
            raise InputError(
                f"--{name}.per_device_train_batch_size auto is not for several tasks; give a number"
            )
        found[name] = AskedTask(task, its, inputs)
    return Asked(options, found)


def _check_own(name: str, cls: type[TrainingOptions], given: Collection[str]) -> None:
    """Refuse what a task cannot be given for itself."""
    known = own_options(cls)
    if shared := [n for n in given if n in SHARED]:
        raise InputError(f"--{name}.{shared[0]} is of the whole run; give --{shared[0]}")
    if unknown := [n for n in given if n not in known]:
        raise InputError(
            unknown_options(
                [f"--{name}.{shown(n)}" for n in unknown],
                [f"--{name}.{n}" for n in known],
                f"`jaxbert train {name} --help` lists the options"
                if name in TASKS
                else "the --help of its task lists the options",
            )
        )


def _defaults(names: Collection[str]) -> dict[str, Value]:
    return {s.name: s.default for s in settings_of(TrainingOptions) if s.name in names}
