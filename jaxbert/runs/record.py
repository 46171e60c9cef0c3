"""RunRecord: what options.json says of the run in a folder, and how another one differs from it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import jax

from jaxbert.errors import InputError
from jaxbert.io.files import Json, write_json
from jaxbert.io.untrusted import read_object, shown
from jaxbert.options.fields import ChangedOption
from jaxbert.options.settings import CheckpointOptions
from jaxbert.options.user_function import changed_value
from jaxbert.runtime import host
from jaxbert.sharing.card import Part

RECORD = "options.json"

# All packages on which the bits of a run depend.
_PACKAGES = (
    *("jaxbert", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tokenizers"),
    *("numpy", "ml_dtypes"),
)
# What else compiles and computes on GPUs and TPUs, where it is installed.
_DEVICE_PACKAGES = (
    *("jax-cuda13-pjrt", "jax-cuda12-pjrt", "nvidia-cublas", "nvidia-cublas-cu12"),
    *("jax-triton", "triton", "libtpu"),
)


def _as_list(value: Json) -> Json:
    return [value] if isinstance(value, str) else value


# Options that earlier versions wrote in another form: task -> option -> its value in today's.
_MIGRATIONS: Mapping[str, Mapping[str, Callable[[Json], Json]]] = {
    "classification": {"label_column_name": _as_list}
}


@dataclasses.dataclass(frozen=True)
class Request:
    """What a compared run was asked for, before the data decided the rest of its options.

    Attributes:
        options: as they were given, of those that change what is computed.
        files: SHA-256 of each file that they name.
    """

    options: Mapping[str, Json]
    files: Mapping[str, Json]

    @classmethod
    def from_json(cls, raw: Json) -> Request | None:
        """None where there is no such object."""
        if not isinstance(raw, Mapping):
            return None
        return cls(_object(raw.get("options")), _object(raw.get("files")))

    def differences(self, now: Request, defaults: Mapping[str, Json]) -> list[str]:
        """What to name to the user: flags of other options, and files of another content.

        Args:
            defaults: of the options, for those that are younger than this one.
        """
        options = _different({**defaults, **self.options}, now.options)
        return [*(f"--{name}" for name in options), *_different(self.files, now.files)]


@dataclasses.dataclass(frozen=True)
class Changed:
    """A version, or a fact of the machine, that a run was started with and that is another now."""

    name: str
    before: Json
    now: Json

    def __str__(self) -> str:
        return f"{self.name} {shown(self.before) or 'none'}, now {self.now or 'none'}"


@dataclasses.dataclass(frozen=True)
class Differences:
    """How a run that resumes another one differs from it.

    Attributes:
        options: those that change what is computed, and that the user has not allowed to.
        data: names of the fingerprints that differ.
        loss: whether the text of the loss is another.
        loss_value: the first thing that the loss depends on and that is another, in words.
        functions: of those that differ, by name, how, in words.
        environment: versions and the machine; what an older record does not name is not known to
            differ.
    """

    options: Sequence[ChangedOption]
    data: frozenset[str]
    loss: bool
    loss_value: str | None
    functions: Mapping[str, str]
    environment: Sequence[Changed]


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What options.json says: which run a folder holds, and all on which its bits depend.

    Attributes:
        task: its name.
        options: as used, when the data have decided what was left open.
        loss: the source text of the loss; None in older records.
        loss_values: what a function of a Python program depends on besides its text.
        job: the launcher's name for all starts of the job that began the run.
        versions, machine: what the run was last started with, attention's kernel too; empty in
            older records.
        rows_per_step: of the whole batch, over all devices; 0 while it is not known.
        row_length: tokens of the longest row; None in older records.
        data: fingerprints by name: train, validation, teacher, model; empty while not known.
        examples: how many it learns from; None while not known, and in older records.
        request: what a run of a comparison was asked for; None in others.
        void: a later comparison is to train this run again from the start.
        settings: of which `options` was made; None in a record that was read.
        functions: of a Python program, beside the loss: "corruption" or "metrics NAME" -> its
            source, and the values that it depends on beside it.
        parts: of a run of several tasks the record of each, by its name in the run.
        part: of the record of one of these, in its own folder, which one it is.
    """

    task: str
    options: Mapping[str, Json]
    loss: str | None
    job: str | None
    versions: Mapping[str, Json]
    machine: Mapping[str, Json]
    rows_per_step: int = 0
    row_length: int | None = None
    data: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    examples: int | None = None
    request: Request | None = None
    void: bool = False
    settings: CheckpointOptions | None = dataclasses.field(default=None, compare=False)
    loss_values: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    functions: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, RunRecord] = dataclasses.field(default_factory=dict)
    part: Part | None = None

    @classmethod
    def of(
        cls,
        task: str,
        options: CheckpointOptions,
        *,
        loss: str = "",
        loss_values: Mapping[str, str] = MappingProxyType({}),
        functions: Mapping[str, Json] = MappingProxyType({}),
        job: str | None = None,
        rows_per_step: int = 0,
        request: Request | None = None,
    ) -> RunRecord:
        """The record of a run that starts now, on this machine."""
        return cls(
            task=task,
            options=dataclasses.asdict(options),
            loss=loss,
            job=job,
            versions=versions(),
            machine=host.describe(),
            rows_per_step=rows_per_step,
            request=request,
            settings=options,
            loss_values=dict(loss_values),
            functions=dict(functions),
        )

    def decided(self, name: str, value: Json) -> RunRecord:
        """The record with an option that the run has decided itself."""
        return dataclasses.replace(self, options={**self.options, name: value})

    @classmethod
    def read(cls, folder: Path) -> RunRecord | None:
        """The record in a folder, its options in today's form; None where there is none.

        Raises:
            InputError: options.json is damaged, or not the record of a run.
        """
        path = folder / RECORD
        try:
            raw: Mapping[str, Json] = read_object(path)
        except FileNotFoundError:
            return None
        except InputError as error:
            raise InputError(f"{error}; is it a run of jaxbert?") from None
        try:
            return cls.from_json(raw)
        except ValueError:
            raise InputError(f"{path}: not the record of a run") from None

    @classmethod
    def from_json(cls, raw: Mapping[str, Json]) -> RunRecord:
        """The record that `to_json` gave, of this version or of an earlier one.

        Raises:
            ValueError: something is missing, or not of its type.
        """
        task, options, data = raw.get("task"), raw.get("options"), raw.get("data")
        rows, length = raw.get("rows_per_step"), raw.get("row_length")
        examples = raw.get("examples")
        if not (isinstance(task, str) and isinstance(options, Mapping)):
            raise ValueError("no task or options")
        parts = raw.get("parts")
        least = 0 if parts else 1
        if not (isinstance(rows, int) and rows >= least and isinstance(length, int | None)):
            raise ValueError("no rows of a step")
        if not isinstance(data, Mapping):
            raise ValueError("no fingerprints")
        migrations = _MIGRATIONS.get(task, {})
        loss, job = raw.get("loss"), raw.get("job")
        return cls(
            task=task,
            options={n: migrations[n](x) if n in migrations else x for n, x in options.items()},
            loss=loss if isinstance(loss, str) else None,
            job=job if isinstance(job, str) else None,
            versions=_object(raw.get("versions")),
            machine=_object(raw.get("machine")),
            rows_per_step=rows,
            row_length=length,
            data=data,
            examples=examples if isinstance(examples, int) else None,
            request=Request.from_json(raw.get("given")),
            void=raw.get("void") is True,
            loss_values=_object(raw.get("loss_values")),
            functions=_object(raw.get("functions")),
            parts={n: cls.from_json(_object(part)) for n, part in _object(parts).items()},
            part=_part_of(raw.get("part")),
        )

    def to_json(self) -> dict[str, Json]:
        """The content of options.json; what few runs have only where it says something."""
        content: dict[str, Json] = {
            "task": self.task,
            "options": self.options,
            "rows_per_step": self.rows_per_step,
            "row_length": self.row_length,
            "data": self.data,
            "loss": self.loss,
            "job": self.job,
            "versions": self.versions,
            "machine": self.machine,
        }
        if self.examples is not None:
            content["examples"] = self.examples
        if self.request is not None:
            content["given"] = dataclasses.asdict(self.request)
        if self.loss_values:
            content["loss_values"] = self.loss_values
        if self.functions:
            content["functions"] = self.functions
        if self.parts:
            content["parts"] = {name: part.to_json() for name, part in self.parts.items()}
        if self.part is not None:
            content["part"] = {"name": self.part.name, "tasks": list(self.part.tasks)}
        if self.void:
            content["void"] = True
        return content

    def write(self, folder: Path) -> None:
        """Replace options.json in one step."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RECORD, self.to_json())

    def differences(self, now: RunRecord) -> Differences:
        """How a run that is to resume this one differs from it.

        Args:
            now: its record, made by `of`: the defaults of its settings stand for options that are
                younger than this record. Fingerprints count once it has some.

        Raises:
            ValueError: `now` was read, not made.
        """
        if now.settings is None:
            raise ValueError("a record that was read is not that of a run that starts")
        return Differences(
            options=self._changed_options(now, now.settings.allow_changed_options or ()),
            data=frozenset(_different(self.data, now.data) if now.data else ()),
            loss=self.loss is not None and self.loss != now.loss,
            loss_value=changed_value(self.loss_values, now.loss_values),
            functions=_changed_functions(self.functions, now.functions),
            environment=[
                *_changed(self.versions, now.versions),
                *_changed(self.machine, now.machine),
            ],
        )

    def _changed_options(self, now: RunRecord, allowed: Sequence[str]) -> list[ChangedOption]:
        """Those of the run, and those of a task behind its name, where they are not the run's."""
        assert now.settings is not None
        changed = now.settings.changed_from(self.options, allowed)
        of_all = {option.name for option in changed}
        for name, part in now.parts.items():
            if name in self.parts:
                own = [*allowed, *(word.removeprefix(f"{name}.") for word in allowed)]
                found = self.parts[name]._changed_options(part, own)
                changed += [
                    dataclasses.replace(option, name=f"{name}.{option.name}")
                    for option in found
                    if option.name not in of_all
                ]
        return changed


def versions() -> dict[str, Json]:
    """Of the packages on which the bits of a run depend, by name."""
    found: dict[str, Json] = {name: importlib.metadata.version(name) for name in _PACKAGES}
    if jax.default_backend() != "cpu":
        for name in _DEVICE_PACKAGES:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(name)
    return found


def fingerprint_of(content: Collection[Hashable] | Mapping[str, Json]) -> str:
    """SHA-256 of what a run depends on: examples with their references, a configuration.

    That of examples is that of a tuple of them, wherever they are kept.
    """
    if isinstance(content, Mapping):
        return hashlib.sha256(repr(content).encode()).hexdigest()
    digest = hashlib.sha256(b"(")
    for number, example in enumerate(content):
        digest.update(f"{', ' if number else ''}{example!r}".encode())
    digest.update(b",)" if len(content) == 1 else b")")
    return digest.hexdigest()


def check_task(folder: Path, task: str) -> None:
    """Refuse the folder of a run of another task.

    Raises:
        InputError: options.json says that it is one.
    """
    record = RunRecord.read(folder)
    check_single(folder, record)
    if record is not None and record.task != task:
        raise InputError(
            f"{folder} was trained for {shown(record.task)}, not for {task}; use the script or "
            "class of that task"
        )


def _part_of(raw: Json) -> Part | None:
    """None where there is no such object."""
    if not isinstance(raw, Mapping):
        return None
    tasks = raw.get("tasks")
    return Part(str(raw.get("name")), [str(x) for x in tasks] if isinstance(tasks, list) else [])


def check_single(folder: Path | str, record: RunRecord | None) -> None:
    """Refuse the folder of a run of several tasks, whose models are in folders of their own.

    Args:
        record: what is there.

    Raises:
        InputError: it is one; those folders are named.
    """
    if record is not None and record.parts:
        names = " or ".join(f"{str(folder).rstrip('/')}/{name}" for name in record.parts)
        raise InputError(f"{shown(str(folder))} has a model of each of several tasks: give {names}")


def _different(before: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    return sorted(n for n in {*before, *now} if before.get(n) != now.get(n))


def _changed_functions(before: Mapping[str, Json], now: Mapping[str, Json]) -> dict[str, str]:
    found = {}
    for name in _different(before, now):
        old, new = _object(before.get(name)), _object(now.get(name))
        if name not in now:
            what = "the run has this Python function, and none was given now"
        elif name not in before:
            what = "the run was started without it"
        elif old.get("source") != new.get("source"):
            what = "the text is not the one that the run was started with, which is in options.json"
        else:
            values = _object(old.get("values")), _object(new.get("values"))
            what = changed_value(*values) or "it is another one"
        found[name] = what
    return found


def _object(raw: Json) -> Mapping[str, Json]:
    return raw if isinstance(raw, Mapping) else {}


def _changed(before: Mapping[str, Json], now: Mapping[str, Json]) -> list[Changed]:
    return [
        Changed(name, before[name], value)
        for name, value in now.items()
        if name in before and before[name] != value
    ]
