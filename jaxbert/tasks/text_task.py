"""TextTask: what classification and regression share, a prediction for each text or pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.rows import Content
from jaxbert.data.sources import load_rows
from jaxbert.data.text_windows import encode_text_windows
from jaxbert.data.texts import TextExample, with_texts
from jaxbert.decoding.window_pooling import pool_windows
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.options.task_settings import TextOptions
from jaxbert.tasks.task import Label, P, RowTask

T = TypeVar("T", bound=TextOptions)


class TextTask(RowTask[T, TextExample, P]):
    """A prediction for each text or pair, of one window or, with --long_texts windows, of several.

    In training each window is an example, which counts one divided by the number of its text's
    windows: so a text counts once, however long it is. An evaluation pools the outputs of a text's
    windows; its loss is the mean over windows, weighed in the same way.
    """

    example_cls = TextExample

    def load(self, path: str) -> Content:
        return load_rows(path, quoted_tsv=self.settings.quoted_tsv)

    def with_texts(
        self, examples: Sequence[TextExample], texts: Sequence[str]
    ) -> list[TextExample]:
        return with_texts(examples, texts)

    def label_of(self, example: TextExample) -> Label | None:
        return example.label

    def _encoded(
        self,
        examples: Sequence[TextExample],
        tokenizer: PreTrainedTokenizerFast,
        targets: np.ndarray | None,
    ) -> Features:
        """The windows of texts, with their targets."""
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

    def _pooled(self, features: Features, outputs: np.ndarray) -> np.ndarray:
        """The outputs of texts, (N, ...), of those of their windows, (M, ...)."""
        return pool_windows(outputs, features.example, self.settings.window_pooling)
