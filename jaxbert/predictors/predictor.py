"""Predictor: a fine-tuned model, compiled once, and what the predictors of all tasks share."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeGuard, TypeVar

import jax
import numpy as np

from jaxbert.data.features import Features, check_ids
from jaxbert.data.sampling import bucket_lengths
from jaxbert.errors import InputError
from jaxbert.loaded.model import Compute, LoadedModel, Reduce
from jaxbert.model.folders import find_model_folder
from jaxbert.options.keywords import make_settings
from jaxbert.options.task_settings import MLMOptions, QAOptions, TaggingOptions, TextOptions
from jaxbert.runs.record import check_task
from jaxbert.runs.saved import saved_options
from jaxbert.tasks.registry import AnyTask
from jaxbert.training.parallel import make_parallel

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def is_list(items: Iterable[Item] | None) -> TypeGuard[Iterable[Item]]:
    """Whether it has items, as a list does. The items of a dict or of a table are names alone, and
    those of bytes numbers."""
    if items is None or isinstance(items, Mapping | bytes | bytearray) or hasattr(items, "columns"):
        return False
    try:
        iter(items)
    except TypeError:  # also of an array without dimensions
        return False
    return True


def as_list(name: str, items: Iterable[Item] | None) -> list[Item]:
    """The items of a list or another iterable as a list.

    Args:
        name: the argument's name, for the message.

    Raises:
        InputError: it is not an iterable of items.
    """
    if not is_list(items):
        raise InputError(
            f"{name} has the wrong type: {type(items).__name__}; give a text or a list of texts"
        )
    return list(items)


def answer_in_chunks(
    items: Iterator[Item], size: int, answer: Callable[[int, Sequence[Item]], Iterable[Answer]]
) -> Iterator[Answer]:
    """Answer any number of items lazily, `size` at a time.

    Args:
        answer: (index of the first item, items) -> an answer for each.
    """
    first = 0
    while chunk := list(itertools.islice(items, size)):
        yield from answer(first, chunk)
        first += len(chunk)


@dataclasses.dataclass(frozen=True)
class CallSettings:
    """Keywords of a call that can also be given when the model is opened; by default none."""


Options = TypeVar("Options", QAOptions, TextOptions, TaggingOptions, MLMOptions)
Settings = TypeVar("Settings", bound=CallSettings)


class Predictor(Generic[Options, Settings]):
    """A model and the options it was trained with.

    Attributes:
        task: the task whose folders it opens.
        options_cls: the dataclass of the task's options.
        settings_cls: the dataclass of the keywords that from_pretrained takes for all later calls.
        untrained_length: maximum tokens of a window if jaxbert has not trained the folder; by
            default as many as BERT has positions, so texts are cut as late as possible. None uses
            the default of the options.
        retired: keywords of older pipelines, and what to give instead.
        model: the model; on several devices, batches are rounded up to a multiple of them.
    """

    task: ClassVar[type[AnyTask]]
    options_cls: type[Options]
    settings_cls: type[Settings]
    untrained_length: ClassVar[int | None] = 512
    retired: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        model: LoadedModel,
        options: Options,
        *,
        batch_size: int = 32,
        settings: Settings | None = None,
    ) -> None:
        self.model = model
        self._options: Options = options
        self._settings = self.settings_cls() if settings is None else settings
        self._batch_size = 32
        self._batch_size = self._rows(batch_size)

    @property
    def longest(self) -> int:
        """The most tokens of a row, where a call does not say otherwise."""
        return self._options.max_seq_length

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path,
        *,
        dtype: str = "float32",
        batch_size: int = 32,
        **keywords: object,
    ) -> Self:
        """Open the folder of a run, or any BERT folder or Hub name with this task's head.

        Lengths and similar options come from the folder's options.json, or are the defaults.

        Args:
            dtype: dtype of the activations, "float32", "bfloat16" or "float16".
            batch_size: rows computed at once; 32 by default.
            keywords: keywords of a call, for all calls that do not give them.

        Raises:
            InputError: the model does not exist or has no head for the task, or a keyword's value
                is wrong.
            TypeError: no such keyword.
        """
        known = [field.name for field in dataclasses.fields(cls.settings_cls)]
        cls._refuse_unknown({name for name in keywords if name not in known}, known)
        chosen = cls.settings_cls(**keywords)
        folder = find_model_folder(path_or_name)
        check_task(folder, cls.task.name)
        compute = Compute(dtype, parallel=make_parallel("jit", jax.local_devices()[:1]))
        model = LoadedModel.from_folder(folder, cls.task.head, compute)
        saved = saved_options(folder, cls.options_cls)
        names = {field.name for field in dataclasses.fields(cls.options_cls)} - cls.task.fresh
        kept = {name: value for name, value in saved.items() if name in names}
        options = make_settings(cls.options_cls, kept)
        limit = model.cfg.positions
        if not saved and cls.untrained_length:
            length = min(cls.untrained_length, limit)
            options = options.with_length(length)
        if limit < options.max_seq_length:
            options = options.with_length(limit)
        return cls(model, options, batch_size=batch_size, settings=chosen)

    @classmethod
    def _refuse_unknown(cls, unknown: Iterable[str], known: Iterable[str]) -> None:
        """Raise TypeError for unknown keywords."""
        for name in unknown:
            advice = cls.retired.get(name, f"there are {', '.join(known) or 'none'}")
            raise TypeError(f"{cls.__name__} has no keyword {name!r}: {advice}")

    def _settings_of(self, keywords: Mapping[str, object]) -> Settings:
        """The settings of a call: its keywords that are not None, else the predictor's."""
        chosen = vars(self._settings) | {k: v for k, v in keywords.items() if v is not None}
        return self.settings_cls(**chosen)

    def _rows(self, batch_size: int | None) -> int:
        """Rows computed at once; by default as given when it was opened."""
        size = self._batch_size if batch_size is None else batch_size
        if not isinstance(size, int) or size < 1:
            raise InputError(f"batch_size is {size!r}: it must be at least 1")
        return size

    def _compute(
        self, features: Features, reduce: Reduce, *, longest: int, size: int
    ) -> dict[str, np.ndarray]:
        """Compute the reduced outputs of each window; there must be at least one.

        Args:
            longest: the length that rows are padded to at most, unless a window is longer.
            size: rows computed at once.
        """
        cfg, devices = self.model.cfg, self.model.compute.parallel.devices
        check_ids(
            features,
            vocab_size=cfg.vocab_size,
            positions=cfg.positions,
            types=cfg.type_vocab_size,
        )
        if int(features.lengths.max()) > longest:  # the caller gave a greater length
            longest = cfg.positions
        arrays = self.model.predict(
            features,
            reduce,
            size=-(-size // devices) * devices,
            buckets=bucket_lengths(64, longest),
        )
        assert arrays is not None  # nothing interrupts it
        return arrays
