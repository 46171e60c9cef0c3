"""The machine that a program runs on, by what decides on the bits that it computes."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import jax


def device(platform_name: str | None = None) -> str:
    """The name of the device, of a CPU that of the processor.

    A virtual machine may hide the processor's number, as in "AMD EPYC"; its family and model then
    tell which instructions it has.
    """
    if (platform_name or jax.default_backend()) != "cpu":
        return jax.devices()[0].device_kind
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = [line.partition(":") for line in lines]
    facts = {name.strip(): value.strip() for name, _, value in reversed(pairs)}
    name = facts.get("model name", platform.machine())
    if any(map(str.isdigit, name)) or "cpu family" not in facts:
        return name
    return f"{name}, family {facts['cpu family']}, model {facts.get('model')}"


def cores() -> int:
    """Processor cores that this process may use: XLA splits its sums over as many threads."""
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
