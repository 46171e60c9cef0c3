"""TextTask: what classification and regression share, a prediction for each text or pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np

from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.rows import Content
from jaxbert.data.rows_of_windows import rows_of_windows
from jaxbert.data.sampling import NumpyBatch
from jaxbert.data.sources import load_rows
from jaxbert.data.text_windows import encode_text_windows
from jaxbert.data.texts import TextExample, with_texts
from jaxbert.decoding.window_pooling import NOT_LEARNED, WINDOW_SCORES, pool_arrays
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.options.task_settings import LearnedTextOptions
from jaxbert.tasks.task import Label, P, RowTask

T = TypeVar("T", bound=LearnedTextOptions)


def scores_of_windows(outputs: Arrays) -> Arrays:
    """The scores of windows that say how much each counts, where the model has learned it."""
    if WINDOW_SCORES not in outputs:
        return {}
    return {WINDOW_SCORES: outputs[WINDOW_SCORES]}


class TextTask(RowTask[T, TextExample, P]):
    """A prediction for each text or pair, of one window or, with --long_texts windows, of several.

    In training each window is an example, which counts one divided by the number of its text's
    windows: so a text counts once, however long it is. An evaluation pools the outputs of a text's
    windows; its loss is the mean over windows, weighed in the same way. With --window_pooling
    attention a text's windows are one example, whose outputs are pooled in training too, and the
    loss is one of texts.

    Attributes:
        output: of the model, which is pooled.
    """

    output: ClassVar[str]

    example_cls = TextExample

    def load(self, path: str) -> Content:
        return load_rows(path, quoted_tsv=self.settings.quoted_tsv)

    def with_texts(
        self, examples: Sequence[TextExample], texts: Sequence[str]
    ) -> list[TextExample]:
        return with_texts(examples, texts)

    def label_of(self, example: TextExample) -> Label | None:
        return example.label

    @property
    def windows_in_row(self) -> int:
        return self.settings.windows_in_row

    def as_rows(self, features: Features) -> Features:
        if not self.weighs_windows:
            return features
        return rows_of_windows(features, self.settings.max_seq_length, self.windows_in_row)

    @property
    def without_teacher(self) -> str | None:
        if not self.weighs_windows:
            return None
        return "not with --window_pooling attention; a teacher reads window by window"

    def pooled(
        self, features: Features, arrays: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], NumpyBatch]:
        firsts = np.flatnonzero(np.diff(features.example, prepend=-1))
        rows = {name: column[firsts] for name, column in features.rows.items()}
        rows["weight"] = np.ones(len(firsts), np.float32)
        return {self.output: self._pooled(features, arrays)}, rows

    def _encoded(
        self,
        examples: Sequence[TextExample],
        tokenizer: PreTrainedTokenizerFast,
        cfg: BertConfig,
        targets: np.ndarray | None,
    ) -> Features:
        """The windows of texts, with their targets."""
        if self.settings.weighs_windows and not cfg.window_attention:
            raise InputError(NOT_LEARNED)
        length = self.settings.max_seq_length
        if self.settings.long_texts == "truncate":
            return encode_texts(examples, tokenizer, max_length=length, targets=targets)
        return encode_text_windows(
            examples,
            tokenizer,
            max_length=length,
            stride=self.settings.doc_stride,
            targets=targets,
        )

    def _pooled(self, features: Features, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The outputs of texts, (N, ...), of those of their windows, (M, ...)."""
        pooling = self.settings.window_pooling
        return pool_arrays(arrays, self.output, features.example, pooling)
