"""The baseline is a fair one: it does the same work, in the precision that is named."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import DEMO, TINIEST, TINY

from jaxbert.benchmark import ours, pytorch, steps
from jaxbert.benchmark.machine import Peak
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.synthetic import full_batch
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.questions import Answer, QAExample, read_qa
from jaxbert.data.sampling import make_batch
from jaxbert.model.heads import init_params
from jaxbert.model.tokenizer import load_tokenizer

pytestmark = pytest.mark.integration


def test_both_sides_train_alike() -> None:
    """Without dropout, both have the same losses, step after step, at a rate that moves them."""
    cfg = dataclasses.replace(TINY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    params = jax.device_get(init_params(cfg, "qa", jax.random.key(0)))
    batches = [full_batch(cfg.vocab_size, 4, 16, seed) for seed in (0, 1, 2)]
    made = ours.prepare(cfg, params, batches, precision="float32", learning_rate=1e-2)
    mine = []
    for batch in made.batches:
        made.state, metrics = made.step(made.state, made.parallel.shard(batch), jax.random.key(0))
        mine.append(float(made.parallel.fetch(metrics)["loss"]))
    model = pytorch.load_model(cfg, params, "qa")
    training = pytorch.prepare(model, batches, precision="float32", learning_rate=1e-2)
    theirs = [training.step(batch).item() for batch in training.batches]
    assert mine == pytest.approx(theirs, abs=1e-5)
    assert mine[2] < mine[0] - 0.1


def test_a_run_trains_on_each_batch_once() -> None:
    """Of either side: both end at the parameters of as many single steps."""
    cfg = dataclasses.replace(TINIEST, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    params = jax.device_get(init_params(cfg, "qa", jax.random.key(0)))
    batches = [full_batch(cfg.vocab_size, 4, 16, seed) for seed in (0, 1)]
    one, other = (
        pytorch.prepare(pytorch.load_model(cfg, params, "qa"), batches, precision="float32")
        for _ in range(2)
    )
    assert one.run() > 0
    for batch in other.batches:
        other.step(batch)
    for x, y in zip(one.model.parameters(), other.model.parameters(), strict=True):
        np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())
    mine = ours.prepare(cfg, params, batches, precision="float32")
    assert mine.run() > 0
    assert int(mine.parallel.fetch(mine.state).step) == 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_the_one_that_is_computed_in(precision: str) -> None:
    params = jax.device_get(init_params(TINY, "qa", jax.random.key(0)))
    batch = full_batch(TINY.vocab_size, 2, 16)
    assert ours.computed_in(TINY, params, batch, precision) == precision
    assert pytorch.computed_in(TINY, params, batch, precision) == precision


def test_a_precision_that_is_asked_for_but_not_computed_in_is_not_compared(
    tiny_folder: Path,
) -> None:
    """The baseline's mixed precision is bfloat16, also where float16 is asked for."""
    setting = Setting(
        "float16",
        1,
        "",
        "",
        quick=True,
        say=lambda line: None,
        # PyTorch's products of half precision take half a minute each on some processors.
        peak_of=lambda precision: Peak(1e12, "a data sheet"),
    )
    with pytest.raises(ValueError, match="x: float16 is not compared with bfloat16"):
        steps.step(setting, "x", str(tiny_folder), 16, "float16")


# PyTorch's compiler warns of its own code when it is imported.
compiles = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is dep:DeprecationWarning")


@pytest.fixture
def programs() -> Iterator[Callable[[], int]]:
    """A function that counts the programs of torch.compile so far; they need no C++ compiler."""
    import torch
    from torch._dynamo.utils import counters

    torch.compiler.reset()  # forgets the programs of other tests
    with torch.compiler.set_stance(force_backend="eager"):
        yield lambda: counters["stats"]["unique_graphs"]


@compiles
@pytest.mark.parametrize(("multiple", "expected"), [(None, 1), (8, 2)])
def test_the_baseline_in_buckets_is_compiled_for_each_length(
    multiple: int | None, expected: int, programs: Callable[[], int]
) -> None:
    """Else once for all lengths."""
    params = jax.device_get(init_params(TINIEST, "qa", jax.random.key(0)))
    batches = [full_batch(TINIEST.vocab_size, 2, length) for length in (9, 16, 17)]
    before = programs()
    pytorch.training(
        TINIEST, params, batches, precision="float32", compiled=True, multiple=multiple
    )()
    assert programs() - before == expected


def test_padding_to_a_multiple_changes_no_logit() -> None:
    params = jax.device_get(init_params(TINY, "qa", jax.random.key(0)))
    batches = [full_batch(TINY.vocab_size, 2, length) for length in (9, 16, 17)]
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


@compiles
def test_a_later_model_does_not_undo_what_is_compiled(programs: Callable[[], int]) -> None:
    """Else the fastest way would compile again in a timed round."""
    params = jax.device_get(init_params(TINY, "qa", jax.random.key(0)))
    batches = [full_batch(TINY.vocab_size, 2, length) for length in (9, 16)]
    make = functools.partial(
        pytorch.training, TINY, params, batches, precision="float32", compiled=True
    )
    before = programs()
    first = make()
    first()
    first()
    assert programs() > before
    make(multiple=8)()
    between = programs()
    first()
    assert programs() == between


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
        "made = pytorch.prepare(pytorch.load_by_name(sys.argv[1]), [child.full_batch(500, 2, 16)],"
        "precision='float32', remat=True); assert made.run() > 0; print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr[-2000:]
