"""Texts with the numbers predicted of them, as a report shows them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from jaxbert.data.texts import TextExample
from jaxbert.report.records import Chart, Findings, Passage, Series, Shown
from jaxbert.report.worst import Worst
from jaxbert.tasks.shown_examples import length_range, place_of_row

_POINTS = 20_000  # that a chart shows


def passages_of(example: TextExample) -> list[Passage]:
    """A text, or both of a pair."""
    if example.pair is None:
        return [Passage("", example.text)]
    return [Passage("first", example.text), Passage("second", example.pair)]


def numbers_shown(examples: Sequence[TextExample], predictions: Sequence[float]) -> Findings:
    """Each text with both numbers, the furthest apart first; and all of them as points."""
    worst, gold, predicted = Worst(), array("d"), array("d")
    for example, number in zip(examples, predictions, strict=True):
        worst.add(_shown(example, number))
        if isinstance(example.label, int | float):
            gold.append(float(example.label))
            predicted.append(number)
    return Findings(worst, charts=[_scatter(np.array(gold), np.array(predicted))] if gold else ())


def _shown(example: TextExample, predicted: float) -> Shown:
    gold = float(example.label) if isinstance(example.label, int | float) else None
    length = len(example.text) + len(example.pair or "")
    facets = {"characters": length_range(length)}
    if gold is not None:
        facets = {"off": _side(predicted - gold), **facets}
    return Shown(
        name=place_of_row(example.where),
        passages=passages_of(example),
        choices=(),
        gold=None if gold is None else f"{gold:.4g}",
        predicted=f"{predicted:.4g}" + ("" if gold is None else f" ({predicted - gold:+.3g})"),
        right=None,
        badness=0.0 if gold is None else abs(predicted - gold),
        confidence=None,
        length=length,
        facets=facets,
    )


def _side(difference: float) -> str:
    return "too high" if difference > 0 else "too low" if difference < 0 else "equal"


def _scatter(gold: np.ndarray, predicted: np.ndarray) -> Chart:
    """The points; of many those that are spread over all, in the order of what is gold."""
    order = np.lexsort((predicted, gold))
    mean = sum(abs(a - b) for a, b in zip(gold.tolist(), predicted.tolist(), strict=True))
    ends = [float(gold[order[0]]), float(gold[order[-1]])]
    guide = [Series("as it should be", ends, ends, look="guide")] if ends[0] < ends[1] else []
    if len(order) > _POINTS:
        order = order[np.linspace(0, len(order) - 1, _POINTS).astype(int)]
    points = Series("predicted", gold[order].tolist(), predicted[order].tolist(), look="points")
    return Chart(
        "Predicted and gold",
        "gold",
        "predicted",
        [*guide, points],
        says=f"{len(gold)} examples, on average {mean / len(gold):.4g} apart",
    )
