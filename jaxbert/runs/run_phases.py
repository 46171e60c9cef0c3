"""The last phases of a run, of one task or of several: its folder, and the steps to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import time
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import jax

from jaxbert.callbacks.guarded_callbacks import GuardedCallbacks
from jaxbert.data.batch import Batch
from jaxbert.data.batch_source import BatchSource
from jaxbert.data.packing import PackedSampler
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.model.heads import Params
from jaxbert.runs.folder import RunFolder
from jaxbert.runs.record import RunRecord
from jaxbert.runs.run_files import TRACE
from jaxbert.runtime import processes
from jaxbert.runtime.device_memory import memory_is_told
from jaxbert.training.events import Notify
from jaxbert.training.loop import Batches, Evaluate, Program, fit, ignore
from jaxbert.training.parallel import Parallel
from jaxbert.training.progress import Plan, Progress
from jaxbert.training.step import TrainState, TrainStep
from jaxbert.training.traced_steps import TracedSteps

logger = logging.getLogger("jaxbert")

_TAKES_LESS = (
    "fewer rows (--per_device_train_batch_size) with --gradient_accumulation_steps, "
    "--gradient_checkpointing or a shorter --dtype take less, and `jaxbert compile` tells what fits"
)


class Counted:
    """A step that counts how often it is traced: once for each compiled shape."""

    def __init__(self, step: TrainStep) -> None:
        self._step, self.times = step, 0
        functools.update_wrapper(self, step)

    def __call__(
        self, state: TrainState, batch: Batch[jax.Array], key: jax.Array
    ) -> tuple[TrainState, Arrays]:
        self.times += 1
        return self._step(state, batch, key)


B = TypeVar("B", bound=Batches)


@dataclasses.dataclass(frozen=True)
class Prepared(Generic[B]):
    """The compiled step with its batches, and the state that it starts from, on the host."""

    source: B
    program: Program
    step: Counted
    state: TrainState


def notify_of(callbacks: Sequence[Notify], reports: Sequence[Notify]) -> Notify:
    """Who is told of the run's events, in the first process."""
    return GuardedCallbacks([*callbacks, *reports]) if processes.is_first() else ignore


def open_folder(
    run: RunFolder, record: RunRecord, plan: Plan, state: TrainState
) -> tuple[TrainState, Progress]:
    """Make the folder this run's, or resume the run in it: the state and progress to start from.

    All that the user gave has been read and checked: from here on files are written.

    Args:
        state: of a new run.
    """
    run.begin(record)
    step, state, progress = run.restore(state)
    if step is not None:
        progress.judge_again(plan)
        logger.info("resuming from step %d of %d", step, plan.total)
    progress.options = dict(record.options)
    run.update_record(record)
    return state, progress


class Fitted(NamedTuple):
    """Where the steps have ended.

    Attributes:
        done: False when a signal stopped the run, which is saved.
        seconds: of this start.
        shapes: that were compiled.
    """

    state: TrainState
    done: bool
    seconds: float
    shapes: int


def fit_to_end(
    run: RunFolder,
    prepared: Prepared[B],
    plan: Plan,
    state: TrainState,
    progress: Progress,
    evaluate: Evaluate | None,
    notify: Notify,
    traced: range,
) -> Fitted:
    """Train to the end of the plan, or until a signal.

    Args:
        traced: the steps to be traced.
    """
    started = time.perf_counter()
    steps = TracedSteps(prepared.program.step, traced, run.path / TRACE)
    with (
        run.storage(int(state.step)) as storage,
        contextlib.closing(steps),
        memory_is_told("training", _TAKES_LESS),
    ):
        state, done = fit(
            state,
            progress,
            prepared.source,
            prepared.program._replace(step=steps),
            plan,
            storage,
            evaluate,
            notify,
        )
    seconds, shapes = time.perf_counter() - started, prepared.step.times
    compiled = f"{shapes} shape{'s' * (shapes != 1)} compiled"
    logger.info("step %d after %.0f s; %s", int(state.step), seconds, compiled)
    if progress.skipped:
        logger.warning("%d steps were skipped: not finite", progress.skipped)
    if not done:
        run.close()
        again = ", without --overwrite_output_dir," * run.overwrites
        logger.info("saved in %s; the same command%s resumes here", run.place, again)
    return Fitted(state, done, seconds, shapes)


def where_of(parallel: Parallel) -> str:
    """What a run is computed on, in words."""
    devices = f"{parallel.devices} device{'s' * (parallel.devices > 1)}"
    return f"{devices} ({jax.default_backend()}, {parallel.name})"


def rows_of(source: BatchSource) -> str:
    """The rows of a step, in words."""
    what = f"{source.rows} rows of {' '.join(map(str, source.row_lengths))} tokens"
    if isinstance(source.sampler, PackedSampler):
        windows = len(source.features) / source.steps_per_epoch
        what += f" with {windows:.1f} windows on average"
    return what


def result_of(
    run: RunFolder, plan: Plan, state: TrainState, progress: Progress
) -> tuple[Params, int]:
    """The parameters to keep, and the step that they are of: the last, or the best if asked for."""
    last, best = int(state.step), progress.best_step
    if best is None or best == last:
        return state.result, last
    if plan.keeps_best:
        try:
            params = run.restore(state, best)[1].result
        except InputError as error:
            logger.warning("%s; so the result is the last step, not the best", error)
            return state.result, last
        logger.info("the best checkpoint is step %d", best)
        return params, best
    logger.log(
        logging.INFO if plan.patience is None else logging.WARNING,
        "the saved model is that of step %d; the best was step %d; the same command with "
        "--load_best_model_at_end --allow_changed_options load_best_model_at_end saves that",
        last,
        best,
    )
    return state.result, last
