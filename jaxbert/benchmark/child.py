"""One measurement in a process of its own: peak memory, the first step, a number of devices.

python -m jaxbert.benchmark.child MODEL SIZE LENGTH PRECISION [--remat] [--baseline] ...

It prints one line of JSON: first_step (seconds since the process started, with imports and
compiling), step (seconds of a later one), peak (bytes of memory). With --baseline it imports no
JAX.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxbert.benchmark.synthetic import full_batch
from jaxbert.errors import InputError
from jaxbert.runtime import memory


class Work(NamedTuple):
    """A training step: the model, the windows of a batch and their length."""

    model: str
    size: int
    length: int
    precision: str
    remat: bool = False


def measure(
    work: Work,
    python: Sequence[str] = (sys.executable,),
    *,
    baseline: bool = False,
    devices: int | None = None,
    cache: str | None = None,
) -> dict[str, float]:
    """The measurements of a child that is started for this work.

    Args:
        python: the command of the interpreter.
        baseline: the child is PyTorch's.
        devices: that a CPU is divided into.
        cache: the folder of JAX's compilation cache.

    Raises:
        InputError: the child failed; it may have run out of memory.
    """
    words = ["jaxbert.benchmark.child", *map(str, work[:4])]
    words += ["--remat"] * work.remat + ["--baseline"] * baseline
    words += ["--cache", cache] if cache else []
    environment = dict(os.environ)
    if not cache:
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    if devices is not None:
        words += ["--devices", str(devices)]
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
    environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    done = subprocess.run(
        [*python, "-m", *words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise InputError(f"{' '.join(words)} failed: {reason}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Measure in this process, from the start time that the operating system has for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("size", type=int)
    parser.add_argument("length", type=int)
    parser.add_argument("precision")
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--devices", type=int)
    parser.add_argument("--cache")
    args = parser.parse_args()
    began = _process_start()
    if not args.baseline:  # as jaxbert's scripts do; PyTorch's users have malloc as it is
        memory.keep_freed()
    work = Work(args.model, args.size, args.length, args.precision, args.remat)
    run = _theirs(work) if args.baseline else _ours(work, args.devices, args.cache)
    run()
    first = time.time() - began
    step = run()
    peak = _peak_of_torch() if args.baseline else _peak_of_jax()
    print(json.dumps({"first_step": first, "step": step, "peak": peak}))


def _ours(work: Work, devices: int | None, cache: str | None) -> Callable[[], float]:
    from jaxbert.benchmark import ours
    from jaxbert.runtime.compiled import keep_compiled

    if cache:
        keep_compiled(cache)
    cfg, params = ours.load(work.model)
    batches = [full_batch(cfg.vocab_size, work.size, work.length)]
    return ours.prepare(
        cfg, params, batches, precision=work.precision, remat=work.remat, devices=devices
    ).run


def _theirs(work: Work) -> Callable[[], float]:
    from jaxbert.benchmark import pytorch

    model = pytorch.load_by_name(work.model)
    batches = [full_batch(model.config.vocab_size, work.size, work.length)]
    return pytorch.prepare(model, batches, precision=work.precision, remat=work.remat).run


def _process_start() -> float:
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    up = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - (up - ticks / os.sysconf("SC_CLK_TCK"))


def _peak_of_process() -> float:
    # getrusage() would include the peak of the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _peak_of_jax() -> float:
    """Bytes of the device's memory, or on a CPU of the process's."""
    import jax

    statistics = jax.local_devices()[0].memory_stats() or {}
    return float(statistics.get("peak_bytes_in_use", _peak_of_process()))


def _peak_of_torch() -> float:
    import torch

    on_gpu = torch.cuda.is_available()
    return float(torch.cuda.max_memory_allocated()) if on_gpu else _peak_of_process()


if __name__ == "__main__":
    main()
