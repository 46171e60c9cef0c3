"""Rows of fine-tuning on real text, as each side makes its batches of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxbert.benchmark import ours, steps
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.timing import Timed
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.features import Features
from jaxbert.data.questions import read_qa
from jaxbert.data.sampling import make_batch
from jaxbert.model.config import BertConfig
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import QATrainOptions
from jaxbert.runs.plan import make_sampler

_LONGEST, _STRIDE = 384, 128


class FineTuning:
    """Batches from all over an epoch of questions, as each side makes them of the same windows: so
    each is padded as in its own epoch. Both are samples of about as many tokens: of the batches in
    order of their tokens, those at equal distances.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._size = 64 if setting.gpu else 16
        self._steps = 64 if setting.gpu else 2 if setting.quick else 8

    @functools.cached_property
    def _features(self) -> Features:
        tokenizer = load_tokenizer(find_model_folder("minilm-l6"))
        examples = read_qa([self._setting.train_file]).examples
        found = encode_qa(examples, tokenizer, max_length=_LONGEST, stride=_STRIDE)
        return found.to_learn()  # PyTorch's side has no weights

    @functools.cached_property
    def _model(self) -> tuple[BertConfig, Params]:
        return ours.load("bert-base" if self._setting.gpu else "minilm-l6")

    def row(self, name: str, mine: str, theirs: str, *, weights_dropped: bool = True) -> Timed:
        """One way of jaxbert's, buckets or packing, beside one of the baseline's.

        Args:
            weights_dropped: both sides drop attention weights; else fused kernels may be taken.
        """
        setting, (cfg, params) = self._setting, self._model
        if not weights_dropped:
            cfg = dataclasses.replace(cfg, attention_probs_dropout_prob=0.0)
        lengths, packed = self._features.lengths, mine == "packing"
        ours_order = make_sampler(
            lengths,
            width=cfg.hidden_size,
            parts=1,
            per_device_train_batch_size=self._size,
            max_seq_length=_LONGEST,
            length_bucket=QATrainOptions.length_bucket,
            seed=0,
            packing=packed,
        )
        parts = self._grouped() if theirs == "grouped" else self._shuffled()
        epoch = [ours_order.batch(step)[0] for step in range(ours_order.steps_per_epoch)]
        batches = []
        for step in self._sample([int(lengths[n[n >= 0]].sum()) for n in epoch]):
            some, length = ours_order.batch(step)
            batch = make_batch(self._features, some, length, ours_order.size)
            batches.append(ours_order.finish(batch))
        kernel = setting.kernel(cfg, ours_order.buckets, packed=packed)
        made = ours.prepare(cfg, params, batches, precision=setting.precision, attention=kernel)
        found = ours.computed_in(cfg, params, batches[0], setting.precision)
        side = steps.training_side(made.run, cfg, batches, found)
        side = dataclasses.replace(side, amount=side.tokens)
        longest = [_LONGEST if theirs == "padded" else int(lengths[p].max()) for p in parts]
        if setting.gpu:  # as run_qa.py pads in half precision: tensor cores take eights
            longest = [min(_LONGEST, -(-n // 8) * 8) for n in longest]
        others = [
            make_batch(self._features, parts[n], longest[n], len(parts[n]))
            for n in self._sample([int(lengths[part].sum()) for part in parts])
        ]
        ways = steps.WAYS | (steps.OF_BUCKETS if setting.gpu else {})
        if theirs == "padded":
            ways = steps.UNCOMPILED
        other, tried = steps.baseline(setting, cfg, params, others, setting.precision, ways)
        other = dataclasses.replace(other, amount=other.tokens)
        computed = sum(len(p) * n for p, n in zip(parts, longest, strict=True))
        row = setting.compare(name, "real tokens", side, other, alike=0.2)
        mean = float(lengths.mean())
        row.more.update(
            {
                "batch": self._size,
                "attention": kernel,
                "row_lengths": ours_order.buckets,
                "file": Path(setting.train_file).name,
                "tokens_of_a_window": round(mean, 1),
                "examples_per_second": {
                    who: rate / mean for who, rate in row.more["tokens_per_second"].items()
                },
                "padding_of_epoch": {
                    "jaxbert": round(ours_order.padding(), 4),
                    "baseline": round(1 - int(lengths.sum()) / computed, 4),
                },
                "baseline_tried": tried,
            }
        )
        return row

    def _sample(self, tokens: Sequence[int]) -> list[int]:
        """Numbers of batches, given how many real tokens each has."""
        count = min(self._steps, len(tokens))
        middles = (2 * np.arange(count) + 1) * len(tokens) // (2 * count)
        return sorted(np.argsort(tokens, kind="stable")[middles].tolist())

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
