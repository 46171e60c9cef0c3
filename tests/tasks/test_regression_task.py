"""Regression: the scaling of targets, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.options.task_settings import RegressionEvalOptions, RegressionSettings
from jaxbert.tasks.regression import Regression

numbers = st.floats(-1e4, 1e4, width=32)


def examples(*labels: float | None) -> list[TextExample]:
    return [TextExample(f"f: row {n}", "text", None, label) for n, label in enumerate(labels)]


def scaled(*words: str) -> Regression:
    return Regression(RegressionSettings(target_scaling=list(words) or None))


def reduced(task: Regression, scores: np.ndarray) -> np.ndarray:
    outputs: Any = {"scores": scores}
    return np.asarray(task.reduce()(outputs, {})["scores"])


@given(st.lists(numbers, min_size=1, max_size=20))
def test_standard_scaling_is_the_mean_and_deviation_of_the_training_data(
    labels: list[float],
) -> None:
    fitted = scaled("standard").fit_to(examples(*labels), examples(1e6))
    mean, scale = fitted.scaling.mean, fitted.scaling.scale
    assert fitted.settings.target_scaling == [f"{mean:.9g}", f"{scale:.9g}"]  # in options.json
    assert Regression(fitted.settings).scaling == fitted.scaling
    assert mean == pytest.approx(np.mean(labels), rel=1e-6, abs=1e-6)
    if len(set(labels)) == 1:
        assert scale > 0  # whatever rounding makes of a deviation of nothing
    else:
        assert scale == pytest.approx(np.std(labels), rel=1e-6)
    assert fitted.fit_to(examples(5.0), None) is fitted


def test_targets_that_are_all_equal_are_not_scaled() -> None:
    fitted = scaled("standard").fit_to(examples(2.0, 2.0), None)
    assert fitted.settings.target_scaling == ["2", "1"]


def test_an_evaluation_measures_no_targets() -> None:
    task = scaled("standard")
    assert task.fit_to(None, examples(1.0)) is task
    assert not hasattr(RegressionEvalOptions(), "target_scaling")


@pytest.mark.parametrize(
    "words", [["1"], ["1", "0"], ["1", "-2"], ["nan", "1"], ["1", "inf"], ["a", "b"], list("123")]
)
def test_wrong_scalings_are_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match="give standard, or a mean and a scale above 0"):
        scaled(*words)


def test_scores_are_in_the_scale_of_the_targets() -> None:
    scores = np.array([0.0, 1.0, -2.0], np.float32)
    assert reduced(scaled("2.5", "1.5"), scores).tolist() == [2.5, 4.0, -0.5]
    assert reduced(scaled(), scores).tolist() == scores.tolist()


@given(mean=numbers, scale=st.floats(0.125, 1e4, width=32), seed=st.integers(0, 99))
def test_the_exported_layer_gives_what_the_scaled_predictions_are(
    mean: float, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(5, 4)).astype(np.float32)
    head = {
        "kernel": rng.normal(size=(4, 1)).astype(np.float32),
        "bias": rng.normal(size=1).astype(np.float32),
    }
    before = {name: x.copy() for name, x in head.items()}
    task = scaled(repr(mean), repr(scale))
    params = {"bert": object(), "classifier": head}
    exported = task.export(params)

    def scores(head: dict[str, np.ndarray]) -> np.ndarray:
        return (hidden @ head["kernel"] + head["bias"])[:, 0]

    wanted = reduced(task, scores(head))
    np.testing.assert_allclose(
        scores(exported["classifier"]), wanted, rtol=0, atol=1e-5 * (abs(mean) + 10 * scale)
    )
    assert exported["bert"] is params["bert"]
    assert exported["classifier"]["kernel"].dtype == np.float32
    for name, x in before.items():  # the resumed run keeps its own
        np.testing.assert_array_equal(params["classifier"][name], x)  # type: ignore[index]


def test_without_scaling_the_parameters_are_exported_as_they_are() -> None:
    params = {"classifier": {}}
    assert scaled().export(params) is params


def test_scores_of_numbers() -> None:
    scores = scaled().score(examples(0.0, 4.0), [1.0, 2.0], TINY)
    assert scores["mse"] == pytest.approx((1 + 4) / 2)
    assert scores["pearson"] == pytest.approx(1)
    assert [m.name for m in Regression.metrics if m.lower_is_better] == ["mse"]
