"""Outputs of windows as those of texts, beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax

from jaxbert.decoding.window_pooling import Pooling, pool_windows
from jaxbert.errors import InputError

COUNTS = st.lists(st.integers(1, 5), min_size=1, max_size=8)
NUMBERS = st.floats(-1e4, 1e4, width=32)


@pytest.mark.parametrize("pooling", ["mean", "max"])
@given(counts=COUNTS, classes=st.none() | st.integers(1, 4), data=st.data())
def test_it_is_numpys_mean_or_max_of_each_texts_windows(
    pooling: Pooling, counts: list[int], classes: int | None, data: st.DataObject
) -> None:
    shape = (sum(counts), *([] if classes is None else [classes]))
    outputs = data.draw(hnp.arrays(np.float32, shape, elements=NUMBERS))
    example = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    found = pool_windows(outputs, example, pooling)
    assert found.dtype == np.float32
    for n, row in enumerate(found):
        mine = outputs[example == n]
        wanted = mine.max(0) if pooling == "max" else mine.mean(0, dtype=np.float64)
        np.testing.assert_allclose(row, wanted, rtol=1e-6, atol=1e-9)
    single = np.arange(len(outputs), dtype=np.int32)
    assert pool_windows(outputs, single, pooling).tobytes() == outputs.tobytes()


@given(counts=COUNTS, data=st.data())
def test_attention_is_a_softmax_over_each_texts_windows(
    counts: list[int], data: st.DataObject
) -> None:
    outputs = data.draw(hnp.arrays(np.float32, (sum(counts), 2), elements=NUMBERS))
    scores = data.draw(hnp.arrays(np.float32, sum(counts), elements=NUMBERS))
    example = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    found = pool_windows(outputs, example, "attention", scores)
    for n, row in enumerate(found):
        weights = softmax(scores[example == n].astype(np.float64))
        wanted = weights @ outputs[example == n].astype(np.float64)
        np.testing.assert_allclose(row, wanted, rtol=1e-5, atol=1e-5)
    equal = pool_windows(outputs, example, "attention", np.zeros_like(scores))
    np.testing.assert_allclose(equal, pool_windows(outputs, example, "mean"), rtol=1e-6, atol=1e-3)
    single = np.arange(len(outputs), dtype=np.int32)
    assert pool_windows(outputs, single, "attention", scores).tobytes() == outputs.tobytes()


def test_attention_without_scores_is_refused() -> None:
    with pytest.raises(InputError, match="the model has not learned how much each window counts"):
        pool_windows(np.zeros(2, np.float32), np.arange(2, dtype=np.int32), "attention")


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_window_that_is_no_number_is_not_hidden(pooling: Pooling) -> None:
    outputs = np.array([1, np.nan, 2], np.float32)
    found = pool_windows(outputs, np.array([0, 0, 1], np.int32), pooling)
    assert np.isnan(found).tolist() == [True, False]
