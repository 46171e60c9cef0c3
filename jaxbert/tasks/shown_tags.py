"""Sentences with their tags, as a report shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from jaxbert.data.mapped import Mapped
from jaxbert.data.words import WordsExample
from jaxbert.metrics.entities import Mode, Scheme, entities, entity_report
from jaxbert.report.records import Findings, Mark, Passage, Shown, Table
from jaxbert.report.worst import Confidences, Worst
from jaxbert.tasks.shown_examples import confusion_of, length_range, place_of_row

By = Literal["gold", "predicted"]


def tags_shown(
    examples: Sequence[WordsExample],
    tags: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]],
    names: Sequence[str],
    scheme: Scheme | None,
    mode: Mode,
) -> Findings:
    """Each sentence with its entities, or with the tag of every word where they are no entities.

    Args:
        tags, scores: predicted, of every word.
        names: of the classes.
        scheme: of the entities, if they are any.
    """
    tables = []
    if scheme and all(e.tags is not None for e in examples):
        gold = Mapped(lambda e: e.tags or (), examples)
        tables.append(_by_type(entity_report(tags, gold, scheme=scheme, mode=mode)))
    kind = _type if scheme else str
    worst, sure = Worst(), Confidences()
    pairs: Counter[tuple[str, str]] = Counter()
    labelled = False
    for example, found, p in zip(examples, tags, scores, strict=True):
        worst.add(_shown(example, found, p, scheme, mode))
        if example.tags is None:
            continue
        labelled = True
        for right, tag, score in zip(example.tags, found, p, strict=False):
            sure.add(score, right == tag)
        pairs.update(zip(map(kind, example.tags), map(kind, found), strict=True))
    confusion = None
    if labelled:
        of = "words, by the type of their entity" if scheme else "words"
        confusion = confusion_of(pairs, list(dict.fromkeys(map(kind, names))), of)
    return Findings(worst, confusion, tables, confidences=sure)


def _by_type(report: Mapping[str, Mapping[str, float]]) -> Table:
    columns = ("precision", "recall", "f1")
    rows = [
        (kind, *(f"{of[name]:.4f}" for name in columns), f"{of['support']:g}")
        for kind, of in report.items()
    ]
    return Table(("type", *columns, "entities"), rows, title="Entities, by type")


def _type(tag: str) -> str:
    return tag[2:] or tag


def _shown(
    example: WordsExample,
    tags: Sequence[str],
    scores: Sequence[float],
    scheme: Scheme | None,
    mode: Mode,
) -> Shown:
    gold = example.tags
    wrong = sum(a != b for a, b in zip(gold, tags, strict=True)) if gold is not None else 0
    text, places = _joined(example.words)
    said = _marks(tags, places, scheme, mode, "predicted")
    passages = [Passage("predicted", text, said)]
    if gold is not None:
        passages.insert(0, Passage("gold", text, _marks(gold, places, scheme, mode, "gold")))
    if gold is not None and not wrong:
        passages = [Passage("gold and predicted", text, said)]
    sure = sum(scores) / len(scores) if scores else None
    facets = {"wrong words": "none" if not wrong else str(min(wrong, 10)) + "+" * (wrong > 9)}
    return Shown(
        name=place_of_row(example.where),
        passages=passages,
        choices=(),
        gold=None,
        predicted="",
        right=None if gold is None else not wrong,
        badness=wrong + (0.0 if sure is None else 1 - sure),
        confidence=sure,
        length=len(tags),
        facets={
            **(facets if gold is not None else {}),
            "entities": _kinds(gold if gold is not None else tags, scheme),
            "words": length_range(len(tags)),
        }
        if scheme
        else {**(facets if gold is not None else {}), "words": length_range(len(tags))},
    )


def _kinds(tags: Sequence[str], scheme: Scheme | None) -> str:
    found = sorted({_type(tag) for tag in tags if tag != "O"})
    if not found:
        return "none"
    return found[0] if len(found) == 1 else "several types"


def _joined(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The words as a text, and where each is; Chinese characters stand without spaces."""
    chinese = sum("\u4e00" <= word[:1] <= "\u9fff" for word in words) * 2 > len(words)
    places, text = [], ""
    for word in words:
        if text and not chinese:
            text += " "
        places.append((len(text), len(text) + len(word)))
        text += word
    return text, places


def _marks(
    tags: Sequence[str],
    places: Sequence[tuple[int, int]],
    scheme: Scheme | None,
    mode: Mode,
    by: By,
) -> list[Mark]:
    if scheme is None:
        return [Mark(*place, tag, by) for place, tag in zip(places, tags, strict=True)]
    found = entities(tags, scheme=scheme, mode=mode)
    return [Mark(places[first][0], places[last][1], kind, by) for kind, first, last in found]
