"""The batches and the optimizer's settings of both sides; imports numpy only, for any process."""

from __future__ import annotations

import numpy as np

from jaxbert.data.sampling import NumpyBatch

LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 1e-5, 0.01, 1.0


def full_batch(vocab_size: int, size: int, length: int, seed: int = 0) -> NumpyBatch:
    """Windows without padding, of random tokens from the second half of the vocabulary."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, length // 2, size)
    batch = {
        "input_ids": rng.integers(vocab_size // 2, vocab_size, (size, length)),
        "token_type_ids": np.zeros((size, length)),
        "attention_mask": np.ones((size, length)),
        "start_positions": start,
        "end_positions": start + 3,
        "row": np.arange(size),
    }
    whole = {name: np.asarray(x, np.int32) for name, x in batch.items()}
    return whole | {"weight": np.ones(size, np.float32)}
