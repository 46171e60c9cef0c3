"""Rows of whole processes: the first step, memory, and several devices."""

from __future__ import annotations

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
    """What each side's children say, by name, round by round."""
    found = in_turns(setting.rounds, *sides)
    return [{name: [one[name] for one in side] for name in side[0]} for side in found]


def first_step(setting: Setting, name: str, warm: bool) -> Timed:
    """Seconds from the start of a process to the end of its first step, imports included.

    The baseline is not compiled: torch.compile would only make it later.
    """
    size, precision = batch_size(setting, "minilm-l6", _LONGEST), setting.precision
    work = child.Work("minilm-l6", size, _LONGEST, precision)
    with tempfile.TemporaryDirectory() as folder:
        cache = folder if warm else None
        if warm:
            child.measure(work, cache=cache)
        mine, theirs = _measured(
            setting,
            lambda: child.measure(work, cache=cache),
            lambda: child.measure(work, baseline=True),
        )
    seconds = mine["first_step"], theirs["first_step"]
    return of_less(name, "s", *seconds, batch=size, length=_LONGEST)


def memory(setting: Setting, name: str, remat: bool) -> Timed:
    """Peak memory of training at batch 8: of the device, or on a CPU of the whole process.

    BERT-base's weights are random, each side's own.
    """
    work = child.Work("bert-base", 8, _LONGEST, setting.precision, remat=remat)
    sides = _measured(
        setting, lambda: child.measure(work), lambda: child.measure(work, baseline=True)
    )
    peaks = [[bytes_ / 2**30 for bytes_ in side["peak"]] for side in sides]
    # Not the baseline's: in its process freed memory is not kept, as it is where steps are timed.
    return of_less(name, "GiB", *peaks, step_seconds=statistics.median(sides[0]["step"]))


def scaling(setting: Setting, name: str, devices: int) -> Timed:
    """A step on several devices beside one, same batch; on a CPU the devices share its cores.

    Of jaxbert alone: it has no baseline.
    """
    work = child.Work("minilm-l6", 16, 192, setting.precision)
    many, one = _measured(
        setting,
        lambda: child.measure(work, devices=devices),
        lambda: child.measure(work, devices=1),
    )
    alone = statistics.median(one["step"])
    seconds = many["step"], None
    return of_less(
        name, "s a step", *seconds, batch=work.size, length=work.length, one_device=alone
    )
