"""The training step of a run as programs for devices that are only described."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import optax

from jaxbert.compiling.cost import cost_of
from jaxbert.compiling.described_devices import DeviceKind
from jaxbert.compiling.step_report import (
    DoesNotFit,
    Report,
    compile_step,
    memory_of,
    report_on,
)
from jaxbert.data.batch import Batch
from jaxbert.data.batch_source import BatchSource
from jaxbert.model.heads import Params
from jaxbert.training.parallel import CompiledStep, Parallel, Traceable
from jaxbert.training.step import TrainState, TrainStep, init_state

_MOST = 4096  # rows a device


@dataclasses.dataclass(frozen=True)
class TrainingStep:
    """A step of full rows.

    Attributes:
        params: shapes alone.
        source: rows of a micro-batch on each device -> the batches of a run.
    """

    step: TrainStep
    params: Params
    tx: optax.GradientTransformation
    source: Callable[[int], BatchSource]
    parallel: Parallel
    dtype: str

    def tokens(self, rows: int) -> int:
        """Tokens of a step on all devices, padding among them."""
        source = self.source(rows)
        return source.rows * max(source.row_lengths)

    def _arguments(
        self, rows: int
    ) -> tuple[CompiledStep, tuple[TrainState, Batch[jax.Array], jax.Array]]:
        """The step to be compiled, and the shapes that it is called with."""
        batch = self.source(rows).batch(0)
        state = jax.eval_shape(lambda params: init_state(params, self.tx, self.dtype), self.params)
        key = jax.eval_shape(lambda: jax.random.key(0))
        program = self.parallel.compile_train(self.step)
        return program, (*self.parallel.described(state, batch), key)

    def report(self, rows: int, kind: DeviceKind) -> Report | DoesNotFit:
        """Compile the step, and read what it takes.

        Args:
            rows: see source.
        """
        program, arguments = self._arguments(rows)
        if isinstance(program, Traceable):
            jaxpr = program.trace(*arguments).jaxpr
        else:
            jaxpr = jax.make_jaxpr(program)(*arguments)
        return report_on(
            lambda: program.lower(*arguments),
            cost_of(jaxpr.jaxpr),
            self.parallel.devices,
            kind,
            self.dtype,
        )

    def needs(self, rows: int) -> int | DoesNotFit:
        """Compile the step, and read how many bytes of a device's memory it takes.

        Args:
            rows: see source.
        """
        program, arguments = self._arguments(rows)
        compiled = compile_step(lambda: program.lower(*arguments))
        return compiled if isinstance(compiled, DoesNotFit) else memory_of(compiled).needed

    def most_rows(
        self,
        rows: int,
        first: Report | DoesNotFit,
        kind: DeviceKind,
        said: Callable[[str], None],
    ) -> int:
        """The most rows a device that fit, to a sixteenth; 0 where not one does.

        Args:
            rows: of `first`, a report that has been made.
            said: is told of each number that is tried.
        """

        def fits(rows: int) -> bool:
            is_fit = _fits(self.report(rows, kind))
            said(f"{rows} rows a device {'fit' if is_fit else 'do not fit'}")
            return is_fit

        return most(fits, rows, first_fits=_fits(first))


def _fits(report: Report | DoesNotFit) -> bool:
    return isinstance(report, Report) and report.fits


def most(fits: Callable[[int], bool], first: int, *, first_fits: bool) -> int:
    """The largest number that fits, to a sixteenth, and exact below 32; 0 where none does.

    Above 4096 none is tried that is greater than `first`.

    Args:
        fits: whether a number does; if one does, so do all below.
        first: a number of which it is known.
    """
    low, high = (first, None) if first_fits else (0, first)
    while high is None or high - low > max(1, low // 16):
        number = (low + high) // 2 if high is not None else min(2 * low, _MOST)
        if number <= low:
            break
        if fits(number):
            low = number
        else:
            high = number
    return low
