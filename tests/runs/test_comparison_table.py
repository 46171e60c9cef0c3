"""The table of a comparison: what differs over seeds and examples, and what is no difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from jaxbert.metrics.differences import Interval
from jaxbert.runs.comparison_table import judged, markdown, table
from jaxbert.runs.published import published_for


def test_the_table_is_that_of_the_values() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(50, 1, 5), rng.normal(51, 1, 5)
    found = {"a": [{"f1": float(x)} for x in one], "b": [{"f1": float(x)} for x in other]}
    first, second = judged(table(found, ["f1"]), [])
    assert (first.difference, first.p) == (None, None)
    assert second.mean == pytest.approx(other.mean())
    assert second.deviation == pytest.approx(other.std(ddof=1))
    assert second.difference == pytest.approx((other - one).mean())
    assert second.p == pytest.approx(ttest_rel(other, one).pvalue)
    text = markdown([first, second])
    assert text.count("\n| f1 |") == 2
    same = judged(table({"a": found["a"], "b": found["a"]}, ["f1"]), [])[1]
    assert (same.difference, same.p) == (0, None)  # nothing to test
    assert same.verdict == "no difference shown"
    single = table({"a": found["a"][:1], "b": found["b"][:1]}, ["f1"])[1]
    assert single.p is None
    assert "nan" not in markdown([single])


ABOVE, BELOW, AROUND = Interval(0.5, 1.5, 0.001), Interval(-2.0, -1.0, 0.001), Interval(-1, 1, 0.9)
UP, DOWN, EVEN = [2.0, 2.1, 1.9], [-2.0, -2.1, -1.9], [1.0, -1.2, 0.3]


@pytest.mark.parametrize(
    ("differences", "interval", "lower_is_better", "verdict"),
    [
        (UP, ABOVE, False, "better"),
        (UP, ABOVE, True, "worse"),
        (DOWN, BELOW, False, "worse"),
        (DOWN, BELOW, True, "better"),
        (UP, AROUND, False, "no difference shown"),  # of other examples it may be none
        (EVEN, ABOVE, False, "no difference shown"),  # of other seeds
        (UP, None, False, "better"),
        (EVEN, None, False, "no difference shown"),
        (UP[:1], ABOVE, False, "better"),
        (UP[:1], AROUND, False, "no difference shown"),
        (UP[:1], None, False, "not tested"),
        ([0.0], None, False, "no difference shown"),
        ([1.0, 1.0], ABOVE, False, "better"),  # which no t-test can tell
    ],
)
def test_a_difference_is_there_over_seeds_and_examples_or_not_shown(
    differences: list[float], interval: Interval | None, lower_is_better: bool, verdict: str
) -> None:
    found = {
        "a": [{"x": 0.0} for _ in differences],
        "b": [{"x": difference} for difference in differences],
    }
    intervals = {"b": {"x": interval}} if interval else {}
    row = judged(table(found, ["x"], intervals), ["x"] if lower_is_better else [])[1]
    assert row.verdict == verdict
    assert verdict in markdown([row])


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5),
    st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1)),
    st.booleans(),
)
def test_equal_runs_are_never_better(
    values: list[float], ends: tuple[float, float, float], lower_is_better: bool
) -> None:
    runs = [{"x": value} for value in values]
    interval = Interval(min(ends[:2]), max(ends[:2]), ends[2])
    lower = ["x"] if lower_is_better else []
    row = judged(table({"a": runs, "b": runs}, ["x"], {"b": {"x": interval}}), lower)[1]
    assert row.verdict == "no difference shown"


def test_of_many_losses_one_is_soon_better_by_chance() -> None:
    """The same interval shows a difference of one loss, and none of forty."""
    names = [f"loss {n}" for n in range(40)]
    found = {"a": [{"x": 0.0}], **{name: [{"x": 1.0}] for name in names}}
    good, poor = Interval(0.1, 2.0, 0.04), Interval(-1.0, 2.0, 0.8)
    intervals = {name: {"x": good if name == names[0] else poor} for name in names}
    assert judged(table(found, ["x"], intervals), [])[1].verdict == "no difference shown"
    few = {name: found[name] for name in ("a", names[0])}
    assert judged(table(few, ["x"], intervals), [])[1].verdict == "better"


def test_published_scores_are_shown_for_the_same_model_and_data_only() -> None:
    known = published_for("/models/bert-base-uncased/", "qa", 10570)
    assert known is not None
    assert known.scores["exact_match"] == (81.22, 81.34)
    assert published_for("bert-base-cased", "qa", 10570) is None
    assert published_for("bert-base-uncased", "classification", 10570) is None
