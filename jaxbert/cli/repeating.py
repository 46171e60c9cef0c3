"""A run again: its record, options.json, at the begin of a command line."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from jaxbert.cli.migrating import record_of
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import read_object, shown
from jaxbert.options.user_function import PREFIX

logger = logging.getLogger("jaxbert")


def words_to_repeat(task: str, words: Sequence[str]) -> list[str]:
    """A command line to train by; where it begins with the record of a run, checked.

    The record has no output_dir here (see words_of_file): without one in the command line it is
    that very run that is meant, so the record's own folder is given.

    Args:
        task: the name of the task to be trained.

    Raises:
        InputError: the record is of another task, or cannot be read.
    """
    if not words or not words[0].endswith(".json"):
        return list(words)
    record = record_of(words[0])
    if record is None:
        return list(words)
    folder = Path(words[0]).expanduser().parent
    if record[0] != task:
        other = shown(record[0])
        raise InputError(
            f"{words[0]} is the record of a run of {other}, not of {task}; give it to the command "
            "of that task"
        )
    given = [word.split("=")[0].replace("-", "_") for word in words[1:]]
    if "__output_dir" in given:
        loss = None if "__loss" in given else record[1].get("loss")
        _check_functions(words[0], loss)
        logger.info("%s: its options again, in another folder", words[0])
        return list(words)
    if not (folder / "checkpoints").is_dir():
        raise InputError(
            f"{words[0]}: give --output_dir, the folder for this run: beside the record there is "
            "no run to resume"
        )
    logger.info("%s: that run is resumed; with --output_dir it is repeated", words[0])
    return [words[0], "--output_dir", str(folder), *words[1:]]


def _check_functions(path: str, loss: Json) -> None:
    """Refuse to repeat a run whose functions are not in a file: a record has only their text.

    Args:
        path: of the record.
        loss: its name there; None where the command line has another.

    Raises:
        InputError: the run used functions of a Python program.
    """
    names = []
    if isinstance(loss, str) and loss.startswith(PREFIX):
        names.append(f"loss {loss.removeprefix(PREFIX)}")
    record = read_object(Path(path).expanduser())
    parts = record.get("parts")
    for raw in (record, *(parts.values() if isinstance(parts, dict) else ())):
        functions = raw.get("functions") if isinstance(raw, dict) else None
        names += functions if isinstance(functions, dict) else []
    if names:
        raise InputError(
            f"{path}: the run used functions of a Python program ({shown(', '.join(names))}); "
            "repeat it from Python, by the same call of jaxbert.train with another output_dir"
        )
