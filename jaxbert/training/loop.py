"""fit(): the training loop. Nothing in it waits for the device but the log, two steps behind."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxbert.data.batches import NumpyBatch, Order, make_batch
from jaxbert.data.features import Features
from jaxbert.training.checkpoint import Checkpoints
from jaxbert.training.optim import Schedule
from jaxbert.training.parallel import Parallel, prefetch
from jaxbert.training.step import TrainState, TrainStep

EXIT_STOPPED = 75  # EX_TEMPFAIL: start the same command again to go on


@dataclasses.dataclass
class Progress:
    """What a run remembers beside its arrays, saved with every checkpoint.

    Attributes:
        best_step, best_score: of the evaluations so far.
        waited: evaluations since the best one.
        evaluations: one record an evaluation: its step and scores.
    """

    best_step: int | None = None
    best_score: float | None = None
    waited: int = 0
    evaluations: list[dict[str, float]] = dataclasses.field(default_factory=list)

    def record(self, step: int, scores: dict[str, float], metric: str) -> None:
        """Take in the scores of an evaluation; `metric` names the one that counts."""
        self.evaluations.append({"step": step, **scores})
        if self.best_score is None or scores[metric] > self.best_score:
            self.best_step, self.best_score, self.waited = step, scores[metric], 0
        else:
            self.waited += 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """When things happen; all in steps, counted from the start of the run.

    Attributes:
        total: steps of the run.
        log_every, eval_every, save_every: an evaluation and a checkpoint also end the run.
        patience: evaluations without a better score before the run ends; None never.
        metric: the score that tells the better evaluation.
    """

    total: int
    log_every: int
    eval_every: int | None
    save_every: int
    patience: int | None
    metric: str


class TrainLog:
    """train_log.jsonl: one JSON line a logged step, a run's lines in order of the steps."""

    def __init__(self, path: Path, first_step: int) -> None:
        # Lines of steps after the checkpoint will be written again; a torn last line goes too.
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = []
        for line in lines:
            try:
                if json.loads(line)["step"] <= first_step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                break
        path.write_text("".join(kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: dict[str, float]) -> None:
        """Append a line, at once on disk for whoever follows the file."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def __enter__(self) -> TrainLog:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Within it, SIGTERM and Ctrl-C are noted, to be asked for; a second one leaves at once."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if caught:
            os._exit(EXIT_STOPPED)
        caught.append(number)
        print(f"\n{signal.Signals(number).name}: finishing the step and saving", file=sys.stderr)

    before = {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, note)
    except ValueError:  # not in the main thread: signals are somebody else's
        pass
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def micro_batches(
    order: Order, features: Features, steps: range, accumulate: int
) -> Iterator[NumpyBatch]:
    """The batch of every step, its arrays (accumulate, rows / accumulate, ...)."""
    for step in steps:
        windows, length = order.batch(step)
        batch = make_batch(features, windows, length, order.size)
        yield {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in batch.items()}


def fit(
    state: TrainState,
    progress: Progress,
    plan: Plan,
    *,
    train_step: TrainStep,
    order: Order,
    features: Features,
    accumulate: int,
    key: jax.Array,
    schedule: Schedule,
    parallel: Parallel,
    checkpoints: Checkpoints,
    log: TrainLog,
    evaluate: Callable[[Any, int], dict[str, float]] | None,
) -> tuple[TrainState, bool]:
    """Train from state.step to plan.total.

    Args:
        state: on the host; `progress` is brought up to date in place.
        train_step: compiled by `parallel`.
        evaluate: (replicated params, step) -> scores.

    Returns:
        The state on the host, and whether the run is done (False: a signal stopped it, and it is
        saved).
    """
    first = int(state.step)
    rates = np.asarray(schedule(np.arange(plan.total)))

    def put(batch: NumpyBatch) -> tuple[int, int, Any]:
        rows, tokens = int(batch["weight"].sum()), int(batch["attention_mask"].sum())
        return rows, tokens, parallel.shard(batch)

    batches = prefetch(micro_batches(order, features, range(first, plan.total), accumulate), put)
    late: collections.deque[Any] = collections.deque()
    clock = time.perf_counter()
    counted = np.zeros(2)  # examples and real tokens since the last logged step

    def ended(step: int) -> bool:
        impatient = plan.patience is not None and progress.waited >= plan.patience
        return step >= plan.total or impatient

    if ended(first):
        return state, True
    bar = tqdm(total=plan.total, initial=first, unit="step", dynamic_ncols=True, mininterval=0.5)

    def report(step: int, rows: int, tokens: int, metrics: Any) -> None:
        nonlocal clock, counted
        values = {n: float(x) for n, x in parallel.fetch(metrics).items()}
        counted += rows, tokens
        shown = ["loss", *(n for n in sorted(values, reverse=True) if n.endswith("_accuracy"))]
        bar.set_postfix_str("  ".join(f"{n} {values[n]:.3f}" for n in shown), refresh=False)
        bar.update(1)
        if step % plan.log_every == 0 or step == plan.total:
            now = time.perf_counter()
            per_second = counted / max(now - clock, 1e-9)
            clock, counted = now, np.zeros(2)
            log.write(
                {
                    "step": step,
                    "epoch": round(step / order.steps_per_epoch, 4),
                    **{n: v for n, v in values.items() if n != "weight"},
                    "learning_rate": float(rates[step - 1]),
                    "examples_per_second": round(per_second[0], 2),
                    "tokens_per_second": round(per_second[1], 1),
                }
            )

    def flush() -> None:
        while late:
            report(*late.popleft())

    def save(step: int) -> None:
        if step not in saved:
            saved.add(step)
            checkpoints.save(
                parallel.fetch(state),
                dataclasses.asdict(progress),
                best_step=progress.best_step,
            )

    saved = {first}
    state, done = parallel.replicate(state), False
    with stop_signals() as stopped, bar:
        for step, (rows, tokens, batch) in enumerate(batches, start=first + 1):
            state, metrics = train_step(state, batch, key)
            late.append((step, rows, tokens, metrics))
            if len(late) > 2:
                report(*late.popleft())
            last = step == plan.total
            if evaluate and (last or (plan.eval_every and step % plan.eval_every == 0)):
                flush()
                progress.record(step, evaluate(state.params, step), plan.metric)
                clock = time.perf_counter()
                if progress.best_step == step:
                    save(step)
            done = ended(step)
            if done or stopped() or step % plan.save_every == 0:
                save(step)
            if done or stopped():
                break
        flush()
        host = parallel.fetch(state)
        checkpoints.wait()
    return host, done
