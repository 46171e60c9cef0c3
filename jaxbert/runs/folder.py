"""The output directory of a run: its record, what may go on in it, and the results."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import logging
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jaxbert.runtime import host
from jaxbert.errors import InputError
from jaxbert.io.files import digest_of, write_json
from jaxbert.losses.user_function import changed_value
from jaxbert.metrics.scores import Scores
from jaxbert.options.values import advice_on, changed_options, check_types
from jaxbert.io.untrusted import read_object, shown

logger = logging.getLogger("jaxbert")

# All that a run writes in its output directory; --overwrite_output_dir removes nothing else.
_RUN_FILES = [
    "checkpoints",
    "train_log.jsonl",
    "metrics.json",
    "predictions.json",
    "nbest_predictions.json",
    "null_odds.json",
    "entity_report.json",
    "calibration.json",
    "reliability.png",
    "compared.json",
    "tensorboard",
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "options.json",  # the last to be removed: without it the others would be taken for another's
]

# The files of a task that an evaluation writes, where it has them.
_RESULTS = {"predictions.json", "nbest_predictions.json", "null_odds.json", "entity_report.json"}


def saved_options(
    folder: str | Path, kind: type[Any], *, calibrated: bool = True
) -> dict[str, Any]:
    """What a run's folder says of its options; {} where there is no options.json.

    Args:
        kind: the option dataclass that they are for.
        calibrated: the threshold and the temperature are those of calibration.json, where there is
            one.

    Raises:
        InputError: a value is not of the type of its field.
    """
    record = _read_record(Path(folder))
    saved = dict(record["options"]) if record else {}
    path = Path(folder) / "calibration.json"
    if calibrated and path.exists():
        fitted, _ = read_calibration(Path(folder))
        if not fitted:
            logger.warning("%s is of another model than the one beside it; it is not used", path)
        saved |= fitted
    check_types(kind, saved, Path(folder) / "options.json")
    return saved


def read_calibration(folder: Path) -> tuple[dict[str, Any], set[str]]:
    """What calibration.json says: options to use with the model, and the ids of the questions that
    they were fitted to; nothing where there is no such file, or where the folder's model is not the
    one that they were fitted to.

    Raises:
        InputError: the file is another's, or damaged.
    """
    path = folder / "calibration.json"
    try:
        record = read_object(path)
    except FileNotFoundError:
        return {}, set()
    kinds = {
        "null_score_diff_threshold": (int, float),
        "score_temperature": (int, float),
        "version_2_with_negative": (bool,),
    }
    ids = record.get("fitted_to")
    if not isinstance(ids, list) or any(type(record.get(n)) not in k for n, k in kinds.items()):
        raise InputError(f"{path}: not what eval/calibrate.py writes; make it again")
    if record.get("model") != digests_of_model(folder):
        return {}, set()
    fitted = {name: record[name] for name in kinds}
    if not record["version_2_with_negative"]:
        del fitted["null_score_diff_threshold"]  # every question was answered; none was fitted
    return fitted, set(map(str, ids))


def digests_of_model(folder: Path) -> dict[str, str]:
    """SHA-256 of each file with weights."""
    files = [p for p in folder.iterdir() if p.suffix in (".safetensors", ".msgpack")]
    return {path.name: digest_of(path) for path in sorted(files)}


def check_task(folder: Path, task: str) -> None:
    """Refuse the folder of a run of another task.

    Raises:
        InputError: options.json says that it is one.
    """
    record = _read_record(folder)
    if record is not None and record["task"] != task:
        raise InputError(
            f"{folder} was trained for {shown(record['task'])}, not for {task}; use the script or "
            "class of that task"
        )


def _read_record(folder: Path) -> dict[str, Any] | None:
    path = folder / "options.json"
    try:
        record = read_object(path)
    except FileNotFoundError:
        return None
    except InputError as error:
        raise InputError(f"{error}; is it a run of jaxbert?") from None
    types = {"task": str, "options": dict, "rows_per_step": int, "data": dict}
    whole = all(isinstance(record.get(name), kind) for name, kind in types.items())
    whole &= isinstance(record.get("row_length"), int | None)
    if not whole or record["rows_per_step"] < 1:
        raise InputError(f"{path}: not the record of a run")
    column = record["options"].get("label_column_name")
    if record["task"] == "classification" and isinstance(column, str):  # before it was a list
        record["options"]["label_column_name"] = [column]
    return record


def check_writable(folder: Path) -> None:
    """Raise InputError when the folder is a file, or cannot be made or written."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--output_dir {folder}: {place} is a file; give a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"--output_dir {folder}: no permission to write in {place}")


def lock_of(folder: Path) -> FileLock:
    """The lock of an output directory, not taken yet. It ends with the process, however that does:
    the operating system holds it, and the file that is left means nothing."""
    return FileLock(folder / ".lock")


def take(lock: FileLock, folder: Path, record: dict[str, Any] | None, options: Any) -> None:
    """Take the folder's lock for this run; once more does nothing.

    Args:
        record: what check_output found, before the folder was locked.

    Raises:
        InputError: another run has it, or had it in the meantime.
    """
    if lock.is_locked:
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"--output_dir {folder}: another run is writing there; wait for its end, or give "
            "another folder"
        ) from None
    if not (record is None and options.overwrite_output_dir) and _read_record(folder) != record:
        raise InputError(
            f"--output_dir {folder}: another run has written there since this one began; start "
            "the command again to go on with it, or give another folder"
        )


def check_output(
    folder: Path, task: str, options: Any, *, teacher: str | None = None, job: str | None = None
) -> dict[str, Any] | None:
    """The record of the run in the folder that is to go on; None for a new start.

    Args:
        teacher: the folder of the loss's teacher.
        job: of the launcher, which starts a job again with --overwrite_output_dir too: the run
            that this very job has begun goes on.

    Raises:
        InputError: the folder holds something else, or a run with other options; or it is the
            folder of the model that is to be trained, which the results would replace.
    """
    flags = ("model_name_or_path", "config_name", "tokenizer_name")
    sources = {f"--{flag}": getattr(options, flag) for flag in flags} | {"teacher": teacher}
    for name, given in sources.items():
        if given and folder.exists() and Path(given).expanduser().resolve() == folder.resolve():
            raise InputError(f"--output_dir {folder} is the {name} too; give another folder")
    try:
        record = _read_record(folder)
    except InputError:
        if options.overwrite_output_dir and (folder / "checkpoints").is_dir():  # ours, damaged
            return None
        raise
    if record is None:
        found = [name for name in _RUN_FILES if (folder / name).exists()]
        ours = {"compared.json"}  # train/compare.py begins with it
        if (folder / "checkpoints").is_dir() and not any((folder / "checkpoints").iterdir()):
            ours.add("checkpoints")
        foreign = next((name for name in found if name not in ours), None)
        if foreign:
            raise InputError(
                f"--output_dir {folder}: there is a {foreign}, but no options.json of a run to go "
                "on with; give another folder"
            )
        return None
    if options.overwrite_output_dir and (job is None or record.get("job") != job):
        return None
    if record["task"] != task:
        raise InputError(f"--output_dir {folder} holds a run of the task {shown(record['task'])}")
    changed = changed_options(record["options"], options)
    if changed:
        raise InputError(
            f"--output_dir {folder} holds a run with other options: "
            f"{'; '.join(map(str, changed))}; {advice_on(changed, folder)}"
        )
    others = _differences(record.get("versions"), _versions())
    others += _differences(record.get("machine"), host.describe())
    if others:
        logger.warning(
            "the run was started with %s; it goes on, but may not end with the same bits",
            "; ".join(others),
        )
    return record


def _differences(before: object, now: Mapping[str, str | int]) -> list[str]:
    """What differs from a record; what an older one does not name is not known to differ."""
    if not isinstance(before, dict):
        return []
    names = [name for name in now if name in before and before[name] != now[name]]
    return [f"{name} {shown(before[name])}, now {now[name]}" for name in names]


def _versions() -> dict[str, str]:
    """Of all on which the bits of a run depend."""
    names = ["jaxbert", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tokenizers"]
    names += ["numpy", "ml_dtypes"]
    return {name: importlib.metadata.version(name) for name in names}


def fingerprint_of(examples: Any) -> str:
    """SHA-256 of what a run depends on: examples with their references, a configuration."""
    return hashlib.sha256(repr(examples).encode()).hexdigest()


def check_data(
    folder: Path,
    record: dict[str, Any] | None,
    data: dict[str, str],
    allowed: Collection[str] = (),
) -> None:
    """Refuse to go on with other data than the run was started with.

    Args:
        allowed: options that may have changed; the loss's name the teacher.
    """
    what = {
        "train": "other train data or another tokenizer",
        "validation": "other validation data",
        "teacher": "another teacher",
        "model": "another config.json",
    }
    if {"loss", "loss_args"} & set(allowed):
        del what["teacher"]
    for name, text in what.items() if record else ():
        if record and record["data"].get(name) != data.get(name):
            raise InputError(
                f"--output_dir {folder}: the run was started with {text}; give that, or "
                "--overwrite_output_dir"
            )


def check_loss(
    folder: Path,
    record: dict[str, Any] | None,
    options: Any,
    source: str,
    values: Mapping[str, str],
) -> None:
    """Refuse to go on with a user's loss whose text, or what it depends on, has been changed."""
    if not record or "loss" in (options.allow_changed_options or ()):
        return
    advice = (
        "give --allow_changed_options loss to go on with the new one, or --overwrite_output_dir"
    )
    if record.get("loss", source) != source:
        what = options.loss if options.loss.startswith("function ") else f"the file of --loss {options.loss}"
        raise InputError(
            f"--output_dir {folder}: {what} is not the one that the run was started with, whose "
            f"text is in options.json; {advice}"
        )
    if changed := changed_value(record.get("loss_values") or {}, values):
        raise InputError(f"--output_dir {folder}: --loss {options.loss}: {changed}; {advice}")


def remove_run(folder: Path) -> None:
    """Remove what a run writes, and nothing else that may lie in the folder."""
    for name in _RUN_FILES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_record(
    folder: Path,
    task: str,
    options: Any,
    rows_per_step: int,
    data: dict[str, str],
    loss: str,
    job: str | None = None,
    row_length: int | None = None,
    loss_values: Mapping[str, str] | None = None,
) -> None:
    """options.json: all that says which run this is.

    Args:
        data: fingerprints.
        loss: the source text of the loss.
        loss_values: what a function depends on beside it.
        job: of the launcher that started it.
        row_length: tokens of the longest row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "task": task,
        "options": dataclasses.asdict(options),
        "rows_per_step": rows_per_step,
        "row_length": row_length,
        "data": data,
        "loss": loss,
        "loss_values": dict(loss_values or {}),
        "job": job,
        "versions": _versions(),
        "machine": host.describe(),
    }
    write_json(folder / "options.json", record)


def write_results(folder: Path, scores: Scores, files: dict[str, Any]) -> None:
    """metrics.json, and the task's own files: name -> JSON content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _RESULTS - files.keys():  # of an earlier evaluation, of other data perhaps
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        write_json(folder / name, content)
    write_json(folder / "metrics.json", scores)
