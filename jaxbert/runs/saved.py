"""What a fine-tuned folder says to those who use its model: its options, its calibration."""

from __future__ import annotations

import logging
from pathlib import Path

from jaxbert.errors import InputError
from jaxbert.io.bucket import is_address
from jaxbert.io.files import Json, digest_of
from jaxbert.io.untrusted import read_object, shown
from jaxbert.metrics.scores import Scores
from jaxbert.model.folders import folder_of
from jaxbert.options.fields import Settings, Value, settings_of
from jaxbert.options.keywords import check_saved
from jaxbert.options.settings import ModelOptions
from jaxbert.options.user_function import PREFIX
from jaxbert.runs.record import RECORD, RunRecord
from jaxbert.sharing.card import make_card
from jaxbert.tasks.registry import TASKS, AnyTask

logger = logging.getLogger("jaxbert")

CALIBRATION = "calibration.json"
# What that holds of the options, with the types that JSON gives them.
_FITTED = {
    "null_score_diff_threshold": (int, float),
    "score_temperature": (int, float),
    "version_2_with_negative": (bool,),
}


def saved_options(
    folder: str | Path, cls: type[Settings], *, calibrated: bool = True
) -> dict[str, Value]:
    """What a run's folder says of the options of a dataclass; {} where there is no options.json.

    Args:
        cls: the dataclass of options that they are for.
        calibrated: the threshold and the temperature are those of calibration.json, where there is
            one.

    Raises:
        InputError: a value cannot be used.
    """
    record = RunRecord.read(Path(folder))
    saved = check_saved(cls, record.options, Path(folder) / RECORD) if record else {}
    path = Path(folder) / CALIBRATION
    if calibrated and path.exists():
        fitted, _ = read_calibration(Path(folder))
        if not fitted:
            logger.warning(
                "%s belongs to another model than the one next to it; it is not used", path
            )
        saved |= check_saved(cls, fitted, path)
    return saved


def options_of_training(
    task: type[AnyTask], options: ModelOptions, *, calibrated: bool = True
) -> dict[str, Value]:
    """The options of a command that are by default as its model was trained: the task's, and dtype.

    Args:
        calibrated: see saved_options.
    """
    if not options.model_name_or_path:
        return {}
    folder = folder_of(options.model_name_or_path)
    saved = saved_options(folder, type(options), calibrated=calibrated)
    names = {s.name for s in settings_of(task.settings_cls) if s.facts.resume != "free"}
    names -= task.fresh
    names &= {s.name for s in settings_of(type(options))}  # not those of training alone
    names.add("dtype")
    taken = {name: value for name, value in saved.items() if name in names}
    columns = taken.get("label_column_name")
    if isinstance(columns, list):  # data to predict need not have them
        taken["label_column_name"] = [f"{c}?" for c in columns]
    elif columns:
        taken["label_column_name"] = f"{columns}?"
    return taken


def name_of(folder: str) -> str:
    """What the model of a folder, or of an address, is called."""
    if is_address(folder):
        return folder.rstrip("/").rpartition("/")[2]
    return Path(folder).expanduser().resolve().name


def card_of(name: str, record: RunRecord, scores: Scores) -> str:
    """The card of a run's model; see sharing.card.

    Raises:
        InputError: the run is of a task that is not known here.
    """
    if record.task not in TASKS:
        raise InputError(f"a run of the task {shown(record.task)}, which is not known here")
    names = [f"the {name}" for name in record.functions]
    if str(record.options.get("loss")).startswith(PREFIX):
        names.append("the loss")
    return make_card(
        name, TASKS[record.task], record.options, scores, record.versions, names, record.part
    )


def read_calibration(folder: Path) -> tuple[dict[str, Json], set[str]]:
    """What calibration.json says: options to use with the model, and the ids of the questions that
    they were fitted to; nothing where there is no such file, or where the folder's model is not the
    one that they were fitted to.

    Raises:
        InputError: the file is another's, or damaged.
    """
    path = folder / CALIBRATION
    try:
        raw: dict[str, Json] = read_object(path)
    except FileNotFoundError:
        return {}, set()
    ids = raw.get("fitted_to")
    if not isinstance(ids, list) or any(type(raw.get(n)) not in k for n, k in _FITTED.items()):
        raise InputError(f"{path}: not what eval/calibrate.py writes; make it again")
    if raw.get("model") != digests_of_model(folder):
        return {}, set()
    fitted = {name: raw[name] for name in _FITTED}
    if not raw["version_2_with_negative"]:
        del fitted["null_score_diff_threshold"]  # every question was answered; none was fitted
    return fitted, set(map(str, ids))


def digests_of_model(folder: Path) -> dict[str, str]:
    """SHA-256 of each file with weights."""
    files = [p for p in folder.iterdir() if p.suffix in (".safetensors", ".msgpack")]
    return {path.name: digest_of(path) for path in sorted(files)}
