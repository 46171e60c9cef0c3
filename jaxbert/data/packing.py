"""Packing: several windows in one row, each of which sees itself alone.

R rows of T tokens with up to K windows each: R * K slots. What the encoder takes is packed, (R, T).
What losses and decoders take stays as it is without packing, a row for each slot (R * K, ...), so
that they know nothing of it. jaxbert.model.segments goes between the two on the device.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from jaxbert.data.sampling import BucketSampler, NumpyBatch

# The columns that only the encoder reads: a packed batch has no others of them.
_ENCODED = ("input_ids", "token_type_ids")


def best_fit(lengths: Sequence[int], capacity: int, most: int) -> list[list[int]]:
    """Numbers of windows, row by row, of windows that are given by length, the longest first.

    Each goes to the row with the least room in which it fits (best fit decreasing; Johnson 1974).
    For BERT: Krell et al. 2021, "Efficient sequence packing without cross-contamination".

    Args:
        lengths: descending; none is above `capacity`.
        capacity: tokens of a row.
        most: windows of a row.

    >>> best_fit([5, 4, 3, 2, 1], capacity=8, most=3)
    [[0, 2], [1, 3, 4]]
    """
    rows: list[list[int]] = []
    rooms: list[int] = []  # ascending: how much room there is in rows that are not full
    rows_with: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        place = bisect.bisect_left(rooms, length)
        if place == len(rooms):
            row, room = len(rows), capacity
            rows.append([])
        else:
            room = rooms[place]
            row = rows_with[room].pop()
            if not rows_with[room]:
                del rooms[place], rows_with[room]
        rows[row].append(number)
        room -= length
        if room and len(rows[row]) < most:
            if room not in rows_with:
                bisect.insort(rooms, room)
            rows_with.setdefault(room, []).append(row)
    return rows


def most_windows(lengths: np.ndarray, capacity: int) -> int:
    """K at most: rows of very short windows would make all others' slots many, mostly empty."""
    return math.ceil(2 * capacity / float(lengths.mean()))


def row_length(lengths: np.ndarray, buckets: Sequence[int], width: int) -> int:
    """The T with which an encoder has the least to compute: longer rows have less padding, and more
    attention between windows that do not see each other.

    Args:
        lengths: (M,) tokens of each window, of which there is at least one.
        buckets: ascending lengths to choose from; where all are too short, the longest window's is.
        width: D of the encoder; a token costs a layer of BERT's shape 24 D^2 operations, and 4 T D
            of attention.
    """
    descending = np.sort(lengths)[::-1].tolist()
    fitting = [n for n in buckets if n >= descending[0]] or descending[:1]
    best, least = fitting[0], math.inf
    for length in fitting:
        if sum(descending) * (6 * width + length) >= least:
            break  # even without any padding
        rows = best_fit(descending, length, most_windows(lengths, length))
        cost = len(rows) * length * (6 * width + length)
        if cost < least:
            best, least = length, cost
    return best


@dataclasses.dataclass(frozen=True, eq=False)  # by identity: `lengths` is an array
class PackedSampler:
    """The packed batches of a run, where data.sampling.BucketSampler has those that are not packed.

    How many windows of which lengths share a row is decided once, so that every epoch has the same
    number of steps (packing a shuffled buffer would change it from epoch to epoch). Which windows
    of those lengths they are, and the order of the rows, is drawn for every epoch. Each window is
    in one batch of an epoch.

    Attributes:
        lengths: (M,) tokens of each window.
        windows: that a batch is to have on average, over all devices and accumulated micro-batches,
            as nearly as whole rows allow; never fewer rows than `multiple`.
        seed: of the draws.
        capacity: T, the tokens of a row; no window is longer.
        multiple: the rows of a batch are a multiple of this.
        given: R, where it has been decided before.
    """

    lengths: np.ndarray
    windows: int
    seed: int
    capacity: int
    multiple: int = 1
    given: int | None = None

    @functools.cached_property
    def _template(self) -> np.ndarray:
        """(rows, K) int64: in each row, windows by their rank in length, -1 where there is none."""
        descending = np.sort(self.lengths)[::-1].tolist()
        rows = best_fit(descending, self.capacity, most_windows(self.lengths, self.capacity))
        template = np.full((len(rows), max(map(len, rows))), -1)
        for number, row in enumerate(rows):
            template[number, : len(row)] = row
        return template

    @property
    def rows(self) -> int:
        """R: rows of a batch."""
        if self.given is not None:
            return self.given
        wanted = self.windows * len(self._template) / len(self.lengths)
        return max(1, round(wanted / self.multiple)) * self.multiple

    @property
    def size(self) -> int:
        """R * K: slots of a batch."""
        return self.rows * int(self._template.shape[1])

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths that rows are padded to: one."""
        return (self.capacity,)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return -(-len(self._template) // self.rows)

    def padding(self) -> float:
        """Of all tokens of an epoch, the part that is padding."""
        return 1 - int(self.lengths.sum()) / (self.steps_per_epoch * self.rows * self.capacity)

    def batch(self, step: int) -> tuple[np.ndarray, int]:
        """The windows of a step by slot, (R * K,) int64, -1 in empty slots, and T."""
        epoch, number = divmod(step, self.steps_per_epoch)
        part = _packed_epoch(self, epoch)[number * self.rows : (number + 1) * self.rows]
        slots = np.full((self.rows, part.shape[1]), -1)
        slots[: len(part)] = part
        return slots.reshape(-1), self.capacity

    def finish(self, batch: NumpyBatch) -> NumpyBatch:
        """The batch packed."""
        return pack_batch(batch, self.rows)


Sampler = BucketSampler | PackedSampler


@functools.lru_cache(maxsize=2)
def _packed_epoch(order: PackedSampler, epoch: int) -> np.ndarray:
    rng = np.random.default_rng([order.seed, epoch])
    template = order._template
    shuffled = rng.permutation(len(order.lengths))
    by_rank = shuffled[np.argsort(-order.lengths[shuffled], kind="stable")]
    slots = np.where(template >= 0, by_rank[template], -1)
    return slots[rng.permutation(len(slots))]


def pack_batch(batch: NumpyBatch, rows: int) -> NumpyBatch:
    """Move the windows of R * K slots into R rows.

    Args:
        batch: of make_batch and, for masked language modelling, mask_batch, (R * K, T): K slots of
            a row, and of the next. Their tokens fit into a row together.
        rows: R.

    Returns:
        input_ids, token_type_ids, position_ids, segment_ids (R, T) int32: positions begin with 0 in
        each window; a window has the segment of its slot, 1 to K, and padding has 0. segment_starts
        (R * K,) int32: where in its row each window begins. For masked language modelling,
        masked_positions and labels (R, P + K), and weight (R,), are those of rows. All else stays.
    """
    mask = batch["attention_mask"] != 0
    slots, length = mask.shape
    row = np.arange(slots) // (slots // rows)
    counts = mask.sum(1).reshape(rows, -1)
    starts = (np.cumsum(counts, 1) - counts).reshape(-1)
    slot, position = np.nonzero(mask)
    target = (row[slot], starts[slot] + position)

    def packed(values: np.ndarray) -> np.ndarray:
        column = np.zeros((rows, length), np.int32)
        column[target] = values
        return column

    found = {name: column for name, column in batch.items() if name not in _ENCODED}
    found |= {name: packed(batch[name][mask]) for name in _ENCODED}
    found["position_ids"] = packed(position)
    found["segment_ids"] = packed(slot % (slots // rows) + 1)
    # Behind a full row an empty slot would begin outside of it, and read NaN there.
    found["segment_starts"] = np.minimum(starts, length - 1).astype(np.int32)
    if "masked_positions" in batch:
        slot, place = np.nonzero(batch["labels"] >= 0)
        of_row = np.bincount(row[slot], minlength=rows)
        within = np.arange(len(slot)) - np.repeat(np.cumsum(of_row) - of_row, of_row)
        # Each window has at most one masked token more than its part of a whole row's.
        width = batch["labels"].shape[1] + slots // rows
        positions, labels = np.zeros((rows, width), np.int32), np.full((rows, width), -100)
        positions[row[slot], within] = starts[slot] + batch["masked_positions"][slot, place]
        labels[row[slot], within] = batch["labels"][slot, place]
        found["masked_positions"], found["labels"] = positions, labels.astype(np.int32)
        found["weight"] = (of_row > 0).astype(np.float32)
    return found
