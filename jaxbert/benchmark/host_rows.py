"""Rows of the host: how many tokens a second it makes batches of, whatever computes with them.

A batch is made for all devices of the process, as a training on them has it. With
XLA_FLAGS=--xla_force_host_platform_device_count=8 a CPU is eight.
"""

from __future__ import annotations

import statistics
import time

import jax

from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.timing import More, Timed
from jaxbert.data.batch import Batch
from jaxbert.data.batch_source import BatchSource, Corruption
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.features import Features
from jaxbert.data.questions import read_qa
from jaxbert.data.sampling import NumpyBatch
from jaxbert.data.stored_lines import LineExample
from jaxbert.model.config import SIZES
from jaxbert.model.folders import find_model_folder
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import MLMOptions
from jaxbert.runs.plan import make_sampler
from jaxbert.tasks.mlm import MLM, Masking
from jaxbert.training.parallel import make_parallel, prefetch

_ROWS = 32  # of each device
_SECONDS = 3.0
_QA_LENGTH, _MLM_LENGTH = 384, 128


def questions(setting: Setting, name: str, *, packing: bool) -> Timed:
    """Batches of questions."""
    tokenizer = load_tokenizer(find_model_folder(setting.small_model))
    examples = read_qa([setting.train_file]).examples
    features = encode_qa(examples, tokenizer, max_length=_QA_LENGTH, stride=128).to_learn()
    return _row(setting, name, features, _QA_LENGTH, packing=packing)


def masked_words(setting: Setting, name: str) -> Timed:
    """Batches of masked language modelling, whole words masked."""
    tokenizer = load_tokenizer(find_model_folder(setting.small_model))
    texts = dict.fromkeys(e.context for e in read_qa([setting.train_file]).examples)
    settings = MLMOptions(max_seq_length=_MLM_LENGTH)
    lines = [LineExample(f"paragraph {number}", text) for number, text in enumerate(texts)]
    task = MLM(settings)
    features = task.encode(lines, tokenizer, SIZES["bert-base"])
    return _row(setting, name, features, _MLM_LENGTH, Masking(settings, tokenizer, seed=0))


def _row(
    setting: Setting,
    name: str,
    features: Features,
    length: int,
    corruption: Corruption | None = None,
    *,
    packing: bool = False,
) -> Timed:
    parallel = make_parallel("auto", jax.local_devices())
    rows = _ROWS * parallel.devices
    sampler = make_sampler(
        features.lengths,
        width=384,
        parts=parallel.devices,
        per_device_train_batch_size=_ROWS,
        max_seq_length=length,
        length_bucket=64,
        seed=0,
        packing=packing,
    )
    source = BatchSource(features, sampler, corruption, devices=parallel.devices)

    def place(batch: NumpyBatch) -> tuple[int, Batch[jax.Array]]:
        """As the training loop does: the tokens are counted for the log."""
        return int(batch["attention_mask"].sum()), parallel.shard(batch)

    rates = []
    for _ in range(setting.rounds):
        tokens = 0
        batches = prefetch(source.iter_from(0), place)
        next(batches)  # the order of the epoch is made with the first
        start = time.perf_counter()
        while time.perf_counter() - start < _SECONDS:
            tokens += next(batches)[0]
        rates.append(tokens / (time.perf_counter() - start))
        batches.close()
    rate = statistics.median(rates)
    more: More = {"batch": rows, "length": length}
    if parallel.devices > 1:
        more["devices"] = parallel.devices
    return Timed(name, "tokens/s", rate, None, None, None, len(rates), more)
