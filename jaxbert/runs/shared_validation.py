"""The evaluations of a run of several tasks, as one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from jaxbert.loaded.shared_encoder import SharedEncoder
from jaxbert.metrics.scores import LOSS, Scores, number_of
from jaxbert.model.heads import Params
from jaxbert.runs.evaluate import show_scores
from jaxbert.runs.training_inputs import AnyInputs

logger = logging.getLogger("jaxbert")


class SharedValidation:
    """The scores of all tasks that have validation data.

    Args:
        tasks: at least one of them has such data.
        shares: of each task.
    """

    def __init__(
        self, tasks: Mapping[str, AnyInputs], shared: SharedEncoder, shares: Mapping[str, int]
    ) -> None:
        self._tasks, self._shared, self._shares = tasks, shared, shares

    def is_of(self, step: int) -> bool:
        """Whether the last scores of all are of this step."""
        made = [inputs.validation for inputs in self._tasks.values()]
        return all(validation is None or validation.step == step for validation in made)

    def __call__(
        self, params: Params, step: int, stopped: Callable[[], bool] = lambda: False
    ) -> Scores | None:
        found: dict[str, Scores] = {}
        for name, inputs in self._tasks.items():
            if inputs.validation is None:
                continue
            own = self._shared.of_task(params, name)
            scores = inputs.validation.quietly(own, step, stopped)
            if scores is None:
                return None
            logger.info("step %d: %s: %s", step, name, show_scores(scores))
            found[name] = scores
        return joined_scores(found, self._shares)


def joined_scores(found: Mapping[str, Scores], shares: Mapping[str, int]) -> Scores:
    """The scores of tasks under names of their own, and eval_loss, the mean of theirs by shares.

    >>> found = {"a": {"f1": 0.5, "eval_loss": 1.0}, "b": {"eval_loss": 4.0}}
    >>> joined_scores(found, {"a": 2, "b": 1})
    {'a.f1': 0.5, 'a.eval_loss': 1.0, 'b.eval_loss': 4.0, 'eval_loss': 2.0}
    """
    scores = {f"{name}.{n}": x for name, own in found.items() for n, x in own.items()}
    losses = {name: number_of(own, LOSS) for name, own in found.items() if LOSS in own}
    if losses:
        total = sum(shares[name] for name in losses)
        scores[LOSS] = sum(shares[name] * x for name, x in losses.items()) / total
    return scores
