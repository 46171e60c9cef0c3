"""The machine that a program runs on, by what decides on the bits that it computes."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import jax


def device(platform_name: str | None = None) -> str:
    """The name of the device, of a CPU that of the processor."""
    if (platform_name or jax.default_backend()) != "cpu":
        return jax.devices()[0].device_kind
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def cores() -> int:
    """Processor cores that this process may use: XLA splits its sums over so many threads."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe(platform_name: str | None = None) -> dict[str, str | int]:
    """Platform, architecture, device, how many devices, of a CPU the cores, and XLA's flags.

    Args:
        platform_name: "cpu", "gpu" or "tpu"; by default that of the default device.
    """
    found: dict[str, str | int] = {
        "platform": platform_name or jax.default_backend(),
        "architecture": platform.machine(),
        "device": device(platform_name),
        "devices": jax.device_count(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
    return found | ({"cores": cores()} if found["platform"] == "cpu" else {})
