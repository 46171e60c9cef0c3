"""What a model gives for the windows of a text as what it gives for the text."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Pooling = Literal["mean", "max"]


def pool_windows(
    outputs: Float[np.ndarray, "M *C"], example: Int[np.ndarray, " M"], pooling: Pooling
) -> Float[np.ndarray, "N *C"]:
    """The mean, or the greatest, of the outputs of each example's windows.

    Means are summed in float64. What an example with one window has is its window's, to the bit.

    Args:
        outputs: of the windows: logits (M, C), or scores (M,).
        example: ascending, from 0 without a gap: the example of each window.

    Returns:
        float of the dtype of `outputs`.

    >>> logits, example = np.array([[1.0, 4.0], [3.0, 0.0], [5.0, 6.0]]), np.array([0, 0, 1])
    >>> pool_windows(logits, example, "mean").tolist()
    [[2.0, 2.0], [5.0, 6.0]]
    >>> pool_windows(logits, example, "max").tolist()
    [[3.0, 4.0], [5.0, 6.0]]
    """
    starts = np.flatnonzero(np.diff(example, prepend=-1))
    if pooling == "max":
        greatest: np.ndarray = np.maximum.reduceat(outputs, starts, axis=0)
        return greatest
    counts = np.diff(starts, append=len(example)).reshape(-1, *[1] * (outputs.ndim - 1))
    sums = np.add.reduceat(outputs.astype(np.float64), starts, axis=0)
    return (sums / counts).astype(outputs.dtype)
