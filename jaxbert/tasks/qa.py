"""Extractive question answering: SQuAD v1.1 and v2.0, CMRC2018."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.features import Features
from jaxbert.data.questions import EXPECTED_ANSWERS, QAExample, read_questions
from jaxbert.data.rows import Data, names_of
from jaxbert.data.sources import load_rows
from jaxbert.decoding.answers import Prediction, at_threshold, decode_qa, prediction_files
from jaxbert.decoding.spans import decode_spans
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
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
    cmrc2018_scores,
    squad_scores,
    squad_v2_scores,
)
from jaxbert.model.config import BertConfig
from jaxbert.options.settings import QAOptions
from jaxbert.tasks.task import WITH_BASE, Task


def _is_chinese(examples: Sequence[QAExample]) -> bool:
    """Whether most letters of the first paragraphs are Chinese characters."""
    text = "".join(e.context for e in examples[:50])
    letters = [c for c in text if c.isalpha()]
    return sum("\u4e00" <= c <= "\u9fff" for c in letters) > len(letters) / 2


def resolve_qa(
    options: Any, examples: Sequence[QAExample] | None, held_out: Sequence[QAExample] | None = None
) -> Any:
    """Decide the metric and the length of answers where the options leave them open.

    Raises:
        InputError: a held-out question lacks the reference answer that the metric needs.
    """
    metric = options.metric
    if metric == "auto" and options.version_2_with_negative:
        metric = "squad_v2"
    elif metric == "auto":
        metric = "cmrc2018" if _is_chinese(held_out or examples or ()) else "squad"
    bare = next((e.id for e in held_out or () if not e.answers), None)
    if bare is not None and metric != "squad_v2":
        raise InputError(
            f"question {bare} of the validation data has no reference answer, which the metric "
            f"{metric} needs; give --version_2_with_negative if some questions have none"
        )
    longest = options.max_answer_length or (50 if metric == "cmrc2018" else 30)
    return dataclasses.replace(options, metric=metric, max_answer_length=longest)


def _check(data: Data[QAExample], origin: str, training: bool) -> None:
    """Refuse questions without any answer to learn, or of which nothing says whether they have one:
    most likely the field has another name."""
    if not any(e.answers or (e.labelled and not training) for e in data.examples):
        raise InputError(
            f"{origin}: no question has answers; the fields are {names_of(data.columns)}; expected "
            f"answers: {EXPECTED_ANSWERS}"
        )


def _encode(
    examples: Sequence[QAExample], tokenizer: Any, options: QAOptions, cfg: BertConfig
) -> Features:
    features = encode_qa(
        examples,
        tokenizer,
        max_length=options.max_seq_length,
        stride=options.doc_stride,
        stride_mode=options.stride_mode,
    )
    bare = sum(e.labelled and not e.answers for e in examples)
    if options.version_2_with_negative or not bare:
        return features
    note = (
        f"{bare} of {len(examples)} questions {'has' if bare == 1 else 'have'} no answer, which is "
        "learned; only with --version_2_with_negative can a prediction be none"
    )
    return dataclasses.replace(features, notes=(*features.notes, note))


def _is_located(example: QAExample) -> bool:
    """Whether the data say what its answer is and it was found in the paragraph, or that there is
    none: else there is no place to compare with."""
    found = not example.answers or any(a.start is not None for a in example.answers)
    return example.labelled and found


@dataclasses.dataclass(frozen=True)
class BestSpans:
    """Of each window: its k best spans, start, end, score (B, k), and null_score (B,)."""

    max_answer_length: int
    k: int

    def __call__(self, outputs: Arrays, batch: Arrays) -> Arrays:
        start, end = outputs["start_logits"], outputs["end_logits"]
        best = functools.partial(decode_spans, max_answer_length=self.max_answer_length, k=self.k)
        spans = jax.vmap(best)(start, end, batch["context_mask"])
        null = jnp.asarray(start[:, 0] + end[:, 0], jnp.float32)
        return {**spans._asdict(), "null_score": null}


def reduce_qa(options: QAOptions) -> BestSpans:
    """What is kept of each window: its n_best_size best spans."""
    assert options.max_answer_length is not None  # resolve_qa decides it
    return BestSpans(options.max_answer_length, options.n_best_size)


def _decode(
    examples: Sequence[QAExample],
    features: Features,
    outputs: Any,
    options: QAOptions,
    cfg: BertConfig,
) -> list[Prediction]:
    return decode_qa(
        examples,
        features,
        outputs,
        n_best_size=options.n_best_size,
        version_2=options.version_2_with_negative,
        null_threshold=options.null_score_diff_threshold,
        temperature=options.score_temperature,
    )


def _score(
    examples: Sequence[QAExample],
    predictions: Sequence[Prediction],
    options: QAOptions,
    cfg: BertConfig,
) -> dict[str, float]:
    pairs = list(zip(examples, predictions, strict=True))
    references = references_of(examples)
    if options.metric != "squad_v2" or not options.version_2_with_negative:
        return score_qa(options.metric, {e.id: p.answer.text for e, p in pairs}, references)
    # The official script empties the answers itself, and looks for other thresholds: so it gets
    # what would be said, not what is left of it at the run's threshold.
    texts = {e.id: at_threshold(p, math.inf).text for e, p in pairs}
    odds = {e.id: p.null_odds for e, p in pairs if p.null_odds is not None}
    threshold = options.null_score_diff_threshold
    return score_qa(options.metric, texts, references, odds, threshold)


def references_of(examples: Sequence[QAExample]) -> dict[str, list[str]]:
    """Id -> texts of all reference answers, as the official scores take them."""
    return {e.id: [a.text for a in e.answers] for e in examples}


def score_qa(
    metric: str,
    predictions: dict[str, str],
    references: References,
    null_odds: dict[str, float] | None = None,
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


QA = Task(
    name="qa",
    head="qa",
    token_outputs=("start_logits", "end_logits"),
    losses={
        "cross_entropy": span_cross_entropy,
        "label_smoothing": span_label_smoothing,
        "soft_targets": span_soft_targets,
        "focal": span_focal,
        "marginal": span_marginal,
        "joint_span": joint_span,
        **WITH_BASE,
    },
    measure=span_accuracy,
    best_metrics=("f1", "exact_match"),
    fresh=frozenset({"metric"}),
    load=lambda path, options: load_rows(path),
    read=lambda tables, options: read_questions(tables, strict=options.strict),
    check=_check,
    resolve=resolve_qa,
    learnable=_is_located,
    encode=_encode,
    reduce=reduce_qa,
    decode=_decode,
    score=_score,
    files=lambda examples, predictions, options, cfg: prediction_files(
        examples, predictions, version_2=options.version_2_with_negative
    ),
)
