"""--cache_dir: examples that are kept, so that the next start does not parse their files again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from jaxbert.data.kept_examples import KeptExamples
from jaxbert.data.record_blocks import Block, write_blocks
from jaxbert.data.rows import Data
from jaxbert.data.whole_folder import check_seals, one_at_a_time, seals_of, whole_folder
from jaxbert.errors import InputError
from jaxbert.io.bucket import Bucket, is_address
from jaxbert.io.known_files import known_digest
from jaxbert.options.source_settings import Source
from jaxbert.runs.cache_keys import facts_of
from jaxbert.tasks.task import E, P, S, Task

logger = logging.getLogger("jaxbert")

_ABOUT, _EXAMPLES = "about.json", "examples"


def kept_data(
    folder: str, task: Task[S, E, P], source: Source, read: Callable[[], Data[E]]
) -> Data[E]:
    """The data of a source's files: those kept in the folder, else what `read` gives, kept there.

    Args:
        folder: --cache_dir.

    Raises:
        InputError: the folder cannot be written, and as `read`.
    """
    try:
        key = _key_of(Path(folder).expanduser(), task, source)
    except OSError:
        return read()  # which says what is wrong with the file
    place = Path(folder).expanduser() / f"{task.name}-data-{key}"
    if (found := _found(place, task, key)) is not None:
        return found
    with one_at_a_time(place):
        if (found := _found(place, task, key)) is not None:
            return found
        data = read()
        try:
            _write(data, place)
        except UnicodeEncodeError:
            return data  # a file's name is no text
        except OSError as error:
            raise InputError(
                f"--cache_dir {folder}: the examples cannot be kept there "
                f"({error.strerror or error}); give a folder with room for them, or leave it out"
            ) from None
    return _found(place, task, key) or data


def _key_of(folder: Path, task: Task[S, E, P], source: Source) -> str:
    """What the examples of files depend on, as hexadecimal digits.

    Raises:
        OSError: a file cannot be read.
    """
    contents = []
    for given in source.files or ():
        if is_address(given):
            parent, _, name = given.rstrip("/").rpartition("/")
            stat = Bucket(parent, source.flag).stat(name)
            if stat is None:
                raise FileNotFoundError(given)
            contents.append(stat.version)
        else:
            contents.append(known_digest(Path(given), folder / "files"))
    facts = {**facts_of(task), "names": list(source.files or ()), "contents": contents}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:32]


class _About(msgspec.Struct):
    """A kept Data, without its examples."""

    data: Data[None]
    count: int
    blocks: list[Block]
    seals: dict[str, tuple[int, int, str]]


def _write(data: Data[E], place: Path) -> None:
    with whole_folder(place) as partial:
        blocks = write_blocks(data.examples, partial / _EXAMPLES)
        without = Data[None](
            (), data.problems, data.classes, data.columns, data.notes, data.label_column
        )
        about = _About(without, len(data.examples), blocks, seals_of(partial))
        (partial / _ABOUT).write_bytes(msgspec.json.encode(about))


def _found(place: Path, task: Task[S, E, P], key: str) -> Data[E] | None:
    """The data that are kept in a folder; None where there is none, or it is damaged."""
    try:
        about = msgspec.json.decode((place / _ABOUT).read_bytes(), type=_About)
        check_seals(place, about.seals)
        path = place / _EXAMPLES
        examples = KeptExamples(path, about.blocks, about.count, task.example_cls, key)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        logger.warning("%s: %s; it is made again", place, error)
        shutil.rmtree(place, ignore_errors=True)
        return None
    logger.info("  examples of %s", place)
    kept = about.data
    return Data(examples, kept.problems, kept.classes, kept.columns, kept.notes, kept.label_column)
