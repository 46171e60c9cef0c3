"""Rows: which are chosen, what of them is measured, and what one that fails costs."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import DEMO, TINY
from scripts import refuses

from jaxbert.benchmark import child, finetuning, machine, ours, question_rows, steps, table
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.timing import Timed, of_less
from jaxbert.data.features import Features
from jaxbert.data.packing import PackedSampler
from jaxbert.data.sampling import BucketSampler, bucket_lengths
from jaxbert.errors import InputError
from jaxbert.model.heads import init_params

pytestmark = pytest.mark.integration


def test_a_row_is_chosen_by_its_name_or_several_by_how_they_begin() -> None:
    names = ["finetune/grouped", "finetune/grouped packing", "step/a", "step/b"]
    assert table.choose(names, ["finetune/grouped"]) == names[:1]
    assert table.choose(names, ["step", "finetune/grouped p"]) == names[1:]
    assert table.choose(names, [""]) == names
    with pytest.raises(InputError, match="--rows stepp: there are finetune/grouped, "):
        table.choose(names, ["step", "stepp"])


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
    def fails() -> Timed:
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand more")

    def silent() -> Timed:
        raise MemoryError

    made = {"a": fails, "c": silent, "b": lambda: of_less("b", "GiB", [2.0], [3.0])}
    monkeypatch.setattr(machine, "peak_flops", lambda precision: (1e11, "a guess"))
    monkeypatch.setattr(table, "jobs", lambda setting: made)
    message = refuses("eval/benchmark.py", "--output_dir", str(tmp_path))
    assert message == "not measured: a, c; the reasons are above"
    out = capsys.readouterr().out
    assert "a: not measured: RuntimeError: RESOURCE_EXHAUSTED: out of memory\nc: not" in out
    assert "c: not measured: MemoryError: \nb: jaxbert 2" in out
    assert [
        row["name"] for row in json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    ] == ["b"]


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


def test_processes_are_compared_and_less_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(work: child.Work, *, baseline: bool = False, **options: Any) -> dict[str, float]:
        assert (work.size, work.length) == (8, 384)
        return {"first_step": 9.0, "step": 2.0 + baseline, "peak": (3 + 3 * baseline) * 2.0**30}

    monkeypatch.setattr(child, "measure", measure)
    setting = Setting("float32", 2, "", "", quick=False, say=lambda line: None)
    row = table.jobs(setting)["memory/bert-base/384 recomputed"]()
    assert (row.jaxbert, row.baseline, row.ratio, row.unit) == (3.0, 6.0, 2.0, "GiB")
    assert row.rounds == 2
    assert row.more["step_seconds"] == 2.0
    assert table.jobs(setting)["first step/warm"]().ratio == 1.0


@pytest.mark.parametrize(
    "name",
    [
        *("decode", "features", "product/forward", "inference", "finetune/grouped"),
        pytest.param("finetune/padded packing", marks=pytest.mark.slow),
    ],
)
def test_a_row_is_measured(name: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (question_rows, finetuning):
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
    made: dict[str, Callable[[], Timed]] = table.jobs(setting)
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


@pytest.mark.parametrize("quick", [True, False])
def test_samples_of_an_epoch_have_alike_many_tokens(quick: bool) -> None:
    setting = Setting("float32", 2, "", "", quick=quick, say=lambda line: None)
    for seed in range(20):
        lengths = np.random.default_rng(seed).gamma(6, 30, 2_000).clip(20, 384).astype(int)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        tuning = finetuning.FineTuning(setting)
        tuning.__dict__["_features"] = Features(bounds, {}, {}, np.arange(len(lengths)))
        packed = PackedSampler(lengths, tuning._size, 0, 384)
        buckets = BucketSampler(lengths, tuning._size, 0, bucket_lengths(64, 384))
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
