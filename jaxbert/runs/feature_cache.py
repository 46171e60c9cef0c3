"""--cache_dir: features that are kept, so that the next start does not tokenize again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jaxbert.data.feature_files import load_features, save_features
from jaxbert.data.features import Features
from jaxbert.data.kept_examples import KeptExamples
from jaxbert.data.shared_parts import SharedWork, encode_together, parts_of
from jaxbert.data.whole_folder import one_at_a_time
from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig, config_to_dict
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.runs.cache_keys import facts_of
from jaxbert.runtime import processes
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
    facts = {**facts_of(task), "to_learn": to_learn, "config": config_to_dict(cfg)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    if isinstance(examples, KeptExamples):
        digest.update(examples.identity.encode())
    else:
        for example in examples:
            digest.update(repr(example).encode() + b"\n")
    return digest.hexdigest()[:32]


def kept(
    folder: str,
    task: Task[S, E, P],
    examples: Sequence[E],
    tokenizer: PreTrainedTokenizerFast,
    cfg: BertConfig,
    make: Callable[[], Iterator[Features]],
    *,
    to_learn: bool,
    shared: SharedWork[E] | None = None,
) -> Features:
    """The features of examples: those of the folder, or else what `make` gives, kept there.

    Either way they are read by memory map, equal to the bit. What is damaged is made again. Of
    the processes of a host one makes them, and the others wait for it; several hosts that see the
    folder divide the work.

    Args:
        folder: --cache_dir.
        make: gives the parts of the features.
        to_learn: whether these are only the windows from which something can be learned.
        shared: what `make` does, for hosts to divide; None where each makes everything.

    Raises:
        InputError: the folder cannot be written, and as `make`.
    """
    hosts = processes.hosts()  # first, since all processes have to ask
    key = key_of(task, examples, tokenizer, cfg, to_learn=to_learn)
    place = Path(folder).expanduser() / f"{task.name}-{key}"
    if (features := _found(place)) is not None:
        return features
    try:
        if shared is not None and hosts > 1:
            return _made_together(place, task, shared)
        return _made(place, task, make)
    except InputError:  # of an example, which is a ValueError too
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--cache_dir {folder}: the features cannot be kept there ({reason}); give a "
            "folder with room for them, or leave it out"
        ) from None


def _made(place: Path, task: Task[S, E, P], make: Callable[[], Iterator[Features]]) -> Features:
    """The features, made by one process of all that see the folder."""
    with one_at_a_time(place):
        if (features := _found(place)) is None:
            save_features(make(), task.finish, place)
            features = load_features(place)
        return features


def _made_together(place: Path, task: Task[S, E, P], shared: SharedWork[E]) -> Features:
    """The features, whose parts the hosts encode that see the folder; one process joins them."""
    host = hashlib.sha256(processes.host_name().encode()).hexdigest()[:8]
    parts = place.with_name(f".{place.name}.parts")
    logger.info("  %s: made by all hosts that see it, one process of each", place)
    with one_at_a_time(place.with_name(f"{place.name}.{host}"), quiet=True):
        try:
            count = encode_together(parts, shared, place.is_dir)
            return _made(place, task, lambda: shared.joined(parts_of(parts, count)))
        except OSError:
            # Without locks another host may have joined the parts and removed them meanwhile.
            if (features := _found(place)) is None:
                raise
            return features
        finally:
            if place.is_dir():
                shutil.rmtree(parts, ignore_errors=True)


def _found(place: Path) -> Features | None:
    """The features that are kept in a folder; None where there is none, or it is damaged."""
    try:
        features = load_features(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        logger.warning("%s: %s; it is made again", place, error)
        shutil.rmtree(place, ignore_errors=True)
        return None
    logger.info("  features of %s", place)
    return features
