"""--per_device_train_batch_size auto: as many rows as fit in a device's memory."""

from __future__ import annotations

import logging

import jax

from jaxbert.compiling.step_report import DoesNotFit
from jaxbert.compiling.training_step import TrainingStep
from jaxbert.errors import InputError
from jaxbert.runtime import processes

logger = logging.getLogger("jaxbert")

_FIRST = 32  # rows that are tried first
_MOST = 1024  # more rows make no product faster
_USED = 0.92  # of the memory; the rest is for batches that are on their way, and for fragments
_GIB = 2**30


def room() -> int:
    """Bytes of the first device's memory that a step may have.

    Raises:
        InputError: the device does not say.
    """
    device = jax.local_devices()[0]
    memory = device.memory_stats() or {}
    if "bytes_limit" not in memory:
        raise InputError(
            f"--per_device_train_batch_size auto: a {device.platform} does not tell its memory; "
            "give a number"
        )
    return int(_USED * (memory["bytes_limit"] - memory.get("bytes_in_use", 0)))


def rows_that_fit(step: TrainingStep, bytes_of_device: int, most: int) -> int:
    """The largest power of two of rows whose step fits, the same in all processes.

    Args:
        step: to be compiled for the devices that are here.
        bytes_of_device: see `room`; that of the first process counts.
        most: rows that there are of data for each device.

    Raises:
        InputError: not even one row fits.
    """
    limit = 1
    while 2 * limit <= min(most, _MOST):
        limit *= 2

    def fits(rows: int) -> bool:
        needs = step.needs(rows)  # every process compiles, as one may wait for the others in it
        known = None if isinstance(needs, DoesNotFit) else needs
        fit = processes.from_first(lambda: known is not None and known <= bytes_of_device)
        needed = f", which takes {known / _GIB:.2f} GiB" if known is not None else ""
        logger.info("  %d rows a device%s: %s", rows, needed, "fit" if fit else "do not fit")
        return fit

    logger.info(
        "--per_device_train_batch_size auto: compiling for %.2f GiB", bytes_of_device / _GIB
    )
    rows = min(_FIRST, limit)
    if fits(rows):
        while rows < limit and fits(2 * rows):
            rows *= 2
        return rows
    while rows > 1:
        rows //= 2
        if fits(rows):
            return rows
    raise InputError(
        "--per_device_train_batch_size auto: not even one row fits in the device's memory; "
        "--gradient_checkpointing, a shorter --dtype or --max_seq_length take less"
    )
