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
MODELS = ("minilm-l6", "bert-base")


class Way(TypedDict, total=False):
    """One way to have PyTorch do the work: see pytorch.training, and predict_questions for most."""

    attention: str
    compiled: bool
    multiple: int
    most: int


Ways = dict[str, Way]

# How PyTorch is tried, the first always.
WAYS: Ways = {
    "sdpa": {"attention": "sdpa", "compiled": False},
    "eager attention": {"attention": "eager", "compiled": False},
    "sdpa, torch.compile": {"attention": "sdpa", "compiled": True},
}
UNCOMPILED: Ways = {name: way for name, way in WAYS.items() if not way["compiled"]}
# On a GPU alone: on a processor, a step of one length is not faster when it is compiled.
OF_BUCKETS: Ways = {
    "sdpa, torch.compile for multiples of 64": {**WAYS["sdpa, torch.compile"], "multiple": 64}
}
_TUNED_AT = 192


def batch_size(setting: Setting, model: str, length: int) -> int:
    """Windows of a batch that keeps the device busy: so many tokens."""
    tokens = 16384 if setting.gpu else {"minilm-l6": 3072, "bert-base": 1536}[model]
    return max(1, tokens // length)


@functools.cache
def tuned(setting: Setting, model: str, precision: str) -> tuple[float, dict[str, float]]:
    """How many times as large batches suit the baseline best, of half, one and two; and the
    examples a second that it has with each. Less than 5 % faster is not faster.
    """
    if setting.quick:
        return 1.0, {}
    cfg, params = ours.load(model)
    found = {}
    for times in (0.5, 1.0, 2.0):
        size = round(times * batch_size(setting, model, _TUNED_AT))
        batches = [full_batch(cfg.vocab_size, size, _TUNED_AT)]
        run = pytorch.training(cfg, params, batches, precision=precision)
        run()
        found[times] = size, size / min(run(), run())
        del run
        pytorch.free()
    rates = {f"{size} x {_TUNED_AT}": round(rate, 3) for size, rate in found.values()}
    return max(found, key=lambda times: found[times][1] * (1.05 if times == 1 else 1)), rates


def training_side(
    run: Callable[[], float],
    cfg: BertConfig,
    batches: Sequence[NumpyBatch],
    precision: str,
    compile_seconds: float | None = None,
) -> Side:
    """What `run` does with these batches.

    Args:
        precision: that it computes in, as `computed_in` of either side found it.
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


def baseline(
    setting: Setting,
    cfg: BertConfig,
    params: Params,
    batches: Sequence[NumpyBatch],
    precision: str,
    ways: Ways | None = None,
) -> tuple[Side, Tried]:
    """PyTorch's fastest way, by default of WAYS; see `fastest`."""
    make = functools.partial(pytorch.training, cfg, params, batches, precision=precision)
    run, compiling, tried = fastest(setting, make, WAYS if ways is None else ways)
    found = pytorch.computed_in(cfg, params, batches[0], precision)
    return training_side(run, cfg, batches, found, compiling), tried


def fastest(
    setting: Setting, make: Callable[..., Callable[[], float]], ways: Ways
) -> tuple[Callable[[], float], float, Tried]:
    """The fastest of the ways, the seconds it compiles, and of each way the seconds, or why not.

    Args:
        make: of a way's options, what is timed.
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
            tried[name] = f"not possible here ({type(error).__name__})"
            setting.say(f"  baseline {name}: {tried[name]}")
        del run
        pytorch.free()  # the model of a slower way
    assert best is not None  # the first way is never left out
    return best[2], best[1], tried


class _Matrix(Protocol):
    """What an array of JAX and a tensor of PyTorch have alike."""

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
    """One product of MiniLM-L6's MLP, alone: what the libraries below both sides make of it."""
    import torch

    m, k, n = (32768 if setting.gpu else 3072), 384, 1536
    count = 200 if setting.gpu else 20
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((m, k), (k, n), (m, n))]
    formula = PRODUCTS[form]
    compiled = jax.jit(formula)
    xwy = [jax.device_put(a).astype(setting.precision) for a in arrays]
    dtype = getattr(torch, setting.precision)
    other = [torch.from_numpy(a).to(pytorch.device(), dtype) for a in arrays]

    def mine() -> float:
        start = time.perf_counter()
        for number in range(count):
            y = compiled(*xwy)
            if not setting.gpu or number == count - 1:  # as PyTorch: a GPU has the next at once
                y.block_until_ready()
        return time.perf_counter() - start

    def theirs() -> float:
        pytorch.finish()
        start = time.perf_counter()
        with pytorch.autocast(setting.precision):
            for _ in range(count):
                formula(*other)
        pytorch.finish()
        return time.perf_counter() - start

    flops = 2.0 * m * k * n * count
    dtypes = str(xwy[0].dtype), str(other[0].dtype).removeprefix("torch.")
    sides = [
        Side(run, found, 0, flops / 1e9, first_run(run), flops)
        for run, found in zip((mine, theirs), dtypes, strict=True)
    ]
    return setting.compare(name, "Gflop", *sides)
