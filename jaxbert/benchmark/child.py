"""One measurement in a process of its own: peak memory, the first step, a number of devices.

python -m jaxbert.benchmark.child MODEL SIZE LENGTH [--precision P] [--remat] [--devices N] ...

It prints one line of JSON: first_step (seconds since the process began, imports and compiling
included), step (seconds of a later one), peak (bytes of memory).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from jaxbert.errors import InputError


def measure(
    model: str,
    size: int,
    length: int,
    *,
    remat: bool = False,
    devices: int | None = None,
    cache: str | None = None,
    precision: str = "float32",
) -> dict[str, float]:
    """What the child prints, from a child that is started for it.

    Raises:
        InputError: the child failed, for want of memory perhaps.
    """
    words = [sys.executable, "-m", "jaxbert.benchmark.child", model, str(size), str(length)]
    words += ["--precision", precision]
    words += ["--remat"] * remat
    words += ["--cache", cache] if cache else []
    environment = dict(os.environ)
    if not cache:
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    if devices is not None:
        words += ["--devices", str(devices)]
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
    environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise InputError(f"{' '.join(words[2:])} failed: {reason}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure in this process, which began when the operating system says it did."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("size", type=int)
    parser.add_argument("length", type=int)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--devices", type=int)
    parser.add_argument("--cache")
    args = parser.parse_args()
    began = _process_start()

    from jaxbert import memory
    from jaxbert.benchmark import ours
    from jaxbert.benchmark.models import full_batch, load
    from jaxbert.compiled import keep_compiled

    memory.keep_freed()
    if args.cache:
        keep_compiled(args.cache)
    cfg, params = load(args.model)
    run = ours.training(
        *(cfg, params, [full_batch(cfg, args.size, args.length)]),
        precision=args.precision,
        remat=args.remat,
        devices=args.devices,
    )
    run()
    first = time.time() - began
    step = min(run() for _ in range(3))
    print(json.dumps({"first_step": first, "step": step, "peak": _peak()}))


def _process_start() -> float:
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    up = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - (up - ticks / os.sysconf("SC_CLK_TCK"))


def _peak() -> float:
    """Bytes: of the device's memory, on a CPU of the process."""
    import jax

    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return float(statistics["peak_bytes_in_use"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


if __name__ == "__main__":
    main()
