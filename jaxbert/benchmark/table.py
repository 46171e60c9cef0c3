"""The rows of the benchmark, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax

from jaxbert.benchmark import host_rows, process_rows, question_rows, steps
from jaxbert.benchmark.finetuning import FineTuning
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.timing import Timed
from jaxbert.errors import InputError

Job = Callable[[], Timed]


def choose(names: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The rows that are asked for, in the table's order.

    Args:
        asked: names of rows; one that names no row stands for all rows that begin with it.

    Raises:
        InputError: one matches no row.
    """
    chosen: set[str] = set()
    for start in asked:
        matching = [start] if start in names else [n for n in names if n.startswith(start)]
        if not matching:
            raise InputError(f"--rows {start}: there are {', '.join(names)}")
        chosen.update(matching)
    return [name for name in names if name in chosen]


def jobs(setting: Setting) -> dict[str, Job]:
    """All rows by name, in the order in which they are measured: the fairest comparison first."""
    models = [setting.small_model, setting.large_model]
    if setting.gpu:
        models.append(setting.largest_model)
    made: dict[str, Job] = {}
    tuning = FineTuning(setting)
    made["finetune/grouped"] = lambda: tuning.row("finetune/grouped", "buckets", "grouped")
    if not setting.quick:
        made["finetune/grouped packing"] = lambda: tuning.row(
            "finetune/grouped packing", "packing", "grouped"
        )
        if setting.gpu:
            for way in ("buckets", "packing"):
                name = f"finetune/grouped {way}, no attention dropout"
                made[name] = functools.partial(
                    tuning.row, name, way, "grouped", weights_dropped=False
                )
        made["finetune/padded"] = lambda: tuning.row("finetune/padded", "buckets", "padded")
        made["finetune/padded packing"] = lambda: tuning.row(
            "finetune/padded packing", "packing", "padded"
        )
    lengths = (128, 384) if setting.quick else steps.LENGTHS
    for model in models[:1] if setting.quick else models:
        for length in lengths:
            name = f"step/{model}/{length}"
            made[name] = functools.partial(
                steps.step, setting, name, model, length, setting.precision
            )
    if not setting.gpu and not setting.quick:  # the fastest that a processor with AMX has
        for model in models:
            name = f"step/{model}/384 bfloat16"
            made[name] = functools.partial(steps.step, setting, name, model, 384, "bfloat16")
    for form in steps.PRODUCTS:
        name = f"product/{form}"
        made[name] = functools.partial(steps.product, setting, name, form)
    made["inference"] = functools.partial(question_rows.inference, setting)
    made["decode"] = functools.partial(question_rows.decode, setting)
    made["features"] = functools.partial(question_rows.encode, setting)
    for packing in (False, True):
        name = "host/questions" + " packing" * packing
        made[name] = functools.partial(host_rows.questions, setting, name, packing=packing)
    made["host/masked words"] = functools.partial(
        host_rows.masked_words, setting, "host/masked words"
    )
    if not setting.quick:
        for cache in ("cold", "warm"):
            name = f"first step/{cache}"
            made[name] = functools.partial(process_rows.first_step, setting, name, cache == "warm")
        for remat in (False, True):
            name = f"memory/{setting.large_model}/384" + " recomputed" * remat
            made[name] = functools.partial(process_rows.memory, setting, name, remat)
        for devices in (n for n in (2, 4) if not setting.gpu or jax.device_count() >= n):
            name = f"scaling/{devices} devices"
            made[name] = functools.partial(process_rows.scaling, setting, name, devices)
    return made
