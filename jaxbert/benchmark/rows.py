"""The rows of the benchmark: what is done by both sides, by name."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxbert.benchmark import child, ours, pytorch
from jaxbert.benchmark.machine import model_flops, peak_flops
from jaxbert.benchmark.models import full_batch, load
from jaxbert.benchmark.timing import Row, Side, alone, compare, first_run
from jaxbert.data.batches import NumpyBatch, Order, bucket_lengths, in_order, make_batch
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.features import Features
from jaxbert.data.packing import AnyOrder, PackedOrder
from jaxbert.data.questions import QAExample, read_qa
from jaxbert.data.tokenizer import load_tokenizer
from jaxbert.decoding.answers import decode_qa
from jaxbert.model.config import BertConfig
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params
from jaxbert.model.kernels import choose_attention
from jaxbert.options import QAOptions
from jaxbert.predictors.question_answerer import QuestionAnswerer
from jaxbert.tasks.qa import QA

Job = Callable[[], Row]
LENGTHS = (128, 192, 384, 512)
_LONGEST, _STRIDE = 384, 128
_MODELS = ("minilm-l6", "bert-base")


@dataclasses.dataclass(frozen=True)
class Setting:
    """How it is measured.

    Attributes:
        precision: "float32" or "bfloat16".
        train_file, validation_file: questions, for the rows of real text.
        quick: few rounds and little work.
        say: prints a line.
    """

    precision: str
    rounds: int
    train_file: str
    validation_file: str
    quick: bool
    say: Callable[[str], None]

    @property
    def gpu(self) -> bool:
        """Whether an accelerator computes."""
        return jax.default_backend() != "cpu"

    def compare(self, name: str, unit: str, ours: Side, theirs: Side, *, alike: float = 0.0) -> Row:
        """See timing.compare."""
        peak, _ = peak_flops(ours.precision) if ours.flops else (None, "")
        return compare(
            *(name, unit, ours, theirs), rounds=self.rounds, alike=alike, peak=peak, say=self.say
        )


def jobs(setting: Setting) -> dict[str, Job]:
    """All rows by name, in the order in which they are measured; the fairest comparison first."""
    made: dict[str, Job] = {}
    tuning = _FineTuning(setting)
    if not setting.quick:
        made["finetune/grouped"] = lambda: tuning.row("finetune/grouped", "buckets", "grouped")
    made["finetune/grouped packing"] = lambda: tuning.row(
        "finetune/grouped packing", "packing", "grouped"
    )
    if not setting.quick:
        made["finetune/padded"] = lambda: tuning.row("finetune/padded", "buckets", "padded")
        made["finetune/padded packing"] = lambda: tuning.row(
            "finetune/padded packing", "packing", "padded"
        )
    lengths = (128, 384) if setting.quick else LENGTHS
    for model in _MODELS[: 1 if setting.quick else 2]:
        for length in lengths:
            name = f"step/{model}/{length}"
            made[name] = functools.partial(_step, setting, name, model, length, setting.precision)
    if not setting.gpu and not setting.quick:  # the fastest that a processor with AMX has
        for model in _MODELS:
            name = f"step/{model}/384 bfloat16"
            made[name] = functools.partial(_step, setting, name, model, 384, "bfloat16")
    for form in _PRODUCTS:
        name = f"product/{form}"
        made[name] = functools.partial(_product, setting, name, form)
    made["inference"] = functools.partial(_inference, setting)
    made["decode"] = functools.partial(_decode, setting)
    made["features"] = functools.partial(_features, setting)
    if not setting.quick:
        for cache in ("cold", "warm"):
            name = f"first step/{cache}"
            made[name] = functools.partial(_first_step, setting, name, cache == "warm")
        for remat in (False, True):
            name = "memory/bert-base/384" + " recomputed" * remat
            made[name] = functools.partial(_memory, setting, name, remat)
        for devices in (n for n in (2, 4) if not setting.gpu or jax.device_count() >= n):
            name = f"scaling/{devices} devices"
            made[name] = functools.partial(_scaling, setting, name, devices)
    return made


# --- training steps -----------------------------------------------------------------------------


def _size(setting: Setting, model: str, length: int) -> int:
    """Windows of a batch that keeps the device busy: so many tokens."""
    tokens = 32768 if setting.gpu else {"minilm-l6": 3072, "bert-base": 1536}[model]
    return max(1, tokens // length)


def _training_side(
    run: Callable[[], float],
    cfg: BertConfig,
    batches: Sequence[NumpyBatch],
    precision: str,
    compile_seconds: float | None = None,
) -> Side:
    tokens = sum(int(b["attention_mask"].sum()) for b in batches)
    windows = sum(int((b["row"] >= 0).sum()) for b in batches)
    flops = model_flops(cfg, tokens, round(tokens / windows), training=True)
    if compile_seconds is None:
        compile_seconds = first_run(run)
    return Side(run, precision, tokens, windows, compile_seconds, flops)


def _step(setting: Setting, name: str, model: str, length: int, precision: str) -> Row:
    cfg, params = load(model)
    size = _size(setting, model, length)
    count = 1 if setting.quick else (10 if setting.gpu else 2)
    batches = [full_batch(cfg, size, length, seed) for seed in range(count)]
    kernel = _kernel(dataclasses.replace(setting, precision=precision), cfg, length)
    run = ours.training(cfg, params, batches, precision=precision, attention=kernel)
    mine = _training_side(run, cfg, batches, precision)
    theirs, tried = _baseline(setting, cfg, params, batches, precision)
    row = setting.compare(name, "examples", mine, theirs)
    row.more.update(batch=size, length=length, baseline_tried=tried)
    return row


def _baseline(
    setting: Setting,
    cfg: BertConfig,
    params: Any,
    batches: Sequence[NumpyBatch],
    precision: str,
    *,
    compiled: bool = True,
) -> tuple[Side, dict[str, float]]:
    """PyTorch's faster way, SDPA as it is or, where that may be, compiled; the seconds of each."""
    found: dict[str, tuple[float, float, Callable[[], float]]] = {}
    ways = {"sdpa": False, "sdpa, torch.compile": True}
    for name, way in ways.items():
        if way and (setting.quick or not compiled):
            continue
        try:
            run = pytorch.training(cfg, params, batches, precision=precision, compiled=way)
            first = run()
            later = run() if setting.quick else min(run(), run())
            found[name] = later, max(0.0, first - later), run
        except Exception as error:  # torch.compile needs a C++ compiler
            if name == "sdpa":
                raise
            setting.say(f"  baseline {name}: not possible here ({type(error).__name__})")
    best = min(found, key=lambda name: found[name][0])
    _, compiling, run = found[best]
    side = _training_side(run, cfg, batches, precision, compiling)
    return side, {name: round(seconds, 3) for name, (seconds, _, _) in found.items()}


# The products of a dense layer: x (M, K), kernel w (K, N), and y (M, N) or its gradient.
_PRODUCTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "forward": lambda x, w, y: x @ w,
    "input gradient": lambda x, w, y: y @ w.T,
    "kernel gradient": lambda x, w, y: x.T @ y,
}


def _product(setting: Setting, name: str, form: str) -> Row:
    """One product of MiniLM-L6's MLP, alone: what the libraries below both sides make of it."""
    import torch

    m, k, n = (32768 if setting.gpu else 3072), 384, 1536
    count = 200 if setting.gpu else 20
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((m, k), (k, n), (m, n))]
    product = _PRODUCTS[form]
    compiled = jax.jit(product)
    xwy = [jax.device_put(a).astype(setting.precision) for a in arrays]
    dtype = getattr(torch, setting.precision)
    other = [torch.from_numpy(a).to(pytorch.device(), dtype) for a in arrays]

    def mine() -> float:
        start = time.perf_counter()
        for _ in range(count):
            compiled(*xwy).block_until_ready()
        return time.perf_counter() - start

    def theirs() -> float:
        pytorch.finish()
        start = time.perf_counter()
        for _ in range(count):
            product(*other)
            pytorch.finish()
        return time.perf_counter() - start

    flops = 2.0 * m * k * n * count
    sides = [
        Side(run, setting.precision, 0, flops / 1e9, first_run(run), flops)
        for run in (mine, theirs)
    ]
    return setting.compare(name, "Gflop", *sides)


# --- fine-tuning on real text -------------------------------------------------------------------


class _FineTuning:
    """Batches from all over an epoch of questions, as each side makes them of the same windows: so
    each is padded as in its own epoch. Both are samples of about as many tokens.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._size = 64 if setting.gpu else 16
        self._steps = 64 if setting.gpu else 2 if setting.quick else 8

    @functools.cached_property
    def _features(self) -> Features:
        tokenizer = load_tokenizer(find_model_folder("minilm-l6"))
        examples = read_qa([self._setting.train_file]).examples
        return encode_qa(examples, tokenizer, max_length=_LONGEST, stride=_STRIDE)

    @functools.cached_property
    def _model(self) -> tuple[BertConfig, Params]:
        return load("bert-base" if self._setting.gpu else "minilm-l6")

    def row(self, name: str, mine: str, theirs: str) -> Row:
        """One way of jaxbert's, buckets or packing, beside one of the baseline's."""
        setting, (cfg, params) = self._setting, self._model
        ours_order: AnyOrder = (
            PackedOrder(self._features.lengths, self._size, 0, _LONGEST)
            if mine == "packing"
            else Order(self._features.lengths, self._size, 0, bucket_lengths(64, _LONGEST))
        )
        parts = self._grouped() if theirs == "grouped" else self._shuffled()
        sampled = self._sample(ours_order.steps_per_epoch)
        batches = []
        for step in sampled:
            some, length = ours_order.batch(step)
            batch = make_batch(self._features, some, length, ours_order.size)
            batches.append(ours_order.finish(batch))
        side = self._side(
            ours.training(
                *(cfg, params, batches),
                precision=setting.precision,
                attention=_kernel(setting, cfg, _LONGEST if mine == "packing" else 64, mine),
            ),
            batches,
        )
        lengths = self._features.lengths
        longest = [_LONGEST if theirs == "padded" else int(lengths[p].max()) for p in parts]
        others = [
            make_batch(self._features, parts[n], longest[n], len(parts[n]))
            for n in self._sample(len(parts))
        ]
        baseline, tried = _baseline(
            *(setting, cfg, params, others, setting.precision), compiled=theirs != "padded"
        )
        baseline = dataclasses.replace(baseline, amount=baseline.tokens)
        computed = sum(len(p) * n for p, n in zip(parts, longest, strict=True))
        row = setting.compare(name, "real tokens", side, baseline, alike=0.2)
        row.more.update(
            batch=self._size,
            padding_of_epoch={
                "jaxbert": round(ours_order.padding(), 4),
                "baseline": round(1 - int(lengths.sum()) / computed, 4),
            },
            baseline_tried=tried,
        )
        return row

    def _side(self, run: Callable[[], float], batches: Sequence[NumpyBatch]) -> Side:
        side = _training_side(run, self._model[0], batches, self._setting.precision)
        return dataclasses.replace(side, amount=side.tokens)

    def _sample(self, steps: int) -> list[int]:
        count = min(self._steps, steps)
        return sorted(np.random.default_rng(0).permutation(steps)[:count].tolist())

    def _shuffled(self) -> list[np.ndarray]:
        order = np.random.default_rng(0).permutation(len(self._features))
        return [order[a : a + self._size] for a in range(0, len(order), self._size)]

    def _grouped(self) -> list[np.ndarray]:
        """Batches of transformers' own sampler."""
        import torch
        from transformers.trainer_pt_utils import LengthGroupedSampler

        sampler = LengthGroupedSampler(
            self._size,
            lengths=self._features.lengths.tolist(),
            generator=torch.Generator().manual_seed(0),
        )
        order = np.array(list(sampler))
        return [order[a : a + self._size] for a in range(0, len(order), self._size)]


def _kernel(setting: Setting, cfg: BertConfig, multiple: int, mine: str = "") -> str:
    """The attention that --attention auto takes."""
    return choose_attention(
        "auto",
        dtype=setting.precision,
        head_size=cfg.head_size,
        multiple=multiple,
        packed=mine == "packing",
        dropout=cfg.attention_probs_dropout_prob,
    )[0]


# --- questions ----------------------------------------------------------------------------------


def _questions(setting: Setting, count: int) -> list[QAExample]:
    return list(read_qa([setting.validation_file]).examples[:count])


def _inference(setting: Setting) -> Row:
    cfg, params = load("bert-base" if setting.gpu else "minilm-l6")
    tokenizer = load_tokenizer(find_model_folder("minilm-l6"))
    examples = _questions(setting, 2048 if setting.gpu else 32 if setting.quick else 256)
    questions, contexts = [e.question for e in examples], [e.context for e in examples]
    size = 128 if setting.gpu else 32
    answerer = QuestionAnswerer(
        cfg, params, tokenizer, QAOptions(), dtype=setting.precision, batch_size=size
    )
    model = pytorch.load_model(cfg, params, "qa", attn_implementation="sdpa")

    def mine() -> float:
        start = time.perf_counter()
        answerer(questions, contexts)
        return time.perf_counter() - start

    def theirs() -> float:
        start = time.perf_counter()
        found = pytorch.encode_questions(
            tokenizer, questions, contexts, length=_LONGEST, stride=_STRIDE
        )
        starts, ends = pytorch.predict_questions(
            model, found, size=size, precision=setting.precision
        )
        groups = pytorch.windows_of(found, len(questions))
        pytorch.best_answers(contexts, groups, found["offset_mapping"], starts, ends)
        return time.perf_counter() - start

    features = encode_qa(examples, tokenizer, max_length=_LONGEST, stride=_STRIDE)
    found = pytorch.encode_questions(
        tokenizer, questions, contexts, length=_LONGEST, stride=_STRIDE
    )
    flops = model_flops(cfg, int(features.lengths.sum()), 200, training=False)
    sides = [
        Side(run, setting.precision, tokens, len(examples), first_run(run), flops)
        for run, tokens in (
            (mine, int(features.lengths.sum())),
            (theirs, sum(map(len, found["input_ids"]))),
        )
    ]
    return setting.compare("inference", "questions", *sides)


def _decode(setting: Setting) -> Row:
    """Logits on the host -> the n best answers with their texts."""
    tokenizer = load_tokenizer(find_model_folder("minilm-l6"))
    examples = _questions(setting, 100 if setting.quick else 1000)
    features = encode_qa(examples, tokenizer, max_length=_LONGEST, stride=_STRIDE)
    rng = np.random.default_rng(0)
    # As a trained model's: noise, and a peak at the start and, behind it, at the end of an answer.
    peak = rng.integers(10, 60, (2, len(features), 1)).cumsum(0)
    distance = (np.arange(_LONGEST) - peak) / 2
    noise = rng.normal(0, 1, distance.shape)
    logits = (noise + 9 * np.exp(-(distance**2))).astype(np.float32)
    options = QAOptions(max_answer_length=30)
    reduce = jax.jit(QA.reduce(options))
    plan = in_order(features.lengths, 64, (_LONGEST,))

    def mine() -> float:
        start = time.perf_counter()
        arrays: dict[str, np.ndarray] = {}
        for windows, length in plan:
            batch = make_batch(features, windows, length, 64)
            outputs = {}
            for name, values in zip(("start_logits", "end_logits"), logits, strict=True):
                outputs[name] = np.zeros((64, length), np.float32)
                outputs[name][: len(windows)] = values[windows]
            for name, rows in reduce(outputs, batch).items():
                whole = arrays.setdefault(
                    name, np.zeros((len(features), *rows.shape[1:]), rows.dtype)
                )
                whole[windows] = np.asarray(rows)[: len(windows)]
        decode_qa(examples, features, arrays, n_best_size=20, version_2=False)
        return time.perf_counter() - start

    groups: list[list[int]] = [[] for _ in examples]
    for window, question in enumerate(features.example):
        groups[question].append(window)
    offsets = []
    for a, b in zip(features.bounds[:-1], features.bounds[1:], strict=True):
        real = features.tokens["context_mask"][a:b]
        places = features.host["offsets"][a:b].tolist()
        offsets.append([tuple(o) if r else None for o, r in zip(places, real, strict=True)])

    def theirs() -> float:
        start = time.perf_counter()
        starts, ends = (
            [row[:n] for row, n in zip(side, features.lengths, strict=True)] for side in logits
        )
        pytorch.best_answers([e.context for e in examples], groups, offsets, starts, ends)
        return time.perf_counter() - start

    tokens = int(features.lengths.sum())
    sides = [Side(run, "float32", tokens, len(examples), first_run(run)) for run in (mine, theirs)]
    return setting.compare("decode", "questions", *sides)


def _features(setting: Setting) -> Row:
    """Features of questions beside the tokenizer's call alone, as run_qa.py has it."""
    tokenizer = load_tokenizer(find_model_folder("minilm-l6"))
    examples = read_qa([setting.train_file]).examples[: 200 if setting.quick else 4000]
    texts = [e.question for e in examples], [e.context for e in examples]
    options = {"truncation": "only_second", "max_length": _LONGEST, "stride": _STRIDE}
    counted = tokenizer(*texts, return_overflowing_tokens=True, **options)["input_ids"]
    features = encode_qa(examples, tokenizer, max_length=_LONGEST, stride=_STRIDE)

    def mine() -> float:
        start = time.perf_counter()
        encode_qa(examples, tokenizer, max_length=_LONGEST, stride=_STRIDE)
        return time.perf_counter() - start

    def theirs() -> float:
        start = time.perf_counter()
        tokenizer(*texts, return_overflowing_tokens=True, return_offsets_mapping=True, **options)
        return time.perf_counter() - start

    sides = [
        Side(mine, "int32", int(features.lengths.sum()), len(features)),
        Side(theirs, "int32", sum(map(len, counted)), len(counted)),
    ]
    return setting.compare("features", "windows", *sides)


# --- processes ----------------------------------------------------------------------------------


def _measured(setting: Setting, model: str, size: int, length: int, **more: Any) -> Any:
    return child.measure(model, size, length, precision=setting.precision, **more)


def _first_step(setting: Setting, name: str, warm: bool) -> Row:
    """Seconds from the start of a process to the end of its first step."""
    size = _size(setting, "minilm-l6", _LONGEST)
    with tempfile.TemporaryDirectory() as folder:
        cache = folder if warm else None
        if warm:
            _measured(setting, "minilm-l6", size, _LONGEST, cache=cache)
        mine = _measured(setting, "minilm-l6", size, _LONGEST, cache=cache)
    return alone(name, "s", mine["first_step"], None, batch=size, length=_LONGEST)


def _memory(setting: Setting, name: str, remat: bool) -> Row:
    """Peak memory of training at batch 8: of the device, or on a CPU of the whole process."""
    mine = _measured(setting, "bert-base", 8, _LONGEST, remat=remat)
    return alone(name, "GiB", mine["peak"] / 2**30, None, step_seconds=mine["step"])


def _scaling(setting: Setting, name: str, devices: int) -> Row:
    """A step on several devices beside one, same batch; on a CPU the devices share its cores."""
    size = 16
    many = _measured(setting, "minilm-l6", size, 192, devices=devices)
    one = _measured(setting, "minilm-l6", size, 192, devices=1)
    about = {"batch": size, "length": 192, "one_device": one["step"]}
    return alone(name, "s a step", many["step"], None, **about)
