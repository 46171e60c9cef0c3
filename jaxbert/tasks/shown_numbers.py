"""Texts with the numbers predicted of them, as a report shows them."""

from __future__ import annotations

from collections.abc import Sequence

from jaxbert.data.texts import TextExample
from jaxbert.report.records import Chart, Findings, Passage, Series, Shown
from jaxbert.tasks.shown_examples import length_range, place_of_row


def passages_of(example: TextExample) -> list[Passage]:
    """A text, or both of a pair."""
    if example.pair is None:
        return [Passage("", example.text)]
    return [Passage("first", example.text), Passage("second", example.pair)]


def numbers_shown(examples: Sequence[TextExample], predictions: Sequence[float]) -> Findings:
    """Each text with both numbers, the furthest apart first; and all of them as points."""
    pairs = [
        (float(e.label), p)
        for e, p in zip(examples, predictions, strict=True)
        if isinstance(e.label, int | float)
    ]
    shown = [_shown(e, p) for e, p in zip(examples, predictions, strict=True)]
    return Findings(shown, charts=[_scatter(pairs)] if pairs else ())


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


def _scatter(pairs: Sequence[tuple[float, float]]) -> Chart:
    gold, predicted = zip(*sorted(pairs), strict=True)
    ends = [min(gold), max(gold)]
    mean = sum(abs(a - b) for a, b in pairs) / len(pairs)
    guide = [Series("as it should be", ends, ends, look="guide")] if ends[0] < ends[1] else []
    return Chart(
        "Predicted and gold",
        "gold",
        "predicted",
        [*guide, Series("predicted", gold, predicted, look="points")],
        says=f"{len(pairs)} examples, on average {mean:.4g} apart",
    )
