"""The log's lines as curves: smoothed, thinned, with a band over seeds, and told in words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.metrics.scores import Scores
from jaxbert.report.curves import MOST_POINTS, Line, _smooth, seed_bands, training_charts
from jaxbert.tasks.qa import QA
from jaxbert.tasks.regression import Regression

values = st.lists(st.none() | st.floats(-1e3, 1e3), min_size=1, max_size=30)


@given(values, st.integers(1, 8))
def test_a_smooth_curve_is_the_mean_of_what_is_known(given: list[float | None], size: int) -> None:
    found = _smooth(given, size)
    for end, value in enumerate(found, 1):
        known = [x for x in given[max(0, end - size) : end] if x is not None]
        assert value == (pytest.approx(np.mean(known), abs=1e-9) if known else None)


def log(steps: int, seed: int = 0) -> list[dict[str, float | None]]:
    rng = np.random.default_rng(seed)
    return [
        {
            **{"step": n, "epoch": n / 10, "loss": float(5 / n + rng.random())},
            **{"learning_rate": 1 / n, "grad_norm": None if n == 3 else 1.0, "accuracy": 0.5},
            **{"tokens_per_second": 9.0, "examples_per_second": 2.0, "loss_scale": 2.0},
        }
        for n in range(1, steps + 1)
    ]


def test_every_field_has_a_chart_and_evaluations_are_in_theirs() -> None:
    evaluations = [{"step": 50, "f1": 60.0, "eval_loss": 2.0}, {"step": 100, "f1": 80.5}]
    charts = {c.title: c for c in training_charts(log(100), evaluations, QA.all_metrics())}
    assert list(charts) == [
        *("Loss", "Accuracy of the training batches", "Scores of the evaluations"),
        *("Learning rate", "Gradient norm", "Throughput", "Examples", "Loss scale"),
    ]
    raw, smooth, evaluated = charts["Loss"].series
    assert (raw.look, smooth.name, evaluated.name) == ("faint", "loss, mean of 2", "evaluation")
    assert (evaluated.x, evaluated.y) == ((50.0,), (2.0,))
    assert charts["Scores of the evaluations"].series[0].y == (60.0, 80.5)
    assert charts["Scores of the evaluations"].says == (
        "f1: 60 at step 50, 80.5 at step 100, between 60 and 80.5"
    )
    assert charts["Gradient norm"].series[0].y[2] is None
    assert all(chart.linked for chart in charts.values())
    assert training_charts([], evaluations, QA.all_metrics()) == []


@pytest.mark.parametrize("first", [2.5, 0.6])
def test_a_score_without_a_top_has_a_chart_of_its_own(first: float) -> None:
    """Whatever its values are: reports of two runs have the same charts."""
    lines: list[Line] = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    evaluations: list[Scores] = [
        {"step": 1, "pearson": -0.1, "spearmanr": 0.2, "mse": first, "eval_loss": first},
        {"step": 2, "pearson": 0.8, "spearmanr": 0.7, "mse": 0.5, "eval_loss": 0.5},
    ]
    charts = {c.title: c for c in training_charts(lines, evaluations, Regression.all_metrics())}
    assert list(charts) == ["Loss", "Scores of the evaluations", "Mse of the evaluations"]
    names = [one.name for one in charts["Scores of the evaluations"].series]
    assert names == ["pearson", "spearmanr"]
    assert charts["Mse of the evaluations"].series[0].y == (first, 0.5)
    alike = training_charts(lines, [{"step": 1, "exact_match": 0.0, "f1": 7.0}], QA.all_metrics())
    assert [len(c.series) for c in alike if c.title == "Scores of the evaluations"] == [2]


def test_a_long_run_has_as_many_points_as_a_screen_shows() -> None:
    lines = log(25_001)
    loss = training_charts(lines, [], [])[0]
    raw = loss.series[0]
    assert MOST_POINTS / 2 < len(raw.x) <= MOST_POINTS
    assert raw.x[-1] == 25_001
    assert all(a < b for a, b in itertools.pairwise(raw.x))
    given = [line["loss"] for line in lines]
    weights = np.diff([0, *raw.x])
    assert np.average(raw.y, weights=weights) == pytest.approx(np.mean(given))


def test_a_band_is_from_the_lowest_to_the_highest_seed() -> None:
    logs = {"a": [log(20, 0), log(20, 1), log(18, 2)], "b": [log(20, 3)], "none": []}
    chart = seed_bands(logs, "loss", "Training loss")
    assert chart is not None
    a, b = chart.series
    losses = np.array([[line["loss"] for line in one[:18]] for one in logs["a"]])
    np.testing.assert_allclose(a.y, losses.mean(0))
    np.testing.assert_allclose(a.low, losses.min(0))
    np.testing.assert_allclose(a.high, losses.max(0))
    assert (len(b.x), b.low) == (20, ())
    assert seed_bands({"a": [[]]}, "loss", "Training loss") is None
