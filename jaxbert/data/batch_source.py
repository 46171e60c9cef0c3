"""BatchSource: the batches of a run, each a pure function of (seed, step)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from jaxbert.data.features import Features
from jaxbert.data.packing import Sampler
from jaxbert.data.sampling import NumpyBatch, make_batch

# (batch, step) -> batch: what is drawn on the host for every step, such as masked tokens.
Corruption = Callable[[NumpyBatch, int], NumpyBatch]


@dataclasses.dataclass(frozen=True, eq=False)  # by identity: features are arrays
class BatchSource:
    """The batches of a run. Any step's is made at once, so none is skipped to resume.

    Attributes:
        features: of the windows to learn from.
        sampler: which of them are in which batch.
        corruption: a pure function of the batch's rows and the step, or None.
        accumulation: micro-batches of a step; they divide the sampler's rows.
        ids: of the examples, in the order of the data; None where they have no more than numbers.
    """

    features: Features
    sampler: Sampler
    corruption: Corruption | None = None
    accumulation: int = 1
    ids: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.rows % self.accumulation:
            raise ValueError(f"{self.rows} rows do not divide into {self.accumulation} parts")

    @property
    def rows(self) -> int:
        """Rows of a batch, over all devices and micro-batches."""
        return self.sampler.rows

    @property
    def row_lengths(self) -> tuple[int, ...]:
        """The tokens that rows are padded to, ascending; packed rows have one length."""
        return self.sampler.buckets

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.sampler.steps_per_epoch

    def padding(self) -> float:
        """Of all tokens of an epoch, the part that is padding."""
        return self.sampler.padding()

    def batch(self, step: int) -> NumpyBatch:
        """The batch of a step, counted from 0.

        Returns:
            The arrays of make_batch, corrupted and packed, (A, rows / A, ...) with A micro-batches.
        """
        windows, length = self.sampler.batch(step)
        batch = make_batch(self.features, windows, length, self.sampler.size)
        batch = self.sampler.finish(self.corruption(batch, step) if self.corruption else batch)
        return {n: x.reshape(self.accumulation, -1, *x.shape[1:]) for n, x in batch.items()}

    def iter_from(self, step: int) -> Iterator[NumpyBatch]:
        """The batches of this step and of all that follow it; there is no last one."""
        while True:
            yield self.batch(step)
            step += 1

    def example_ids(self, step: int) -> list[str]:
        """The examples in the batch of a step: their ids, or their numbers in the data from 1."""
        windows, _ = self.sampler.batch(step)
        numbers = dict.fromkeys(self.features.example[windows[windows >= 0]].tolist())
        return [self.ids[n] if self.ids is not None else f"number {n + 1}" for n in numbers]
