"""Extractive question answering: SQuAD v1.1 and v2.0, CMRC2018."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.encode_qa import encode_qa_part, without_lone_answers
from jaxbert.data.features import Features, Line
from jaxbert.data.mapped import Mapped
from jaxbert.data.questions import EXPECTED_ANSWERS, QAExample, question_rows, read_questions
from jaxbert.data.row_columns import LocatedRow
from jaxbert.data.rows import Content, Data, names_of
from jaxbert.data.sources import load_entries
from jaxbert.decoding.answers import (
    Candidate,
    Prediction,
    at_threshold,
    decode_qa,
    prediction_files,
)
from jaxbert.decoding.spans import decode_spans
from jaxbert.errors import InputError
from jaxbert.io.files import Json, JsonFile
from jaxbert.losses.forms import Arrays, Measure
from jaxbert.losses.span_losses import (
    joint_span,
    span_accuracy,
    span_cross_entropy,
    span_focal,
    span_label_smoothing,
    span_marginal,
    span_soft_targets,
)
from jaxbert.metrics.answer_scores import (
    References,
    cmrc2018_means,
    cmrc2018_scores,
    squad_means,
    squad_scores,
    squad_v2_means,
    squad_v2_scores,
)
from jaxbert.metrics.resampled_scores import ResampledScores, resampled_means
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.options.task_settings import QAOptions
from jaxbert.report.records import Findings
from jaxbert.tasks.shown_answers import answers_shown
from jaxbert.tasks.task import WITH_BASE, Losses, Reduce, Task


def _is_chinese(examples: Sequence[QAExample]) -> bool:
    """Whether most letters of the first paragraphs are Chinese characters."""
    text = "".join(e.context for e in examples[:50])
    letters = [c for c in text if c.isalpha()]
    return sum("\u4e00" <= c <= "\u9fff" for c in letters) > len(letters) / 2


_UNANSWERED = Line(
    "{unanswerable} of {examples} questions {have} no answer, which is learned; only with "
    "--version_2_with_negative can a prediction be none",
    "unanswerable",
)


@dataclasses.dataclass(frozen=True)
class BestSpans:
    """Of each window: its k best spans, start, end, score (B, k), and null_score (B,)."""

    max_answer_length: int
    k: int

    def __call__(self, outputs: Arrays, batch: Batch[jax.Array]) -> Arrays:
        start, end = outputs["start_logits"], outputs["end_logits"]
        best = functools.partial(decode_spans, max_answer_length=self.max_answer_length, k=self.k)
        spans = jax.vmap(best)(start, end, batch["context_mask"])
        null = jnp.asarray(start[:, 0] + end[:, 0], jnp.float32)
        return {**spans._asdict(), "null_score": null}


class QA(Task[QAOptions, QAExample, Prediction]):
    """Answers that are spans of a paragraph, or none."""

    name = "qa"
    head = "qa"
    pipeline_tag = "question-answering"
    losses: ClassVar[Losses] = {
        "cross_entropy": span_cross_entropy,
        "label_smoothing": span_label_smoothing,
        "soft_targets": span_soft_targets,
        "focal": span_focal,
        "marginal": span_marginal,
        "joint_span": joint_span,
        **WITH_BASE,
    }
    metrics = (Metric("f1"), Metric("exact_match"))
    token_outputs = ("start_logits", "end_logits")
    fresh = frozenset({"metric"})
    settings_cls = QAOptions
    example_cls = QAExample

    def load(self, path: str) -> Content:
        return load_entries(path)

    def read(self, sources: Iterable[tuple[str, Content]]) -> Data[QAExample]:
        return read_questions(sources, strict=self.settings.strict)

    def rows_of(self, origin: str, content: Content) -> Iterable[LocatedRow]:
        """The questions of a content in any form; the first one of an id counts."""
        return (LocatedRow(*row) for row in question_rows(origin, content))

    def row_of(self, example: QAExample) -> str:
        return example.id

    def check(self, data: Data[QAExample], origin: str, *, training: bool) -> None:
        """Refuse questions without any answer to learn, or of which nothing says whether they have
        one: most likely the field has another name."""
        if not any(e.answers or (e.labelled and not training) for e in data.examples):
            raise InputError(
                f"{origin}: no question has answers; the fields are {names_of(data.columns)}; "
                f"expected answers: {EXPECTED_ANSWERS}"
            )

    def learnable(self, example: QAExample) -> bool:
        """Whether the data say what its answer is and it was found in the paragraph, or that there
        is none: else there is no place to compare with."""
        found = not example.answers or any(a.start is not None for a in example.answers)
        return example.labelled and found

    def fit_to(
        self, train: Sequence[QAExample] | None, held_out: Sequence[QAExample] | None
    ) -> Self:
        """Decide the metric and the length of answers where the settings leave them open.

        Raises:
            InputError: a held-out question lacks the reference answer that the metric needs.
        """
        metric = self.settings.metric
        if metric == "auto" and self.settings.version_2_with_negative:
            metric = "squad_v2"
        elif metric == "auto":
            metric = "cmrc2018" if _is_chinese(held_out or train or ()) else "squad"
        bare = next((e.id for e in held_out or () if not e.answers), None)
        if bare is not None and metric != "squad_v2":
            raise InputError(
                f"question {bare} of the validation data has no reference answer, which the metric "
                f"{metric} needs; give --version_2_with_negative if some questions have none"
            )
        longest = self.settings.max_answer_length or (50 if metric == "cmrc2018" else 30)
        return type(self)(
            dataclasses.replace(self.settings, metric=metric, max_answer_length=longest)
        )

    def encode_part(
        self, examples: Sequence[QAExample], tokenizer: PreTrainedTokenizerFast, cfg: BertConfig
    ) -> Features:
        features = encode_qa_part(
            examples,
            tokenizer,
            max_length=self.settings.max_seq_length,
            stride=self.settings.doc_stride,
            stride_mode=self.settings.stride_mode,
        )
        if self.settings.version_2_with_negative:
            return features
        return dataclasses.replace(features, lines=(*features.lines, _UNANSWERED))

    def finish(self, features: Features) -> Features:
        return without_lone_answers(features)

    def characters(self, example: QAExample) -> int:
        return len(example.question) + len(example.context)

    def measure(self) -> Measure:
        return span_accuracy

    def reduce(self) -> Reduce:
        longest = self.settings.max_answer_length
        assert longest is not None  # fit_to decides it
        return BestSpans(longest, self.settings.n_best_size)

    def decode(
        self,
        examples: Sequence[QAExample],
        features: Features,
        arrays: dict[str, np.ndarray],
        cfg: BertConfig,
    ) -> list[Prediction]:
        return decode_qa(
            examples,
            features,
            arrays,
            n_best_size=self.settings.n_best_size,
            version_2=self.settings.version_2_with_negative,
            null_threshold=self.settings.null_score_diff_threshold,
            temperature=self.settings.score_temperature,
        )

    def score(
        self, examples: Sequence[QAExample], predictions: Sequence[Prediction], cfg: BertConfig
    ) -> dict[str, float]:
        pairs = zip(examples, predictions, strict=True)
        if self.settings.metric == "squad_v2" and self.settings.version_2_with_negative:
            return scores_at(pairs, self.settings.null_score_diff_threshold, len(examples))
        answers = ((p.answer.text, [a.text for a in e.answers]) for e, p in pairs)
        return score_answers(self.settings.metric, answers, len(examples))

    def artifacts(
        self, examples: Sequence[QAExample], predictions: Sequence[Prediction], cfg: BertConfig
    ) -> dict[str, JsonFile]:
        version_2 = self.settings.version_2_with_negative
        return prediction_files(examples, predictions, version_2=version_2)

    def findings(
        self, examples: Sequence[QAExample], predictions: Sequence[Prediction], cfg: BertConfig
    ) -> Findings:
        return answers_shown(examples, predictions, self._score_one)

    def kept_predictions(
        self, content: Json, data: Data[QAExample], path: str
    ) -> Sequence[Prediction]:
        texts = content if isinstance(content, Mapping) else {}
        ids = [e.id for e in data.examples]
        for name in ids:
            if not isinstance(texts.get(name), str):
                raise InputError(f"{path}: no answer to question {name}")

        def of(name: str) -> Prediction:
            text = texts[name]
            assert isinstance(text, str)  # as all were
            return Prediction((), None, Candidate(text, 0, len(text), 0.0, 1.0))

        return Mapped(of, ids)

    def resampled(
        self, examples: Sequence[QAExample], predictions: Sequence[Prediction], cfg: BertConfig
    ) -> ResampledScores:
        pairs = zip(examples, predictions, strict=True)
        each = [self._score_one(p.answer.text, [a.text for a in e.answers]) for e, p in pairs]
        exact, f1 = ([100 * score for score in of] for of in zip(*each, strict=True))
        return resampled_means({"f1": f1, "exact_match": exact})

    def _score_one(self, answer: str, references: Sequence[str]) -> tuple[float, float]:
        """Exact match and F1 of an answer, fractions."""
        scores = score_qa(self.settings.metric, {"": answer}, {"": [*references]})
        return scores["exact_match"] / 100, scores["f1"] / 100


def scores_at(
    pairs: Iterable[tuple[QAExample, Prediction]], threshold: float, total: int
) -> dict[str, float]:
    """SQuAD 2.0's scores of `total` questions at a threshold, and of the best thresholds."""
    # The official script empties the answers itself, and looks for other thresholds: so it gets
    # what would be said, not what is left of it at the run's threshold.
    rows = (
        (at_threshold(p, math.inf).text, [a.text for a in e.answers], p.null_odds or 0.0)
        for e, p in pairs
    )
    return squad_v2_means(rows, range(total), threshold)


def score_answers(
    metric: str, answers: Iterable[tuple[str, Sequence[str]]], total: int
) -> dict[str, float]:
    """score_qa of answers with their references, which come one by one."""
    if metric == "squad_v2":
        return squad_v2_means(((*each, 0.0) for each in answers), None, math.inf)
    return (cmrc2018_means if metric == "cmrc2018" else squad_means)(answers, total)


def score_qa(
    metric: str,
    predictions: Mapping[str, str],
    references: References,
    null_odds: Mapping[str, float] | None = None,
    threshold: float = math.inf,
) -> dict[str, float]:
    """The official scores of question answering, in percent; see metrics.questions.

    Args:
        metric: squad, squad_v2 or cmrc2018.
        null_odds: for squad_v2, to find the best thresholds as well.
        threshold: of null_odds, above which an answer counts as empty; by default they stay.
    """
    if metric == "squad_v2":
        return squad_v2_scores(predictions, references, null_odds, threshold)
    if metric == "cmrc2018":
        return cmrc2018_scores(predictions, references)
    return squad_scores(predictions, references)
