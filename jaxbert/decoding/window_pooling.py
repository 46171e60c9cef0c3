"""What a model gives for the windows of a text as what it gives for the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from jaxbert.errors import InputError

Pooling = Literal["mean", "max", "attention"]
WINDOW_SCORES = "window_scores"  # the output of a model that has learned how much windows count
NOT_LEARNED = (
    "--window_pooling attention: the model has not learned how much each window counts; give mean "
    "or max, or train it with attention"
)


def pool_windows(
    outputs: Float[np.ndarray, "M *C"],
    example: Int[np.ndarray, " M"],
    pooling: Pooling,
    scores: Float[np.ndarray, " M"] | None = None,
) -> Float[np.ndarray, "N *C"]:
    """The mean of the outputs of each example's windows, the greatest, or a mean that weighs them.

    Sums are in float64. What an example with one window has is its window's, to the bit.

    Args:
        outputs: of the windows: logits (M, C), or scores (M,).
        example: ascending, from 0 without a gap: the example of each window.
        scores: with "attention"; the softmax of those of an example's windows is their weights.

    Returns:
        float of the dtype of `outputs`.

    Raises:
        InputError: "attention" without scores.

    >>> logits, example = np.array([[1.0, 4.0], [3.0, 0.0], [5.0, 6.0]]), np.array([0, 0, 1])
    >>> pool_windows(logits, example, "mean").tolist()
    [[2.0, 2.0], [5.0, 6.0]]
    >>> pool_windows(logits, example, "max").tolist()
    [[3.0, 4.0], [5.0, 6.0]]
    >>> pool_windows(logits, example, "attention", np.log([3.0, 1.0, 7.0])).round(6).tolist()
    [[1.5, 3.0], [5.0, 6.0]]
    """
    starts = np.flatnonzero(np.diff(example, prepend=-1))
    if pooling == "max":
        greatest: np.ndarray = np.maximum.reduceat(outputs, starts, axis=0)
        return greatest
    if pooling == "attention":
        if scores is None:
            raise InputError(NOT_LEARNED)
        scores = scores.astype(np.float64)
        weights = np.exp(scores - np.maximum.reduceat(scores, starts)[example])
        weights /= np.add.reduceat(weights, starts)[example]
        weighed = outputs * weights.reshape(-1, *[1] * (outputs.ndim - 1))
        return np.add.reduceat(weighed, starts, axis=0).astype(outputs.dtype)
    counts = np.diff(starts, append=len(example)).reshape(-1, *[1] * (outputs.ndim - 1))
    sums = np.add.reduceat(outputs.astype(np.float64), starts, axis=0)
    return (sums / counts).astype(outputs.dtype)


def pool_arrays(
    arrays: Mapping[str, np.ndarray], output: str, example: Int[np.ndarray, " M"], pooling: Pooling
) -> Float[np.ndarray, "N *C"]:
    """pool_windows of an output, by the scores (M, 1) that were kept beside it, if any were.

    Raises:
        InputError: "attention" without scores.
    """
    scores = arrays[WINDOW_SCORES][:, 0] if WINDOW_SCORES in arrays else None
    return pool_windows(arrays[output], example, pooling, scores)
