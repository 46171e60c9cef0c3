"""Scores: what an evaluation says of a model, name by name, as metrics.json has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

# Numbers, and the name of the class that some of them are of.
Scores = Mapping[str, float | str]

# The mean of the task's default loss, a score that every task has.
LOSS = "eval_loss"


class Metric(NamedTuple):
    """A score that can tell which of two models is better.

    Attributes:
        name: that scores and files call it by.
        function: (predictions, examples) -> a number; None where the task computes it.
    """

    name: str
    function: Callable[..., float] | None = None
    lower_is_better: bool = False


def number_of(scores: Scores, name: str) -> float:
    """A score that is a number.

    Raises:
        ValueError: it is a name.

    >>> number_of({"f1": 0.5, "positive_label": "yes"}, "f1")
    0.5
    """
    value = scores[name]
    if isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, no number")
    return value


def shown_score(value: float | str) -> str:
    """A score as it is read: six digits, a count whole.

    >>> shown_score(81.23456789), shown_score(10570), shown_score("yes")
    ('81.2346', '10570', 'yes')
    """
    return value if isinstance(value, str) else f"{value:.6g}" if value % 1 else f"{value:.0f}"
