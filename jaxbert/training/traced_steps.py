"""A trace of some steps of a run, which XProf, TensorBoard and Perfetto open."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import jax

from jaxbert.data.batch import Batch
from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.runtime import processes
from jaxbert.training.step import TrainState, TrainStep

logger = logging.getLogger("jaxbert")


def steps_of(text: str) -> range:
    """The numbers of the steps, "10:15" for the steps 10 to 15.

    Raises:
        InputError: it has another form.
    """
    found = re.fullmatch(r"(\d+):(\d+)", text, re.ASCII)
    first, last = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= first <= last:
        raise InputError(
            f"--profile_steps {text}: give the first and the last step, from 1, such as 10:15"
        )
    return range(first, last + 1)


class TracedSteps:
    """A step that JAX's profiler records when its number is one of some.

    Args:
        step: compiled.
        steps: numbers, in a row; none for no trace.
        folder: where the trace goes.
    """

    def __init__(self, step: TrainStep, steps: range, folder: Path) -> None:
        self._step, self._steps, self._folder = step, steps, folder
        self._number: int | None = None  # of the last step that was started
        self._is_open = self._is_done = False

    def __call__(
        self, state: TrainState, batch: Batch[jax.Array], key: jax.Array
    ) -> tuple[TrainState, Arrays]:
        if not self._steps:
            return self._step(state, batch, key)
        if self._number is None:  # of a run that is resumed, not 0; under pmap each device has it
            self._number = int(jax.device_get(state.step).max())
        self._number += 1
        if self._number not in self._steps:
            return self._step(state, batch, key)
        if not self._is_open:
            jax.block_until_ready(state)  # what came before is not part of it
            jax.profiler.start_trace(self._folder, create_perfetto_trace=processes.is_first())
            self._is_open = True
        with jax.profiler.StepTraceAnnotation("train", step_num=self._number):
            done = self._step(state, batch, key)
        if self._number == self._steps[-1]:
            jax.block_until_ready(done)
            self._stop()
        return done

    def close(self) -> None:
        """End a trace whose last step did not come, or say that there is none."""
        if self._is_open:
            self._stop()
        elif self._steps and not self._is_done:
            first, last = self._steps[0], self._steps[-1]
            logger.warning("no trace: none of the steps %d to %d ran", first, last)

    def _stop(self) -> None:
        self._is_open, self._is_done = False, True
        jax.profiler.stop_trace()
        logger.info("trace in %s: xprof or tensorboard --logdir opens it", self._folder)
