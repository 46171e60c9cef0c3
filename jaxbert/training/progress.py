"""Plan and Progress: when a run does what, and what it remembers beside its arrays."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from jaxbert.errors import InputError
from jaxbert.io.untrusted import is_of, shown
from jaxbert.metrics.scores import LOSS, Scores, number_of


@dataclasses.dataclass(frozen=True)
class Plan:
    """When things happen; all in steps, counted from the start of the run.

    Attributes:
        total: steps of the run.
        log_every, eval_every, save_every: an evaluation and a checkpoint also end the run.
        patience: evaluations without a better score before the run ends; None never.
        max_skipped: steps in a row that are not finite before the run ends.
        metrics: the first of them that an evaluation gives tells the better one.
        lower_is_better: those of which the lower score is the better one.
        may_lack: those that an evaluation leaves out where they are not finite.
        keeps_best: the result is the best checkpoint, not the last.
    """

    total: int
    log_every: int
    eval_every: int
    save_every: int
    patience: int | None
    max_skipped: int
    metrics: tuple[str, ...]
    lower_is_better: frozenset[str] = frozenset()
    may_lack: frozenset[str] = frozenset({LOSS})
    keeps_best: bool = False

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation belongs to a step."""
        return step == self.total or (step > 0 and step % self.eval_every == 0)

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint belongs to a step."""
        return step == self.total or step % self.save_every == 0

    def logs_at(self, step: int) -> bool:
        """Whether a line of the log belongs to a step."""
        return step == self.total or step % self.log_every == 0


@dataclasses.dataclass
class Progress:
    """What a run remembers beside its arrays, saved with every checkpoint.

    Attributes:
        best_step, best_score: of the evaluations so far.
        waited: evaluations since the best one.
        evaluations: one record an evaluation: its step and scores.
        skipped: steps whose loss or gradient was not finite.
        skipped_now: those of them that are the last steps, without another one since.
        options: the run's, as they were when the checkpoint was written.
    """

    best_step: int | None = None
    best_score: float | None = None
    waited: int = 0
    evaluations: list[dict[str, float | str]] = dataclasses.field(default_factory=list)
    skipped: int = 0
    skipped_now: list[int] = dataclasses.field(default_factory=list)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, saved: object, place: str) -> Progress:
        """What a checkpoint says; fields that an older version did not have are as at the start.

        Raises:
            InputError: a field is unknown, or not of its type.
        """
        hints = typing.get_type_hints(cls)
        if not isinstance(saved, dict):
            raise InputError(f"{place}: expected an object, found {type(saved).__name__}")
        for name, value in saved.items():
            if name not in hints:
                raise InputError(
                    f"{place}: {shown(name)} is not known; resume with the version of jaxbert that "
                    "wrote it, or give --overwrite_output_dir to start again"
                )
            if not is_of(value, hints[name]):
                raise InputError(
                    f"{place}: {name} is {shown(value)}, which it cannot be; bring the file back, "
                    "or give --overwrite_output_dir to start again"
                )
        progress = cls(**saved)
        for record in progress.evaluations:
            if isinstance(record.get("step"), int | float):
                continue
            what = f"'s step is {shown(record['step'])}" if "step" in record else " has no step"
            raise InputError(
                f"{place}: an evaluation{what}; bring the file back, or give "
                "--overwrite_output_dir to start again"
            )
        return progress

    def evaluated(self) -> set[int]:
        """The steps that have been evaluated."""
        return {int(record["step"]) for record in self.evaluations}

    def record(self, step: int, scores: Scores, plan: Plan) -> None:
        """Take in the scores of an evaluation; the plan names the one that counts."""
        self.evaluations.append({"step": step, **scores})
        self._judge(step, scores, plan)

    def judge_again(self, plan: Plan) -> None:
        """Find the best evaluation again: the plan may name another score than before."""
        self.best_step, self.best_score, self.waited = None, None, 0
        for record in self.evaluations:
            self._judge(int(record["step"]), record, plan)

    def _judge(self, step: int, scores: Scores, plan: Plan) -> None:
        metric = next((name for name in plan.metrics if name in scores), None)
        if metric is None and plan.may_lack.issuperset(plan.metrics):  # it was not finite
            self.waited += 1
            return
        if metric is None:
            raise InputError(
                f"--metric_for_best_model {plan.metrics[0]}: the evaluation gives "
                f"{', '.join(name for name in scores if name != 'step')}"
            )
        score = number_of(scores, metric)
        sign = -1 if metric in plan.lower_is_better else 1
        if self.best_score is None or sign * score > sign * self.best_score:
            self.best_step, self.best_score, self.waited = step, score, 0
        else:
            self.waited += 1
