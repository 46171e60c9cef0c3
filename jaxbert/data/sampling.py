"""Which windows are in which batch, as a pure function of (seed, step), and a batch's arrays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from jaxbert.data.features import PADDING, Features, ranges

NumpyBatch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)  # by identity: `lengths` is an array
class BucketSampler:
    """The batches of a run; any step's can be computed directly, so resuming skips no batches.

    Each window is in one batch per epoch. Windows are shuffled, then assigned to buckets by length.
    Windows that do not fill a batch of their bucket move to the next longer bucket, so an epoch has
    ceil(M / size) batches, and all but one are full.

    Attributes:
        lengths: (M,) tokens of each window.
        size: windows per batch, over all devices and accumulated micro-batches.
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
        """Rows per batch: one for each window."""
        return self.size

    @property
    def steps_per_epoch(self) -> int:
        """ceil(M / size)."""
        return -(-len(self.lengths) // self.size)

    def padding(self) -> float:
        """The fraction of the first epoch's tokens that is padding."""
        padded = sum(self.size * length for _, length in _epoch(self, 0))
        return 1 - int(self.lengths.sum()) / padded

    def batch(self, step: int) -> tuple[np.ndarray, int]:
        """The windows of a step, (<= size,) int64, and the length they are padded to."""
        epoch, index = divmod(step, self.steps_per_epoch)
        return _epoch(self, epoch)[index]

    def finish(self, batch: NumpyBatch) -> NumpyBatch:
        """The batch unchanged; PackedSampler packs it here."""
        return batch


@functools.lru_cache(maxsize=2)
def _epoch(sampler: BucketSampler, epoch: int) -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng([sampler.seed, epoch])
    shuffled = rng.permutation(len(sampler.lengths))
    bucket_of = np.searchsorted(sampler.buckets, sampler.lengths[shuffled], side="left")
    batches: list[tuple[np.ndarray, int]] = []
    leftover = shuffled[:0]
    for bucket, length in enumerate(sampler.buckets):
        windows = np.concatenate([leftover, shuffled[bucket_of == bucket]])
        full = len(windows) - len(windows) % sampler.size
        batches += [(part, length) for part in windows[:full].reshape(-1, sampler.size)]
        leftover = windows[full:]
    if len(leftover):
        longest = int(sampler.lengths[leftover].max())
        batches.append((leftover, min(b for b in sampler.buckets if b >= longest)))
    return [batches[i] for i in rng.permutation(len(batches))]


def by_length(
    lengths: np.ndarray, size: int, buckets: Sequence[int], tokens: int | None = None
) -> list[tuple[np.ndarray, int]]:
    """Batches for prediction: windows sorted by length, so there is little padding.

    Args:
        size: windows per batch.
        tokens: maximum tokens per batch; the number of windows is halved until they fit.
    """
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = size
        while True:
            part = order[start : start + rows]
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
    """Make the arrays of a batch, padded to `length` tokens and to `size` rows.

    Args:
        windows: (<= size,) int64; -1 leaves a row empty.

    Returns:
        The features' token columns (size, length, ...) and row columns (size, ...);
        attention_mask (size, length) int32, the features' own or 1 at the windows' tokens; weight
        (size,) float32, 0 on padding rows and on windows from which nothing can be learned, else 1
        or the features' own; and row (size,) int32, the window's index, -1 on padding rows, which
        seeds dropout. Rows of K windows have columns of tokens and a mask (size, length / K, K).
    """
    row = np.full(size, -1, np.int32)
    row[: len(windows)] = windows
    lengths = np.where(row >= 0, features.lengths[row], 0)
    is_token = np.arange(length) < lengths[:, None]  # (size, length)
    place = np.flatnonzero(is_token)  # quicker to index by than a mask
    source = ranges(features.bounds[row], lengths)
    batch: NumpyBatch = {}
    for name, column in features.tokens.items():
        padded = np.full((size, length, *column.shape[1:]), PADDING.get(name, 0), column.dtype)
        padded.reshape(-1, *column.shape[1:])[place] = column[source]
        batch[name] = padded
    for name, column in features.rows.items():
        filled = np.zeros((size, *column.shape[1:]), column.dtype)
        filled[row >= 0] = column[row[row >= 0]]
        batch[name] = filled
    if "attention_mask" not in features.tokens:
        batch["attention_mask"] = is_token.astype(np.int32)
    if features.window is not None and length > features.window:
        for name in (*features.tokens, "attention_mask"):
            batch[name] = batch[name].reshape(size, -1, features.window).swapaxes(1, 2)
    has_weight = row >= 0
    if features.learnable is not None:
        has_weight &= features.learnable[row]
    weight = has_weight.astype(np.float32)
    batch["weight"] = weight * batch["weight"] if "weight" in features.rows else weight
    batch["row"] = row
    return batch
