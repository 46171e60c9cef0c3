"""Devices by name that need not be here: what they have, and how to compile for them."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from pathlib import Path
from typing import NamedTuple

import jax

from jaxbert.errors import InputError
from jaxbert.runtime.target import Target
from jaxbert.training.parallel import make_parallel


class DeviceKind(NamedTuple):
    """A kind of device, with its maker's figures.

    Attributes:
        memory: bytes of a device's main memory.
        bandwidth: of it, bytes a second.
        peak: floating-point operations a second of products in bfloat16 or float16.
        peak_float32: the same of float32 as XLA multiplies it by default (TF32, or bfloat16).
        usable: the fraction of the memory that a program gets: JAX takes three quarters of a GPU's.
        has_bfloat16: else XLA computes it as float32.
    """

    target: Target
    memory: float
    bandwidth: float
    peak: float
    peak_float32: float
    usable: float
    has_bfloat16: bool = True

    def peak_of(self, dtype: str) -> float:
        """The peak of products of a dtype."""
        is_short = dtype == "float16" or (dtype == "bfloat16" and self.has_bfloat16)
        return self.peak if is_short else self.peak_float32


def _tpu(memory: float, bandwidth: float, peak: float) -> DeviceKind:
    return DeviceKind(Target("tpu"), memory * 2**30, bandwidth * 1e9, peak * 1e12, peak * 1e12, 1.0)


def _nvidia(
    capability: int, memory: float, bandwidth: float, peak: float, tf32: float
) -> DeviceKind:
    return DeviceKind(
        Target("gpu", capability),
        memory * 1e9,
        bandwidth * 1e9,
        peak * 1e12,
        tf32 * 1e12,
        0.75,
        has_bfloat16=capability >= 80,
    )


# cloud.google.com/tpu/docs/system-architecture-tpu-vm; NVIDIA's data sheets, SXM, without sparsity.
TPUS = {
    "v4": _tpu(32, 1228, 275),
    "v5e": _tpu(16, 819, 197),
    "v5p": _tpu(95, 2765, 459),
    "v6e": _tpu(32, 1640, 918),
}
GPUS = {
    "h100": _nvidia(90, 80, 3352, 989, 494),
    "h200": _nvidia(90, 141, 4800, 989, 494),
    "a100": _nvidia(80, 80, 2039, 312, 156),
    "t4": _nvidia(75, 16, 320, 65, 8.1),  # Colab's; PCIe
}
_ACCELERATOR = re.compile(r"(v4|v5e|v5litepod|v5p|v6e)-(\d{1,6})")
_BY_CORES = ("v4", "v5p")  # of which a chip has two
# What XLA's compiler is told of a card: multiprocessors, their shared memory and that of a block,
# clock in GHz, level-two cache, lanes of a multiprocessor.
_CARDS = {
    "a100": (108, 167936, 166912, 1.41, 41943040, 64),
    "t4": (40, 65536, 65536, 1.59, 4194304, 64),
    "h100": (132, 233472, 232448, 1.98, 52428800, 128),
    "h200": (132, 233472, 232448, 1.98, 52428800, 128),
}


class Described(NamedTuple):
    """Devices to compile for.

    Attributes:
        name: as it was asked for: "v5e:2x4".
        hosts: the machines that they are in.
    """

    name: str
    kind: DeviceKind
    devices: list[jax.Device]
    hosts: int


def describe(name: str) -> Described:
    """The devices of a name: h100, or a slice of TPUs such as v5e:2x4, v5litepod-16 or v5p-128.

    Raises:
        InputError: there is no such device, or its compiler is not installed.
    """
    generation, _, topology = (slice_named(name.lower()) or name.lower()).partition(":")
    if generation in GPUS and not topology:
        _need("jax_cuda13_plugin", "compile-cuda", name)
        return _described(name, GPUS[generation], "cuda", generation)
    if generation in TPUS:
        if not topology:
            example = "2x2x1" if generation in ("v4", "v5p") else "2x2"
            raise InputError(f"--target {name}: which slice? For example {generation}:{example}")
        _need("libtpu", "compile-tpu", name)
        return _described(name, TPUS[generation], "tpu", f"{generation}:{topology}")
    known = (*GPUS, *(f"{tpu}:..." for tpu in TPUS))
    close = difflib.get_close_matches(generation, (*GPUS, *TPUS), n=1)
    meant = f"did you mean {close[0]}? There" if close else "there"
    raise InputError(f"--target {name}: {meant} are {', '.join(known)}")


def slice_named(name: str) -> str | None:
    """The slice of an accelerator type as Google names them, by chips or by cores.

    Raises:
        InputError: there is no slice of that number.

    >>> slice_named("v5litepod-16"), slice_named("v5p-128"), slice_named("v5p-8")
    ('v5e:4x4', 'v5p:4x4x4', 'v5p:2x2x1')
    >>> slice_named("v5e:4x4") is None
    True
    """
    match = _ACCELERATOR.fullmatch(name)
    if match is None:
        return None
    generation = "v5e" if match[1] == "v5litepod" else match[1]
    dimensions = 3 if generation in _BY_CORES else 2
    chips, rest = divmod(int(match[2]), 2 if generation in _BY_CORES else 1)
    power = chips.bit_length() - 1
    if rest or chips != 2**power or not 2 <= power <= 12:
        sizes = "8, 16, 32, ..." if generation in _BY_CORES else "4, 8, 16, ..."
        raise InputError(f"--target {name}: {match[1]}- is followed by {sizes}")
    if dimensions == 3 and power == 2:
        return f"{generation}:2x2x1"
    sides = [2 ** ((power + place) // dimensions) for place in range(dimensions)]
    return f"{generation}:{'x'.join(map(str, sides))}"


def prepare_environment() -> None:
    """What has to be set before a compiler is loaded: libtpu asks no machine of a cloud what it is,
    and XLA takes the assembler that was installed with it, not an older one of the machine."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
    for folder in getattr(importlib.util.find_spec("nvidia"), "submodule_search_locations", ()):
        tools = Path(folder, "cu13", "bin")
        if (tools / "ptxas").exists():
            os.environ["PATH"] = os.pathsep.join((str(tools), os.environ.get("PATH", "")))


def _need(module: str, extra: str, name: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise InputError(
            f"--target {name}: its compiler is not installed; pip install 'jaxbert[{extra}]'"
        )


def _described(name: str, kind: DeviceKind, platform: str, what: str) -> Described:
    from jax.experimental import topologies

    try:
        if platform == "cuda":
            found = topologies.get_topology_desc(
                platform="cuda", target_config=_card(what, kind), topology="1x1x1"
            )
        else:
            found = topologies.get_topology_desc(platform="tpu", topology_name=what)
    except Exception as error:  # the compilers raise errors of many types
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"--target {name}: its compiler does not know it ({said})") from None
    devices: list[jax.Device] = list(found.devices)
    return Described(name, kind, devices, make_parallel("jit", devices).processes)


def _card(name: str, kind: DeviceKind) -> str:
    """A card as XLA reads it, in the text form of its GpuTargetConfigProto."""
    cores, shared, of_block, clock, cache, lanes = _CARDS[name]
    major, minor = divmod(kind.target.capability or 0, 10)
    return f"""
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  core_count: {cores}
  fpus_per_core: {lanes}
  clock_rate_ghz: {clock}
  device_memory_size: {int(kind.memory)}
  memory_bandwidth: {int(kind.bandwidth)}
  l2_cache_size: {cache}
  shared_memory_per_core: {shared}
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {of_block}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_core_limit: 2048
  threads_per_block_limit: 1024
  threads_per_warp: 32
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{name}"
"""
