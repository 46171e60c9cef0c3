"""TextClassifier and TextRegressor: a class or a number for texts and pairs of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import EllipsisType
from typing import ClassVar

import jax
import numpy as np
from scipy.special import expit, softmax

from jaxbert.data.batch import Batch
from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.features import Features
from jaxbert.data.rows import replace_surrogates
from jaxbert.data.template import template_of
from jaxbert.data.text_windows import encode_text_windows
from jaxbert.data.texts import TextExample
from jaxbert.decoding.window_pooling import pool_arrays
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.options.task_settings import ClassificationOptions, RegressionOptions, TextOptions
from jaxbert.predictors.lengths import Lengths
from jaxbert.predictors.predictor import Predictor, answer_in_chunks, as_list
from jaxbert.tasks.classification import Classification
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.text_task import scores_of_windows

Text = str | dict[str, str]
Label = dict[str, str | float]
Labels = Label | list[Label]  # the best, or several with top_k

# Convert a row's outputs (C,) to scores.
_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": expit,
    "softmax": softmax,
    "none": lambda outputs: outputs,
}


@dataclasses.dataclass(frozen=True)
class TextSettings(Lengths):
    """The keywords of a call that can be given when the model is opened; see the call."""

    top_k: int | EllipsisType | None = ...
    function_to_apply: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k not in (None, ...) and (not isinstance(self.top_k, int) or self.top_k < 1):
            raise InputError(
                f"top_k is {self.top_k!r}: it must be at least 1, or None for all classes"
            )
        name = self.function_to_apply
        if name is not None and str(name).lower() not in _FUNCTIONS:
            raise InputError(f"function_to_apply is {name!r}: give {', '.join(_FUNCTIONS)}")


def _example(number: int, item: Text) -> TextExample:
    """A text, or a pair given as a dict or, as in older pipelines, as [[text, pair]]."""
    match item:
        case str():
            text, pair = item, None
        case [[text, pair]]:
            pass
        case {"text": text} if item.keys() <= {"text", "text_pair"}:
            pair = item.get("text_pair")
        case _:
            raise InputError(
                f'text {number} is not a text: give a string, or {{"text": ..., "text_pair": ...}}'
            )
    if not isinstance(text, str) or not isinstance(pair, str | None):
        raise InputError(
            f'text {number} is not a string; give two of them for {{"text": ..., "text_pair": ...}}'
        )
    # transformers' tokenizers ignore an empty text_pair.
    return TextExample(
        f"text {number}", replace_surrogates(text), replace_surrogates(pair) if pair else None
    )


class _TextPredictor(Predictor[TextOptions, TextSettings]):
    """Scores of texts and pairs, in the form of transformers' text-classification pipeline."""

    settings_cls = TextSettings
    retired: ClassVar[Mapping[str, str]] = {"return_all_scores": "give top_k=None for all classes"}

    @property
    def reads_windows(self) -> bool:
        """Whether a long text is read in windows, where no truncation and no length is given."""
        return self._options.long_texts == "windows"

    def __call__(
        self,
        inputs: Text | Sequence[Text] | Iterator[Text],
        *,
        top_k: int | EllipsisType | None = ...,
        function_to_apply: str | None = None,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        padding: bool | str | None = None,
        batch_size: int | None = None,
        **unknown: object,
    ) -> Labels | list[Labels] | Iterator[Labels]:
        """Give the labels of one text or pair, or of several.

        Args:
            inputs: a string; {"text": ..., "text_pair": ...} for a pair; a list of these; or a
                generator of these, which is read batch_size at a time.
            top_k: the number of labels for each, best first; None gives all. By default only the
                best.
            function_to_apply: "softmax" (mutually exclusive classes), "sigmoid" (independent
                classes) or "none" (the model's raw outputs). By default "none" for regression,
                "sigmoid" for a multi-label model or one with a single output, else "softmax".
            truncation: True or "longest_first" cuts to max_length, starting with the longer text of
                a pair; "only_first" or "only_second" cuts only that text; False refuses a text that
                is too long for the model. By default texts are cut to the length that the model was
                trained with; or read in windows of that length, and the outputs pooled, where it
                was trained so (--long_texts windows).
            max_length: maximum tokens, including [CLS] and [SEP]; by default the tokenizer's.
            padding: accepted as in the pipeline; it changes no answer. False by default.
            batch_size: texts computed at once; by default as given when it was opened.

        Returns:
            {"label": name, "score": float} for each text. A single string gives a list of one, a
            single pair no list. With top_k, each text has a list of such dicts. For a list the
            result is a list of these, for a generator an iterator.

        Raises:
            InputError: a text is not a string, or it is too long and must not be cut; or a
                keyword's value is wrong.
            TypeError: a keyword is unknown.
        """
        if unknown.get("return_all_scores") is False:
            del unknown["return_all_scores"]  # the default
        self._refuse_unknown(unknown, ["batch_size", *vars(self._settings)])
        keywords = {
            "function_to_apply": function_to_apply,
            "truncation": truncation,
            "max_length": max_length,
            "padding": padding,
        }
        settings = self._settings_of(keywords)
        if top_k is not ...:
            settings = dataclasses.replace(settings, top_k=top_k)
        size = self._rows(batch_size)
        apply = _FUNCTIONS[(settings.function_to_apply or self._function).lower()]

        def answer(first: int, items: Sequence[Text]) -> list[Labels]:
            outputs = self._outputs_of(first, items, settings, size)
            return [self._ranked(apply(row), settings.top_k) for row in outputs]

        if isinstance(inputs, Iterator):
            return answer_in_chunks(inputs, size, answer)
        if not isinstance(inputs, str | dict):
            return answer(0, as_list("inputs", inputs))
        results = answer(0, [inputs])
        # Like the pipeline: a string's answer is in a list, unless the call has top_k.
        return results if isinstance(inputs, str) and top_k is ... else results[0]

    def _outputs_of(
        self, first: int, items: Sequence[Text], lengths: Lengths, size: int
    ) -> Sequence[np.ndarray]:
        """The model's outputs (C,) for each text; messages number them from `first`."""
        if not items:
            return []
        features = self._encode([_example(n, item) for n, item in enumerate(items, first)], lengths)
        longest = self._options.max_seq_length
        arrays = self._compute(features, self._outputs, longest=longest, size=size)
        pooling = self._options.window_pooling
        return [*pool_arrays(arrays, "outputs", features.example, pooling)]

    def _encode(self, examples: Sequence[TextExample], lengths: Lengths) -> Features:
        positions = self.model.cfg.positions
        if self.reads_windows and lengths.as_trained:
            return encode_text_windows(
                examples,
                self.model.tokenizer,
                max_length=self._options.max_seq_length,
                stride=self._options.doc_stride,
                targets=None,
            )
        limit = lengths.limit(
            self.model.tokenizer, trained=self._options.max_seq_length, positions=positions
        )
        least = template_of(self.model.tokenizer).pair + 2
        if limit is not None and limit < least and any(e.pair is not None for e in examples):
            raise InputError(
                f"max_length {limit} leaves no room for a token of each text; give {least}"
            )
        features = encode_texts(
            examples,
            self.model.tokenizer,
            max_length=1 << 30 if limit is None else limit,
            targets=None,
            truncation=lengths.strategy,
        )
        longest = int(np.argmax(features.lengths))
        if features.lengths[longest] > positions:
            raise InputError(
                f"{examples[longest].where} has {features.lengths[longest]} tokens, but the model "
                f"reads {positions}; give truncation=True to cut it"
            )
        return features

    def _ranked(self, scores: np.ndarray, top_k: int | EllipsisType | None) -> Labels:
        """The best label of scores (C,), or the top_k best."""
        pairs = zip(self.model.cfg.id2label, scores.tolist(), strict=True)
        labels: list[Label] = [{"label": name, "score": score} for name, score in pairs]
        order = np.argsort(-scores, kind="stable")
        if top_k is ...:
            return labels[int(order[0])]
        return [labels[index] for index in order[:top_k]]

    @staticmethod
    def _outputs(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        """The model's raw outputs (B, C) for each row, and with what windows are weighed."""
        raise NotImplementedError

    @property
    def _function(self) -> str:
        """The default function_to_apply for the model."""
        cfg = self.model.cfg
        if cfg.problem_type == "regression":
            return "none"
        return "sigmoid" if cfg.multi_label or len(cfg.id2label) == 1 else "softmax"


class TextClassifier(_TextPredictor):
    """Classes of texts and pairs, with the interface of transformers' text-classification pipeline.

    >>> classify = TextClassifier.from_pretrained("runs/sst2")  # doctest: +SKIP
    >>> classify("I laughed all evening.")  # doctest: +SKIP
    [{'label': 'positive', 'score': 0.98}]
    >>> classify({"text": "It rains.", "text_pair": "It is wet."}, top_k=2)  # doctest: +SKIP
    [{'label': 'entailment', 'score': 0.9}, {'label': 'neutral', 'score': 0.08}]
    """

    task = Classification
    options_cls = ClassificationOptions

    @staticmethod
    def _outputs(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        return {**scores_of_windows(outputs), "outputs": outputs["logits"]}


class TextRegressor(_TextPredictor):
    """Numbers for texts and pairs, in the form of transformers' text-classification pipeline for
    models with one output.

    >>> similarity = TextRegressor.from_pretrained("runs/stsb")  # doctest: +SKIP
    >>> similarity({"text": "A man runs.", "text_pair": "Someone runs."})  # doctest: +SKIP
    {'label': 'score', 'score': 4.1}
    """

    task = Regression
    options_cls = RegressionOptions

    @staticmethod
    def _outputs(outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        return {**scores_of_windows(outputs), "outputs": outputs["scores"][:, None]}

    @property
    def _function(self) -> str:
        return "none"
