"""The machine that is measured: device, versions, threads, and its peak."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from jaxbert.benchmark import pytorch
from jaxbert.model.config import BertConfig
from jaxbert.runtime.host import cores, device

if TYPE_CHECKING:
    import torch

# Dense bfloat16 operations a second, from the makers' data sheets.
_PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12}
_SIZE = 2048


class Peak(NamedTuple):
    """The most floating-point operations a second of a device, and where the number is from."""

    flops: float
    source: str


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a benchmark was run on, and how.

    Attributes:
        platform, devices: JAX's.
        torch_device: PyTorch's.
        threads: per library that reports a number.
        flags: environment variables that change what XLA does.
        peak: floating-point operations per second, for the MFU.
    """

    device: str
    platform: str
    devices: int
    cores: int
    torch_device: str
    threads: dict[str, int]
    flags: dict[str, str]
    malloc: str
    versions: dict[str, str]
    command: str
    date: str
    peak: float
    peak_source: str


def describe(peak: Peak) -> Machine:
    """This machine and this command."""
    import torch

    names = ("jax", "jaxlib", "flax", "optax", "torch", "transformers", "numpy")
    return Machine(
        device=device(),
        platform=jax.default_backend(),
        devices=jax.device_count(),
        cores=cores(),
        torch_device=pytorch.device(),
        threads={"torch": torch.get_num_threads()},
        flags={n: os.environ[n] for n in ("XLA_FLAGS", "JAX_PLATFORMS") if n in os.environ},
        malloc="freed memory is kept, for both sides but in processes of their own",
        versions={"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in names},
        command=shlex.join(["python", *sys.argv]),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        peak=peak.flops,
        peak_source=peak.source,
    )


def model_flops(cfg: BertConfig, tokens: int, length: int, *, training: bool) -> float:
    """Floating-point operations of the model for this many real tokens in windows of this length.

    A token of a training step takes 6 P + 12 L D T, with P the parameters of the layers (Chowdhery
    et al. 2022, appendix B); a token of a prediction takes a third of that.
    """
    d, f, layers = cfg.hidden_size, cfg.intermediate_size, cfg.num_hidden_layers
    parameters = layers * (4 * d * (d + 1) + 2 * d * f + f + d + 4 * d)
    per_token = 6 * parameters + 12 * layers * d * length
    return tokens * per_token / (1 if training else 3)


@functools.cache
def peak_flops(precision: str) -> Peak:
    """The peak of this machine: of its data sheet, or measured."""
    import torch

    device_kind = jax.devices()[0].device_kind
    for name, peak in _PEAKS.items():
        if name in device_kind.replace("-", " ").split() and precision == "bfloat16":
            return Peak(peak, f"data sheet of {name}")
    dtype = jnp.dtype(precision)
    x = jnp.ones((_SIZE, _SIZE), dtype)
    product = jax.jit(lambda x: x @ x)
    best = _fastest(lambda: product(x).block_until_ready())
    library = "JAX"
    if jax.default_backend() == "cpu":
        y = torch.ones(_SIZE, _SIZE, dtype=getattr(torch, precision))
        of_torch = _fastest(lambda: y @ y)
        best, library = min((best, library), (of_torch, "PyTorch"))
    size = f"{_SIZE} x {_SIZE}"
    return Peak(2 * _SIZE**3 / best, f"fastest product of two {size} matrices here, by {library}")


def _fastest(
    run: Callable[[], jax.Array | torch.Tensor], times: int = 15, enough: float = 10.0
) -> float:
    """Seconds of the fastest run. No run starts after `enough` seconds: a bfloat16 product takes
    PyTorch half a minute on a processor without instructions for it."""
    seconds: list[float] = []
    while len(seconds) < times and sum(seconds) < enough:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
