"""RunSet: runs of one task that one command trains in one folder, each of them once."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax

from jaxbert.errors import InputError
from jaxbert.io.bucket import is_address
from jaxbert.io.fetched import versions_at
from jaxbert.io.files import Json, digest_of
from jaxbert.io.untrusted import read_object
from jaxbert.losses.choose import ChosenLoss, choose_loss
from jaxbert.metrics.scores import Scores
from jaxbert.options.fields import Value
from jaxbert.options.keywords import make_settings
from jaxbert.options.settings import TrainingOptions
from jaxbert.runs.place import check_writable
from jaxbert.runs.record import Request, RunRecord
from jaxbert.runs.run_files import COMPARED, METRICS
from jaxbert.runs.train import Trained, train
from jaxbert.runtime.processes import launched
from jaxbert.tasks.registry import AnyTask

logger = logging.getLogger("jaxbert")

# Trains one run, for the record of which it has what the run is asked for.
TrainOne = Callable[[type[AnyTask], TrainingOptions, Request], Trained]

# What names a data set. What it holds is not looked at, unlike what files do.
_OF_DATA_SETS = ("dataset_name", "dataset_config_name", "validation_split")
# Options that name files or folders.
_NAMING_FILES = (
    *("train_file", "validation_file", "dataset_name"),
    *("model_name_or_path", "config_name", "tokenizer_name"),
)


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run that is to be there.

    Attributes:
        folder: of it.
        says: what it is, for the log.
        changed: options that are its own.
        loss: its loss, as it was read when the command began.
    """

    folder: Path
    says: str
    changed: Mapping[str, Value]
    loss: ChosenLoss


@dataclasses.dataclass(frozen=True)
class RunSet:
    """Runs of one task, which have most options in common.

    Attributes:
        command: that trains them, for messages.
        options: of the task's training, of which each run has some of its own.
        train_one: trains a run and writes its record and scores, as `train` does.
    """

    command: str
    task: type[AnyTask]
    options: TrainingOptions
    train_one: TrainOne = train

    def check(self) -> Path:
        """The folder of all runs, when they can be trained there.

        Raises:
            InputError: something the user gave cannot be used; nothing has been written.
        """
        options = self.options
        if not options.output_dir:
            raise InputError("give --output_dir, the folder for the runs and the table")
        if not (options.validation_file or options.dataset_name):
            raise InputError("give --validation_file, what the runs are judged on")
        if options.num_processes or launched():
            raise InputError(f"{self.command} is one process; start train/ for runs of several")
        if is_address(options.output_dir):
            raise InputError(
                f"--output_dir {options.output_dir}: {self.command} writes to a folder of this "
                "machine alone; copy it there yourself"
            )
        if options.push_to_hub:
            raise InputError(
                "--push_to_hub: several models are trained; `jaxbert push` uploads one"
            )
        output = Path(options.output_dir).expanduser()
        check_writable(output)
        return output

    def options_with(self, changed: Mapping[str, Value]) -> TrainingOptions:
        """The options of a run that has some of its own.

        Raises:
            InputError: a value cannot be used.
        """
        return make_settings(type(self.options), {**vars(self.options), **changed})

    def choose_loss(self, name: str, args: str | None) -> ChosenLoss:
        """A loss of the task or of a file.

        Raises:
            InputError: there is none of that name, or it does not take the options.
        """
        return choose_loss(self.task.losses, name, args, loss_weights=self.options.loss_weights)

    def scores_of(self, planned: Sequence[Planned]) -> list[Scores] | None:
        """Train each run, as far as that has not been done; None when a signal stopped one, and the
        same command resumes.

        Raises:
            InputError: a folder has a run of something else, or something cannot be used.
        """
        found: list[Scores] = []
        for number, run in enumerate(planned, 1):
            which = f"run {number} of {len(planned)}: " * (len(planned) > 1)
            logger.info("%s%s", which, run.says)
            changed = {**run.changed, "output_dir": str(run.folder)}
            options = self.options_with(changed)
            request = request_of(options, run.loss)
            scores = None
            record = None if self.options.overwrite_output_dir else _record_of(run.folder)
            if record is not None and record.void:
                options = dataclasses.replace(options, overwrite_output_dir=True)
            elif record is not None and record.request is not None:
                different = ["loss"] if record.loss != run.loss.source else []
                defaults = type(options)().deciding()
                different += record.request.differences(request, defaults=defaults)
                refuse_other(run.folder, different)
                scores = _scores_in(run.folder)
            if scores is not None:
                logger.info("done before")
                found.append(_checked(run.folder, scores))
                continue
            trained = self.train_one(self.task, options, request)
            if trained.done:
                _check_loss(run.folder, options.loss, run.loss.source)
            if number == 1 and self.options.overwrite_output_dir:  # what was given is right
                _void([other.folder for other in planned[1:]])
            if not trained.done:
                return None
            found.append(_checked(run.folder, trained.scores))
            jax.clear_caches()  # compiled programs of a run that is over
        return found


def request_of(asked: TrainingOptions, loss: ChosenLoss) -> Request:
    """What the record of a run has of what it is asked for.

    Raises:
        InputError: a file that it names cannot be read.
    """
    named = {name: getattr(asked, name) for name in _OF_DATA_SETS}
    deciding: dict[str, Json] = json.loads(json.dumps(asked.deciding() | named))
    return Request(deciding, _digests(asked.inputs(), loss.args.get("teacher")))


def _digests(inputs: Mapping[str, Value], teacher: Json) -> dict[str, str]:
    """SHA-256 of the files of a run's inputs, and of those in the folders that they name; of
    objects in a bucket their versions.

    Args:
        inputs: the settings that name a model or data, by name.
        teacher: the folder of the loss's teacher, if it has one.
    """
    names = [teacher] if isinstance(teacher, str) else []
    for value in (inputs.get(name) for name in _NAMING_FILES):
        names += value if isinstance(value, list) else [str(value)] if value else []
    files: dict[str, str] = {}
    for name in names:
        if is_address(name):
            files |= versions_at(name)
            continue
        path = Path(name).expanduser()
        inside = path.rglob("*") if name == inputs.get("dataset_name") else path.glob("*")
        for file in sorted(inside) if path.is_dir() else [path]:
            if file.is_file():  # not a name on the Hub
                files[str(file)] = digest_of(file)
    return files


def _scores_in(folder: Path) -> Scores | None:
    """Those of a run that is done."""
    return read_object(folder / METRICS) if (folder / METRICS).exists() else None


def refuse_other(folder: Path, different: Sequence[str]) -> None:
    """Refuse a run that is there, where it is of other options, files or of another loss."""
    if different:
        named = ", ".join(different[:4]) + ", ..." * (len(different) > 4)
        raise InputError(
            f"{folder} has a run of another {named}; "
            "give another --output_dir, or --overwrite_output_dir to train all of them again"
        )


def _checked(folder: Path, scores: Scores) -> Scores:
    """The scores of a run, which must have some."""
    if not scores:
        raise InputError(f"{folder}: the run has no scores; is there validation data?")
    return scores


def _check_loss(folder: Path, name: str, source: str) -> None:
    """Refuse a run that was trained by another text of the loss than was read at the beginning."""
    (folder / COMPARED).unlink(missing_ok=True)
    record = RunRecord.read(folder)
    if record is None or record.loss != source:
        raise InputError(
            f"{folder}: the file of the loss {name} has changed while it was trained; "
            "remove this folder, and start the command again"
        )


def _record_of(folder: Path) -> RunRecord | None:
    """The record of the run in a folder; of one that an earlier version compared, with what that
    kept in a file of its own."""
    record = RunRecord.read(folder)
    path = folder / COMPARED
    if record is None or record.request is not None or not path.exists():
        return record
    former = read_object(path)
    void = former.get("void") is True
    return dataclasses.replace(
        record, request=None if void else Request.from_json(former), void=void
    )


def _void(folders: Sequence[Path]) -> None:
    """Have these runs trained from the start, by a later command too that has no
    --overwrite_output_dir."""
    for folder in folders:
        # A record that cannot be read is refused without that flag, too.
        with contextlib.suppress(InputError):
            record = RunRecord.read(folder)
            if record is not None:
                dataclasses.replace(record, void=True).write(folder)
