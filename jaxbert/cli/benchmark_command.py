r"""Measure jaxbert beside PyTorch: the same weights, data, batches and precision, in turns.

    jaxbert benchmark --quick
    jaxbert benchmark --train_file train-v1.1.json --validation_file dev-v1.1.json \
        --output_dir bench
    jaxbert benchmark --rows step/minilm-l6 decode

The baseline is transformers' BERT with fused AdamW and all threads, in whichever way is fastest
here: SDPA attention, its plain attention, or SDPA compiled (finetune/padded: not compiled;
--quick: SDPA as it is). Above a ratio of 1 jaxbert is faster, or takes less; the
spread is that of the rounds. Samples of real text may differ by a fifth in their tokens, and are
compared by the token. The rows of scaling over devices are jaxbert's alone.
Needs the extra `baseline`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax

from jaxbert import demo
from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.options.fields import Settings, option
from jaxbert.runs.folder import check_writable


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions(Settings):
    """Flags of the command."""

    output_dir: str | None = option(
        None,
        "Where benchmark.json, benchmark.md and benchmark.png go; by default nowhere.",
        path=True,
    )
    rows: list[str] | None = option(None, "Names of rows, or how several begin; by default all.")
    quick: bool = option(False, "Few rows, rounds and examples: 3 minutes on 2 cores.")
    rounds: int = option(5, "Times that both sides are measured, in turns.")
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "Of both sides; auto is float32 on a CPU and bfloat16 elsewhere. On an NVIDIA GPU the "
        "products of float32 are TF32, of both.",
    )
    train_file: str = option(
        demo.path_of("qa_en_train.json"),
        "Questions to train on, for the rows of real text.",
        path=True,
    )
    validation_file: str = option(
        demo.path_of("qa_en_dev.json"),
        "Questions to answer, for the rows of real text.",
        path=True,
    )
    debug: bool = option(False, "Show the traceback of an error.")


def run(words: Sequence[str]) -> None:
    """Measure all rows, and write the report after each."""
    # Both sides share a GPU: without this JAX would take most of its memory at once.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    options = command_line.parse(
        BenchmarkOptions, words, prog="jaxbert benchmark", description=__doc__
    )
    if importlib.util.find_spec("torch") is None:
        raise InputError('PyTorch is not installed; pip install "jaxbert[baseline]"')
    if options.rounds < 1:
        raise InputError(f"--rounds {options.rounds}: it must be at least 1")
    if options.output_dir:
        check_writable(Path(options.output_dir).expanduser())
    from jaxbert.benchmark import machine, pytorch, report, table, timing
    from jaxbert.benchmark.setting import Setting

    ours, theirs = jax.default_backend(), pytorch.device()
    if (ours == "cpu") != (theirs == "cpu"):
        raise InputError(
            f"JAX computes on {ours} and PyTorch on {theirs}, which is no comparison; install the "
            "PyTorch of that device, or set JAX_PLATFORMS=cpu and CUDA_VISIBLE_DEVICES= for both"
        )
    precision = options.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    about = machine.describe(precision)
    setting = Setting(
        precision=precision,
        rounds=min(options.rounds, 2) if options.quick else options.rounds,
        train_file=options.train_file,
        validation_file=options.validation_file,
        quick=options.quick,
        say=lambda line: print(line, flush=True),
    )
    made = table.jobs(setting)
    chosen = table.choose(list(made), options.rows or [""])
    print(f"{about.device}, {about.cores} cores, {precision}; peak {about.peak / 1e9:.0f} Gflop/s")
    found, failed, start = [], [], time.perf_counter()
    for name in chosen:
        try:
            found.append(made[name]())
        except (ValueError, RuntimeError, MemoryError) as error:
            # One that does not fit into memory, or compares what is unlike, costs no other row.
            if options.debug:
                raise
            failed.append(name)
            reason = f"{type(error).__name__}: {error}"  # a MemoryError says no more than its name
            print(f"{name}: not measured: {reason.splitlines()[0]}")
            continue
        setting.say(timing.show(found[-1]))
        if options.output_dir:  # after every row: what is measured is not lost
            minutes = round((time.perf_counter() - start) / 60, 1)
            report.write_report(Path(options.output_dir).expanduser(), about, found, minutes)
    print(f"{len(found)} rows in {(time.perf_counter() - start) / 60:.1f} minutes")
    if failed:
        raise InputError(f"not measured: {', '.join(failed)}; the reasons are above")
