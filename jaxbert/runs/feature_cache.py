"""--cache_dir: features that are kept, so that the next start does not tokenize again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerFast

import jaxbert.data
import jaxbert.tasks
from jaxbert.data.feature_files import load_features, save_features
from jaxbert.data.features import Features
from jaxbert.errors import InputError
from jaxbert.io.files import digest_of
from jaxbert.model.config import BertConfig, config_to_dict
from jaxbert.options.fields import Value
from jaxbert.tasks.task import E, P, S, Task

logger = logging.getLogger("jaxbert")


def key_of(
    task: Task[S, E, P],
    examples: Sequence[E],
    tokenizer: PreTrainedTokenizerFast,
    cfg: BertConfig,
    *,
    to_learn: bool,
) -> str:
    """What all of the features depends on, as hexadecimal digits."""
    settings = dataclasses.asdict(task.settings)
    facts = {
        "task": task.name,
        "to_learn": to_learn,
        "settings": settings,
        "variant": task.variant,
        "files": [digest_of(Path(x)) for x in settings.values() if _is_file(x)],
        "config": config_to_dict(cfg),
        "code": _code(),
        "packages": [_version(name) for name in ("tokenizers", "numpy", "jieba")],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    for example in examples:
        digest.update(repr(example).encode() + b"\n")
    return digest.hexdigest()[:32]


def _is_file(value: Value) -> bool:
    """Whether a setting names a file, such as one of words."""
    try:
        return isinstance(value, str) and Path(value).expanduser().is_file()
    except OSError:  # too long for a name
        return False


@functools.cache
def _code() -> str:
    """A hash of all that turns text into arrays."""
    digest = hashlib.sha256()
    for room in (jaxbert.data, jaxbert.tasks):
        for path in sorted(Path(room.__path__[0]).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def kept(
    folder: str,
    task: Task[S, E, P],
    examples: Sequence[E],
    tokenizer: PreTrainedTokenizerFast,
    cfg: BertConfig,
    make: Callable[[], Iterator[Features]],
    *,
    to_learn: bool,
) -> Features:
    """The features of examples: those of the folder, or else what `make` gives, kept there.

    Either way they are read by memory map, equal to the bit. What is damaged is made again.

    Args:
        folder: --cache_dir.
        make: gives the parts of the features.
        to_learn: whether these are only the windows from which something can be learned.

    Raises:
        InputError: the folder cannot be written.
    """
    key = key_of(task, examples, tokenizer, cfg, to_learn=to_learn)
    place = Path(folder).expanduser() / f"{task.name}-{key}"
    try:
        features = load_features(place)
        logger.info("  features of %s", place)
        return features
    except (FileNotFoundError, NotADirectoryError):
        pass
    except ValueError as error:
        logger.warning("%s: %s; it is made again", place, error)
        shutil.rmtree(place, ignore_errors=True)
    try:
        save_features(make(), task.finish, place)
        return load_features(place)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--cache_dir {folder}: the features cannot be kept there ({reason}); give a folder "
            "with room for them, or leave it out"
        ) from None
