"""Packing: several windows in one row, none of which attends to another.

R rows of T tokens with up to K windows each: R * K slots. The encoder's inputs are packed, (R, T).
The inputs of losses and decoders are as without packing, one row per slot (R * K, ...), so they
need not know about it. jaxbert.model.segments converts between the two on the device.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from jaxbert.data.sampling import BucketSampler, NumpyBatch

# The columns that only the encoder reads; a packed batch has them only in packed form.
_ENCODER_COLUMNS = ("input_ids", "token_type_ids")


def best_fit(lengths: Sequence[int], capacity: int, most: int) -> list[list[int]]:
    """Pack windows, given their lengths with the longest first, into rows of window indices.

    Each goes to the row with the least room that it fits in (best fit decreasing; Johnson 1974).
    For BERT: Krell et al. 2021, "Efficient sequence packing without cross-contamination".

    Args:
        lengths: descending; none is above `capacity`.
        capacity: maximum tokens of a row.
        most: maximum windows of a row.

    >>> best_fit([5, 4, 3, 2, 1], capacity=8, most=3)
    [[0, 2], [1, 3, 4]]
    """
    rows: list[list[int]] = []
    rooms: list[int] = []  # ascending: the free tokens of rows that are not full
    rows_with: dict[int, list[int]] = {}
    for window, length in enumerate(lengths):
        index = bisect.bisect_left(rooms, length)
        if index == len(rooms):
            row, room = len(rows), capacity
            rows.append([])
        else:
            room = rooms[index]
            row = rows_with[room].pop()
            if not rows_with[room]:
                del rooms[index], rows_with[room]
        rows[row].append(window)
        room -= length
        if room and len(rows[row]) < most:
            if room not in rows_with:
                bisect.insort(rooms, room)
            rows_with.setdefault(room, []).append(row)
    return rows


def most_windows(lengths: np.ndarray, capacity: int) -> int:
    """The maximum of K: a row of very short windows would give all rows many empty slots."""
    return math.ceil(2 * capacity / float(lengths.mean()))


def row_length(lengths: np.ndarray, buckets: Sequence[int], width: int) -> int:
    """The T with the least computation: longer rows have less padding but compute more attention
    between windows, which is then masked.

    Args:
        lengths: (M,) tokens of each window; M is at least 1.
        buckets: ascending lengths to choose from; if all are too short, T is the longest window's.
        width: D of the encoder; in a layer of BERT's shape a token costs 24 D^2 operations, and
            4 T D for attention.
    """
    descending = np.sort(lengths)[::-1].tolist()
    candidates = [n for n in buckets if n >= descending[0]] or descending[:1]
    best, lowest_cost = candidates[0], math.inf
    for length in candidates:
        if sum(descending) * (6 * width + length) >= lowest_cost:
            break  # longer rows cost more even without padding
        rows = best_fit(descending, length, most_windows(lengths, length))
        cost = len(rows) * length * (6 * width + length)
        if cost < lowest_cost:
            best, lowest_cost = length, cost
    return best


@dataclasses.dataclass(frozen=True, eq=False)  # by identity: `lengths` is an array
class PackedSampler:
    """The packed batches of a run; data.sampling.BucketSampler makes batches without packing.

    Which lengths share a row is decided once, so every epoch has the same number of steps (with
    packing from a shuffled buffer it would vary). Which windows of those lengths they are,
    and the order of the rows, is drawn in every epoch. Each window is in one batch per epoch.

    Attributes:
        lengths: (M,) tokens of each window.
        windows: desired average per batch, over all devices and accumulated micro-batches; the rows
            are rounded, but there are at least `multiple`.
        seed: of the random draws.
        capacity: T, the tokens of a row; no window is longer.
        multiple: the rows of a batch are a multiple of this: the parts that it is divided into.
        fixed_rows: R, if it has been decided before; else None.
    """

    lengths: np.ndarray
    windows: int
    seed: int
    capacity: int
    multiple: int = 1
    fixed_rows: int | None = None

    @functools.cached_property
    def _template(self) -> np.ndarray:
        """(rows, K) int64: the windows of each row by their rank in length, -1 in empty slots."""
        descending = np.sort(self.lengths)[::-1].tolist()
        rows = best_fit(descending, self.capacity, most_windows(self.lengths, self.capacity))
        template = np.full((len(rows), max(map(len, rows))), -1)
        for index, row in enumerate(rows):
            template[index, : len(row)] = row
        return template

    @property
    def rows(self) -> int:
        """R: rows per batch."""
        if self.fixed_rows is not None:
            return self.fixed_rows
        return self.part_rows * self.multiple

    @property
    def part_rows(self) -> int:
        """Rows of each of the parts, where it is not decided how many rows there are."""
        wanted = self.windows * len(self._template) / len(self.lengths)
        return max(1, round(wanted / self.multiple))

    @property
    def size(self) -> int:
        """R * K: slots per batch."""
        return self.rows * int(self._template.shape[1])

    @property
    def buckets(self) -> tuple[int, ...]:
        """The lengths that rows are padded to; there is only one."""
        return (self.capacity,)

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return -(-len(self._template) // self.rows)

    def padding(self) -> float:
        """The fraction of an epoch's tokens that is padding."""
        return 1 - int(self.lengths.sum()) / (self.steps_per_epoch * self.rows * self.capacity)

    def batch(self, step: int) -> tuple[np.ndarray, int]:
        """The windows of a step by slot, (R * K,) int64, -1 in empty slots, and T."""
        epoch, number = divmod(step, self.steps_per_epoch)
        part = _packed_epoch(self, epoch)[number * self.rows : (number + 1) * self.rows]
        slots = np.full((self.rows, part.shape[1]), -1)
        slots[: len(part)] = part
        return slots.reshape(-1), self.capacity

    def finish(self, batch: NumpyBatch) -> NumpyBatch:
        """The batch packed; it may have more slots, of empty rows behind the last."""
        return pack_batch(batch, len(batch["row"]) // self._template.shape[1])


Sampler = BucketSampler | PackedSampler


@functools.lru_cache(maxsize=2)
def _packed_epoch(sampler: PackedSampler, epoch: int) -> np.ndarray:
    rng = np.random.default_rng([sampler.seed, epoch])
    template = sampler._template
    shuffled = rng.permutation(len(sampler.lengths))
    by_rank = shuffled[np.argsort(-sampler.lengths[shuffled], kind="stable")]
    slots = np.where(template >= 0, by_rank[template], -1)
    return slots[rng.permutation(len(slots))]


def pack_batch(batch: NumpyBatch, rows: int) -> NumpyBatch:
    """Move the windows of R * K slots into R rows.

    Args:
        batch: from make_batch and, for masked language modelling, mask_batch, (R * K, T): the K
            slots of the first row, of the next, and so on. The tokens of K slots fit in a row.
        rows: R.

    Returns:
        input_ids, token_type_ids, position_ids, segment_ids (R, T) int32: positions count from 0 in
        each window; a window's segment is that of its slot, 1 to K, and padding has 0.
        segment_starts (R * K,) int32: where each window begins in its row. For masked language
        modelling, masked_positions and labels (R, P + K), and weight (R,), are per row. All other
        arrays are unchanged.
    """
    mask = batch["attention_mask"] != 0
    slots, length = mask.shape
    row = np.arange(slots) // (slots // rows)
    counts = mask.sum(1)
    per_row = counts.reshape(rows, -1)
    starts = (np.cumsum(per_row, 1) - per_row).reshape(-1)
    # The tokens of a row's slots, one after the other, fill it from its start.
    filled = np.arange(length) < per_row.sum(1)[:, None]

    def pack(values: np.ndarray) -> np.ndarray:
        column = np.zeros((rows, length), np.int32)
        column[filled] = values
        return column

    packed_batch = {name: column for name, column in batch.items() if name not in _ENCODER_COLUMNS}
    packed_batch |= {name: pack(batch[name][mask]) for name in _ENCODER_COLUMNS}
    positions = np.arange(length, dtype=np.int32)
    packed_batch["position_ids"] = pack(np.broadcast_to(positions, mask.shape)[mask])
    segments = np.arange(slots, dtype=np.int32) % (slots // rows) + 1
    packed_batch["segment_ids"] = pack(np.repeat(segments, counts))
    # After a full row, an empty slot would begin outside the row and read NaN.
    packed_batch["segment_starts"] = np.minimum(starts, length - 1).astype(np.int32)
    if "masked_positions" in batch:
        slot, index = np.nonzero(batch["labels"] >= 0)
        masked_per_row = np.bincount(row[slot], minlength=rows)
        first_in_row = np.cumsum(masked_per_row) - masked_per_row
        index_in_row = np.arange(len(slot)) - np.repeat(first_in_row, masked_per_row)
        # Rounding gives each window at most one masked token more than its share of the row's.
        width = batch["labels"].shape[1] + slots // rows
        positions, labels = np.zeros((rows, width), np.int32), np.full((rows, width), -100)
        positions[row[slot], index_in_row] = starts[slot] + batch["masked_positions"][slot, index]
        labels[row[slot], index_in_row] = batch["labels"][slot, index]
        packed_batch["masked_positions"], packed_batch["labels"] = (
            positions,
            labels.astype(np.int32),
        )
        packed_batch["weight"] = (masked_per_row > 0).astype(np.float32)
    return packed_batch
