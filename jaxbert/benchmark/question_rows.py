"""Rows of answering questions: the whole, and the steps before and after the model."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import numpy as np

from jaxbert.benchmark import ours, pytorch, steps
from jaxbert.benchmark.machine import model_flops
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.timing import Side, Timed, first_run
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.questions import QAExample, read_qa
from jaxbert.data.sampling import by_length, make_batch
from jaxbert.decoding.answers import decode_qa
from jaxbert.loaded.model import Compute, LoadedModel
from jaxbert.model.folders import find_model_folder
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import QAOptions
from jaxbert.predictors.question_answerer import QuestionAnswerer
from jaxbert.tasks.qa import QA
from jaxbert.training.parallel import make_parallel

_LONGEST, _STRIDE = 384, 128


def _questions(setting: Setting, count: int) -> list[QAExample]:
    return list(read_qa([setting.validation_file]).examples[:count])


def inference(setting: Setting) -> Timed:
    """Texts to answers: QuestionAnswerer beside a loop in PyTorch."""
    cfg, params = ours.load(setting.model)
    tokenizer = load_tokenizer(find_model_folder(setting.small_model))
    examples = _questions(setting, 2048 if setting.gpu else 32 if setting.quick else 256)
    questions, contexts = [e.question for e in examples], [e.context for e in examples]
    size = 128 if setting.gpu else 32
    compute = Compute(setting.precision, parallel=make_parallel("jit", jax.local_devices()[:1]))
    model = LoadedModel(cfg, params, tokenizer, "qa", compute)
    answerer = QuestionAnswerer(model, QAOptions(), batch_size=size)

    def mine() -> float:
        start = time.perf_counter()
        answerer(questions, contexts)
        return time.perf_counter() - start

    def their_way(attention: str, compiled: bool, most: int | None = None) -> Callable[[], float]:
        model = pytorch.load_model(cfg, params, "qa", attention=attention)
        called = pytorch.compile_model(model, dynamic=True) if compiled else model

        def theirs() -> float:
            start = time.perf_counter()
            windows = pytorch.encode_questions(
                tokenizer, questions, contexts, length=_LONGEST, stride=_STRIDE
            )
            starts, ends = pytorch.predict_questions(
                called, windows, size=size, precision=setting.precision, most=most
            )
            groups = pytorch.windows_of(windows, len(questions))
            pytorch.best_answers(contexts, groups, windows["offset_mapping"], starts, ends)
            return time.perf_counter() - start

        return theirs

    features = encode_qa(examples, tokenizer, max_length=_LONGEST, stride=_STRIDE)
    windows = pytorch.encode_questions(
        tokenizer, questions, contexts, length=_LONGEST, stride=_STRIDE
    )
    tokens, length = int(features.lengths.sum()), round(float(features.lengths.mean()))
    their_tokens = sum(map(len, windows["input_ids"]))
    flops = model_flops(cfg, tokens, length, training=False)
    # On a CPU jaxbert halves large batches itself (training.predict).
    small_batches: steps.Ways = {"sdpa, 2048 tokens at once": {**steps.WAYS["sdpa"], "most": 2048}}
    ways = steps.WAYS if setting.gpu else steps.WAYS | small_batches
    theirs, compiling, tried = steps.fastest(setting, their_way, ways)
    batch = make_batch(features, np.arange(1), _LONGEST, 1)
    mine_in, theirs_in = (
        side.computed_in(cfg, params, batch, setting.precision) for side in (ours, pytorch)
    )
    row = setting.compare(
        "inference",
        "questions",
        Side(mine, mine_in, tokens, len(examples), first_run(mine), flops),
        Side(theirs, theirs_in, their_tokens, len(examples), compiling, flops),
    )
    row.more.update({"batch": size, "baseline_tried": tried})
    return row


def decode(setting: Setting) -> Timed:
    """From logits on the host to the n best answers with their texts."""
    tokenizer = load_tokenizer(find_model_folder(setting.small_model))
    examples = _questions(setting, 100 if setting.quick else 1000)
    features = encode_qa(examples, tokenizer, max_length=_LONGEST, stride=_STRIDE)
    rng = np.random.default_rng(0)
    # Like a trained model's: noise, a peak at the start of an answer, and one at its end, up to 7
    # tokens later.
    peak = rng.integers((10, 0), (60, 8), (len(features), 2)).cumsum(1).T[:, :, None]
    distance = (np.arange(_LONGEST) - peak) / 2
    noise = rng.normal(0, 1, distance.shape)
    logits = (noise + 9 * np.exp(-(distance**2))).astype(np.float32)
    reduce = jax.jit(QA(QAOptions(max_answer_length=30)).reduce())
    plan = by_length(features.lengths, 64, (_LONGEST,))

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
        spans = features.host["offsets"][a:b].tolist()
        offsets.append([tuple(o) if r else None for o, r in zip(spans, real, strict=True)])

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


def encode(setting: Setting) -> Timed:
    """The features of questions, beside the tokenizer's call alone, as in run_qa.py."""
    tokenizer = load_tokenizer(find_model_folder(setting.small_model))
    examples = read_qa([setting.train_file]).examples[: 200 if setting.quick else 4000]
    texts = [e.question for e in examples], [e.context for e in examples]
    options = {"truncation": "only_second", "max_length": _LONGEST, "stride": _STRIDE}
    their_ids = tokenizer(*texts, return_overflowing_tokens=True, **options)["input_ids"]
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
        Side(theirs, "int32", sum(map(len, their_ids)), len(their_ids)),
    ]
    return setting.compare("features", "windows", *sides)
