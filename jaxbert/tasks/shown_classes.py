"""Texts with their class, or any number of classes, as a report shows them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from jaxbert.data.texts import TextExample
from jaxbert.report.records import Choice, Findings, Shown, Table
from jaxbert.report.worst import Confidences, Worst
from jaxbert.tasks.shown_examples import (
    class_shown,
    confusion_of,
    judged_findings,
    length_range,
    place_of_row,
)
from jaxbert.tasks.shown_numbers import passages_of

_NONE = "(none)"


def classes_shown(
    examples: Sequence[TextExample],
    gold: Sequence[str | None],
    predicted: Sequence[str],
    scores: Sequence[dict[str, float]],
    names: Sequence[str],
) -> Findings:
    """Texts of one class each, and which class was taken for which."""
    pairs: Counter[tuple[str, str]] = Counter()

    def each() -> Iterator[Shown]:
        for e, g, p, s in zip(examples, gold, predicted, scores, strict=True):
            if g is not None:
                pairs[g, p] += 1
            yield class_shown(e.where, passages_of(e), g, p, s, by_class=True)

    found = judged_findings(each())
    if not pairs:
        return found
    return dataclasses.replace(found, confusion=confusion_of(pairs, names, "texts"))


def sets_shown(
    examples: Sequence[TextExample],
    gold: Sequence[tuple[str, ...] | None],
    predicted: Sequence[tuple[str, ...]],
    scores: Sequence[dict[str, float]],
    names: Sequence[str],
) -> Findings:
    """Texts of any number of classes: the worst are those of which most classes are wrong.

    A confidence is that of a class of a text.
    """
    worst, sure = Worst(), Confidences()
    counts: Counter[tuple[str, bool, bool]] = Counter()
    for example, right, found, of in zip(examples, gold, predicted, scores, strict=True):
        worst.add(_shown(example, right, found, of))
        if right is None:
            continue
        for name, p in of.items():
            sure.add(p, name in right)
        counts.update((name, name in right, name in found) for name in names)
    return Findings(worst, tables=[_by_class(counts, names)] if counts else (), confidences=sure)


def _by_class(counts: Mapping[tuple[str, bool, bool], int], names: Sequence[str]) -> Table:
    """Of each class how often it was found, missed, and given where it is wrong.

    Args:
        counts: of a class that a text has or not, and was given or not.
    """
    kinds = ((True, True), (True, False), (False, True))
    rows = [(name, *(str(counts.get((name, *kind), 0)) for kind in kinds)) for name in names]
    return Table(("class", "found", "missed", "wrongly given"), rows, title="Classes")


def _shown(
    example: TextExample,
    gold: tuple[str, ...] | None,
    predicted: tuple[str, ...],
    scores: dict[str, float],
) -> Shown:
    wrong = set(gold or ()) ^ set(predicted) if gold is not None else set()
    ranked = sorted(scores, key=lambda name: -scores[name])
    passages = passages_of(example)
    length = sum(len(p.text) for p in passages)
    # Of a class that is wrong, how sure the model was.
    sure = sum(abs(scores[name] - (name in (gold or ()))) for name in wrong if name in scores)
    return Shown(
        name=place_of_row(example.where),
        passages=passages,
        choices=[Choice(n, scores[n], n in (gold or ()), n in predicted) for n in ranked],
        gold=None if gold is None else ", ".join(gold) or _NONE,
        predicted=", ".join(predicted) or _NONE,
        right=None if gold is None else not wrong,
        badness=sure,
        confidence=None,
        length=length,
        facets={
            **({"wrong classes": str(len(wrong))} if gold is not None else {}),
            "characters": length_range(length),
        },
    )
