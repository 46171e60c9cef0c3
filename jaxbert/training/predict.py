"""Prediction over many windows: batches by length, results back in the order of the windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.features import Features
from jaxbert.data.sampling import NumpyBatch, by_length, make_batch
from jaxbert.losses.forms import Arrays
from jaxbert.model.heads import Params
from jaxbert.runtime import processes
from jaxbert.training.parallel import Parallel, prefetch
from jaxbert.training.step import PredictStep
from jaxbert.training.window_arrays import WindowArrays

_FORGOTTEN = 2048  # windows; what was read of files on a disk is then given back


def cached_tokens(platform: str) -> int | None:
    """The most tokens of a device's batch that are predicted fast; None where there is no such.

    On a CPU, with more, what one operation leaves for the next is no longer in the caches, and
    `jaxbert benchmark --rows inference` answers fewer questions a second.
    """
    return 2048 if platform == "cpu" else None


def predict(
    compiled: PredictStep,
    params: Params,
    features: Features,
    parallel: Parallel,
    *,
    size: int,
    buckets: Sequence[int],
    device_tokens: int | None = None,
    prepare: Callable[[NumpyBatch], NumpyBatch] = lambda batch: batch,
    stopped: Callable[[], bool] = lambda: False,
) -> WindowArrays | None:
    """The prediction step's arrays for every window.

    Args:
        compiled: parallel.compile_predict of a prediction step.
        params: replicated by `parallel`.
        size: rows of a batch over all devices, a multiple of these. A smaller last batch is padded
            to a half of it, a quarter and so on, so that a single question does not cost as much as
            a full batch.
        device_tokens: the most of a device's batch, which has fewer rows where these are long.
        prepare: what a task does with a batch before it goes to the device.
        stopped: asked before each batch; when it is true, prediction ends.

    Returns:
        name -> (M, ...), row m for window m of the features; None when it was stopped.

    Raises:
        InputError: there is no room for what does not stay in memory.
    """
    tokens = device_tokens * parallel.devices if device_tokens else None
    plan = by_length(features.lengths, size, buckets, tokens)

    def put(entry: tuple[np.ndarray, int]) -> tuple[np.ndarray, Batch[jax.Array]]:
        windows, length = entry
        each = size // parallel.devices
        while each > 1 and each // 2 * parallel.devices >= len(windows):
            each //= 2
        batch = prepare(make_batch(features, windows, length, each * parallel.devices))
        return windows, parallel.shard_predict(batch)

    results = WindowArrays(len(features))
    waiting: list[tuple[np.ndarray, Arrays]] = []

    def collect(windows: np.ndarray, outputs: Arrays) -> None:
        results.put(windows, parallel.gather(outputs))

    read = 0
    for windows, batch in prefetch(plan, put):
        if stopped():
            return None
        read += len(windows)
        if read >= _FORGOTTEN:
            read = 0
            features.forget()
            results.forget()
        processes.beat()
        waiting.append((windows, compiled(params, batch)))
        if len(waiting) > 1:  # read a batch only when the next one has been started
            collect(*waiting.pop(0))
    for entry in waiting:
        collect(*entry)
    return results
