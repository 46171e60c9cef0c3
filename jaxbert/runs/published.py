"""Scores that others have published, to show next to ours where they are of the same thing."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A model on a data set that is known by its number of held-out examples.

    scores: metric -> lowest and highest published value, in the unit of metrics.json. source: who.
    """

    model: str
    task: str
    examples: int
    scores: dict[str, tuple[float, float]]
    source: str


# From the READMEs of the sources that are named; of several seeds their mean.
_PUBLISHED = (
    Published(
        "bert-base-uncased",
        "qa",
        10570,
        {"exact_match": (81.22, 81.34), "f1": (88.41, 88.62)},
        "SQuAD v1.1 dev, google-research/bert and transformers",
    ),
    Published(
        "bert-large-uncased",
        "qa",
        10570,
        {"exact_match": (83.96, 84.39), "f1": (90.68, 90.87)},
        "SQuAD v1.1 dev, NVIDIA (mean of ten seeds) and google-research/bert",
    ),
    Published(
        "bert-base-uncased",
        "qa",
        11873,
        {"exact_match": (73.68, 73.68), "f1": (77.88, 77.88)},
        "SQuAD v2.0 dev, deepset",
    ),
    Published(
        "bert-base-chinese",
        "qa",
        3219,
        {"exact_match": (63.5, 64.4), "f1": (83.6, 84.0)},
        "CMRC2018 dev, means of ten runs: ymcui/cmrc2018 and ymcui/Chinese-BERT-wwm",
    ),
)


def published_for(model: str, task: str, examples: int) -> Published | None:
    """What is published of a model on a data set, if anything is known here.

    >>> published_for("google-bert/bert-base-uncased", "qa", 10570).scores["f1"]
    (88.41, 88.62)
    >>> published_for("bert-base-uncased", "qa", 100) is None
    True
    """
    name = model.rstrip("/").split("/")[-1].lower()
    known = (p for p in _PUBLISHED if (p.model, p.task, p.examples) == (name, task, examples))
    return next(known, None)
