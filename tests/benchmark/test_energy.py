"""Energy is read from the card's counter, before and after what is timed."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

from jaxbert.benchmark.energy import Metered, joules
from jaxbert.benchmark.timing import Side, compare


class NVMLError(Exception):
    pass


def card(counts: Iterator[int]) -> types.ModuleType:
    """A stand-in for pynvml, whose counter has these values, in millijoules."""
    module = types.ModuleType("pynvml")
    functions = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _: next(counts),
        "NVMLError": NVMLError,
    }
    module.__dict__.update(functions)
    return module


def test_a_row_has_the_median_of_each_side(monkeypatch: pytest.MonkeyPatch) -> None:
    # jaxbert, baseline, baseline, jaxbert, jaxbert, baseline: each before and after.
    counts = iter([0, 5000, 5000, 15000, 15000, 27000, 27000, 34000, 34000, 40000, 40000, 51000])
    monkeypatch.setitem(sys.modules, "pynvml", card(counts))
    sides = [Side(lambda: 1.0, "bfloat16", 10, 10), Side(lambda: 2.0, "bfloat16", 10, 10)]
    row = compare("step", "examples", *sides, rounds=3)
    assert row.more["joules"] == {"jaxbert": 6.0, "baseline": 11.0}
    assert row.ratio == 2


def test_nothing_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise NVMLError

    module = card(iter([]))
    monkeypatch.setattr(module, "nvmlInit", none)
    for instead in (module, None):  # None: it is not installed
        monkeypatch.setitem(sys.modules, "pynvml", instead)
        assert joules() is None
        metered = Metered(lambda: 3.0)
        assert (metered(), metered.joules) == (3.0, [])
