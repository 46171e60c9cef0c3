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
from jaxbert.compiling.report import DoesNotFit, Report, report_on
from jaxbert.data.batch_source import BatchSource, Corruption
from jaxbert.data.features import Features
from jaxbert.model.heads import Params
from jaxbert.runs.plan import make_sampler
from jaxbert.training.parallel import Parallel
from jaxbert.training.step import TrainStep, init_state

_MOST = 4096  # rows a device that are tried


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
        """The batches of a run with so many rows a device."""
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

    def report(self, rows: int) -> Report | DoesNotFit:
        """Compile the step for so many rows a device, and say what it takes."""
        batch = self.source(rows).batch(0)
        state = jax.eval_shape(lambda params: init_state(params, self.tx), self.params)
        arguments = self.parallel.described(state, batch)
        key = jax.eval_shape(lambda: jax.random.key(0))
        program = self.parallel.compile_train(self.step)
        jaxpr = jax.make_jaxpr(self.step)(*arguments, key)
        return report_on(
            lambda: program.lower(*arguments, key),
            cost_of(jaxpr.jaxpr),
            self.parallel.devices,
            self.kind,
            self.dtype,
        )

    def most_rows(self, rows: int, said: Callable[[str], None]) -> int:
        """The most rows a device that fit; 0 where not one does.

        The memory that a step needs grows with its rows: by the sizes of two programs the next
        number is chosen, until one fits and the next greater one tried does not.

        Args:
            rows: to begin with.
            said: is told of each number that was tried.
        """
        fits, fails = 0, _MOST + 1
        while fails - fits > max(1, fits // 16):
            found = self.report(rows)
            is_fit = isinstance(found, Report) and found.fits
            said(f"{rows} rows a device: {'fit' if is_fit else 'do not fit'}")
            fits, fails = (rows, fails) if is_fit else (fits, rows)
            rows = min(2 * fits, _MOST) if fails > _MOST else (fits + fails) // 2
            if fits == _MOST:
                break
        return fits
