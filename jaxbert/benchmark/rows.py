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
from jaxbert.benchmark.machine import model_flops
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
        peak: operations a second that the machine can do in that precision.
        train_file, validation_file: questions, for the rows of real text.
        quick: few rounds and little work.
        say: prints a line.
    """

    precision: str
    peak: float
    rounds: int
    train_file: str
    validation_file: str
    quick: bool
    say: Callable[[str], None]

    @property
    def gpu(self) -> bool:
        """Whether an accelerator computes."""
        return jax.default_backend() != "cpu"

    def compare(self, name: str, unit: str, ours: Side, theirs: Side) -> Row:
        """See timing.compare."""
        return compare(name, unit, ours, theirs, rounds=self.rounds, peak=self.peak, say=self.say)


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
    made["inference"] = functools.partial(_inference, setting)
    made["decode"] = functools.partial(_decode, setting)
    made["features"] = functools.partial(_features, setting)
    if not setting.quick:
        for cache in ("cold", "warm"):
            name = f"first step/{cache}"
            made[name] = functools.partial(_first_step, setting, name, cache == "warm")
        for remat in (False, True):
            name = "memory/bert-base/384" + " rematerialised" * remat
            made[name] = functools.partial(_memory, setting, name, remat)
        for devices in (2, 4):
            name = f"scaling/{devices} devices"
            made[name] = functools.partial(_scaling, setting, name, devices)
    return made


# --- training steps -----------------------------------------------------------------------------


def _size(setting: Setting, model: str, length: int) -> int:
    """Windows of a batch that keeps the device busy: so many tokens."""
    tokens = 32768 if setting.gpu else {"minilm-l6": 3072, "bert-base": 1536}[model]
    return max(1, tokens // length)


def _training_side(
    run: Callable[[], float], cfg: BertConfig, batches: Sequence[NumpyBatch], precision: str
) -> Side:
    tokens = sum(int(b["attention_mask"].sum()) for b in batches)
    windows = sum(int((b["row"] >= 0).sum()) for b in batches)
    flops = model_flops(cfg, tokens, round(tokens / windows), training=True)
    return Side(run, precision, tokens, windows, first_run(run), flops)


def _fastest(
    setting: Setting, ways: dict[str, Callable[[], Callable[[], float]]]
) -> tuple[Callable[[], float], dict[str, float]]:
    """The way that takes the least time, and the seconds of each."""
    if len(ways) == 1:
        [make] = ways.values()
        return make(), {}
    found: dict[str, tuple[float, Callable[[], float]]] = {}
    for name, make in ways.items():
        try:
            run = make()
            run()
            found[name] = min(run(), run()), run
        except Exception as error:  # torch.compile needs a C++ compiler
            setting.say(f"  baseline {name}: not possible here ({str(error).splitlines()[0]})")
    best = min(found, key=lambda name: found[name][0])
    return found[best][1], {name: round(seconds, 3) for name, (seconds, _) in found.items()}


def _step(setting: Setting, name: str, model: str, length: int, precision: str) -> Row:
    cfg, params = load(model)
    size = _size(setting, model, length)
    count = 1 if setting.quick else (10 if setting.gpu else 2)
    batches = [full_batch(cfg, size, length, seed) for seed in range(count)]
    kernel, _ = choose_attention(
        "auto",
        dtype=precision,
        head_size=cfg.head_size,
        multiple=length,
        packed=False,
        dropout=cfg.attention_probs_dropout_prob,
    )
    run = ours.training(cfg, params, batches, precision=precision, attention=kernel)
    mine = _training_side(run, cfg, batches, precision)
    baseline, tried = _baseline(setting, cfg, params, batches, precision)
    theirs = _training_side(baseline, cfg, batches, precision)
    row = setting.compare(name, "examples", mine, theirs)
    row.more.update(batch=size, length=length, baseline_tried=tried)
    return row


def _baseline(
    setting: Setting,
    cfg: BertConfig,
    params: Any,
    batches: Sequence[NumpyBatch],
    precision: str,
) -> tuple[Callable[[], float], dict[str, float]]:
    """PyTorch's fastest way: SDPA as it is, or compiled."""

    def way(compiled: bool) -> Callable[[], Callable[[], float]]:
        return lambda: pytorch.training(
            cfg, params, batches, precision=precision, compiled=compiled
        )

    ways = {"sdpa": way(False)}
    if not setting.quick:
        ways["sdpa, torch.compile"] = way(True)
    return _fastest(setting, ways)


# --- fine-tuning on real text -------------------------------------------------------------------


class _FineTuning:
    """Some batches of an epoch of questions as jaxbert has them, and the same windows as the
    baseline batches them. What is made is kept for the next row.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._made: dict[str, tuple[Side, np.ndarray, dict[str, Any]]] = {}
        self._size = 64 if setting.gpu else 16
        self._steps = 64 if setting.gpu else 2 if setting.quick else 16

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
        setting = self._setting
        if mine not in self._made:
            self._made[mine] = self._ours(mine)
        side, windows, about = self._made[mine]
        baseline, more = self._theirs(theirs, windows)
        row = compare(
            name,
            "examples",
            side,
            baseline,
            rounds=setting.rounds,
            peak=setting.peak,
            say=setting.say,
        )
        row.more.update(batch=self._size, **about, **more)
        return row

    def _ours(self, name: str) -> tuple[Side, np.ndarray, dict[str, Any]]:
        """Batches from all over an epoch, so that they are padded as an epoch is."""
        setting, features = self._setting, self._features
        cfg, params = self._model
        packed = name == "packing"
        order: AnyOrder = Order(features.lengths, self._size, 0, bucket_lengths(64, _LONGEST))
        if packed:
            order = PackedOrder(features.lengths, self._size, 0, _LONGEST)
        count = min(self._steps, order.steps_per_epoch)
        batches, windows = [], []
        for step in np.linspace(0, order.steps_per_epoch - 1, count).astype(int).tolist():
            some, length = order.batch(step)
            windows.append(some[some >= 0])
            batches.append(order.finish(make_batch(features, some, length, order.size)))
        kernel, _ = choose_attention(
            "auto",
            dtype=setting.precision,
            head_size=cfg.head_size,
            multiple=_LONGEST if packed else 64,
            packed=packed,
            dropout=cfg.attention_probs_dropout_prob,
        )
        run = ours.training(cfg, params, batches, precision=setting.precision, attention=kernel)
        side = _training_side(run, cfg, batches, setting.precision)
        computed = sum(batch["input_ids"].size for batch in batches)
        about = {
            "padding": round(1 - side.tokens / computed, 4),
            "padding_of_epoch": order.padding(),
        }
        return side, np.concatenate(windows), about

    def _theirs(self, name: str, windows: np.ndarray) -> tuple[Side, dict[str, Any]]:
        setting, (cfg, params) = self._setting, self._model
        if name == "padded":
            batches = self._batches(np.random.default_rng(0).permutation(windows), _LONGEST)
            run = pytorch.training(
                cfg, params, batches, precision=setting.precision, attention="eager"
            )
            more: dict[str, Any] = {"baseline": f"padded to {_LONGEST}, eager attention"}
        else:
            batches = self._batches(self._grouped(windows), None)
            run, tried = _baseline(setting, cfg, params, batches, setting.precision)
            more = {"baseline": "group_by_length", "baseline_tried": tried}
        side = _training_side(run, cfg, batches, setting.precision)
        computed = sum(batch["input_ids"].size for batch in batches)
        more["baseline_padding"] = round(1 - side.tokens / computed, 4)
        return side, more

    def _batches(self, windows: np.ndarray, length: int | None) -> list[NumpyBatch]:
        """In this order, padded to the length or to the longest of each batch."""
        lengths = self._features.lengths
        parts = [windows[a : a + self._size] for a in range(0, len(windows), self._size)]
        return [
            make_batch(self._features, part, length or int(lengths[part].max()), len(part))
            for part in parts
        ]

    def _grouped(self, windows: np.ndarray) -> np.ndarray:
        """In the order of transformers' own sampler."""
        import torch
        from transformers.trainer_pt_utils import LengthGroupedSampler

        sampler = LengthGroupedSampler(
            self._size,
            lengths=self._features.lengths[windows].tolist(),
            generator=torch.Generator().manual_seed(0),
        )
        return windows[list(sampler)]


# --- questions ----------------------------------------------------------------------------------


def _questions(setting: Setting, count: int) -> list[QAExample]:
    examples = read_qa([setting.validation_file]).examples
    while len(examples) < count:  # of a small file, again
        examples += examples
    return [dataclasses.replace(e, id=str(n)) for n, e in enumerate(examples[:count])]


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


def _measured(setting: Setting, side: str, model: str, size: int, length: int, **more: Any) -> Any:
    return child.measure(side, model, size, length, precision=setting.precision, **more)


def _first_step(setting: Setting, name: str, warm: bool) -> Row:
    """Seconds from the start of a process to the end of its first step."""
    size = _size(setting, "minilm-l6", _LONGEST)
    with tempfile.TemporaryDirectory() as folder:
        cache = folder if warm else None
        if warm:
            _measured(setting, "jaxbert", "minilm-l6", size, _LONGEST, cache=cache)
        mine = _measured(setting, "jaxbert", "minilm-l6", size, _LONGEST, cache=cache)
    theirs = _measured(setting, "baseline", "minilm-l6", size, _LONGEST)
    return alone(name, "s", mine["first_step"], theirs["first_step"], batch=size, length=_LONGEST)


def _memory(setting: Setting, name: str, remat: bool) -> Row:
    """Peak memory of training at batch 8: of the device, or on a CPU of the whole process."""
    mine = _measured(setting, "jaxbert", "bert-base", 8, _LONGEST, remat=remat)
    theirs = _measured(setting, "baseline", "bert-base", 8, _LONGEST)
    gib = 2**30
    seconds = {"jaxbert": mine["step"], "baseline": theirs["step"]}
    return alone(name, "GiB", mine["peak"] / gib, theirs["peak"] / gib, step_seconds=seconds)


def _scaling(setting: Setting, name: str, devices: int) -> Row:
    """A step on several devices beside one, same batch; on a CPU the devices share its cores."""
    size = 16
    many = _measured(setting, "jaxbert", "minilm-l6", size, 192, devices=devices)
    one = _measured(setting, "jaxbert", "minilm-l6", size, 192, devices=1)
    return alone(
        name,
        "s a step",
        many["step"],
        one["step"],
        batch=size,
        length=192,
        baseline="jaxbert on one device",
    )
