"""Rows of several windows: every window is in one row, a text counts once, a batch has axis K."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.features import Features
from jaxbert.data.rows_of_windows import row_lengths, rows_of_windows, window_lengths
from jaxbert.data.sampling import BucketSampler, make_batch

WINDOW = 6
COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=7)


def windows_of(counts: list[int], last: int) -> Features:
    """Texts of that many windows, the last of each with `last` tokens; tokens count from 1."""
    lengths = [n for count in counts for n in [WINDOW] * (count - 1) + [last]]
    example = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    total = sum(lengths)
    return Features(
        bounds=np.concatenate([[0], np.cumsum(lengths)]),
        tokens={
            "input_ids": np.arange(1, total + 1, dtype=np.int32),
            "token_type_ids": np.arange(total, dtype=np.int32) % 2,
        },
        rows={
            "labels": 10 + example,
            "weight": (2 / np.array(counts)).astype(np.float32)[example],
        },
        example=example,
    )


@given(COUNTS, st.integers(2, 5), st.integers(1, WINDOW))
def test_a_batch_has_each_window_of_a_text_once(counts: list[int], most: int, last: int) -> None:
    features = windows_of(counts, last)
    rows = rows_of_windows(features, WINDOW, most)
    of_text = np.bincount(rows.example)
    assert of_text.tolist() == [-(-count // most) for count in counts]
    # A text counts as it did, and its rows by how many of its windows they have.
    weights = [rows.rows["weight"][rows.example == n].sum() for n in range(len(counts))]
    np.testing.assert_allclose(weights, 2, rtol=1e-6)
    assert rows.rows["labels"].tolist() == (10 + rows.example).tolist()
    length = most * WINDOW
    batch = make_batch(rows, np.arange(len(rows)), length, len(rows) + 1)
    assert batch["input_ids"].shape == (len(rows) + 1, WINDOW, most)
    seen = []
    for row in range(len(rows)):
        for k in range(most):
            kept = batch["attention_mask"][row, :, k] > 0
            ids = batch["input_ids"][row, kept, k]
            assert not batch["input_ids"][row, ~kept, k].any()
            if len(ids):
                assert kept[: len(ids)].all()
                types = batch["token_type_ids"][row, kept, k]
                assert types.tolist() == [(n - 1) % 2 for n in ids.tolist()]
                seen.append(ids.tolist())
    ids = features.tokens["input_ids"]
    wanted = [part.tolist() for part in np.split(ids, features.bounds[1:-1])]
    assert seen == wanted
    assert not batch["attention_mask"][-1].any()
    assert batch["weight"][-1] == 0
    sizes = np.diff(np.flatnonzero(np.diff(rows.example, prepend=-1, append=-1)))
    assert sizes.tolist() == of_text.tolist()


def test_rows_of_a_text_have_about_as_many_windows_each() -> None:
    rows = rows_of_windows(windows_of([9], WINDOW), WINDOW, 8)
    assert rows.lengths.tolist() == [4 * WINDOW, 5 * WINDOW]
    np.testing.assert_allclose(rows.rows["weight"], [8 / 9, 10 / 9], rtol=1e-6)


def test_rows_of_one_window_have_no_axis_k_and_are_padded_as_ever() -> None:
    rows = rows_of_windows(windows_of([1, 3, 1], 4), WINDOW, 3)
    buckets = row_lengths(4, WINDOW, 3)
    assert buckets == (4, WINDOW, 2 * WINDOW, 3 * WINDOW)
    assert window_lengths(rows, buckets) == [4, WINDOW]
    sampler = BucketSampler(rows.lengths, 1, 0, buckets)
    shapes = set()
    for step in range(3):
        windows, length = sampler.batch(step)
        shapes.add(make_batch(rows, windows, length, 1)["input_ids"].shape)
    assert shapes == {(1, 4), (1, WINDOW, 3)}


def test_windows_that_are_rows_have_all_lengths() -> None:
    features = windows_of([2], 3)
    assert window_lengths(features, (4, WINDOW)) == (4, WINDOW)
    with pytest.raises(ValueError, match="longer than the last bucket"):
        BucketSampler(rows_of_windows(features, WINDOW, 2).lengths, 1, 0, (WINDOW,))


def test_it_is_known_by_its_windows_and_how_they_are_divided() -> None:
    features = windows_of([4, 2], 3)
    known = features.known_as("a")
    found = rows_of_windows(known, WINDOW, 2)
    assert found.fingerprint() == rows_of_windows(known, WINDOW, 2).fingerprint()
    others = [rows_of_windows(known, WINDOW, 3), rows_of_windows(features, WINDOW, 2), known]
    assert all(found.fingerprint() != other.fingerprint() for other in others)
    assert found.part(0, 1, 0).window == WINDOW
