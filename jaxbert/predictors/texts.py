"""TextClassifier and TextRegressor: a class or a number for texts and pairs of texts."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any

from jaxbert.data.rows import whole_text
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.options import ClassificationOptions, RegressionOptions
from jaxbert.predictors.predictor import Predictor, listed
from jaxbert.tasks.classification import CLASSIFICATION
from jaxbert.tasks.regression import REGRESSION

Text = str | dict[str, str]


def _examples(inputs: Text | Sequence[Text]) -> tuple[bool, list[TextExample]]:
    """Whether a single text was given, and the texts as examples."""
    single, items = listed("inputs", inputs, str | dict)
    examples = []
    for number, item in enumerate(items):
        parts = {"text": item} if isinstance(item, str) else item
        if not isinstance(parts, dict) or not {"text"} <= parts.keys() <= {"text", "text_pair"}:
            raise InputError(
                f'text {number} is not a text: give a string, or {{"text": ..., "text_pair": ...}}'
            )
        for part in parts.values():
            if not isinstance(part, str) or not part.strip():
                raise InputError(f"text {number} is empty or not a string")
        whole = {name: whole_text(part) for name, part in parts.items()}
        examples.append(TextExample(f"text {number}", whole["text"], whole.get("text_pair")))
    return single, examples


class TextClassifier(Predictor):
    """The classes of texts and pairs, called and answering as transformers' text-classification
    pipeline.

    >>> classify = TextClassifier.from_pretrained("runs/sst2")  # doctest: +SKIP
    >>> classify("I laughed all evening.")  # doctest: +SKIP
    [{'label': 'positive', 'score': 0.98}]
    """

    task = CLASSIFICATION
    kind = ClassificationOptions

    def __call__(
        self, inputs: Text | Sequence[Text], *, top_k: int | EllipsisType | None = ...
    ) -> list[Any]:
        """Classify one text or pair, or a list of them.

        Args:
            inputs: a string, {"text": ..., "text_pair": ...} for a pair, or a list of these.
            top_k: so many classes for each, best first; None gives all.

        Returns:
            Without top_k a list with {label, score} for each text, also for a single one. With
            top_k a list of such lists; the list alone for a single text.

        Raises:
            InputError: a text is empty or not a string, top_k is below 1, or the model is a
                regressor.
        """
        if len(self._cfg.id2label) < 2 and not self._cfg.multi_label:
            raise InputError("the model has one output and so no classes; give it to TextRegressor")
        if top_k is not None and top_k is not ... and top_k < 1:
            raise InputError(f"top_k is {top_k}: it must be at least 1, or None for all classes")
        single, examples = _examples(inputs)
        if not examples:
            return []
        results = []
        for prediction in self._predict(examples, self._options):
            ranked = sorted(prediction.scores.items(), key=lambda item: -item[1])
            results.append([{"label": name, "score": score} for name, score in ranked])
        if top_k is ...:
            return [ranked[0] for ranked in results]
        results = [ranked[:top_k] for ranked in results]
        return results[0] if single else results


class TextRegressor(Predictor):
    """A number for texts and pairs, in the form in which transformers' text-classification
    pipeline gives the output of a model with one.

    >>> similarity = TextRegressor.from_pretrained("runs/stsb")  # doctest: +SKIP
    >>> similarity({"text": "A man runs.", "text_pair": "Someone runs."})  # doctest: +SKIP
    [{'label': 'score', 'score': 4.1}]
    """

    task = REGRESSION
    kind = RegressionOptions

    def __call__(self, inputs: Text | Sequence[Text]) -> list[dict[str, Any]]:
        """The score of one text or pair, or of each of a list.

        Args:
            inputs: a string, {"text": ..., "text_pair": ...} for a pair, or a list of these.

        Returns:
            A list with {label, score} for each text; label is the output's name in the model.

        Raises:
            InputError: a text is empty or not a string.
        """
        _, examples = _examples(inputs)
        if not examples:
            return []
        scores = self._predict(examples, self._options)
        return [{"label": self._cfg.id2label[0], "score": score} for score in scores]
