"""What a fine-tuned folder says to those who use its model: its options, its calibration."""

from __future__ import annotations

import logging
from pathlib import Path

from jaxbert.errors import InputError
from jaxbert.io.files import Json, digest_of
from jaxbert.io.untrusted import read_object
from jaxbert.options.fields import Settings
from jaxbert.options.keywords import check_saved
from jaxbert.runs.record import RECORD, RunRecord

logger = logging.getLogger("jaxbert")

# What calibration.json holds of the options, with the types that JSON gives them.
_FITTED = {
    "null_score_diff_threshold": (int, float),
    "score_temperature": (int, float),
    "version_2_with_negative": (bool,),
}


def saved_options(
    folder: str | Path, kind: type[Settings], *, calibrated: bool = True
) -> dict[str, Json]:
    """What a run's folder says of its options; {} where there is no options.json.

    Args:
        kind: the option dataclass that they are for.
        calibrated: the threshold and the temperature are those of calibration.json, where there is
            one.

    Raises:
        InputError: a value cannot be used.
    """
    record = RunRecord.read(Path(folder))
    saved: dict[str, Json] = dict(record.options) if record else {}
    saved |= check_saved(kind, saved, Path(folder) / RECORD)
    path = Path(folder) / "calibration.json"
    if calibrated and path.exists():
        fitted, _ = read_calibration(Path(folder))
        if not fitted:
            logger.warning("%s is of another model than the one beside it; it is not used", path)
        saved |= check_saved(kind, fitted, path)
    return saved


def read_calibration(folder: Path) -> tuple[dict[str, Json], set[str]]:
    """What calibration.json says: options to use with the model, and the ids of the questions that
    they were fitted to; nothing where there is no such file, or where the folder's model is not the
    one that they were fitted to.

    Raises:
        InputError: the file is another's, or damaged.
    """
    path = folder / "calibration.json"
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
