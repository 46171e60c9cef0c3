"""What a run tells its callbacks: plain records, made in the first process alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxbert.metrics.scores import Scores


@dataclasses.dataclass(frozen=True)
class Started:
    """The first step is about to be computed.

    Attributes:
        step: steps that are done already: above 0 in a run that is resumed.
        total: steps of the whole run.
    """

    step: int
    total: int


@dataclasses.dataclass(frozen=True)
class Logged:
    """A line was written to train_log.jsonl.

    Attributes:
        step: that it is of, from 1.
        values: what the line has: loss, learning_rate, grad_norm, tokens_per_second, ...; None is
            a number that is not finite.
    """

    step: int
    values: Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """The validation data was evaluated after `step` steps; scores as in metrics.json."""

    step: int
    scores: Scores


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint was handed to the disk, or to a bucket, after `step` steps.

    Attributes:
        folder: that of all of them; in a bucket its address.
    """

    step: int
    folder: Path | str


@dataclasses.dataclass(frozen=True)
class Finished:
    """The run has ended.

    Attributes:
        step: the last one.
        scores: of the model that was saved; empty without validation data.
        done: False when a signal stopped the run, which is saved and can be resumed.
    """

    step: int
    scores: Scores
    done: bool


Event = Started | Logged | Evaluated | Saved | Finished
Notify = Callable[[Event], None]
