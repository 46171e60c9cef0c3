"""Which windows are in which batch: a pure function of (seed, step); and the arrays of a batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from jaxbert.data.features import PADDING, Features

NumpyBatch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)  # by identity: `lengths` is an array
class BucketSampler:
    """The batches of a run; any step's is computed at once, so no batch is skipped to resume.

    In every epoch each window is in one batch. Windows are shuffled, then dealt to buckets by
    length; what is left of a bucket when its batches are full goes to the next longer bucket, so
    an epoch has ceil(M / size) batches and only one of them is not full.

    Attributes:
        lengths: (M,) tokens of each window.
        size: windows of a batch, over all devices and accumulated micro-batches.
        seed: of the shuffle.
        buckets: ascending padded lengths; the last is at least the longest window.
    """

    lengths: np.ndarray
    size: int
    seed: int
    buckets: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.lengths.max(initial=0) > self.buckets[-1]:
            raise ValueError(f"a window is longer than the last bucket, {self.buckets[-1]}")

    @property
    def rows(self) -> int:
        """Rows of a batch: one for each window."""
        return self.size

    @property
    def steps_per_epoch(self) -> int:
        """ceil(M / size)."""
        return -(-len(self.lengths) // self.size)

    def padding(self) -> float:
        """Of all tokens of the first epoch, the part that is padding."""
        padded = sum(self.size * length for _, length in _epoch(self, 0))
        return 1 - int(self.lengths.sum()) / padded

    def batch(self, step: int) -> tuple[np.ndarray, int]:
        """The windows of a step, (<= size,) int64, and the length to pad them to."""
        epoch, number = divmod(step, self.steps_per_epoch)
        return _epoch(self, epoch)[number]

    def finish(self, batch: NumpyBatch) -> NumpyBatch:
        """The batch as it is; see data.packing.PackedSampler."""
        return batch


@functools.lru_cache(maxsize=2)
def _epoch(order: BucketSampler, epoch: int) -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng([order.seed, epoch])
    shuffled = rng.permutation(len(order.lengths))
    bucket_of = np.searchsorted(order.buckets, order.lengths[shuffled], side="left")
    batches: list[tuple[np.ndarray, int]] = []
    left = shuffled[:0]
    for number, length in enumerate(order.buckets):
        windows = np.concatenate([left, shuffled[bucket_of == number]])
        full = len(windows) - len(windows) % order.size
        batches += [(part, length) for part in windows[:full].reshape(-1, order.size)]
        left = windows[full:]
    if len(left):
        longest = int(order.lengths[left].max())
        batches.append((left, min(b for b in order.buckets if b >= longest)))
    return [batches[i] for i in rng.permutation(len(batches))]


def by_length(
    lengths: np.ndarray, size: int, buckets: Sequence[int], tokens: int | None = None
) -> list[tuple[np.ndarray, int]]:
    """Batches for prediction: windows by length, so that little is padded; every window once.

    Args:
        size: windows of a batch.
        tokens: of a batch, at most; its windows are halved in number until they are no more.
    """
    by_length = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    while start < len(by_length):
        rows = size
        while True:
            part = by_length[start : start + rows]
            length = min(b for b in buckets if b >= int(lengths[part[-1]]))
            if tokens is None or rows == 1 or rows * length <= tokens:
                break
            rows //= 2
        batches.append((part, length))
        start += rows
    return batches


def bucket_lengths(multiple: int, longest: int) -> tuple[int, ...]:
    """Padded lengths: the multiples of `multiple` below `longest`, and `longest`.

    >>> bucket_lengths(64, 200)
    (64, 128, 192, 200)
    >>> bucket_lengths(0, 200)
    (200,)
    """
    return (*range(multiple, longest, multiple), longest) if multiple else (longest,)


def make_batch(features: Features, windows: np.ndarray, length: int, size: int) -> NumpyBatch:
    """The arrays of a batch, padded to `length` tokens and to `size` rows.

    Args:
        windows: (<= size,) int64; -1 leaves a row empty.

    Returns:
        The features' token columns (size, length, ...) and row columns (size, ...), and
        attention_mask (size, length) int32, 1 at the windows' tokens, where the features have none
        of their own, weight (size,) float32, 0 on padding rows and on windows from which nothing
        can be learned, and row (size,) int32: the window's
        number, -1 on padding rows, which dropout takes as the row's name.
    """
    row = np.full(size, -1, np.int32)
    row[: len(windows)] = windows
    lengths = np.where(row >= 0, features.lengths[row], 0)
    position = np.arange(length)
    real = position < lengths[:, None]  # (size, length)
    source = (features.bounds[row][:, None] + position)[real]
    batch: NumpyBatch = {}
    for name, column in features.tokens.items():
        padded = np.full((size, length, *column.shape[1:]), PADDING.get(name, 0), column.dtype)
        padded[real] = column[source]
        batch[name] = padded
    for name, column in features.rows.items():
        filled = np.zeros((size, *column.shape[1:]), column.dtype)
        filled[row >= 0] = column[row[row >= 0]]
        batch[name] = filled
    if "attention_mask" not in features.tokens:
        batch["attention_mask"] = real.astype(np.int32)
    counts = row >= 0
    if features.learnable is not None:
        counts &= features.learnable[row]
    batch["weight"] = counts.astype(np.float32)
    batch["row"] = row
    return batch
