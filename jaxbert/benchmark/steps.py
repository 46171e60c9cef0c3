"""Rows of single training steps, and of the products they are made of."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Protocol, Self, TypedDict, TypeVar

import jax
import numpy as np

from jaxbert.benchmark import ours, pytorch
from jaxbert.benchmark.machine import model_flops
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.synthetic import full_batch
from jaxbert.benchmark.timing import Side, Timed, Tried, first_run
from jaxbert.data.sampling import NumpyBatch
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Params

LENGTHS = (128, 192, 384, 512)


class Way(TypedDict, total=False):
    """One way for PyTorch to do the work: options of pytorch.training and predict_questions."""

    attention: str
    compiled: bool
    packed: bool
    multiple: int
    most: int


Ways = dict[str, Way]

# The ways that are tried; --quick tries the first one only.
WAYS: Ways = {
    "sdpa": {"attention": "sdpa", "compiled": False},
    "eager attention": {"attention": "eager", "compiled": False},
    "sdpa, torch.compile": {"attention": "sdpa", "compiled": True},
}
# Only on a GPU: FlashAttention-2 drops attention weights inside its kernel, and removes padding. It
# comes with the package flash-attn; without that the row says so.
FLASH: Ways = {
    "FlashAttention-2": {"attention": "flash_attention_2", "compiled": False},
    "FlashAttention-2, torch.compile": {"attention": "flash_attention_2", "compiled": True},
}
# Only on a GPU, and only for batches that have padding: without it there is nothing to gain.
PACKED: Ways = {
    "packed, jagged sdpa": {"packed": True, "compiled": False},
    "packed, jagged sdpa, torch.compile": {"packed": True, "compiled": True},
}
UNCOMPILED: Ways = {name: way for name, way in WAYS.items() if not way["compiled"]}
# Only on a GPU: on a processor a step of one length is not faster when it is compiled.
OF_BUCKETS: Ways = {
    "sdpa, torch.compile for multiples of 64": {**WAYS["sdpa, torch.compile"], "multiple": 64}
}
_TUNED_AT = 192


def batch_size(setting: Setting, model: str, length: int) -> int:
    """Windows of a batch with enough tokens to keep the device busy."""
    tokens = 16384 if setting.gpu else 3072 if model == setting.small_model else 1536
    return max(1, tokens // length)


@functools.cache
def tuned(setting: Setting, model: str, precision: str) -> tuple[float, dict[str, float]]:
    """The multiple of the batch size (0.5, 1 or 2) at which the baseline is fastest, and its
    examples per second at each. 1 is kept unless another is 5 % faster.
    """
    if setting.quick:
        return 1.0, {}
    cfg, params = ours.load(model)
    rates: dict[float, float] = {}
    sizes: dict[float, int] = {}
    for times in (0.5, 1.0, 2.0):
        size = sizes[times] = round(times * batch_size(setting, model, _TUNED_AT))
        batches = [full_batch(cfg.vocab_size, size, _TUNED_AT)]
        run = pytorch.training(cfg, params, batches, precision=precision)
        run()
        rates[times] = size / min(run(), run())
        del run
        pytorch.free()
    best = max(rates, key=lambda times: rates[times] * (1.05 if times == 1 else 1))
    return best, {f"{sizes[n]} x {_TUNED_AT}": round(rate, 3) for n, rate in rates.items()}


def training_side(
    run: Callable[[], float],
    cfg: BertConfig,
    batches: Sequence[NumpyBatch],
    precision: str,
    compile_seconds: float | None = None,
) -> Side:
    """The Side of `run`, which trains on these batches.

    Args:
        precision: that `computed_in` of that side reports.
    """
    tokens = sum(int(b["attention_mask"].sum()) for b in batches)
    windows = sum(int((b["row"] >= 0).sum()) for b in batches)
    flops = model_flops(cfg, tokens, round(tokens / windows), training=True)
    if compile_seconds is None:
        compile_seconds = first_run(run)
    return Side(run, precision, tokens, windows, compile_seconds, flops)


def step(setting: Setting, name: str, model: str, length: int, precision: str) -> Timed:
    """A training step on full windows of one length."""
    cfg, params = ours.load(model)
    times, rates = tuned(setting, model, precision)
    size = max(1, round(times * batch_size(setting, model, length)))
    count = 1 if setting.quick else (10 if setting.gpu else 2)
    batches = [full_batch(cfg.vocab_size, size, length, seed) for seed in range(count)]
    kernel = dataclasses.replace(setting, precision=precision).kernel(cfg, [length])
    run = ours.prepare(cfg, params, batches, precision=precision, attention=kernel).run
    mine = training_side(run, cfg, batches, ours.computed_in(cfg, params, batches[0], precision))
    theirs, tried = baseline(setting, cfg, params, batches, precision)
    bfloat16 = None
    if not setting.gpu and not setting.quick and precision == "float32":
        # The fastest that PyTorch has on a processor with AMX, though another precision.
        bfloat16, _ = baseline(setting, cfg, params, batches, "bfloat16")
    row = setting.compare(name, "examples", mine, theirs, bfloat16=bfloat16)
    row.more.update(
        {"batch": size, "length": length, "baseline_batches": rates, "baseline_tried": tried}
    )
    return row


def ways_here(setting: Setting) -> Ways:
    """All ways that this device may have."""
    return WAYS | (FLASH if setting.gpu and jax.default_backend() == "gpu" else {})


def baseline(
    setting: Setting,
    cfg: BertConfig,
    params: Params,
    batches: Sequence[NumpyBatch],
    precision: str,
    ways: Ways | None = None,
) -> tuple[Side, Tried]:
    """PyTorch's fastest way, by default of WAYS, and on a GPU of FLASH; see `fastest`."""

    def make(
        *,
        attention: str = "sdpa",
        compiled: bool = False,
        packed: bool = False,
        multiple: int | None = None,
    ) -> Callable[[], float]:
        if packed:
            from jaxbert.benchmark import pytorch_packed  # it imports torch

            return pytorch_packed.training(
                cfg, params, batches, precision=precision, compiled=compiled
            )
        how = {"precision": precision, "attention": attention}
        return pytorch.training(cfg, params, batches, **how, compiled=compiled, multiple=multiple)

    run, compiling, tried = fastest(setting, make, ways_here(setting) if ways is None else ways)
    computed = pytorch.computed_in(cfg, params, batches[0], precision)
    return training_side(run, cfg, batches, computed, compiling), tried


def fastest(
    setting: Setting, make: Callable[..., Callable[[], float]], ways: Ways
) -> tuple[Callable[[], float], float, Tried]:
    """The fastest way, the seconds that it compiles, and the seconds of each way or why it failed.

    Args:
        make: called with a way's options; gives the function to time.
        ways: as WAYS.
    """
    best: tuple[float, float, Callable[[], float]] | None = None
    tried: Tried = {}
    for name, way in ways.items():
        if name != "sdpa" and setting.quick:
            continue
        run = None
        try:
            run = make(**way)
            first = run()
            later = run() if setting.quick else min(run(), run())
            tried[name] = round(later, 3)
            if best is None or later < best[0]:
                best = later, max(0.0, first - later), run
        except Exception as error:  # torch.compile needs a C++ compiler
            if name == "sdpa":
                raise
            tried[name] = f"not possible here ({_reason(error)})"
            setting.say(f"  baseline {name}: {tried[name]}")
        del run
        pytorch.free()  # the model of a slower way
    assert best is not None  # the first way is always tried
    return best[2], best[1], tried


def _reason(error: Exception) -> str:
    """The error in one short line."""
    said = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {said[:100]}".rstrip(": ")


class _Matrix(Protocol):
    """What JAX's arrays and PyTorch's tensors share."""

    @property
    def T(self) -> Self: ...  # noqa: N802

    def __matmul__(self, other: Self, /) -> Self: ...


_M = TypeVar("_M", bound=_Matrix)


class _Product(Protocol):
    def __call__(self, x: _M, w: _M, y: _M, /) -> _M: ...


# The products of a dense layer: x (M, K), kernel w (K, N), and y (M, N) or its gradient.
PRODUCTS: dict[str, _Product] = {
    "forward": lambda x, w, y: x @ w,
    "input gradient": lambda x, w, y: y @ w.T,
    "kernel gradient": lambda x, w, y: x.T @ y,
}


def product(setting: Setting, name: str, form: str) -> Timed:
    """One matrix product of MiniLM-L6's MLP, to compare the libraries below both sides."""
    import torch

    m, k, n = (32768 if setting.gpu else 3072), 384, 1536
    count = 200 if setting.gpu else 20
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((m, k), (k, n), (m, n))]
    formula = PRODUCTS[form]
    compiled = jax.jit(formula)
    xwy = [jax.device_put(a).astype(setting.precision) for a in arrays]
    dtype = getattr(torch, setting.precision)
    tensors = [torch.from_numpy(a).to(pytorch.device(), dtype) for a in arrays]

    def mine() -> float:
        start = time.perf_counter()
        for number in range(count):
            y = compiled(*xwy)
            if not setting.gpu or number == count - 1:  # a GPU queues them, as PyTorch does
                y.block_until_ready()
        return time.perf_counter() - start

    def theirs() -> float:
        pytorch.finish()
        start = time.perf_counter()
        with pytorch.autocast(setting.precision):
            for _ in range(count):
                formula(*tensors)
        pytorch.finish()
        return time.perf_counter() - start

    flops = 2.0 * m * k * n * count
    dtypes = str(xwy[0].dtype), str(tensors[0].dtype).removeprefix("torch.")
    sides = [
        Side(run, computed, 0, flops / 1e9, first_run(run), flops)
        for run, computed in zip((mine, theirs), dtypes, strict=True)
    ]
    return setting.compare(name, "Gflop", *sides)
