"""Multiple choice: probabilities of choices, and the best one."""

from __future__ import annotations

from typing import Any

import numpy as np
from conftest import TINY

from jaxbert.data.choices import ChoiceExample
from jaxbert.data.features import Features
from jaxbert.options.task_settings import MultipleChoiceOptions
from jaxbert.tasks.multiple_choice import Chosen, MultipleChoice

TASK = MultipleChoice(MultipleChoiceOptions())
NO_FEATURES = Features(np.zeros(1, np.int64), {}, {}, np.zeros(0, np.int32))


def examples(*labels: int | None) -> list[ChoiceExample]:
    return [
        ChoiceExample(f"f: row {n}", "who?", ("Ada", "Bob"), label)
        for n, label in enumerate(labels)
    ]


def test_the_best_choice_is_predicted_with_the_probability_of_each() -> None:
    logits = np.log(np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32)) + 3
    outputs: Any = {"logits": logits}
    reduced = TASK.reduce()(outputs, {})
    arrays = {name: np.asarray(x) for name, x in reduced.items()}
    found = TASK.decode(examples(1, 0), NO_FEATURES, arrays, TINY)
    assert [p.label for p in found] == [1, 0]
    np.testing.assert_allclose(found[0].scores, [0.1, 0.7, 0.2], rtol=1e-5)
    files: Any = TASK.artifacts(examples(1, 0), found, TINY)
    assert [*files["predictions.json"].entries][1] == {"label": 0, "scores": found[1].scores}


def test_of_equal_choices_the_first_is_predicted() -> None:
    arrays = {"probabilities": np.full((1, 4), 0.25, np.float32)}
    [found] = TASK.decode(examples(0), NO_FEATURES, arrays, TINY)
    assert found == Chosen(0, (0.25,) * 4)


def test_the_score_is_the_part_that_is_right() -> None:
    predictions = [Chosen(0, ()), Chosen(1, ()), Chosen(1, ()), Chosen(0, ())]
    assert TASK.score(examples(0, 1, 0, 0), predictions, TINY) == {"accuracy": 0.75}
