"""BatchSource: the batches of a run, each a pure function of (seed, step)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

from jaxbert.data.features import Features
from jaxbert.data.packing import Sampler
from jaxbert.data.sampling import NumpyBatch, make_batch

# (batch, step) -> batch: random changes made on the host at every step, such as masking tokens.
Corruption = Callable[[NumpyBatch, int], NumpyBatch]
_FORGOTTEN = 512  # rows; what was read of files on a disk is then given back


@dataclasses.dataclass(frozen=True, eq=False)  # by identity: features are arrays
class BatchSource:
    """The batches of a run. Any step's can be made directly, so resuming skips no batches.

    Attributes:
        features: the windows to train on.
        sampler: decides which windows are in which batch.
        corruption: a pure function of the batch's rows and the step, or None.
        accumulation: micro-batches per step.
        id_of: the id of an example by its position in the data; None where examples have no ids.
        devices: that a micro-batch is divided among. Where the sampler's rows cannot be divided,
            empty rows, from which nothing is learned, come after them.
    """

    features: Features
    sampler: Sampler
    corruption: Corruption | None = None
    accumulation: int = 1
    id_of: Callable[[int], str] | None = None
    devices: int = 1

    @property
    def rows(self) -> int:
        """Rows of a batch, over all devices and micro-batches, the empty ones among them."""
        parts = self.accumulation * self.devices
        return -(-self.sampler.rows // parts) * parts

    @property
    def row_lengths(self) -> tuple[int, ...]:
        """The lengths that rows are padded to, ascending; packed rows have only one."""
        return self.sampler.buckets

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return self.sampler.steps_per_epoch

    def padding(self) -> float:
        """The fraction of an epoch's tokens that is padding."""
        return 1 - (1 - self.sampler.padding()) * self.sampler.rows / self.rows

    def batch(self, step: int) -> NumpyBatch:
        """The batch of a step, counted from 0.

        Returns:
            The arrays of make_batch, corrupted and packed: (A, rows / A, ...) for A micro-batches.
        """
        windows, length = self.sampler.batch(step)
        slots = self.sampler.size // self.sampler.rows
        batch = make_batch(self.features, windows, length, slots * self.rows)
        batch = self.sampler.finish(self.corruption(batch, step) if self.corruption else batch)
        shape = (self.accumulation, -1)
        return {name: x.reshape(*shape, *x.shape[1:]) for name, x in batch.items()}

    def iter_from(self, step: int) -> Iterator[NumpyBatch]:
        """The batches from this step on, without end."""
        return batches_from(step, self.batch, [self.features])

    def example_ids(self, step: int) -> list[str]:
        """The examples in a step's batch: their ids, else their positions in the data from 1."""
        windows, _ = self.sampler.batch(step)
        indices = dict.fromkeys(self.features.example[windows[windows >= 0]].tolist())
        if self.id_of is None:
            return [f"number {index + 1}" for index in indices]
        return [self.id_of(index) for index in indices]


def batches_from(
    step: int, batch: Callable[[int], NumpyBatch], features: Sequence[Features]
) -> Iterator[NumpyBatch]:
    """The batches from this step on, without end.

    Args:
        features: what they are made of; of those in files the memory is given back now and then.
    """
    read = 0
    while True:
        made = batch(step)
        read += math.prod(made["input_ids"].shape[:2])
        yield made
        step += 1
        if read >= _FORGOTTEN:
            read = 0
            for each in features:
                each.forget()
