"""Texts with their class, or any number of classes, as a report shows them."""

from __future__ import annotations

from collections.abc import Sequence

from jaxbert.data.texts import TextExample
from jaxbert.report.records import Choice, Findings, Shown, Table
from jaxbert.tasks.shown_examples import (
    class_shown,
    count_pairs,
    findings_of_classes,
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
    shown = [
        class_shown(e.where, passages_of(e), g, p, s, by_class=True)
        for e, g, p, s in zip(examples, gold, predicted, scores, strict=True)
    ]
    known = [(g, p) for g, p in zip(gold, predicted, strict=True) if g is not None]
    if not known:
        return findings_of_classes(shown, None)
    right, found = zip(*known, strict=True)
    return findings_of_classes(shown, count_pairs(right, found, names, "texts"))


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
    rows = list(zip(examples, gold, predicted, scores, strict=True))
    sure = [(p, name in g) for _, g, _, of in rows if g is not None for name, p in of.items()]
    shown = [_shown(e, g, p, s) for e, g, p, s in rows]
    pairs = [(set(g), set(p)) for _, g, p, _ in rows if g is not None]
    return Findings(shown, tables=[_by_class(pairs, names)] if pairs else (), confidences=sure)


def _by_class(pairs: Sequence[tuple[set[str], set[str]]], names: Sequence[str]) -> Table:
    """Of each class how often it was found, missed, and given where it is wrong."""
    rows = []
    for name in names:
        found = [(name in gold, name in predicted) for gold, predicted in pairs]
        counts = [found.count(kind) for kind in ((True, True), (True, False), (False, True))]
        rows.append((name, *map(str, counts)))
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
