"""Parts of the examples: nested, a function of seed and row."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.parts import part_of, size_of
from jaxbert.options.task_settings import ClassificationTrainOptions
from jaxbert.runs.inputs import read_examples
from jaxbert.tasks.classification import Classification

FRACTIONS = st.floats(1e-9, 1)


@given(st.integers(1, 300), FRACTIONS, FRACTIONS, st.integers(0, 2**32 - 1))
def test_the_smaller_is_in_the_larger(count: int, one: float, other: float, seed: int) -> None:
    small, large = sorted((one, other))
    rows, more = part_of(count, small, seed), part_of(count, large, seed)
    assert {*rows.tolist()} <= {*more.tolist()}
    assert len(rows) == size_of(count, small) == max(1, round(small * count))
    assert (np.diff(rows) > 0).all()  # in the order of the data
    np.testing.assert_array_equal(rows, part_of(count, small, seed))
    np.testing.assert_array_equal(part_of(count, 1, seed), np.arange(count))


def test_every_row_is_as_likely_and_every_seed_has_its_own() -> None:
    counts = np.zeros(40)
    for seed in range(1000):
        counts[part_of(40, 0.25, seed)] += 1
    assert np.abs(counts / 1000 - 0.25).max() < 0.06  # four standard deviations
    assert part_of(40, 0.25, 0).tolist() != part_of(40, 0.25, 1).tolist()


def test_rows_that_are_added_leave_the_numbers_of_the_others() -> None:
    """So of twice as many rows half as large a part has hardly others of the first."""
    before, after = part_of(1000, 0.2, 5), part_of(2000, 0.2, 5)
    kept = {*before.tolist()} & {*after.tolist()}
    assert len(kept) > 0.8 * len(before)


def test_a_training_reads_its_part(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "train.tsv"
    rare = min({*range(40)} - {*part_of(40, 0.1, 3).tolist()})
    rows = [f"text {n}\t{'rare' if n == rare else 'common'}" for n in range(40)]
    path.write_text("\n".join(["sentence\tlabel", *rows]) + "\n")

    def texts(**more: int | float) -> list[str]:
        options = ClassificationTrainOptions(train_file=[str(path)], **more)  # type: ignore[arg-type]
        task = Classification(options.part(Classification.settings_cls))
        data = read_examples(task, options.training_source())
        assert data is not None
        assert data.classes == ("common", "rare")  # also where a part has one of them
        return [e.text for e in data.examples]

    with caplog.at_level(logging.INFO, "jaxbert"):
        part = texts(train_fraction=0.1, seed=3)
    assert part == [f"text {n}" for n in part_of(40, 0.1, 3)]
    assert "  4 of them, drawn by --seed 3" in caplog.text
    assert "the 4 examples of --train_fraction 0.1 are all of the class common" in caplog.text
    limited = texts(train_fraction=0.5, seed=3, max_train_samples=10)
    assert limited == [f"text {n}" for n in part_of(10, 0.5, 3)]
    assert len(texts()) == 40
