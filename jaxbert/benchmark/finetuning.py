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
    """Batches sampled from an epoch of questions, padded as each side pads them in its own epoch.

    Both sides have the same windows. The batches of an epoch are sorted by their tokens, and those
    at equal distances are taken: so both samples have about as many tokens.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._size = 64 if setting.gpu else 16
        self._steps = 64 if setting.gpu else 2 if setting.quick else 8

    @functools.cached_property
    def _features(self) -> Features:
        tokenizer = load_tokenizer(find_model_folder(self._setting.small_model))
        examples = read_qa([self._setting.train_file]).examples
        features = encode_qa(examples, tokenizer, max_length=_LONGEST, stride=_STRIDE)
        return features.to_learn()  # PyTorch's side has no weights

    @functools.cached_property
    def _model(self) -> tuple[BertConfig, Params]:
        return ours.load(self._setting.model)

    def row(self, name: str, mine: str, theirs: str, *, weights_dropped: bool = True) -> Timed:
        """The row of jaxbert with buckets or packing and the baseline grouped or padded.

        Args:
            mine: "buckets" or "packing".
            theirs: "grouped" or "padded".
            weights_dropped: both sides apply dropout to attention weights; without it fused kernels
                may be taken.
        """
        setting, (cfg, params) = self._setting, self._model
        if not weights_dropped:
            cfg = dataclasses.replace(cfg, attention_probs_dropout_prob=0.0)
        lengths, packed = self._features.lengths, mine == "packing"
        sampler = make_sampler(
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
        epoch = [sampler.batch(step)[0] for step in range(sampler.steps_per_epoch)]
        batches = []
        for step in self._sample([int(lengths[n[n >= 0]].sum()) for n in epoch]):
            rows, length = sampler.batch(step)
            batch = make_batch(self._features, rows, length, sampler.size)
            batches.append(sampler.finish(batch))
        kernel = setting.kernel(cfg, sampler.buckets, packed=packed)
        training = ours.prepare(cfg, params, batches, precision=setting.precision, attention=kernel)
        computed_in = ours.computed_in(cfg, params, batches[0], setting.precision)
        side = steps.training_side(training.run, cfg, batches, computed_in)
        side = dataclasses.replace(side, amount=side.tokens)
        longest = [_LONGEST if theirs == "padded" else int(lengths[p].max()) for p in parts]
        if setting.gpu:  # run_qa.py pads to eights in half precision, for tensor cores
            longest = [min(_LONGEST, -(-n // 8) * 8) for n in longest]
        their_batches = [
            make_batch(self._features, parts[n], longest[n], len(parts[n]))
            for n in self._sample([int(lengths[part].sum()) for part in parts])
        ]
        ways = steps.ways_here(setting) | (steps.OF_BUCKETS | steps.PACKED if setting.gpu else {})
        if theirs == "padded":
            ways = steps.UNCOMPILED
        their_side, tried = steps.baseline(
            setting, cfg, params, their_batches, setting.precision, ways
        )
        their_side = dataclasses.replace(their_side, amount=their_side.tokens)
        computed = sum(len(p) * n for p, n in zip(parts, longest, strict=True))
        row = setting.compare(name, "real tokens", side, their_side, tolerance=0.2)
        mean = float(lengths.mean())
        row.more.update(
            {
                "batch": self._size,
                "attention": kernel,
                "row_lengths": sampler.buckets,
                "file": Path(setting.train_file).name,
                "tokens_of_a_window": round(mean, 1),
                "examples_per_second": {
                    who: rate / mean for who, rate in row.more["tokens_per_second"].items()
                },
                "padding_of_epoch": {
                    "jaxbert": round(sampler.padding(), 4),
                    "baseline": round(1 - int(lengths.sum()) / computed, 4),
                },
                "baseline_tried": tried,
            }
        )
        return row

    def _sample(self, tokens: Sequence[int]) -> list[int]:
        """The numbers of the sampled batches.

        Args:
            tokens: real ones per batch.
        """
        count = min(self._steps, len(tokens))
        middles = (2 * np.arange(count) + 1) * len(tokens) // (2 * count)
        return sorted(np.argsort(tokens, kind="stable")[middles].tolist())

    def _shuffled(self) -> list[np.ndarray]:
        order = np.random.default_rng(0).permutation(len(self._features))
        return [order[a : a + self._size] for a in range(0, len(order), self._size)]

    def _grouped(self) -> list[np.ndarray]:
        """Batches of transformers' LengthGroupedSampler."""
        import torch
        from transformers.trainer_pt_utils import LengthGroupedSampler

        sampler = LengthGroupedSampler(
            self._size,
            lengths=self._features.lengths.tolist(),
            generator=torch.Generator().manual_seed(0),
        )
        order = np.array(list(sampler))
        return [order[a : a + self._size] for a in range(0, len(order), self._size)]
