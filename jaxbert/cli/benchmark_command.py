r"""Measure jaxbert beside PyTorch: the same weights, data, batches and precision, in turns.

    jaxbert benchmark --quick
    jaxbert benchmark --train_file train-v1.1.json --validation_file dev-v1.1.json \
        --output_dir bench
    jaxbert benchmark --rows step/minilm-l6 decode
    jaxbert benchmark --gpu_report DIR --train_file ... --validation_file ...

The baseline is transformers' BERT with fused AdamW and all threads, in whichever way is fastest
here: SDPA attention, its plain attention, or SDPA compiled (finetune/padded: not compiled;
--quick: SDPA as it is). A ratio above 1 means that jaxbert is faster, or takes less; the spread is
that of the rounds. Samples of real text may differ by a fifth in their tokens, and are compared by
the token. The rows of scaling over devices have no baseline. Needs the extra `baseline`.

--gpu_report does on a GPU all that can only be done there, in one go: kernels beside the plain
operations, a resumed run beside an unbroken one, all rows, and three epochs on the questions by
both, with their scores, seconds and energy.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import jax

from jaxbert import demo
from jaxbert.cli import command_line
from jaxbert.errors import InputError
from jaxbert.options.fields import Settings, option
from jaxbert.runs.place import check_writable

if TYPE_CHECKING:
    from jaxbert.benchmark.machine import Machine
    from jaxbert.benchmark.table import Job


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions(Settings):
    """Flags of the command."""

    output_dir: str | None = option(
        None,
        "Where benchmark.json, .md, .png and report.html go; by default nowhere.",
        path=True,
    )
    gpu_report: str | None = option(
        None, "A folder for a report of this GPU: right first, then fast.", path=True
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
    """Measure the rows that are asked for."""
    # Both sides share a GPU: without this JAX would take most of its memory at once.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    options = command_line.parse(
        BenchmarkOptions, words, prog="jaxbert benchmark", description=__doc__
    )
    if importlib.util.find_spec("torch") is None:
        raise InputError('PyTorch is not installed; pip install "jaxbert[baseline]"')
    if options.rounds < 1:
        raise InputError(f"--rounds {options.rounds}: it must be at least 1")
    if options.gpu_report and options.output_dir:
        raise InputError("give --gpu_report or --output_dir: both name the folder of the report")
    given = options.gpu_report or options.output_dir
    folder = Path(given).expanduser() if given else None
    if folder:
        check_writable(folder)
    from jaxbert.benchmark import gpu_report, machine, pytorch, table
    from jaxbert.benchmark.setting import Setting

    ours, theirs = jax.default_backend(), pytorch.device()
    if options.gpu_report and ours != "gpu":
        raise InputError(f"--gpu_report: JAX computes on a {ours.upper()} here, not on a GPU")
    if (ours == "cpu") != (theirs == "cpu"):
        raise InputError(
            f"JAX computes on {ours} and PyTorch on {theirs}, which is no comparison; install the "
            "PyTorch of that device, or set JAX_PLATFORMS=cpu and CUDA_VISIBLE_DEVICES= for both"
        )
    precision = options.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    setting = Setting(
        precision=precision,
        rounds=min(options.rounds, 2) if options.quick else options.rounds,
        train_file=options.train_file,
        validation_file=options.validation_file,
        quick=options.quick,
        say=lambda line: print(line, flush=True),
    )
    jobs = table.jobs(setting)
    chosen = {name: jobs[name] for name in table.choose(list(jobs), options.rows or [""])}
    if folder and options.gpu_report:
        gpu_report.check(folder, gpu_report.checks_here(folder))
    about = machine.describe(setting.peak_of(precision))
    print(f"{about.device}, {about.cores} cores, {precision}; peak {about.peak / 1e9:.0f} Gflop/s")
    measure_rows(chosen, about, folder, debug=options.debug)
    if folder and options.gpu_report:
        files = "--train_file", options.train_file, "--validation_file", options.validation_file
        gpu_report.train(folder, (*gpu_report.TRAINING, *files))


def measure_rows(
    jobs: Mapping[str, Job], about: Machine, folder: Path | None, *, debug: bool = False
) -> None:
    """Measure the rows in order, print each, and write the report after each.

    Args:
        folder: of the report, if there is to be one.
        debug: a row that fails ends the command, with its traceback.

    Raises:
        InputError: some rows could not be measured; all others have been.
    """
    from jaxbert.benchmark import report, timing

    measured, failed, start = [], [], time.perf_counter()
    for name, job in jobs.items():
        try:
            measured.append(job())
        except (ValueError, RuntimeError, MemoryError) as error:
            # A row that does not fit into memory, or has unlike sides, costs no other row.
            if debug:
                raise
            failed.append(name)
            reason = f"{type(error).__name__}: {error}"  # a MemoryError may have no message
            print(f"{name}: not measured: {reason.splitlines()[0]}")
            continue
        print(timing.show(measured[-1]), flush=True)
        if folder:  # after every row: no measurement is lost
            minutes = round((time.perf_counter() - start) / 60, 1)
            report.write_report(folder, about, measured, minutes)
    print(f"{len(measured)} rows in {(time.perf_counter() - start) / 60:.1f} minutes")
    if failed:
        raise InputError(f"not measured: {', '.join(failed)}; the reasons are above")
