"""fit(): the training loop. Nothing in it waits for the device but the log, two steps behind."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import logging
import math
import time
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxbert.data.features import Features
from jaxbert.data.packing import Sampler
from jaxbert.data.sampling import NumpyBatch, make_batch
from jaxbert.errors import InputError
from jaxbert.io.files import write_text
from jaxbert.io.untrusted import is_of, shown
from jaxbert.metrics.scores import LOSS, Scores, number_of
from jaxbert.runtime import memory, processes
from jaxbert.runtime.stop_signals import StopSignals
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.optim import Schedule
from jaxbert.training.parallel import Parallel, prefetch
from jaxbert.training.step import TrainState, TrainStep

Corrupt = Callable[[NumpyBatch, int], NumpyBatch]
Evaluate = Callable[[Any, int, Callable[[], bool]], Scores | None]

logger = logging.getLogger("jaxbert")


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
    def read(cls, saved: object, place: Path) -> Progress:
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
                    f"{place}: {shown(name)} is not known; go on with the version of jaxbert that "
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
        if metric is None and plan.metrics == (LOSS,):  # an evaluation whose loss is not finite
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
    """

    total: int
    log_every: int
    eval_every: int
    save_every: int
    patience: int | None
    max_skipped: int
    metrics: tuple[str, ...]
    lower_is_better: frozenset[str] = frozenset()


class TrainLog:
    """train_log.jsonl: one JSON line a logged step, a run's lines in order of the steps.

    Args:
        first_step: lines of later steps are left out; they will be written again.
        retry_on_error: lines that cannot be written are kept, and tried again with the next one.
    """

    def __init__(self, path: Path, first_step: int, *, retry_on_error: bool = False) -> None:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        kept = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # torn, or not ours
                if json.loads(line)["step"] <= first_step:
                    kept.append(line + "\n")
        write_text(path, "".join(kept))
        self._path, self._retry_on_error = path, retry_on_error
        self._waiting = b""
        # Without a buffer: what a failed write has written is known.
        self._file = path.open("ab", buffering=0)

    def write(self, record: dict[str, float | None]) -> None:
        """Append a line, at once in the file for whoever follows it.

        Raises:
            InputError: it cannot be written, and that is not forgiven.
        """
        before = bool(self._waiting)
        self._waiting += json.dumps(record, allow_nan=False).encode() + b"\n"
        error = self._flush()
        if error and not self._retry_on_error:
            raise error
        if error and not before:
            logger.warning("%s; it is tried again with every line", error)

    def _flush(self) -> InputError | None:
        try:
            while self._waiting:
                self._waiting = self._waiting[self._file.write(self._waiting) :]
        except OSError as error:
            return InputError(f"{self._path}: could not be written ({error.strerror})")
        return None

    def __enter__(self) -> TrainLog:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        left = self._flush()
        self._file.close()
        if left and kind is None:
            raise left


def micro_batches(
    order: Sampler,
    features: Features,
    corrupt: Corrupt | None,
    steps: range,
    accumulate: int,
) -> Iterator[NumpyBatch]:
    """The batch of every step, its arrays (accumulate, rows / accumulate, ...)."""
    for step in steps:
        windows, length = order.batch(step)
        batch = make_batch(features, windows, length, order.size)
        batch = order.finish(corrupt(batch, step) if corrupt else batch)
        yield {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in batch.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no other number


def _not_finite(steps: list[int], name_examples: Callable[[int], list[str]]) -> str:
    """The message of a run that ends for steps that are not finite."""
    found = list(dict.fromkeys(name for step in steps for name in name_examples(step)))
    shown = ", ".join(found[:8]) + f" and {len(found) - 8} more" * (len(found) > 8)
    return (
        f"the loss or the gradient is not finite at {len(steps)} "
        f"step{'s' * (len(steps) > 1)} in a row, "
        f"{', '.join(map(str, steps))}, of the examples {shown}; to go on from the last checkpoint "
        "give a lower --learning_rate and --allow_changed_options learning_rate, or a higher "
        "--max_nonfinite_steps"
    )


def fit(
    state: TrainState,
    progress: Progress,
    plan: Plan,
    *,
    train_step: TrainStep,
    order: Sampler,
    features: Features,
    corrupt: Corrupt | None,
    accumulate: int,
    key: jax.Array,
    schedule: Schedule,
    parallel: Parallel,
    checkpoints: Checkpoints | None,
    log: TrainLog | None,
    evaluate: Evaluate | None,
    name_examples: Callable[[int], list[str]],
) -> tuple[TrainState, bool]:
    """Train from state.step to plan.total.

    Args:
        state: on the host; `progress` is brought up to date in place.
        train_step: compiled by `parallel`.
        checkpoints, log: None in a process that is not the first: it writes nothing.
        corrupt: (batch, step) -> batch, what is drawn anew on the host for every step.
        evaluate: (replicated params, step, stopped) -> scores; None once stopped() is true.
        name_examples: a step -> the ids of its examples, for messages.

    Returns:
        The state on the host, and whether the run is done (False: a signal stopped it, and it is
        saved).
    """
    first = int(state.step)

    def put(batch: NumpyBatch) -> tuple[int, int, Any]:
        rows, tokens = int((batch["row"] >= 0).sum()), int(batch["attention_mask"].sum())
        if parallel.processes > 1:  # a signal that only one of them got ends all at the same step
            batch = {**batch, "stop": np.full(batch["row"].shape, signals.caught, np.int32)}
        return rows, tokens, parallel.shard(batch)

    steps = range(first, plan.total)
    batches = prefetch(micro_batches(order, features, corrupt, steps, accumulate), put)
    late: collections.deque[Any] = collections.deque()
    clock = time.perf_counter()
    counted = np.zeros(2)  # examples and real tokens since the last logged step

    agreed = False  # several processes have read that one of them shall stop
    bar = tqdm(
        total=plan.total,
        initial=first,
        unit="step",
        dynamic_ncols=True,
        mininterval=0.5,
        disable=log is None,
    )

    def report(step: int, rows: int, tokens: int, metrics: Any) -> None:
        nonlocal clock, counted, agreed
        values = {n: float(x) for n, x in parallel.fetch(metrics).items()}
        processes.beat()  # when the step is done in all processes: one may still have compiled it
        skipped = bool(values.pop("skipped"))
        agreed = agreed or bool(values.pop("stop", 0))
        if skipped:
            progress.skipped += 1
            progress.skipped_now.append(step)
            loss, norm = values["loss"], values["grad_norm"]
            logger.warning("step %d skipped: loss %g, gradient norm %g", step, loss, norm)
            if len(progress.skipped_now) >= plan.max_skipped:
                raise InputError(_not_finite(progress.skipped_now, name_examples))
        else:
            progress.skipped_now.clear()
        memory.give_back_if_scarce()
        counted += rows, tokens
        shown = ["loss", *(n for n in sorted(values, reverse=True) if n.endswith("accuracy"))]
        bar.set_postfix_str("  ".join(f"{n} {values[n]:.3f}" for n in shown), refresh=False)
        bar.update(1)
        if log and (step % plan.log_every == 0 or step == plan.total or skipped):
            now = time.perf_counter()
            per_second = counted / max(now - clock, 1e-9)
            clock, counted = now, np.zeros(2)
            log.write(
                {
                    "step": step,
                    "epoch": round(step / order.steps_per_epoch, 4),
                    **{n: _finite(v) for n, v in values.items() if n != "weight"},
                    "learning_rate": float(schedule(step - 1 - progress.skipped + skipped)),
                    "examples_per_second": round(per_second[0], 2),
                    "tokens_per_second": round(per_second[1], 1),
                }
            )

    def save(step: int) -> None:
        while late:  # the log has every step that a checkpoint has
            report(*late.popleft())
        host = parallel.fetch(state)
        check_finite(host.params, step)
        if checkpoints:
            checkpoints.save(host, dataclasses.asdict(progress), best_step=progress.best_step)

    def check_finite(params: Any, step: int) -> None:
        if not all(np.isfinite(x).all() for x in jax.tree.leaves(params)):
            raise InputError(
                f"step {step}: parameters are not finite any more; to go on from the last "
                "checkpoint give a lower --learning_rate and --allow_changed_options learning_rate"
            )

    def assess(step: int) -> None:
        """Evaluate; a signal ends it between two batches, and then resuming does it.

        Several processes end it together, at its end.
        """
        nonlocal clock
        stopped = stopping if parallel.processes == 1 else lambda: False
        check_finite(parallel.fetch(state.params), step)
        scores = evaluate(state.params, step, stopped) if evaluate else None
        if scores is None:
            return
        progress.record(step, scores, plan)
        clock = time.perf_counter()

    def due(step: int) -> bool:
        at = step == plan.total or (step > 0 and step % plan.eval_every == 0)
        return evaluate is not None and at and step not in progress.evaluated()

    def stopping() -> bool:
        return signals.caught if parallel.processes == 1 else agreed

    def ended(step: int) -> bool:
        impatient = plan.patience is not None and progress.waited >= plan.patience
        return (step >= plan.total or impatient) and not due(step)

    state = parallel.replicate(state)
    with StopSignals() as signals, bar, contextlib.ExitStack() as at_end:
        if checkpoints:
            at_end.callback(checkpoints.wait)  # also when a step fails: what is saved is whole
        step = first
        if due(step):  # it was left, or the run was killed in it
            assess(step)
        while not ended(step) and not stopping():
            rows, tokens, batch = next(batches)
            state, metrics = train_step(state, batch, key)
            step += 1
            late.append((step, rows, tokens, metrics))
            if len(late) > 2:
                report(*late.popleft())
            stop = stopping()
            # Saved before it is evaluated: whatever happens there, the step is not lost.
            if stop or due(step) or step == plan.total or step % plan.save_every == 0:
                save(step)
            if stop:
                break
            if due(step):
                assess(step)
        host = parallel.fetch(state)
    return host, ended(step)
