"""RunFolder: the output directory of a run, with its lock, record, checkpoints, log and results."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from jaxbert.errors import InputError
from jaxbert.io.files import Json, JsonFile, write_json
from jaxbert.io.untrusted import shown
from jaxbert.losses.own_params import of_model, save_loss_params
from jaxbert.metrics.scores import Scores
from jaxbert.model.heads import Params
from jaxbert.options.resume import advice_on
from jaxbert.runs.place import PartPlace, Place, place_of
from jaxbert.runs.record import RECORD, Differences, RunRecord
from jaxbert.runs.resume_checks import check_resumed
from jaxbert.runs.run_files import CHECKPOINTS, COMPARED, LOG, METRICS, RESULTS, RUN_FILES
from jaxbert.runtime import processes
from jaxbert.sharing.card import CARD, is_ours, write_card
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.loop import Nowhere, Storage
from jaxbert.training.progress import Progress
from jaxbert.training.step import TrainState
from jaxbert.training.train_log import TrainLog

if TYPE_CHECKING:
    from jaxbert.loaded.model import LoadedModel
    from jaxbert.sharing.hub import Repository

logger = logging.getLogger("jaxbert")


class RunFolder:
    """The output directory of one run, from its lock to its results.

    with RunFolder.open(path, writes=processes.is_first()) as run:
        previous = run.find(now)  # may it write here, and which run does it resume
        run.check(now)  # is that of the same data and loss
        run.begin(now)  # from here on files are written
        step, state, progress = run.restore(state)
        run.update_record(now)
        ...

    All processes of a run call the same methods in the same order. The first one alone reads and
    writes the folder; the others get what it found, also its errors, and write nothing.

    Attributes:
        place: where it lies.
        path: the folder of this machine in which its files are written.
        previous: the record of the run that is resumed, once it has been found; None for a new one.
        overwrites: a run that is there is replaced by a new one.
        checkpoints: open from `begin` to `close`; None in the processes that write nothing.
    """

    def __init__(self, place: Place, *, overwrite: bool, keep: int, retry_on_error: bool) -> None:
        self.place = place
        self.path = place.path
        self.previous: RunRecord | None = None
        self.checkpoints: Checkpoints | None = None
        self.overwrites, self._keep, self._retry_on_error = overwrite, keep, retry_on_error
        self._replaced: RunRecord | None = None  # the run that is removed for this one

    @classmethod
    def open(
        cls,
        given: str | Path,
        *,
        writes: bool,
        overwrite: bool = False,
        keep: int = 2,
        retry_on_error: bool = False,
        parts: Sequence[str] = (),
    ) -> RunFolder:
        """The folder, not locked yet.

        Args:
            given: its path, or its address in a bucket.
            writes: whether this process is the first one.
            overwrite: a run that is there is to be replaced, see `find`.
            keep, retry_on_error: see Checkpoints; the log's errors are treated likewise.
            parts: the names of the tasks, where there are several: each has a folder in it.

        Raises:
            InputError: it is a file, or cannot be made or written.
        """
        place = place_of(given, parts)
        processes.from_first(place.check_writable)
        kind = cls if writes else _Follower
        return kind(place, overwrite=overwrite, keep=keep, retry_on_error=retry_on_error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except InputError:
            if error is None:  # else that says what is wrong
                raise
        finally:
            self.place.leave()

    def find(self, now: RunRecord, *, teachers: Sequence[Json] = ()) -> RunRecord | None:
        """The record of the run in the folder, whose lock is taken, to be resumed; None for a new
        start.

        Args:
            now: of this run; its job is the launcher's, which starts a job again with
                --overwrite_output_dir too: the run that this very job has begun is resumed.
            teachers: the folders of teachers of the losses.

        Raises:
            InputError: the folder holds something else, or a run with other options; another run is
                writing there; or it is the folder of the model that is to be trained, which the
                results would replace.
        """
        raw = processes.from_first(lambda: self._find(now, teachers))
        self.previous = None if raw is None else RunRecord.from_json(raw)
        return self.previous

    def _find(self, now: RunRecord, teachers: Sequence[Json]) -> dict[str, Json] | None:
        flags = ("model_name_or_path", "config_name", "tokenizer_name")
        sources = [(f"--{n}", now.options.get(n)) for n in flags]
        sources += [("teacher", teacher) for teacher in teachers]
        for place in (self.place, *(PartPlace(self.place, name) for name in now.parts)):
            _check_sources(place, sources)
        record = self._read_record()
        if record is None or (self.overwrites and (now.job is None or record.job != now.job)):
            self._replaced = record
            for name in now.parts:
                if self.place.has(name) and not (record is not None and name in record.parts):
                    raise InputError(
                        f"--output_dir {self.place}: there is a {name} that is no model of a run "
                        "of several tasks; give another folder"
                    )
            return None
        if record.part is not None:
            raise InputError(
                f"--output_dir {self.place} is of a run of several tasks, "
                f"{shown(' '.join(record.part.tasks))}; give another folder"
            )
        if record.task != now.task:
            raise InputError(
                f"--output_dir {self.place} holds a run of the task {shown(record.task)}"
            )
        self._check_options(record.differences(now), next(iter(now.parts), None))
        self._take(record)
        return record.to_json()

    def _read_record(self) -> RunRecord | None:
        """The record, if there is a run."""
        self.place.bring([RECORD, COMPARED])
        try:
            record = RunRecord.read(self.path)
        except InputError as error:
            if self.overwrites and self.place.has(CHECKPOINTS):  # ours, damaged
                return None
            raise InputError(str(error).replace(str(self.path), str(self.place))) from None
        if record is not None:
            return record
        ours = {COMPARED}  # train/compare.py of earlier versions began with it
        saved = self.path / CHECKPOINTS
        if saved.is_dir() and not any(saved.iterdir()):
            ours.add(CHECKPOINTS)
        for name in RUN_FILES:
            if name not in ours and self.place.has(name):
                raise InputError(
                    f"--output_dir {self.place}: there is a {name}, but no options.json of a run "
                    "to resume; give another folder"
                )
        return None

    def _check_options(self, differences: Differences, part: str | None) -> None:
        if changed := differences.options:
            model = self.place.named(part) if part else self.place
            raise InputError(
                f"--output_dir {self.place} holds a run with other options: "
                f"{'; '.join(map(str, changed))}; {advice_on(changed, str(model))}"
            )

    def check(self, now: RunRecord, *, user_loss: bool, part: str = "") -> None:
        """Refuse to resume a run with other data than it was started with, or with a user's loss,
        metric or corruption whose text, or what it depends on, has been changed.

        Args:
            now: as in `find`, with the fingerprints.
            user_loss: whether the loss is the user's.
            part: the name of a task of several, whose record `now` is.

        Raises:
            InputError: it is so, and is not allowed to be.
        """
        previous = self.previous.parts.get(part) if part and self.previous else self.previous
        if previous is not None:
            whose = f"{part}." if part else ""
            processes.from_first(
                lambda: check_resumed(
                    previous, now, place=str(self.place), user_loss=user_loss, whose=whose
                )
            )

    def begin(self, now: RunRecord) -> None:
        """Take the lock, and make the folder this run's.

        Everything that the user gave has been read and checked. The record of a new run is written
        first of all: whatever is in the folder from then on is this run's.

        Raises:
            InputError: another run has the lock, or had it since `find` looked.
        """
        processes.from_first(lambda: self._begin(now))

    def _begin(self, now: RunRecord) -> None:
        self._take(self.previous)
        if self.previous is None:
            if self.overwrites:
                for name in self._replaced.parts if self._replaced else ():
                    part = PartPlace(self.place, name)
                    _remove_with_card(part)
                    with contextlib.suppress(OSError):  # the user has put something there
                        part.path.rmdir()
                _remove_with_card(self.place)
            now.write(self.path)
            self.place.publish()
        else:
            self.place.bring([LOG])
        self.checkpoints = Checkpoints(
            self.place.steps(CHECKPOINTS),
            self._keep,
            logger.info,
            retry_on_error=self._retry_on_error,
        )

    def _take(self, record: RunRecord | None) -> None:
        """Take the lock; once more does nothing.

        Args:
            record: what was found before the folder was locked.
        """
        if self.place.is_locked():
            return
        self.place.lock()
        self.place.bring([RECORD])  # again: now nobody else changes it
        if not (record is None and self.overwrites) and RunRecord.read(self.path) != record:
            raise InputError(
                f"--output_dir {self.place}: another run has written there since this one began; "
                "start the command again to resume it, or give another folder"
            )

    def restore(
        self, state: TrainState, step: int | None = None
    ) -> tuple[int | None, TrainState, Progress]:
        """A checkpoint, by default the newest that verifies, as the first process reads it.

        Args:
            state: of the same shapes and dtypes, given back where there is no checkpoint.

        Returns:
            The step or None, the state and the progress, the same in all processes.

        Raises:
            InputError: the step is damaged, or not of this model; or there had been whole steps,
                and none is left.
        """

        def read() -> tuple[int | None, dict[str, Json]]:
            nonlocal state
            assert self.checkpoints is not None
            found = self.checkpoints.newest() if step is None else step
            if found is None:
                return None, {}
            state, progress = self.checkpoints.restore(found, state)
            return found, progress

        found, saved = processes.from_first(read)
        state = processes.arrays_from_first(state)
        if found is None:
            return None, state, Progress()
        place = f"{self.place}/{CHECKPOINTS}/{found}/progress.json"
        return found, state, Progress.read(saved, place)

    def update_record(self, now: RunRecord) -> None:
        """Have the record of a run that is resumed say what it has now."""
        if self.previous is not None:
            dataclasses.replace(now, void=self.previous.void).write(self.path)
            self.place.publish()

    @contextlib.contextmanager
    def storage(self, first_step: int) -> Iterator[Storage]:
        """Where training keeps its checkpoints and its log, for as long as it is entered.

        Args:
            first_step: lines of later steps are left out of the log; they will be written again.

        Raises:
            InputError: the log cannot be written.
        """
        assert self.checkpoints is not None
        path = self.path / LOG
        with TrainLog(path, first_step, retry_on_error=self._retry_on_error) as log:
            yield _Files(self.place.named(CHECKPOINTS), self.checkpoints, log)

    def close(self) -> None:
        """Wait for the checkpoint that is being written; there are none after that, and the log is
        where the run lies.

        Raises:
            InputError: it could not be written.
        """
        checkpoints, self.checkpoints = self.checkpoints, None
        if checkpoints is not None:
            checkpoints.close()
            self.place.publish()

    def part(self, name: str) -> RunFolder:
        """The folder in it of one of several tasks, for what is written at the end."""
        place = PartPlace(self.place, name)
        return type(self)(place, overwrite=False, keep=self._keep, retry_on_error=False)

    def save_record(self, record: RunRecord) -> None:
        """Write the record of one of several tasks into its folder."""
        record.write(self.path)
        self.place.publish()

    def save_model(self, model: LoadedModel, params: Params) -> None:
        """The model as a folder that transformers reads too; what is its loss's lies beside it."""
        model.save(self.path, of_model(params))
        save_loss_params(self.path, params)
        self.place.publish()

    def write_results(self, scores: Scores, files: Mapping[str, JsonFile]) -> None:
        """See the function of this name."""
        publish_results(self.place, scores, files)

    def save_card(self, text: str) -> None:
        """Write the model card; a README.md that the user wrote, or changed, stays."""
        self.place.bring([CARD])
        if write_card(self.path, text):
            self.place.publish()
        else:
            logger.info("%s is yours and stays as it is", self.place.named(CARD))

    def push(self, repository: Repository | None) -> None:
        """Upload the finished model, if it is to be.

        Raises:
            InputError: the Hub did not take it; the folder has it all the same.
        """

        def push() -> str:
            assert repository is not None
            try:
                return repository.push(self.path)
            except InputError as error:
                raise InputError(
                    f"{error}; the model is in {self.place}, and `jaxbert push {self.place} "
                    f"{repository.name}` tries again"
                ) from None

        if repository is not None:
            logger.info("uploaded: %s", processes.from_first(push))


class _Files:
    """The Storage of the first process: its checkpoints and its log."""

    def __init__(self, folder: Path | str, checkpoints: Checkpoints, log: TrainLog) -> None:
        self._folder, self._checkpoints, self._log = folder, checkpoints, log

    def save(self, state: TrainState, progress: Progress) -> Path | str:
        self._checkpoints.save(state, dataclasses.asdict(progress), best_step=progress.best_step)
        return self._folder

    def wait(self) -> None:
        self._checkpoints.wait()

    def log(self, record: Mapping[str, float | None]) -> None:
        self._log.write(record)


class _Follower(RunFolder):
    """The folder in a process that is not the first: nothing is written."""

    def update_record(self, now: RunRecord) -> None:
        pass

    @contextlib.contextmanager
    def storage(self, first_step: int) -> Iterator[Storage]:
        yield Nowhere()

    def save_record(self, record: RunRecord) -> None:
        pass

    def save_model(self, model: LoadedModel, params: Params) -> None:
        pass

    def write_results(self, scores: Scores, files: Mapping[str, JsonFile]) -> None:
        pass

    def save_card(self, text: str) -> None:
        pass


def _check_sources(place: Place, sources: Sequence[tuple[str, Json]]) -> None:
    """Refuse to write where something lies that is read.

    Args:
        sources: what names it, and where it is.
    """
    for name, given in sources:
        if isinstance(given, str) and given and place.is_where(given):
            raise InputError(f"--output_dir {place} is the {name} too; give another folder")


def remove_run(place: Place) -> None:
    """Remove what a run writes, and nothing else that may lie in the folder."""
    place.remove(RUN_FILES)


def _remove_with_card(place: Place) -> None:
    """The same, and the card that a run has written there."""
    remove_run(place)
    place.bring([CARD])
    if is_ours(place.path / CARD):
        place.remove([CARD])
        (place.path / CARD).unlink(missing_ok=True)


def publish_results(place: Place, scores: Scores, files: Mapping[str, JsonFile]) -> None:
    """Write them where the run lies; see write_results."""
    write_results(place.path, scores, files)
    place.remove([name for name in RESULTS if name not in files])
    place.publish()


def write_results(folder: Path, scores: Scores, files: Mapping[str, JsonFile]) -> None:
    """metrics.json, and the task's own files: name -> JSON content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:
        if name not in files:  # of an earlier evaluation, of other data perhaps
            (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        write_json(folder / name, content)
    write_json(folder / METRICS, scores)
