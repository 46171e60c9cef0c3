"""Predictor: a fine-tuned model, compiled once, with what every task's predictor shares."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxbert.data.features import Features, check_ids
from jaxbert.data.sampling import bucket_lengths
from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params, make_apply
from jaxbert.model.kernels import choose_attention
from jaxbert.model.pretrained import load_pretrained
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.runs.folder import check_task, saved_options
from jaxbert.tasks.task import Task
from jaxbert.training.parallel import make_parallel
from jaxbert.training.predict import predict
from jaxbert.training.step import make_predict_step

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def listed(name: str, given: Any, single: type | UnionType) -> tuple[bool, list[Any]]:
    """Whether a single item was given, and the items.

    Args:
        name: of the argument, for the message.
        given: an item, or several, in a list or in anything else that has an order.
        single: the type of an item, or a union.

    Raises:
        InputError: it is neither.
    """
    if isinstance(given, single):
        return True, [given]
    if isinstance(given, Mapping | bytes) or not isinstance(given, Iterable):
        raise InputError(
            f"{name} is of the wrong type: {type(given).__name__}; give a text or a list of texts"
        )
    return False, list(given)


def stream(
    items: Iterator[Item], size: int, answer: Callable[[int, Sequence[Item]], Iterable[Answer]]
) -> Iterator[Answer]:
    """The answers to items of any number, which are taken `size` at a time when they are needed.

    Args:
        answer: (number of the first item, items) -> an answer for each.
    """
    first = 0
    while chunk := list(itertools.islice(items, size)):
        yield from answer(first, chunk)
        first += len(chunk)


@dataclasses.dataclass(frozen=True)
class CallSettings:
    """Keywords of a call that can also be given when the model is opened; here there are none."""


Settings = TypeVar("Settings", bound=CallSettings)


class Predictor:
    """A model with its tokenizer and the options it was trained with.

    Attributes:
        task: the record by which texts are encoded and predictions decoded.
        kind: the dataclass of the task's own options.
        settings: the dataclass of the keywords that from_pretrained takes for all later calls.
        retired: keywords of older pipelines, and what to give instead.
    """

    task: ClassVar[Task]
    kind: ClassVar[type[Any]]
    settings: ClassVar[type[CallSettings]] = CallSettings
    retired: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        cfg: BertConfig,
        params: Params,
        tokenizer: PreTrainedTokenizerFast,
        options: Any,
        *,
        dtype: str = "float32",
        batch_size: int = 32,
        settings: CallSettings | None = None,
    ) -> None:
        self._cfg, self._tokenizer, self._options = cfg, tokenizer, options
        self._settings = self.settings() if settings is None else settings
        self._batch_size = 32
        self._batch_size = self._rows(batch_size)
        self._parallel = make_parallel("jit", jax.local_devices()[:1])
        self._params = self._parallel.replicate(params)
        kernel, _ = choose_attention(
            "auto", dtype=dtype, head_size=cfg.head_size, multiple=1, packed=False, dropout=0.0
        )
        self._apply = make_apply(cfg, self.task.head, dtype=jnp.dtype(dtype), attention=kernel)
        self._compiled: dict[str, Any] = {}

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path,
        *,
        dtype: str = "float32",
        batch_size: int = 32,
        **settings: object,
    ) -> Self:
        """Open the folder of a run, or any BERT folder or Hub name with this task's head.

        Lengths and the like are those that the folder's options.json says, or the defaults.

        Args:
            dtype: of the activations, "float32" or "bfloat16".
            batch_size: rows computed at once; 32 by default.
            settings: keywords of a call, for all calls that do not give them.

        Raises:
            InputError: no such model, or it has no head for the task; or a keyword's value is
                wrong.
            TypeError: no such keyword.
        """
        known = [field.name for field in dataclasses.fields(cls.settings)]
        cls._refuse({name for name in settings if name not in known}, known)
        chosen = cls.settings(**settings)
        folder = find_model_folder(path_or_name)
        check_task(folder, cls.task.name)
        cfg, params = load_pretrained(folder, cls.task.head, draw_head=False)
        saved = saved_options(folder, cls.kind)
        names = {field.name for field in dataclasses.fields(cls.kind)} - cls.task.fresh
        options = cls.kind(**{name: saved[name] for name in names if name in saved})
        limit = cfg.max_position_embeddings
        if not saved and cls.task.name != "qa":  # another's model: no text is cut but by itself
            options = dataclasses.replace(options, max_seq_length=min(512, limit))
        if limit < options.max_seq_length:
            options = dataclasses.replace(options, max_seq_length=limit)
            if getattr(options, "doc_stride", None):
                # Half a window, the most that QuestionAnswerer takes by default.
                stride = min(options.doc_stride, limit // 2)
                options = dataclasses.replace(options, doc_stride=stride)
        tokenizer = load_tokenizer(folder, vocab_size=cfg.vocab_size)
        return cls(
            cfg, params, tokenizer, options, dtype=dtype, batch_size=batch_size, settings=chosen
        )

    @classmethod
    def _refuse(cls, unknown: Iterable[str], known: Iterable[str]) -> None:
        """Raise TypeError for keywords that there are not."""
        for name in unknown:
            advice = cls.retired.get(name, f"there are {', '.join(known) or 'none'}")
            raise TypeError(f"{cls.__name__} has no keyword {name!r}: {advice}")

    def _with(self, kind: type[Settings], given: Mapping[str, object]) -> Settings:
        """The settings of a call: those that are given and not None, else as it was opened."""
        chosen = vars(self._settings) | {k: v for k, v in given.items() if v is not None}
        return kind(**chosen)

    def _rows(self, batch_size: int | None) -> int:
        """Rows computed at once, by default as it was opened."""
        size = self._batch_size if batch_size is None else batch_size
        if not isinstance(size, int) or size < 1:
            raise InputError(f"batch_size is {size!r}: it must be at least 1")
        return size

    def _predict(
        self, examples: Sequence[Any], options: Any, batch_size: int | None = None
    ) -> list[Any]:
        """The task's predictions for examples, of which there is at least one."""
        features, arrays = self._arrays(examples, options, batch_size)
        return self.task.decode(examples, features, arrays, options, self._cfg)

    def _arrays(
        self, examples: Sequence[Any], options: Any, batch_size: int | None = None
    ) -> tuple[Features, dict[str, np.ndarray]]:
        """The examples' features, and what the task keeps of each window's outputs."""
        features = self.task.encode(examples, self._tokenizer, options, self._cfg)
        return features, self._compute(features, options, batch_size)

    def _compute(
        self, features: Features, options: Any, batch_size: int | None = None
    ) -> dict[str, np.ndarray]:
        """What the task keeps of the outputs of each window, of which there is at least one."""
        check_ids(
            features,
            vocab_size=self._cfg.vocab_size,
            positions=self._cfg.max_position_embeddings,
            types=self._cfg.type_vocab_size,
        )
        key = repr(options)  # what is computed of a prediction depends on them
        if key not in self._compiled:
            step = make_predict_step(self._apply, self.task.reduce(options))
            self._compiled[key] = self._parallel.compile_predict(step)
        longest = options.max_seq_length
        if int(features.lengths.max()) > longest:  # the caller gave a length
            longest = self._cfg.max_position_embeddings
        arrays = predict(
            self._compiled[key],
            self._params,
            features,
            self._parallel,
            size=self._rows(batch_size),
            buckets=bucket_lengths(64, longest),
        )
        assert arrays is not None  # nothing stops it
        return arrays
