"""Prediction: every window's own numbers, in few shapes, whatever the batches."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbert.data.features import Features
from jaxbert.training.parallel import make_parallel
from jaxbert.training.predict import cached_tokens, predict


@pytest.mark.parametrize(
    ("size", "devices", "tokens", "shapes"),
    [
        (8, 1, None, {(8, 8), (8, 16), (1, 16)}),
        (8, 1, 10**6, {(8, 8), (8, 16), (1, 16)}),
        (8, 1, 64, {(8, 8), (4, 16), (1, 16)}),  # on a CPU fewer rows where they are long
        (8, 1, 1, {(1, 8), (1, 16)}),
        (12, 1, 96, {(6, 8), (6, 16)}),  # halves of the size, not powers of two
        (8, 2, 32, {(8, 8), (4, 16), (2, 16)}),
    ],
)
def test_every_window_has_its_own_numbers_in_few_shapes(
    size: int, devices: int, tokens: int | None, shapes: set[tuple[int, int]]
) -> None:
    lengths = np.array([3, 16, 8, 1, 5, 12, 7, 2, 9, 4, 6, 13, 8, 10, 11, 3, 15])
    rng = np.random.default_rng(0)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1, 100, bounds[-1]).astype(np.int32)
    features = Features(bounds, {"input_ids": ids}, {}, np.arange(len(lengths)))
    parallel = make_parallel("jit", jax.local_devices()[:devices])
    seen = []

    def compiled(params: Any, batch: Any) -> dict[str, jax.Array]:
        seen.append(batch["input_ids"].shape)
        return {"sum": jnp.sum(batch["input_ids"] * batch["attention_mask"], axis=1) * params}

    found = predict(
        compiled, 2, features, parallel, size=size, buckets=(8, 16), device_tokens=tokens
    )
    assert found is not None
    assert found["sum"].tolist() == [2 * int(ids[a:b].sum()) for a, b in itertools.pairwise(bounds)]
    assert set(seen) == shapes


def test_rows_are_fewer_where_they_are_long_on_a_cpu_alone() -> None:
    assert (cached_tokens("cpu"), cached_tokens("gpu"), cached_tokens("tpu")) == (2048, None, None)
