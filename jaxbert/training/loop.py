"""fit(): the training loop. Nothing in it waits for the device but the log, two steps behind."""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

import jax
import numpy as np
from tqdm.auto import tqdm

from jaxbert.data.batch import Batch
from jaxbert.data.sampling import NumpyBatch
from jaxbert.errors import NotFiniteError
from jaxbert.losses.forms import Arrays
from jaxbert.metrics.scores import Scores
from jaxbert.model.heads import Params
from jaxbert.runtime import memory, processes
from jaxbert.runtime.stop_signals import StopSignals
from jaxbert.training.events import Evaluated, Event, Logged, Notify, Saved, Started
from jaxbert.training.loss_scale import can_fall
from jaxbert.training.optim import Schedule
from jaxbert.training.parallel import Parallel, prefetch
from jaxbert.training.progress import Plan, Progress
from jaxbert.training.step import TrainState, TrainStep

# (replicated params, step, stopped) -> scores; None once stopped() is true.
Evaluate = Callable[[Params, int, Callable[[], bool]], Scores | None]

logger = logging.getLogger("jaxbert")


class Program(NamedTuple):
    """The compiled step, and what it is given at every call.

    Attributes:
        step: compiled by `parallel`.
        key: of the run; the step draws from it and its own number.
        schedule: updates made so far -> learning rate, for the log.
        parallel: the devices.
    """

    step: TrainStep
    key: jax.Array
    schedule: Schedule
    parallel: Parallel


class Batches(Protocol):
    """The batches of a run, each a pure function of its step; see BatchSource."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, for the log."""
        ...

    def iter_from(self, step: int) -> Iterator[NumpyBatch]:
        """The batches from this step on, counted from 0, without end."""
        ...

    def example_ids(self, step: int) -> list[str]:
        """The names of the examples in a step's batch, for messages."""
        ...


class Storage(Protocol):
    """Where a run is kept. In a process that is not the first one it keeps nothing."""

    def save(self, state: TrainState, progress: Progress) -> Path | str | None:
        """Start to write a checkpoint; returns the folder of all of them, None if it keeps none.

        Args:
            state: numpy arrays that nobody will change.
            progress: goes on changing after the call.
        """
        ...

    def wait(self) -> None:
        """Wait until the last checkpoint is whole."""
        ...

    def log(self, record: Mapping[str, float | None]) -> None:
        """Append a line to the log."""
        ...


class Nowhere:
    """A Storage that keeps nothing."""

    def save(self, state: TrainState, progress: Progress) -> None:
        """Keep nothing."""

    def wait(self) -> None:
        """Wait for nothing."""

    def log(self, record: Mapping[str, float | None]) -> None:
        """Log nothing."""


def ignore(event: Event) -> None:
    """Notify of a run that nobody listens to."""


def fit(
    state: TrainState,
    progress: Progress,
    source: Batches,
    program: Program,
    plan: Plan,
    storage: Storage,
    evaluate: Evaluate | None = None,
    notify: Notify = ignore,
) -> tuple[TrainState, bool]:
    """Train from state.step to plan.total.

    Args:
        state: on the host.
        progress: brought up to date in place.
        notify: called with each event of the run.

    Returns:
        The state on the host, and whether the run is done (False: a signal stopped it, and it is
        saved).

    Raises:
        NotFiniteError: too many steps in a row are not finite, or the parameters are not.
    """
    with _Run(state, progress, source, program, plan, storage, evaluate, notify) as run:
        if run.evaluation_is_due():  # it was left, or the run was killed in it
            run.evaluate()
        while not run.ended() and not run.stop():
            run.train()
            stop = run.stop()
            # Saved before it is evaluated: whatever happens there, the step is not lost.
            if stop or run.evaluation_is_due() or plan.saves_at(run.step):
                run.save()
            if stop:
                break
            if run.evaluation_is_due():
                run.evaluate()
        run.signals.goes_on = run.ended()
        return program.parallel.fetch(run.state), run.ended()


class _Size(NamedTuple):
    """Of a batch: its rows that are not padding, and its real tokens."""

    rows: int
    tokens: int


class _Run:
    """A run between two steps, within which it listens to signals and shows its progress.

    Attributes:
        step: steps that have been started.
        state: after them, on the devices.
        stop: tells whether the run is to stop.
        signals: that are heard meanwhile.
    """

    def __init__(
        self,
        state: TrainState,
        progress: Progress,
        source: Batches,
        program: Program,
        plan: Plan,
        storage: Storage,
        evaluate: Evaluate | None,
        notify: Notify,
    ) -> None:
        self.step = int(state.step)
        self.state = program.parallel.spread(state)
        self._progress, self._source, self._program, self._plan = progress, source, program, plan
        self._storage, self._evaluate, self._notify = storage, evaluate, notify
        self.signals, self._at_end = StopSignals(), contextlib.ExitStack()
        self.stop = _Stop(self.signals, program.parallel.processes)
        batches = itertools.islice(source.iter_from(self.step), max(0, plan.total - self.step))
        self._batches = prefetch(batches, self._place)
        self._late: collections.deque[tuple[int, _Size, Arrays]] = collections.deque()
        self._speed = _Speed()
        self._bar = tqdm(
            total=plan.total,
            initial=self.step,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5,
            # Not where only warnings are shown.
            disable=not processes.is_first() or not logger.isEnabledFor(logging.INFO),
        )

    def __enter__(self) -> _Run:
        self._at_end.enter_context(self.signals)
        self._at_end.enter_context(self._bar)
        self._at_end.callback(self._batches.close)
        self._at_end.callback(self._storage.wait)  # also when a step fails: what is saved is whole
        self._notify(Started(self.step, self._plan.total))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._at_end.__exit__(kind, error, trace)

    def _place(self, batch: NumpyBatch) -> tuple[_Size, Batch[jax.Array]]:
        """Put a batch on the devices."""
        size = _Size(int((batch["row"] >= 0).sum()), int(batch["attention_mask"].sum()))
        return size, self._program.parallel.shard(self.stop.mark(batch))

    def train(self) -> None:
        """Start the next step, and report the one two steps before it."""
        size, batch = next(self._batches)
        self.state, metrics = self._program.step(self.state, batch, self._program.key)
        self.step += 1
        self._late.append((self.step, size, metrics))
        if len(self._late) > 2:
            self._report(*self._late.popleft())

    def _report(self, step: int, size: _Size, metrics: Arrays) -> None:
        """Wait for a step; note that it was skipped, move the bar, log it."""
        host = self._program.parallel.fetch(metrics)
        processes.beat()  # when the step is done in all processes: one may still have compiled it
        values = {n: float(x) for n, x in host.items()}
        skipped = bool(values.pop("skipped"))
        self.stop.read(values)
        overflowed = skipped and math.isfinite(values["loss"])
        if overflowed and can_fall(values.get("loss_scale", 1.0)):
            self._progress.skipped += 1
            lower = values["loss_scale"] / 2
            logger.info(
                "step %d skipped: float16 overflowed; the loss scale is now %g", step, lower
            )
        elif skipped:
            self._skip(step, values)
        else:
            self._progress.skipped_now.clear()
        memory.give_back_if_scarce()
        self._speed.count(size)
        shown = ["loss", *(n for n in sorted(values, reverse=True) if n.endswith("accuracy"))]
        self._bar.set_postfix_str("  ".join(f"{n} {values[n]:.3f}" for n in shown), refresh=False)
        self._bar.update(1)
        if skipped or self._plan.logs_at(step):
            self._log(step, values, skipped)

    def _skip(self, step: int, values: dict[str, float]) -> None:
        self._progress.skipped += 1
        self._progress.skipped_now.append(step)
        loss, norm = values["loss"], values["grad_norm"]
        logger.warning("step %d skipped: loss %g, gradient norm %g", step, loss, norm)
        if len(self._progress.skipped_now) >= self._plan.max_skipped:
            raise NotFiniteError(_not_finite(self._progress.skipped_now, self._source))

    def _log(self, step: int, values: dict[str, float], skipped: bool) -> None:
        rows_per_second, tokens_per_second = self._speed.take()
        updates = step - 1 - self._progress.skipped + skipped
        record = {
            "step": step,
            "epoch": round(step / self._source.steps_per_epoch, 4),
            **{n: _finite(v) for n, v in values.items() if n != "weight"},
            "learning_rate": float(self._program.schedule(updates)),
            "examples_per_second": round(rows_per_second, 2),
            "tokens_per_second": round(tokens_per_second, 1),
        }
        self._storage.log(record)
        self._notify(Logged(step, record))

    def save(self) -> None:
        """Start to write a checkpoint; the log has every step that it has."""
        while self._late:
            self._report(*self._late.popleft())
        host = self._program.parallel.fetch(self.state)
        _check_finite(host.params, self.step)
        folder = self._storage.save(host, self._progress)
        if folder is not None:
            self._notify(Saved(self.step, folder))

    def evaluation_is_due(self) -> bool:
        """Whether the parameters as they are should be evaluated, and have not been."""
        if self._evaluate is None or not self._plan.evaluates_at(self.step):
            return False
        return self.step not in self._progress.evaluated()

    def evaluate(self) -> None:
        """Evaluate; a signal ends it between two batches, and then resuming does it.

        Several processes end it together, at its end.
        """
        _check_finite(self._program.parallel.fetch(self.state.params), self.step)
        if self._evaluate is None:
            return
        params = self._program.parallel.whole(self.state.result)
        scores = self._evaluate(params, self.step, self.stop.within_evaluation)
        if scores is None:
            return
        self._progress.record(self.step, scores, self._plan)
        self._speed.restart_clock()
        self._notify(Evaluated(self.step, scores))

    def ended(self) -> bool:
        """Whether nothing is left to do."""
        patience = self._plan.patience
        impatient = patience is not None and self._progress.waited >= patience
        return (self.step >= self._plan.total or impatient) and not self.evaluation_is_due()


class _Stop:
    """Whether a run is to stop; several processes stop at the same step, whoever got the signal.

    Each puts it into its part of a batch, and reads in the step's metrics whether one of them did.
    """

    def __init__(self, signals: StopSignals, process_count: int) -> None:
        self._signals, self._alone, self._agreed = signals, process_count == 1, False

    def __call__(self) -> bool:
        return self._signals.caught if self._alone else self._agreed

    def within_evaluation(self) -> bool:
        """The same during an evaluation, in which processes cannot agree."""
        return self._alone and self._signals.caught

    def mark(self, batch: NumpyBatch) -> NumpyBatch:
        """The batch with this process's signal, where there are several."""
        if self._alone:
            return batch
        return {**batch, "stop": np.full(batch["row"].shape, self._signals.caught, np.int32)}

    def read(self, metrics: dict[str, float]) -> None:
        """Take the agreement out of a step's metrics."""
        self._agreed = bool(metrics.pop("stop", 0)) or self._agreed


class _Speed:
    """Rows and real tokens a second, since the last line of the log."""

    def __init__(self) -> None:
        self._total = _Size(0, 0)
        self._since = time.perf_counter()

    def restart_clock(self) -> None:
        """Leave out the time until now."""
        self._since = time.perf_counter()

    def count(self, size: _Size) -> None:
        """Add what a step was of."""
        self._total = _Size(self._total.rows + size.rows, self._total.tokens + size.tokens)

    def take(self) -> tuple[float, float]:
        """The two rates until now, from where they are counted again."""
        now = time.perf_counter()
        seconds, total = max(now - self._since, 1e-9), self._total
        self._since, self._total = now, _Size(0, 0)
        return total.rows / seconds, total.tokens / seconds


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no other number


def _check_finite(params: Params, step: int) -> None:
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(params)):
        raise NotFiniteError(
            f"step {step}: parameters are not finite any more; to resume from the last "
            "checkpoint give a lower --learning_rate and --allow_changed_options learning_rate"
        )


def _not_finite(steps: list[int], source: Batches) -> str:
    """The message of a run that ends for steps that are not finite."""
    found = list(dict.fromkeys(name for step in steps for name in source.example_ids(step - 1)))
    shown = ", ".join(found[:8]) + f" and {len(found) - 8} more" * (len(found) > 8)
    return (
        f"the loss or the gradient is not finite at {len(steps)} "
        f"step{'s' * (len(steps) > 1)} in a row, "
        f"{', '.join(map(str, steps))}, of the examples {shown}; to resume from the last "
        "checkpoint give a lower --learning_rate and --allow_changed_options learning_rate, or a "
        "higher --max_nonfinite_steps"
    )
