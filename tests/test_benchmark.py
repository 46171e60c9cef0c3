"""The benchmark: like is compared with like, in turns, and the report says what was measured."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import DEMO, TINY
from scripts import refuses

from jaxbert.benchmark import (
    child,
    finetuning,
    machine,
    ours,
    profiling,
    pytorch,
    questions,
    report,
    rows,
    steps,
    timing,
)
from jaxbert.benchmark.batches import full_batch
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.timing import Row, Side, compare, of_less, show
from jaxbert.data.batches import Order, bucket_lengths
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.features import Features
from jaxbert.data.packing import PackedOrder
from jaxbert.data.questions import read_qa
from jaxbert.data.tokenizer import load_tokenizer
from jaxbert.errors import InputError
from jaxbert.model.heads import init_params


def side(seconds: list[float], log: list[str], name: str, **changed: Any) -> Side:
    def run() -> float:
        log.append(name)
        return seconds[sum(n == name for n in log) - 1]

    return dataclasses.replace(Side(run, "float32", 100, 10), **changed)


def test_sides_are_timed_in_turns_and_the_ratio_is_the_rounds_median() -> None:
    log: list[str] = []
    row = compare(
        "x",
        "examples",
        side([1.0, 2.0, 1.0], log, "a", flops=50.0),
        side([2.0, 2.0, 3.0], log, "b", flops=50.0),
        rounds=3,
        peak=200.0,
    )
    assert "".join(log) == "abbaab"
    assert (row.jaxbert, row.baseline, row.unit) == (10.0, 5.0, "examples/s")
    assert (row.ratio, row.spread, row.rounds) == (2.0, (1.0, 3.0), 3)
    assert row.more["tokens_per_second"] == {"jaxbert": 100.0, "baseline": 50.0}
    assert row.more["mfu"] == {"jaxbert": 0.25, "baseline": 0.125}
    assert show(row) == "x: jaxbert 10, baseline 5 examples/s; ratio 2.00 (1.00 to 3.00, 3 rounds)"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"precision": "bfloat16"}, "x: float32 is not compared with bfloat16"),
        ({"tokens": 99}, "x: 100 tokens of 10 examples are not compared with 99 of 10"),
        ({"amount": 11}, "are not compared with 100 of 11"),
    ],
)
def test_unlike_things_are_not_compared(changed: dict[str, Any], message: str) -> None:
    log: list[str] = []
    with pytest.raises(ValueError, match=message):
        compare("x", "examples", side([], log, "a"), side([], log, "b", **changed), rounds=1)
    assert not log


def test_samples_may_differ_a_little_and_are_compared_by_their_rates() -> None:
    log: list[str] = []
    a = side([1.0], log, "a", tokens=110, amount=110)
    b = side([1.0], log, "b", tokens=100, amount=100)
    assert compare("x", "tokens", a, b, rounds=1, alike=0.2).ratio == pytest.approx(1.1)
    with pytest.raises(ValueError, match="110 tokens"):
        compare("x", "tokens", a, b, rounds=1, alike=0.05)


def test_the_baseline_in_another_precision_is_timed_in_the_same_turns() -> None:
    log: list[str] = []
    fast = side([0.5, 1.0], log, "c", precision="bfloat16")
    a, b = side([1.0, 1.0], log, "a"), side([2.0, 2.0], log, "b")
    row = compare("x", "examples", a, b, rounds=2, faster=fast)
    assert "".join(log) == "abccba"
    assert row.ratio == 2.0
    assert row.more["baseline_bfloat16"]["times_jaxbert"] == 1.5
    assert row.more["baseline_bfloat16"]["spread"] == (1.0, 2.0)
    assert show(row).endswith("; baseline in bfloat16 13.33")


def test_a_row_is_chosen_by_its_name_or_several_by_how_they_begin() -> None:
    names = ["finetune/grouped", "finetune/grouped packing", "step/a", "step/b"]
    assert rows.choose(names, ["finetune/grouped"]) == names[:1]
    assert rows.choose(names, ["step", "finetune/grouped p"]) == names[1:]
    assert rows.choose(names, [""]) == names
    with pytest.raises(InputError, match="--rows stepp: there are finetune/grouped, "):
        rows.choose(names, ["step", "stepp"])


def test_of_what_is_better_when_it_is_less_the_ratio_is_the_other_way() -> None:
    row = of_less("memory", "GiB", [2.0, 2.0, 4.0], [3.0, 2.0, 8.0])
    assert (row.jaxbert, row.baseline, row.ratio) == (2.0, 3.0, 1.5)
    assert (row.spread, row.rounds) == ((1.0, 2.0), 3)
    assert of_less("memory", "GiB", [2.0], None).ratio is None


def test_compiling_is_what_the_first_run_takes_more() -> None:
    seconds = iter([5.0, 2.0])
    assert timing.first_run(lambda: next(seconds)) == 3.0


def test_flops_are_those_of_the_table_for_bert_base() -> None:
    """BERT-base at 384 tokens: 553 M a token."""
    from jaxbert.model.config import BertConfig

    found = machine.model_flops(BertConfig(), 1, 384, training=True)
    assert found == pytest.approx(553e6, rel=0.01)
    assert machine.model_flops(BertConfig(), 3, 384, training=False) == pytest.approx(found)


def test_the_report_has_every_row(tmp_path: Path) -> None:
    about = {
        "device": "a processor",
        "cores": 2,
        "date": "2026-11-22",
        "versions": {"jax": "0.10.2"},
        "command": "python eval/benchmark.py",
        "peak": 1e11,
        "peak_source": "a product",
        "minutes": 3.2,
    }
    more = {
        "tokens_per_second": {"jaxbert": 10.0, "baseline": 5.0},
        "compile_seconds": {"jaxbert": 3.04, "baseline": 0.0},
        "baseline_tried": {"sdpa": 1.234, "sdpa, torch.compile": "not possible here (E)"},
        "baseline_bfloat16": {"value": 3.0, "times_jaxbert": 1.5, "spread": (1.4, 1.75)},
        "baseline_batches": {"8 x 192": 4.0, "16 x 192": 4.3},
        "precision": "float32",
        "batch": 16,
    }
    measured = [
        Row("step/x/128", "examples/s", 2.0, 1.0, 2.0, (1.5, 2.5), 5, more),
        of_less("memory", "GiB", [2.0], [1.0]),
    ]
    report.write_report(tmp_path, about, measured)
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert found["device"] == "a processor"
    assert [row["name"] for row in found["rows"]] == ["step/x/128", "memory"]
    assert set(found["rows"][0]) >= {"unit", "jaxbert", "baseline", "ratio", "spread", "rounds"}
    text = (tmp_path / "benchmark.md").read_text()
    assert (
        "| step/x/128 | examples/s | 2 | 1 | **2.00** | 1.50-2.50 (5) | 10 / 5 |  | 3.0 / 0.0 |"
        in text
    )
    assert "| memory | GiB | 2 | 1 | **0.50** | 0.50-0.50 (1) |  |  |  |" in text
    assert text.endswith(
        "\n\n- step/x/128: batches of 16; batches tried with the baseline 8 x 192 4/s, 16 x 192 "
        "4.3/s; the baseline tried as sdpa 1.23 s, sdpa, torch.compile not possible here (E); the "
        "baseline in bfloat16 has 3 examples/s, 1.50 (1.40-1.75) times jaxbert in float32\n"
    )
    assert "(a product). The rows took 3.2 minutes.\n" in text
    pytest.importorskip("matplotlib")
    assert (tmp_path / "benchmark.png").stat().st_size > 5000


def test_both_sides_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dropout, both have the same losses, step after step, at a rate that moves them."""
    for module in (ours, pytorch):
        monkeypatch.setattr(module, "LEARNING_RATE", 1e-2)
    cfg = dataclasses.replace(TINY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    params = jax.device_get(init_params(cfg, "qa", jax.random.key(0)))
    batches = [full_batch(cfg.vocab_size, 4, 16, seed) for seed in (0, 1, 2)]
    parallel, step, state, ready = ours.prepare(cfg, params, batches, precision="float32")
    mine = []
    for batch in ready:
        state, metrics = step(state, parallel.shard(batch), jax.random.key(0))
        mine.append(float(parallel.fetch(metrics)["loss"]))
    model = pytorch.load_model(cfg, params, "qa", attn_implementation="sdpa").train()
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


def test_a_way_that_fails_is_said_and_slower_ways_are_let_go() -> None:
    said: list[str] = []
    setting = Setting("float32", 2, "", "", quick=False, say=said.append)
    kept: list[weakref.ref[Any]] = []

    def make(seconds: float) -> Callable[[], float]:
        def run() -> float:
            if seconds > 8:
                raise RuntimeError("no compiler")
            return seconds

        kept.append(weakref.ref(run))
        return run

    ways = {
        name: {"seconds": seconds}
        for name, seconds in (("sdpa", 3.0), ("eager", 2.0), ("compiled", 9.0), ("other", 4.0))
    }
    run, _, tried = steps.fastest(setting, make, ways)
    assert run() == 2.0
    assert tried == {
        "sdpa": 3.0,
        "eager": 2.0,
        "compiled": "not possible here (RuntimeError)",
        "other": 4.0,
    }
    assert said == ["  baseline compiled: not possible here (RuntimeError)"]
    assert [ref() is not None for ref in kept] == [False, True, False, False]


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


def test_an_unknown_row_is_answered_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "peak_flops", lambda precision: (1e11, "a guess"))
    message = refuses("eval/benchmark.py", "--rows", "stepp")
    assert message.startswith("--rows stepp: there are finetune/grouped, ")
    assert "decode" in message
    assert "--rounds 0" in refuses("eval/benchmark.py", "--rounds", "0")


def test_a_row_that_cannot_be_measured_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> Row:
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand more")

    def silent() -> Row:
        raise MemoryError

    made = {"a": fails, "c": silent, "b": lambda: of_less("b", "GiB", [2.0], [3.0])}
    monkeypatch.setattr(machine, "peak_flops", lambda precision: (1e11, "a guess"))
    monkeypatch.setattr(rows, "jobs", lambda setting: made)
    message = refuses("eval/benchmark.py", "--output_dir", str(tmp_path))
    assert message == "not measured: a, c; the reasons are above"
    out = capsys.readouterr().out
    assert "a: not measured: RuntimeError: RESOURCE_EXHAUSTED: out of memory\nc: not" in out
    assert "c: not measured: MemoryError: \nb: jaxbert 2" in out
    assert [
        row["name"] for row in json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    ] == ["b"]


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


def test_processes_are_compared_and_less_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(work: child.Work, *, baseline: bool = False, **options: Any) -> dict[str, float]:
        assert (work.size, work.length) == (8, 384)
        return {"first_step": 9.0, "step": 2.0 + baseline, "peak": (3 + 3 * baseline) * 2.0**30}

    monkeypatch.setattr(child, "measure", measure)
    setting = Setting("float32", 2, "", "", quick=False, say=lambda line: None)
    row = rows.jobs(setting)["memory/bert-base/384 recomputed"]()
    assert (row.jaxbert, row.baseline, row.ratio, row.unit) == (3.0, 6.0, 2.0, "GiB")
    assert row.rounds == 2
    assert row.more["step_seconds"] == 2.0
    assert rows.jobs(setting)["first step/warm"]().ratio == 1.0


@pytest.mark.parametrize(
    "name",
    [
        *("decode", "features", "product/forward", "inference", "finetune/grouped"),
        pytest.param("finetune/padded packing", marks=pytest.mark.slow),
    ],
)
def test_a_row_is_measured(name: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (questions, finetuning):
        monkeypatch.setattr(module, "find_model_folder", lambda model: tiny_folder)
    params = init_params(TINY, "qa", jax.random.key(0))
    monkeypatch.setattr(ours, "load", lambda name: (TINY, jax.device_get(params)))
    ways = {"sdpa": steps.WAYS["sdpa"], "eager attention": steps.WAYS["eager attention"]}
    monkeypatch.setattr(steps, "WAYS", ways)
    monkeypatch.setattr(machine, "peak_flops", lambda precision: (1e11, "a guess"))
    said: list[str] = []
    setting = Setting(
        precision="float32",
        rounds=2,
        train_file=str(DEMO / "qa_en_train.json"),
        validation_file=str(DEMO / "qa_en_dev.json"),
        quick=name != "finetune/padded packing",
        say=said.append,
    )
    made: dict[str, Callable[[], Row]] = rows.jobs(setting)
    row = made[name]()
    assert row.rounds == 2
    assert row.ratio is not None
    assert row.ratio > 0
    assert not said
    units = {"features": "windows/s", "product/forward": "Gflop/s"}
    assert row.unit == units.get(name, "real tokens/s" if "finetune" in name else "questions/s")
    assert ("tokens_per_second" in row.more) == (name != "product/forward")
    if "finetune" in name:
        assert row.more["tokens_per_second"]["jaxbert"] == pytest.approx(row.jaxbert, rel=1e-3)
        assert len(row.more["row_lengths"]) == (1 if "packing" in name else 6)
        assert set(row.more["baseline_tried"]) == ({"sdpa"} if setting.quick else set(ways))
        assert row.more["padding_of_epoch"]["baseline"] > 0


def test_operations_are_told_apart_by_the_part_of_the_model() -> None:
    step = "jit(train_step)"
    layer = f"{step}/transpose(jvp(BertWithHead))/bert/layer_3"
    assert profiling.part_of(f"{layer}/attention/query/dot_general") == "dense products"
    assert profiling.part_of(f"{layer}/attention/BNTS,BNSH->BNTH/dot_general") == (
        "attention products"
    )
    assert profiling.part_of(f"{layer}/attention/exp") == "softmax, attention dropout"
    assert profiling.part_of(f"{layer}/attention_norm/sub") == "LayerNorm"
    assert profiling.part_of(f"{layer}/erfc").startswith("GELU")
    assert profiling.part_of(f"{step}/sqrt") == "optimizer"
    program = f"""
%fused (a: f32[2]) -> f32[2] {{
  %a = f32[2]{{0}} parameter(0)
  %exp.1 = f32[2]{{0}} exponential(%a), metadata={{op_name="{layer}/attention/exp"}}
  ROOT %dot.1 = f32[2]{{0}} dot(%exp.1), metadata={{op_name="{layer}/mlp_in/dot_general"}}
}}

ENTRY %main (p: f32[2]) -> f32[2] {{
  ROOT %fusion.7 = f32[2]{{0}} fusion(%p), kind=kCustom, calls=%fused
}}
"""
    assert profiling.parts_of(program)["fusion.7"] == "dense products"


def test_a_step_is_profiled() -> None:
    params = jax.device_get(init_params(TINY, "qa", jax.random.key(0)))
    batches = [full_batch(TINY.vocab_size, 4, 16)]
    made = ours.prepare(TINY, params, batches, precision="float32")
    found = profiling.profile(made, steps=2)
    named = [part for part, seconds in found.parts.items() if seconds > 0]
    assert {"dense products", "attention products", "LayerNorm", "optimizer"} <= set(named)
    assert 0 < found.step < 10


@pytest.mark.parametrize("quick", [True, False])
def test_samples_of_an_epoch_have_alike_many_tokens(quick: bool) -> None:
    setting = Setting("float32", 2, "", "", quick=quick, say=lambda line: None)
    for seed in range(20):
        lengths = np.random.default_rng(seed).gamma(6, 30, 2_000).clip(20, 384).astype(int)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        tuning = finetuning.FineTuning(setting)
        tuning.__dict__["_features"] = Features(bounds, {}, {}, np.arange(len(lengths)))
        packed = PackedOrder(lengths, tuning._size, 0, 384)
        buckets = Order(lengths, tuning._size, 0, bucket_lengths(64, 384))
        found = []
        for parts in (
            [packed.batch(n)[0] for n in range(packed.steps_per_epoch)],
            [buckets.batch(n)[0] for n in range(buckets.steps_per_epoch)],
            tuning._shuffled(),
            tuning._grouped(),
        ):
            tokens = [int(lengths[part[part >= 0]].sum()) for part in parts]
            chosen = tuning._sample(tokens)
            assert len(set(chosen)) == (2 if quick else 8)
            found.append(np.mean([tokens[n] for n in chosen]) / np.mean(tokens))
        assert max(found) / min(found) < 1.1, (seed, found)
