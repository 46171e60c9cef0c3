"""The energy that a GPU takes, from the card's own counter (NVML, from Volta on)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable


def joules() -> float | None:
    """What the first GPU has taken since its driver was loaded; None where nothing tells it."""
    try:
        import pynvml
    except ImportError:
        return None
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            card = pynvml.nvmlDeviceGetHandleByIndex(0)
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(card)) / 1000
        finally:
            pynvml.nvmlShutdown()
    return None


class Metered:
    """A function that is timed, and the energy of each of its calls.

    Attributes:
        joules: a call each; empty where nothing tells them.
    """

    def __init__(self, run: Callable[[], float]) -> None:
        self._run = run
        self.joules: list[float] = []

    def __call__(self) -> float:
        """What the function returns."""
        before = joules()
        seconds = self._run()
        after = joules()
        if before is not None and after is not None:
            self.joules.append(after - before)
        return seconds
