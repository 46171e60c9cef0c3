"""What the examples of several tasks share in a report: names, lengths, counts of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jaxbert.report.records import Choice, Confusion, Findings, Passage, Shown
from jaxbert.report.worst import Confidences, Worst

_LENGTHS = (25, 50, 100, 250, 500, 1000, 2500)
MOST_CHOICES = 8  # of an example, the best


def length_range(length: int) -> str:
    """In which range of lengths a text is.

    >>> length_range(25), length_range(26), length_range(9999)
    ('up to 25', '26 to 50', 'above 2500')
    """
    before = 0
    for most in _LENGTHS:
        if length <= most:
            return f"{before + 1} to {most}" if before else f"up to {most}"
        before = most
    return f"above {before}"


def place_of_row(where: str) -> str:
    """Where a row is, without the folders.

    >>> place_of_row("/data/mine/dev.tsv: line 3")
    'dev.tsv: line 3'
    """
    return where.rpartition("/")[2]


def confusion_of(pairs: Mapping[tuple[str, str], int], names: Sequence[str], of: str) -> Confusion:
    """How often which class was taken for which; a class that `names` lacks is after them.

    Args:
        pairs: (gold, predicted) -> how often, in the order in which they first occur.
    """
    gold, predicted = (dict.fromkeys(pair[n] for pair in pairs) for n in (0, 1))
    order = {name: n for n, name in enumerate(dict.fromkeys((*names, *gold, *predicted)))}
    counts = [[0] * len(order) for _ in order]
    for (right, found), count in pairs.items():
        counts[order[right]][order[found]] = count
    return Confusion(list(order), counts, of)


def class_shown(
    where: str,
    passages: Sequence[Passage],
    gold: str | None,
    predicted: str,
    scores: dict[str, float],
    *,
    by_class: bool,
) -> Shown:
    """An example of which one class, or choice, is right; the surest mistakes are the worst.

    Args:
        scores: the probability of each.
        by_class: examples can be told apart by their class.
    """
    ranked = sorted(scores, key=lambda name: -scores[name])
    kept = [n for k, n in enumerate(ranked) if k < MOST_CHOICES or n in (gold, predicted)]
    confidence = scores.get(predicted)
    right = None if gold is None else gold == predicted
    length = sum(len(p.text) for p in passages)
    facets = {"predicted": predicted} if by_class else {}
    if gold is not None and by_class:
        facets = {"gold": gold, **facets}
    return Shown(
        name=place_of_row(where),
        passages=passages,
        choices=[Choice(n, scores[n], n == gold, n == predicted) for n in kept],
        gold=gold,
        predicted=predicted,
        right=right,
        badness=_badness(right, confidence, scores.get(gold) if gold is not None else None),
        confidence=confidence,
        length=length,
        facets={**facets, "characters": length_range(length)},
    )


def _badness(right: bool | None, confidence: float | None, of_gold: float | None) -> float:
    """Above 1 for mistakes, the surest most; below for what is right, the least sure most."""
    sure = 0.5 if confidence is None else confidence
    if right is None or right:
        return 1 - sure
    return 1 + sure - (of_gold or 0.0)


def judged_findings(examples: Iterable[Shown], confusion: Confusion | None = None) -> Findings:
    """With how sure the predictions were, and which were right."""
    worst, sure = Worst(), Confidences()
    for shown in examples:
        worst.add(shown)
        sure.add(shown.confidence, shown.right)
    return Findings(worst, confusion, confidences=sure)
