"""What is kept of windows is what came, in memory or in files, and nothing is left of the files."""

from __future__ import annotations

import errno
import os
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from jaxbert.errors import InputError
from jaxbert.io.fetched import scratch
from jaxbert.training import window_arrays
from jaxbert.training.window_arrays import WindowArrays

WINDOWS = 1000


def outputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "score": rng.normal(size=WINDOWS).astype(np.float32),
        "label": rng.integers(0, 9, (WINDOWS, 3, 2)).astype(np.int32),
        "logits": rng.normal(size=(WINDOWS, 4)).astype(ml_dtypes.bfloat16),
        "right": rng.random((WINDOWS, 1)) < 0.5,
    }


@pytest.mark.parametrize("most", [0, 5000, 1 << 24])  # bytes; of 5000 some are in files
def test_rows_in_any_order_are_where_they_belong(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_arrays, "_IN_MEMORY", most)
    wanted, arrays = outputs(), WindowArrays(WINDOWS)
    order = np.random.default_rng(1).permutation(WINDOWS)
    for start in range(0, WINDOWS, 64):
        windows = order[start : start + 64]
        padded = {n: np.concatenate([x[windows], x[:5]]) for n, x in wanted.items()}
        arrays.put(windows, padded)
        arrays.forget()
    assert arrays.keys() == wanted.keys()
    for name, x in wanted.items():
        assert arrays[name].dtype == x.dtype
        np.testing.assert_array_equal(arrays[name], x)
        np.testing.assert_array_equal(arrays.part(17, 400)[name], x[17:400])
    assert not [p for p in scratch().iterdir() if p.is_file()]


def test_rows_that_never_come_are_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_arrays, "_IN_MEMORY", 0)
    arrays = WindowArrays(3)
    arrays.put(np.array([1]), {"x": np.ones((1, 2), np.float32)})
    assert arrays["x"].tolist() == [[0, 0], [1, 1], [0, 0]]


def test_a_full_disk_is_told_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(window_arrays, "_IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    arrays = WindowArrays(1 << 20)
    with pytest.raises(InputError) as caught:
        arrays.put(np.array([1]), {"x": np.ones((1, 512), np.float32)})
    assert str(caught.value) == (
        f"{scratch()}: there is no room for 2.0 GiB of predictions (No space left on device); set "
        "TMPDIR to a folder on a larger disk"
    )
