"""Spans of windows -> answers: texts cut from the original paragraph, n-best lists, null scores."""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxbert.data.features import Features
from jaxbert.data.questions import QAExample
from jaxbert.io.files import Json, JsonFile, JsonObject
from jaxbert.metrics.answer_scores import normalize_answers


class Candidate(NamedTuple):  # a dataclass is three times as slow to make, and there are many
    """One entry of an n-best list: context[start:end] == text; the empty answer is (0, 0).

    Attributes:
        score: start logit + end logit.
        probability: softmax over the question's n-best list, all windows together, of the scores
            divided by the temperature, the empty answer's score less the threshold. So the answer
            that is given is the most probable one, whatever the threshold.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of one question.

    Attributes:
        nbest: best first, at most n_best_size; spans of different text, once normalised as SQuAD's
            script does. With unanswerable questions allowed, the empty answer is among them, and
            there are two at least.
        null_odds: null score minus the best span's score (Devlin et al. 2019, section 4.3); above
            the threshold the answer is empty. None where no unanswerable questions are expected.
        answer: the entry that is given as the answer.
    """

    nbest: tuple[Candidate, ...]
    null_odds: float | None
    answer: Candidate


def at_threshold(prediction: Prediction, threshold: float) -> Candidate:
    """The answer at a threshold of the null odds; at infinity, what is answered if anything is."""
    if prediction.null_odds is None:
        return prediction.answer
    empty, spoken = _best_of_each(prediction.nbest)
    return empty if prediction.null_odds > threshold else spoken


def _best_of_each(nbest: Sequence[Candidate]) -> tuple[Candidate, Candidate]:
    """The empty answer, and the best that is not; the empty one twice where there is no other."""
    empty = next(c for c in nbest if not c.text)
    return empty, next((c for c in nbest if c.text), empty)


def _with_marks(text: str, end: int) -> int:
    """The end moved behind the marks (accents, vowel signs, variation selectors) of the last
    character: a tokenizer that strips accents leaves them outside of its last token's offsets.
    """
    # The first mark is U+0300; most text is asked no further.
    while end < len(text) and text[end] >= "\u0300" and unicodedata.category(text[end])[0] == "M":
        end += 1
    return end


def _different(
    context: str, scores: dict[tuple[int, int], float], most: int
) -> list[tuple[str, int, int, float]]:
    """The best spans, best first, of which no two say the same; none that shows nothing."""
    ranked = sorted((-score, span) for span, score in scores.items())
    entries: list[tuple[str, int, int, float]] = []
    said = set()
    for first in range(0, len(ranked), 2 * most):  # of many windows most are not needed
        part = ranked[first : first + 2 * most]
        texts = [context[start:end] for _, (start, end) in part]
        for text, key, (minus, span) in zip(texts, normalize_answers(texts), part, strict=True):
            if key not in said and (text[:1].isalnum() or _shows(text)):
                said.add(key)
                entries.append((text, *span, -minus))
                if len(entries) == most:
                    return entries
    return entries


def _shows(text: str) -> bool:
    """Whether something of the text is seen: not spaces and control characters alone."""
    return any(unicodedata.category(c)[0] not in "ZC" for c in text)


def merge_windows(
    example: QAExample,
    spans: Sequence[tuple[int, int, float]],
    null_score: float,
    *,
    n_best_size: int,
    version_2: bool,
    null_threshold: float = 0.0,
    temperature: float = 1.0,
) -> Prediction:
    """Rank the spans of all windows of a question.

    Args:
        spans: (first character, last character + 1, score) of every window's best spans.
        null_score: the least score of [CLS] over the windows (as google-research/bert does: one
            window that holds the answer is enough).
        null_threshold: the answer is empty when null_odds are above it.
        temperature: by which scores are divided for probabilities.
    """
    best: dict[tuple[int, int], float] = {}
    for start, end, score in spans:  # overlapping windows find the same characters
        end = _with_marks(example.context, end)
        if end > start and score > best.get((start, end), -np.inf):
            best[start, end] = score
    entries = _different(example.context, best, n_best_size)
    shift = null_threshold if version_2 else 0.0  # of the empty answer, for rank and probability
    if version_2 or not entries:
        null = null_score if np.isfinite(null_score) else 0.0
        entries = entries[: n_best_size - 1] if version_2 and n_best_size > 1 else entries
        entries.append(("", 0, 0, null))
        entries.sort(key=lambda e: -e[3] if e[0] else shift - e[3])
    scores = np.array([e[3] - (0 if e[0] else shift) for e in entries], np.float64) / temperature
    weights = np.exp(scores - scores.max())
    nbest = tuple(
        Candidate(*entry, probability=float(p))
        for entry, p in zip(entries, weights / weights.sum(), strict=True)
    )
    if not version_2:
        return Prediction(nbest, None, nbest[0])
    empty, spoken = _best_of_each(nbest)
    odds = null_score - spoken.score if spoken is not empty else float("inf")
    # JSON has no infinity; a question without any span is as sure as can be.
    odds = float(np.clip(np.nan_to_num(odds, nan=0.0), -1e6, 1e6))
    return Prediction(nbest, odds, empty if odds > null_threshold else spoken)


def decode_qa(
    examples: Sequence[QAExample],
    features: Features,
    outputs: dict[str, np.ndarray],
    *,
    n_best_size: int,
    version_2: bool,
    null_threshold: float = 0.0,
    temperature: float = 1.0,
) -> list[Prediction]:
    """Predictions of all examples, from the best spans of their windows.

    Args:
        outputs: start, end (M, k) int32 token positions or -1, score (M, k) and null_score (M,)
            float32, window by window, as `tasks.qa.BestSpans` gives them.
    """
    # Token positions of all windows to characters of their paragraphs at once.
    order = np.argsort(features.example, kind="stable")
    found = outputs["start"][order] >= 0
    base = features.bounds[order, None]
    offsets = features.host["offsets"]
    first = offsets[(base + outputs["start"][order])[found], 0]
    last = offsets[(base + outputs["end"][order])[found], 1]
    score = outputs["score"][order][found]
    null = np.full(len(examples), np.inf, np.float32)
    with np.errstate(invalid="ignore"):  # of NaN it is NaN
        np.minimum.at(null, features.example, outputs["null_score"])
    of_example = np.bincount(features.example[order], found.sum(1), len(examples))
    bounds = [0, *np.cumsum(of_example).astype(int).tolist()]
    return [
        merge_windows(
            example,
            list(zip(*(x[a:b].tolist() for x in (first, last, score)), strict=True)),
            null_score,
            n_best_size=n_best_size,
            version_2=version_2,
            null_threshold=null_threshold,
            temperature=temperature,
        )
        for example, (a, b), null_score in zip(
            examples, itertools.pairwise(bounds), null.tolist(), strict=True
        )
    ]


def prediction_files(
    examples: Sequence[QAExample], predictions: Sequence[Prediction], *, version_2: bool
) -> dict[str, JsonFile]:
    """File name -> content, in the form of Hugging Face's run_qa."""

    def of_each(value: Callable[[Prediction], Json]) -> JsonObject:
        pairs = zip(examples, predictions, strict=True)
        return JsonObject((e.id, value(p)) for e, p in pairs)

    files: dict[str, JsonFile] = {
        "predictions.json": of_each(lambda p: p.answer.text),
        "nbest_predictions.json": of_each(lambda p: [c._asdict() for c in p.nbest]),
    }
    if version_2:
        files["null_odds.json"] = of_each(lambda p: p.null_odds)
    return files
