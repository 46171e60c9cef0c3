"""Scores of entities (chunks of words) and of tags: fractions (0 to 1). seqeval finds the entities.

seqeval is imported where it is used, for it takes seconds to load.
"""

from __future__ import annotations

import functools
import operator
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Scheme = Literal["bio", "bioes", "ioe"]
Mode = Literal["default", "strict"]

_TAG = re.compile("O|[BIESLUM](-.*)?", re.DOTALL)
_LETTERS = {"bio": "OBI", "bioes": "OBIESLUM", "ioe": "OIE"}
_FAMILIES: dict[str, Scheme] = {
    "OBI": "bio",
    "OIE": "ioe",
    "OBIES": "bioes",
    "OBILU": "bioes",
    "OBMES": "bioes",
}
# How a tag of a chunk may be written that none is: B_PER, b-per, B:PER.
_LIKE_A_TAG = re.compile("[BIESLUM][^A-Za-z0-9].+", re.DOTALL | re.IGNORECASE)
# BILOU and BMES are BIOES with other letters; seqeval knows the first only when strict.
_AS_BIOES = {"L": "E", "U": "S", "M": "I"}


def find_scheme(labels: Iterable[str]) -> Scheme | None:
    """Which chunk scheme a whole set of labels is of.

    Every label must be "O", a letter and a type ("B-PER", "B-PER.NAM"), or a letter alone ("B").
    BIO (IOB1 too) has the letters B and I, and IOE2 has I and E; BIOES, BILOU and BMES count as
    BIOES.

    Returns:
        "bio", "ioe", "bioes", or None where the labels are no chunks, such as parts of speech, and
        only their accuracy makes sense.

    >>> find_scheme(["O", "B-PER.NAM", "I-PER.NAM"]), find_scheme(["B", "M", "E", "S"])
    ('bio', 'bioes')
    >>> find_scheme(["NOUN", "VERB", "O"]) is None
    True
    """
    names = set(labels)
    if not all(_TAG.fullmatch(name) for name in names):
        return None
    letters = {name[0] for name in names}
    if letters <= {"O"} or not (letters & {"O", "B"} or letters == {"I", "E"}):
        return None  # nothing but O; or such as S-1 and S-2, which no scheme is made of
    return next((scheme for family, scheme in _FAMILIES.items() if letters <= set(family)), None)


def odd_tags(tags: Iterable[str] | Mapping[str, int]) -> tuple[list[str], list[str]]:
    """The tags for which alone a set of tags is no chunk scheme, and those that would be one.

    Args:
        tags: the tag of every word, or how often each occurs.

    Returns:
        Both sorted. Both empty where the tags are a scheme, or are not like one at all; the second
        is what is like a tag where all are written otherwise (B_PER, b-per).

    >>> odd_tags(["B-PER", "I-PER", "O", "O", "0"])
    (['0'], ['B-PER', 'I-PER', 'O'])
    >>> odd_tags(["B_PER", "I_PER", "O"]), odd_tags(["NOUN", "VERB"])
    ((['B_PER', 'I_PER'], ['B-PER', 'I-PER']), ([], []))
    """
    counts = Counter(tags)
    if find_scheme(counts):
        return [], []

    def fitting(family: str) -> set[str]:
        return {tag for tag in counts if _TAG.fullmatch(tag) and tag[0] in family}

    fits = max(map(fitting, _FAMILIES), key=lambda found: sum(counts[tag] for tag in found))
    odd = counts.keys() - fits
    if find_scheme(fits) and 2 * sum(counts[tag] for tag in odd) < counts.total():
        return sorted(odd), sorted(fits)
    chunks = {tag for tag in counts if tag not in ("O", "o")}
    alike = {tag for tag in chunks if _LIKE_A_TAG.fullmatch(tag)}
    if chunks and alike == chunks and not find_scheme(fits):
        return sorted(chunks), sorted({f"{tag[0].upper()}-{tag[2:].upper()}" for tag in chunks})
    return [], []


def left_out_when_strict(references: Iterable[Sequence[str]], scheme: Scheme) -> tuple[int, int]:
    """How many of the entities that the default mode finds the strict mode does not, and of how
    many; such as those of IOB1, which begin with I-."""
    lost = count = 0
    for tags in references:
        found = entities(tags, scheme=scheme)
        strict = set(entities(tags, scheme=scheme, mode="strict")) if found else set()
        lost += len([entity for entity in found if entity not in strict])
        count += len(found)
    return lost, count


def entities(
    tags: Sequence[str], *, scheme: Scheme, mode: Mode = "default"
) -> list[tuple[str, int, int]]:
    """The entities in the tags of one sentence, in order.

    The default mode reads every sequence as conlleval does: an entity begins at B, at S, after
    O, after E, and where the type changes.  The strict mode reads IOB2, IOE2 or IOBES and
    leaves out what begins without B (or S), and in IOE2 and IOBES what ends without E (or S).

    Returns:
        (type, first word, last word) each; the type is "_" where tags have none.

    Raises:
        ValueError: a tag is not of the scheme.

    Source: ``seqeval.metrics.sequence_labeling.get_entities``; ``seqeval.scheme.Entities``.

    >>> entities(["B-PER", "I-PER", "O", "I-LOC"], scheme="bio")
    [('PER', 0, 1), ('LOC', 3, 3)]
    >>> entities(["B-PER", "I-PER", "O", "I-LOC"], scheme="bio", mode="strict")
    [('PER', 0, 1)]
    """
    from seqeval.metrics.sequence_labeling import get_entities
    from seqeval.scheme import Entities

    (sentence,) = _for_seqeval([tags], scheme)
    if mode == "default":
        found: list[tuple[str, int, int]] = get_entities(sentence)
        return found
    strict = Entities([sentence], _strict_scheme(scheme)).entities[0]
    return [(entity.tag, entity.start, entity.end - 1) for entity in strict]


def entity_scores(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    scheme: Scheme | None,
    mode: Mode = "default",
) -> dict[str, float]:
    """Accuracy of the tags, and precision, recall and F1 of the entities (see ``entities``).

    An entity is right if its type, first and last word are.  Entities of all sentences and types
    are counted together (micro average).  What would be divided by zero is 0.

    Args:
        predictions, references: the tags of each sentence.
        scheme: as ``find_scheme`` tells it; with None there is only the accuracy.

    Returns:
        precision, recall, f1 and accuracy; or accuracy.

    Raises:
        ValueError: no words, sentences of different lengths, or a tag is not of the scheme.

    Source: Tjong Kim Sang & De Meulder 2003 (CoNLL-2003), section 2.4; seqeval finds the
    entities.

    >>> entity_scores([["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "B-LOC"]], scheme="bio")
    {'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666, 'accuracy': 0.6666666666666666}
    """
    right = words = 0
    for predicted, gold in _sentences(predictions, references):
        right += sum(map(operator.eq, predicted, gold))
        words += len(gold)
    accuracy = {"accuracy": right / words}
    if scheme is None:
        return accuracy
    counts = _counts(predictions, references, scheme, mode)
    whole = _Counts(*map(sum, zip(_Counts(), *counts.values(), strict=True)))
    return {"precision": whole.precision, "recall": whole.recall, "f1": whole.f1, **accuracy}


def entity_report(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    scheme: Scheme,
    mode: Mode = "default",
) -> dict[str, dict[str, float]]:
    """The scores of each type of entity by itself, types in alphabetical order.

    Args:
        predictions, references, scheme, mode: as in ``entity_scores``.

    Returns:
        For each type that occurs: precision, recall, f1, and support, its entities in the
        references.

    Raises:
        ValueError: as in ``entity_scores``.

    >>> entity_report([["B-PER", "O"]], [["B-PER", "O"]], scheme="bio")
    {'PER': {'precision': 1.0, 'recall': 1.0, 'f1': 1.0, 'support': 1}}
    """
    counts = _counts(predictions, references, scheme, mode)
    return {
        name: {"precision": of.precision, "recall": of.recall, "f1": of.f1, "support": of.there}
        for name, of in sorted(counts.items())
    }


class _Counts(NamedTuple):
    """Entities that are right, that were predicted, and that the references have."""

    right: int = 0
    given: int = 0
    there: int = 0

    @property
    def precision(self) -> float:
        return self.right / (self.given or 1)

    @property
    def recall(self) -> float:
        return self.right / (self.there or 1)

    @property
    def f1(self) -> float:
        return 2 * self.precision * self.recall / ((self.precision + self.recall) or 1)


def _counts(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    scheme: Scheme,
    mode: Mode,
) -> dict[str, _Counts]:
    """Of each type that occurs, sentence by sentence."""
    counts: dict[str, _Counts] = {}
    for predicted, gold in _sentences(predictions, references):
        given, there = (set(entities(tags, scheme=scheme, mode=mode)) for tags in (predicted, gold))
        for entity in given | there:
            right, of_given, of_there = counts.get(entity[0], _Counts())
            said, is_there = entity in given, entity in there
            counts[entity[0]] = _Counts(
                right + (said and is_there), of_given + said, of_there + is_there
            )
    return counts


def _strict_scheme(scheme: Scheme) -> Any:
    from seqeval.scheme import IOB2, IOBES, IOE2

    return {"bio": IOB2, "bioes": IOBES, "ioe": IOE2}[scheme]


def _for_seqeval(sentences: Sequence[Sequence[str]], scheme: Scheme) -> list[list[str]]:
    """Lists of tags in seqeval's letters."""
    return [[_written(tag, scheme) for tag in tags] for tags in sentences]


@functools.lru_cache(maxsize=4096)
def _written(tag: str, scheme: Scheme) -> str:
    """A tag in seqeval's letters."""
    if not _TAG.fullmatch(tag) or tag[0] not in _LETTERS[scheme]:
        raise ValueError(f"{tag!r} is not a tag of the scheme {scheme}")
    return _AS_BIOES.get(tag[0], tag[0]) + tag[1:]


def _sentences(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """The tags of each sentence, predicted and gold.

    Raises:
        ValueError: there are no words, or not as many predictions.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    words = 0
    for row, (predicted, gold) in enumerate(zip(predictions, references, strict=True)):
        if len(predicted) != len(gold):
            raise ValueError(
                f"sentence {row} has {len(gold)} words and {len(predicted)} predictions"
            )
        words += len(gold)
        yield predicted, gold
    if not words:
        raise ValueError("there are no words to score")
