"""The training step of a run as programs for devices that are only described."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import optax

from jaxbert.compiling.cost import cost_of
from jaxbert.compiling.described_devices import DeviceKind
from jaxbert.compiling.full_rows import stretched
from jaxbert.compiling.step_report import DoesNotFit, Report, report_on
from jaxbert.data.batch_source import BatchSource, Corruption
from jaxbert.data.features import Features
from jaxbert.model.heads import Params
from jaxbert.runs.plan import make_sampler
from jaxbert.training.parallel import Parallel, Traceable
from jaxbert.training.step import TrainStep, init_state

_MOST = 4096  # rows a device


@dataclasses.dataclass(frozen=True)
class TrainingStep:
    """A step of full rows.

    Attributes:
        params: shapes alone.
        features: of any windows of the task.
        packed: rows have several windows, of an eighth to all of a row.
        length_bucket: of packed rows, whose length it decides.
    """

    step: TrainStep
    params: Params
    tx: optax.GradientTransformation
    features: Features
    corruption: Corruption | None
    parallel: Parallel
    kind: DeviceKind
    dtype: str
    width: int
    accumulation: int
    length: int
    length_bucket: int
    packed: bool

    def source(self, rows: int) -> BatchSource:
        """The batches of a run.

        Args:
            rows: of a micro-batch on each device.
        """
        parts = self.parallel.devices * self.accumulation
        count = rows * parts
        lengths = np.full(count, self.length)
        if self.packed:
            rng = np.random.default_rng(0)
            lengths = rng.integers(self.length // 8, self.length + 1, 8 * count)
        features = stretched(self.features, lengths)
        sampler = make_sampler(
            features.lengths,
            width=self.width,
            parts=parts,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=self.accumulation,
            packing=self.packed,
            max_seq_length=self.length,
            length_bucket=self.length_bucket if self.packed else 0,
            seed=0,
            platform=self.kind.target.platform,
        )
        return BatchSource(features, sampler, self.corruption, self.accumulation)

    def tokens(self, rows: int) -> int:
        """Tokens of a step on all devices, padding among them."""
        source = self.source(rows)
        return source.rows * max(source.row_lengths)

    def report(self, rows: int) -> Report | DoesNotFit:
        """Compile the step, and read what it takes.

        Args:
            rows: see source.
        """
        batch = self.source(rows).batch(0)
        state = jax.eval_shape(lambda params: init_state(params, self.tx, self.dtype), self.params)
        arguments = self.parallel.described(state, batch)
        key = jax.eval_shape(lambda: jax.random.key(0))
        program = self.parallel.compile_train(self.step)
        if isinstance(program, Traceable):
            jaxpr = program.trace(*arguments, key).jaxpr
        else:
            jaxpr = jax.make_jaxpr(program)(*arguments, key)
        return report_on(
            lambda: program.lower(*arguments, key),
            cost_of(jaxpr.jaxpr),
            self.parallel.devices,
            self.kind,
            self.dtype,
        )

    def most_rows(self, rows: int, first: Report | DoesNotFit, said: Callable[[str], None]) -> int:
        """The most rows a device that fit, to a sixteenth; 0 where not one does.

        Args:
            rows: of `first`, a report that has been made.
            said: is told of each number that is tried.
        """

        def fits(rows: int) -> bool:
            is_fit = _fits(self.report(rows))
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
