"""The baseline is a fair one: it does the same work, in the precision that is said."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import DEMO, TINY

from jaxbert.benchmark import ours, pytorch, steps
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.synthetic import full_batch
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.questions import Answer, QAExample, read_qa
from jaxbert.data.sampling import make_batch
from jaxbert.model.heads import init_params
from jaxbert.model.tokenizer import load_tokenizer

pytestmark = pytest.mark.integration


def test_both_sides_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dropout, both have the same losses, step after step, at a rate that moves them."""
    for module in (ours, pytorch):
        monkeypatch.setattr(module, "LEARNING_RATE", 1e-2)
    cfg = dataclasses.replace(TINY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    params = jax.device_get(init_params(cfg, "qa", jax.random.key(0)))
    batches = [full_batch(cfg.vocab_size, 4, 16, seed) for seed in (0, 1, 2)]
    made = ours.prepare(cfg, params, batches, precision="float32")
    mine = []
    for batch in made.batches:
        made.state, metrics = made.step(made.state, made.parallel.shard(batch), jax.random.key(0))
        mine.append(float(made.parallel.fetch(metrics)["loss"]))
    model = pytorch.load_model(cfg, params, "qa").train()
    theirs: list[float] = []

    def train_step(*given: Any, **options: Any) -> Any:
        loss = once(*given, **options)
        theirs.append(loss.item())
        return loss

    once = pytorch.train_step
    monkeypatch.setattr(pytorch, "train_step", train_step)
    assert pytorch.training_of(model, batches, precision="float32")() > 0
    assert mine == pytest.approx(theirs, abs=1e-5)
    assert mine[2] < mine[0] - 0.1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_the_one_that_is_computed_in(precision: str) -> None:
    params = jax.device_get(init_params(TINY, "qa", jax.random.key(0)))
    batch = full_batch(TINY.vocab_size, 2, 16)
    assert ours.computed_in(TINY, params, batch, precision) == precision
    assert pytorch.computed_in(TINY, params, batch, precision) == precision


def test_what_only_says_that_it_is_bfloat16_is_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pytorch, "autocast", lambda precision: contextlib.nullcontext())
    monkeypatch.setattr(steps, "WAYS", {"sdpa": steps.WAYS["sdpa"]})
    params = jax.device_get(init_params(TINY, "qa", jax.random.key(0)))
    monkeypatch.setattr(ours, "load", lambda name: (TINY, params))
    # PyTorch's bfloat16 products take half a minute each on some processors.
    monkeypatch.setattr("jaxbert.benchmark.setting.peak_flops", lambda precision: (1e12, "a test"))
    setting = Setting("bfloat16", 1, "", "", quick=True, say=lambda line: None)
    with pytest.raises(ValueError, match="x: bfloat16 is not compared with float32"):
        steps.step(setting, "x", "bert-base", 16, "bfloat16")


def test_the_baseline_in_buckets_is_compiled_for_each_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = jax.device_get(init_params(TINY, "qa", jax.random.key(0)))
    batches = [full_batch(TINY.vocab_size, 2, length) for length in (9, 16, 17)]
    compiled: list[bool] = []

    def compile_model(model: Any, *, dynamic: bool) -> Any:
        compiled.append(dynamic)
        return model

    monkeypatch.setattr(pytorch, "compile_model", compile_model)
    for multiple in (None, 8):
        pytorch.training(
            TINY, params, batches, precision="float32", compiled=True, multiple=multiple
        )
    assert compiled == [True, False]
    padded = [pytorch._padded(batch, 8) for batch in batches]
    assert [batch["input_ids"].shape for batch in padded] == [(2, 16), (2, 16), (2, 24)]
    model = pytorch.load_model(TINY, params, "qa").eval()
    short, long = (
        model(**pytorch.to_torch("qa", batch, labelled=False)).start_logits.detach().numpy()
        for batch in (batches[0], padded[0])
    )
    np.testing.assert_allclose(long[:, :9], short, rtol=0, atol=1e-5)


def test_every_window_is_predicted_also_where_nothing_can_be_learned(tiny_folder: Path) -> None:
    answers = (Answer("Rye", None),), (Answer("dry", 0),)
    examples = [QAExample(str(n), "Where?", "dry soil", some) for n, some in enumerate(answers)]
    features = encode_qa(examples, load_tokenizer(tiny_folder))
    batch = make_batch(features, np.arange(2), 64, 3)
    assert batch["weight"].tolist() == [0, 1, 0]
    inputs = pytorch.to_torch("qa", batch, labelled=False)
    np.testing.assert_array_equal(inputs["input_ids"].numpy(), batch["input_ids"][:2])


def test_a_later_model_does_not_undo_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the fastest way would compile again in a timed round."""
    import torch
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    params = jax.device_get(init_params(TINY, "qa", jax.random.key(0)))
    batches = [full_batch(TINY.vocab_size, 2, length) for length in (9, 16)]
    make = functools.partial(
        pytorch.training, TINY, params, batches, precision="float32", compiled=True
    )
    first = make()
    first()
    first()
    before = counters["stats"]["unique_graphs"]
    assert before > 0
    make(multiple=8)()
    between = counters["stats"]["unique_graphs"]
    first()
    assert counters["stats"]["unique_graphs"] == between


def test_the_search_in_pure_python_finds_the_best_span(tiny_folder: Path) -> None:
    """So the baseline does the same work."""
    tokenizer = load_tokenizer(tiny_folder)
    examples = read_qa([str(DEMO / "qa_en_dev.json")]).examples[:6]
    found = pytorch.encode_questions(
        tokenizer,
        [e.question for e in examples],
        [e.context for e in examples],
        length=384,
        stride=64,
    )
    features = encode_qa(examples, tokenizer, max_length=384, stride=64)
    assert sum(map(len, found["input_ids"])) == features.lengths.sum()
    rng = np.random.default_rng(0)
    starts, ends = ([rng.normal(0, 3, n) for n in features.lengths] for _ in range(2))
    groups = pytorch.windows_of(found, len(examples))
    contexts = [e.context for e in examples]
    for w, places in enumerate(found["offset_mapping"]):  # a peak, as a trained model has
        inside = [i for i, place in enumerate(places) if place]
        starts[w][inside[w]] += 20
        ends[w][inside[w + 2]] += 20
    answers = pytorch.best_answers(contexts, groups, found["offset_mapping"], starts, ends)
    for nbest, context, windows in zip(answers, contexts, groups, strict=True):
        best = -np.inf
        for w in windows:  # over all spans
            places = found["offset_mapping"][w]
            for i, first in enumerate(places):
                for j in range(i, min(i + 30, len(places))):
                    if first and places[j] and all(places[i : j + 1]):
                        best = max(best, starts[w][i] + ends[w][j])
        assert nbest[0]["score"] == pytest.approx(best)
        a, b = nbest[0]["offsets"]
        assert nbest[0]["text"] == context[a:b]
        assert sum(entry["probability"] for entry in nbest) == pytest.approx(1)


def test_a_process_of_the_baseline_has_no_jax_in_it(tiny_folder: Path) -> None:
    """So its first step does not wait for JAX's import, nor does its memory hold it."""
    script = (
        "import sys, jaxbert.benchmark.child as child; from jaxbert.benchmark import pytorch;"
        "run = pytorch.training_of(pytorch.load_own(sys.argv[1]), [child.full_batch(500, 2, 16)],"
        "precision='float32', remat=True); assert run() > 0; print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr[-2000:]
