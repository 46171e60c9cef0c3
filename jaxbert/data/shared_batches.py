"""SharedBatches: the batches of several tasks that take turns, each marked with its task."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from jaxbert.data.batch_source import BatchSource, batches_from
from jaxbert.data.sampling import NumpyBatch
from jaxbert.data.task_shares import TaskShares

# Of the one key that tells whose a batch is: its name alone says so, when a step is compiled.
_MARK = "task "


@dataclasses.dataclass(frozen=True, eq=False)  # by identity, as the sources
class SharedBatches:
    """The batches of a run of several tasks. Any step's can be made directly.

    Attributes:
        sources: of each task.
        turns: which task a step trains, of the same names.
    """

    sources: Mapping[str, BatchSource]
    turns: TaskShares

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every task comes through all its data at least once, whole cycles."""
        return whole_cycles(
            {name: source.steps_per_epoch for name, source in self.sources.items()}, self.turns
        )

    def batch(self, step: int) -> NumpyBatch:
        """The batch of a step, counted from 0, with one key more: `task_of` reads it."""
        name, number = self.turns.draw(step)
        batch = self.sources[name].batch(number)
        return {**batch, f"{_MARK}{name}": np.zeros(batch["row"].shape, np.int8)}

    def iter_from(self, step: int) -> Iterator[NumpyBatch]:
        """The batches from this step on, without end."""
        return batches_from(step, self.batch, [of.features for of in self.sources.values()])

    def example_ids(self, step: int) -> list[str]:
        """The examples in a step's batch, behind the name of their task."""
        name, number = self.turns.draw(step)
        return [f"{name} {given}" for given in self.sources[name].example_ids(number)]


def whole_cycles(steps_per_epoch: Mapping[str, int], turns: TaskShares) -> int:
    """Steps, in whole cycles, in which every task has at least as many as an epoch of its own.

    >>> whole_cycles({"a": 10, "b": 3}, TaskShares({"a": 2, "b": 1}, seed=0))
    15
    """
    cycles = max(-(-steps // turns.shares[name]) for name, steps in steps_per_epoch.items())
    return cycles * sum(turns.shares.values())


def task_of(keys: Iterable[str]) -> str:
    """Whose a batch is, by its keys."""
    return next(key.removeprefix(_MARK) for key in keys if key.startswith(_MARK))
