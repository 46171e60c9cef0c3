"""Rows of whole processes: the first step, memory, and several devices."""

from __future__ import annotations

import tempfile

from jaxbert.benchmark import child
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.steps import batch_size
from jaxbert.benchmark.timing import Row, alone

_LONGEST = 384


def first_step(setting: Setting, name: str, warm: bool) -> Row:
    """Seconds from the start of a process to the end of its first step, imports included.

    The baseline is not compiled: torch.compile would only make it later.
    """
    size, precision = batch_size(setting, "minilm-l6", _LONGEST), setting.precision
    work = child.Work("minilm-l6", size, _LONGEST, precision)
    with tempfile.TemporaryDirectory() as folder:
        cache = folder if warm else None
        if warm:
            child.measure(work, cache=cache)
        mine = child.measure(work, cache=cache)
    theirs = child.measure(work, baseline=True)
    seconds = mine["first_step"], theirs["first_step"]
    return alone(name, "s", *seconds, batch=size, length=_LONGEST)


def memory(setting: Setting, name: str, remat: bool) -> Row:
    """Peak memory of training at batch 8: of the device, or on a CPU of the whole process."""
    work = child.Work("bert-base", 8, _LONGEST, setting.precision, remat=remat)
    mine, theirs = child.measure(work), child.measure(work, baseline=True)
    seconds = {"jaxbert": mine["step"], "baseline": theirs["step"]}
    return alone(name, "GiB", mine["peak"] / 2**30, theirs["peak"] / 2**30, step_seconds=seconds)


def scaling(setting: Setting, name: str, devices: int) -> Row:
    """A step on several devices beside one, same batch; on a CPU the devices share its cores.

    Of jaxbert alone: it has no baseline.
    """
    work = child.Work("minilm-l6", 16, 192, setting.precision)
    many = child.measure(work, devices=devices)
    one = child.measure(work, devices=1)
    about = {"batch": work.size, "length": work.length, "one_device": one["step"]}
    return alone(name, "s a step", many["step"], None, **about)
