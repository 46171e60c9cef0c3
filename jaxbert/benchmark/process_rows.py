"""Rows of whole processes: the first step, memory, and several devices."""

from __future__ import annotations

import functools
import statistics
import tempfile
from collections.abc import Callable

from jaxbert.benchmark import child
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.steps import batch_size
from jaxbert.benchmark.timing import Timed, in_turns, of_less

_LONGEST = 384

Measure = Callable[[], dict[str, float]]


def _measured(setting: Setting, *sides: Measure) -> list[dict[str, list[float]]]:
    """Each side's measurements: a list by name, with a value per round."""
    measured = in_turns(setting.rounds, *sides)
    return [{name: [one[name] for one in side] for name in side[0]} for side in measured]


def first_step(setting: Setting, name: str, warm: bool) -> Timed:
    """Seconds from the start of a process to the end of its first step, imports included.

    The baseline is not compiled: torch.compile would only delay it.
    """
    size = batch_size(setting, setting.small_model, _LONGEST)
    work = child.Work(setting.small_model, size, _LONGEST, setting.precision)
    measure = functools.partial(child.measure, work, setting.python)
    with tempfile.TemporaryDirectory() as folder:
        cache = folder if warm else None
        if warm:
            measure(cache=cache)
        mine, theirs = _measured(
            setting, lambda: measure(cache=cache), lambda: measure(baseline=True)
        )
    seconds = mine["first_step"], theirs["first_step"]
    return of_less(name, "s", *seconds, batch=size, length=_LONGEST)


def memory(setting: Setting, name: str, remat: bool) -> Timed:
    """Peak memory of training at batch 8: of the device, or on a CPU of the whole process.

    Each side draws the random weights of BERT-base itself.
    """
    work = child.Work(setting.large_model, 8, _LONGEST, setting.precision, remat=remat)
    measure = functools.partial(child.measure, work, setting.python)
    sides = _measured(setting, measure, lambda: measure(baseline=True))
    peaks = [[bytes_ / 2**30 for bytes_ in side["peak"]] for side in sides]
    # The baseline's is left out: its process does not keep freed memory, as the timed steps do.
    return of_less(name, "GiB", *peaks, step_seconds=statistics.median(sides[0]["step"]))


def scaling(setting: Setting, name: str, devices: int) -> Timed:
    """A step on several devices and on one, with the same batch; a CPU's devices share its cores.

    It has no baseline.
    """
    work = child.Work(setting.small_model, 16, 192, setting.precision)
    measure = functools.partial(child.measure, work, setting.python)
    many, one = _measured(setting, lambda: measure(devices=devices), lambda: measure(devices=1))
    alone = statistics.median(one["step"])
    seconds = many["step"], None
    return of_less(
        name, "s a step", *seconds, batch=work.size, length=work.length, one_device=alone
    )
