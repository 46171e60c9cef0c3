"""Scores by counts are the scores of the examples that the counts say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.metrics.class_scores import (
    choice_scores,
    classification_scores,
    multi_label_scores,
    regression_scores,
)
from jaxbert.metrics.entities import Mode, Scheme, entity_scores
from jaxbert.metrics.resampled_scores import (
    ResampledScores,
    resampled_classes,
    resampled_entities,
    resampled_means,
    resampled_numbers,
    resampled_sets,
)
from jaxbert.metrics.scores import Scores

SEEDS = st.integers(0, 2**32 - 1)


def check(found: ResampledScores, score: Callable[[list[int]], Scores], counts: np.ndarray) -> None:
    """Compare all scores of some resamples with those of their examples, one by one."""
    values = found(counts)
    for row, count in enumerate(counts):
        chosen = np.repeat(np.arange(len(count)), count).tolist()
        expected = {n: x for n, x in score(chosen).items() if not isinstance(x, str)}
        assert {n: x[row] for n, x in values.items()} == pytest.approx(expected, abs=1e-9)


def draw(rng: np.random.Generator, examples: int) -> np.ndarray:
    return rng.multinomial(examples, np.full(examples, 1 / examples), size=4)


@given(SEEDS, st.integers(1, 12), st.sampled_from(["no yes", "a b c d"]))
@settings(max_examples=40)
def test_classes(seed: int, examples: int, names: str) -> None:
    rng = np.random.default_rng(seed)
    labels = names.split()
    predicted, gold = (rng.choice(labels[: rng.integers(1, 5)], examples).tolist() for _ in "ab")
    positive = "no" if len(labels) == 2 and seed % 2 else None

    def score(chosen: list[int]) -> Scores:
        sides = ([side[n] for n in chosen] for side in (predicted, gold))
        return classification_scores(*sides, labels, positive)

    check(resampled_classes(predicted, gold, labels, positive), score, draw(rng, examples))


@given(SEEDS, st.integers(1, 10), st.integers(1, 3), st.booleans())
@settings(max_examples=40)
def test_sets_of_classes(seed: int, examples: int, classes: int, ranked: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = list("abc"[:classes])
    # Few different probabilities, so that some are equal.
    rows = rng.integers(0, 6, (examples, classes)) / 5
    predicted = [[n for n, p in zip(labels, row, strict=True) if p > 0.5] for row in rows]
    gold = [[n for n in labels if rng.uniform() < 0.4] for _ in range(examples)]

    def score(chosen: list[int]) -> Scores:
        sides = ([side[n] for n in chosen] for side in (predicted, gold))
        return multi_label_scores(*sides, labels, rows[chosen] if ranked else None)

    found = resampled_sets(predicted, gold, labels, rows if ranked else None)
    check(found, score, draw(rng, examples))


@given(SEEDS, st.integers(1, 12), st.sampled_from([0, 3, 1000]))
@settings(max_examples=40)
def test_numbers(seed: int, examples: int, different: int) -> None:
    """With ties, and where a resample has one value alone."""
    rng = np.random.default_rng(seed)
    predicted, gold = rng.normal(3, 1, (2, examples))
    if different < 1000:
        predicted, gold = rng.integers(0, 1 + different, (2, examples)) / 3

    def score(chosen: list[int]) -> Scores:
        return regression_scores(predicted[chosen].tolist(), gold[chosen].tolist())

    found = resampled_numbers(predicted.tolist(), gold.tolist())
    check(found, score, draw(rng, examples))


@given(SEEDS, st.integers(1, 8), st.sampled_from(["bio", "bioes", None]), st.booleans())
@settings(max_examples=40)
def test_entities(seed: int, examples: int, scheme: Scheme | None, strict: bool) -> None:
    rng = np.random.default_rng(seed)
    mode: Mode = "strict" if strict else "default"
    letters = {"bio": "BI", "bioes": "BIES", None: "XY"}[scheme]
    tags = ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("PER", "LOC"))]
    sizes = rng.integers(1, 7, examples)
    predicted, gold = ([rng.choice(tags, n).tolist() for n in sizes] for _ in "ab")

    def score(chosen: list[int]) -> Scores:
        sides = ([side[n] for n in chosen] for side in (predicted, gold))
        return entity_scores(*sides, scheme=scheme, mode=mode)

    found = resampled_entities(predicted, gold, scheme=scheme, mode=mode)
    check(found, score, draw(rng, examples))


def test_means() -> None:
    rng = np.random.default_rng(0)
    predicted, gold = rng.integers(0, 3, (2, 30))

    def score(chosen: list[int]) -> Scores:
        return choice_scores(predicted[chosen].tolist(), gold[chosen].tolist())

    right = (predicted == gold).astype(float).tolist()
    check(resampled_means({"accuracy": right}), score, draw(rng, 30))
