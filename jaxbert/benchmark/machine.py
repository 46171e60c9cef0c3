"""What it is measured on: device, versions, threads, and the most it can compute."""

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
from typing import TYPE_CHECKING

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


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a benchmark was run on, and how.

    Attributes:
        platform, devices, torch_device: of JAX, and PyTorch's.
        threads: of each library that says how many.
        flags: the environment's variables that change what XLA does.
        peak: floating-point operations a second; see peak_flops.
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


def describe(precision: str) -> Machine:
    """This machine and this command.

    Args:
        precision: of the peak.
    """
    import torch

    names = ("jax", "jaxlib", "flax", "optax", "torch", "transformers", "numpy")
    peak, source = peak_flops(precision)
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
        peak=peak,
        peak_source=source,
    )


def model_flops(cfg: BertConfig, tokens: int, length: int, *, training: bool) -> float:
    """Floating-point operations of the model for so many real tokens in windows of this length.

    For each token of a training step 6 P + 12 L D T, with P the parameters of the layers (Chowdhery
    et al. 2022, appendix B); a third of it for a prediction.
    """
    d, f, layers = cfg.hidden_size, cfg.intermediate_size, cfg.num_hidden_layers
    parameters = layers * (4 * d * (d + 1) + 2 * d * f + f + d + 4 * d)
    per_token = 6 * parameters + 12 * layers * d * length
    return tokens * per_token / (1 if training else 3)


@functools.cache
def peak_flops(precision: str) -> tuple[float, str]:
    """The most operations a second, and where the number is from."""
    import torch

    kind = jax.devices()[0].device_kind
    for name, peak in _PEAKS.items():
        if name in kind.replace("-", " ").split() and precision == "bfloat16":
            return peak, f"data sheet of {name}"
    dtype = jnp.dtype(precision)
    x = jnp.ones((_SIZE, _SIZE), dtype)
    product = jax.jit(lambda x: x @ x)
    best = _fastest(lambda: product(x).block_until_ready())
    where = "JAX"
    if jax.default_backend() == "cpu":
        y = torch.ones(_SIZE, _SIZE, dtype=getattr(torch, precision))
        other = _fastest(lambda: y @ y)
        best, where = min((best, where), (other, "PyTorch"))
    size = f"{_SIZE} x {_SIZE}"
    return 2 * _SIZE**3 / best, f"fastest product of two {size} matrices here, by {where}"


def _fastest(
    run: Callable[[], jax.Array | torch.Tensor], times: int = 15, enough: float = 10.0
) -> float:
    """Seconds of the fastest run. No run begins after `enough` seconds: PyTorch's bfloat16 products
    take half a minute each on a processor without instructions for them."""
    seconds: list[float] = []
    while len(seconds) < times and sum(seconds) < enough:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
