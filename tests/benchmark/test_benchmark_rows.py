"""Rows: which are chosen, what of them is measured, and what one that fails costs."""

from __future__ import annotations

import dataclasses
import json
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEMO
from scripts import refuses

from jaxbert.benchmark import finetuning, host_rows, machine, steps, table
from jaxbert.benchmark.machine import Peak
from jaxbert.benchmark.setting import Setting
from jaxbert.benchmark.timing import Timed, of_less
from jaxbert.cli.benchmark_command import measure_rows
from jaxbert.data.features import Features
from jaxbert.data.packing import PackedSampler
from jaxbert.data.sampling import BucketSampler, bucket_lengths
from jaxbert.errors import InputError

pytestmark = pytest.mark.integration

# In place of python -m jaxbert.benchmark.child: the numbers of a machine that is not here. Each
# call is a line in the file calls beside it.
CHILD = """
import json, pathlib, sys
with pathlib.Path(__file__).with_name("calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
baseline = "--baseline" in sys.argv
peak = (6 if baseline else 3) * 2**30
print("a line of another library")
print(json.dumps({"first_step": 9.0, "step": 2.0 + baseline, "peak": peak}))
"""


def test_a_row_is_chosen_by_its_name_or_several_by_how_they_begin() -> None:
    names = ["finetune/grouped", "finetune/grouped packing", "step/a", "step/b"]
    assert table.choose(names, ["finetune/grouped"]) == names[:1]
    assert table.choose(names, ["step", "finetune/grouped p"]) == names[1:]
    assert table.choose(names, [""]) == names
    with pytest.raises(InputError, match="--rows stepp: there are finetune/grouped, "):
        table.choose(names, ["step", "stepp"])


def test_an_unknown_row_is_answered_with_those_there_are() -> None:
    message = refuses("eval/benchmark.py", "--rows", "stepp")
    assert message.startswith("--rows stepp: there are finetune/grouped, ")
    assert "decode" in message
    assert "--rounds 0" in refuses("eval/benchmark.py", "--rounds", "0")


def test_a_row_that_cannot_be_measured_costs_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> Timed:
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand more")

    def silent() -> Timed:
        raise MemoryError

    jobs = {"a": fails, "c": silent, "b": lambda: of_less("b", "GiB", [2.0], [3.0])}
    about = machine.describe(Peak(1e11, "a data sheet"))
    with pytest.raises(InputError, match=r"^not measured: a, c; the reasons are above$"):
        measure_rows(jobs, about, tmp_path)
    out = capsys.readouterr().out
    assert "a: not measured: RuntimeError: RESOURCE_EXHAUSTED: out of memory\nc: not" in out
    assert "c: not measured: MemoryError: \nb: jaxbert 2" in out
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["b"]
    assert (report["peak"], report["peak_source"]) == (1e11, "a data sheet")
    with pytest.raises(RuntimeError, match="out of memory"):
        measure_rows(jobs, about, None, debug=True)


@pytest.mark.slow  # the machine's peak is measured
def test_the_command_writes_what_it_has_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there costs the row that needs it."""
    words = ["--quick", "--rows", "features", "product/forward", "--output_dir", str(tmp_path)]
    missing = str(tmp_path / "missing.json")
    message = refuses("eval/benchmark.py", *words, "--train_file", missing)
    assert message == "not measured: features; the reasons are above"
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["product/forward"]
    out = capsys.readouterr().out
    assert f"float32; peak {report['peak'] / 1e9:.0f} Gflop/s\n" in out
    assert "\nfeatures: not measured: InputError: " in out


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
        "compiled": "not possible here (RuntimeError: no compiler)",
        "other": 4.0,
    }
    assert said == ["  baseline compiled: not possible here (RuntimeError: no compiler)"]
    assert [ref() is not None for ref in kept] == [False, True, False, False]


def test_processes_are_compared_and_less_is_better(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    python = (sys.executable, str(script))
    setting = Setting("float32", 2, "", "", quick=False, say=lambda line: None, python=python)
    row = table.jobs(setting)["memory/bert-base/384 recomputed"]()
    assert (row.jaxbert, row.baseline, row.ratio, row.unit) == (3.0, 6.0, 2.0, "GiB")
    assert row.rounds == 2
    assert row.more["step_seconds"] == 2.0
    ours = "-m jaxbert.benchmark.child bert-base 8 384 float32 --remat"
    theirs = f"{ours} --baseline"
    assert (tmp_path / "calls").read_text().splitlines() == [ours, theirs, theirs, ours]
    (tmp_path / "calls").unlink()
    assert table.jobs(setting)["first step/warm"]().ratio == 1.0
    calls = (tmp_path / "calls").read_text().splitlines()
    ours, theirs = calls[0], calls[2]
    assert ours.startswith("-m jaxbert.benchmark.child minilm-l6 8 384 float32 --cache ")
    assert theirs == "-m jaxbert.benchmark.child minilm-l6 8 384 float32 --baseline"
    assert calls == [ours, ours, theirs, theirs, ours]  # the first of them fills the cache
    (tmp_path / "calls").unlink()
    row = table.jobs(setting)["scaling/2 devices"]()
    assert (row.jaxbert, row.baseline, row.more["one_device"]) == (2.0, None, 2.0)
    work = "-m jaxbert.benchmark.child minilm-l6 16 192 float32 --devices"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == [f"{work} {devices}" for devices in (2, 1, 1, 2)]


def test_a_process_that_fails_is_named_with_its_last_line(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text("import sys; sys.exit('Traceback\\nMemoryError: 8 GiB')")
    python = (sys.executable, str(script))
    setting = Setting("float32", 2, "", "", quick=False, say=lambda line: None, python=python)
    with pytest.raises(InputError) as caught:
        table.jobs(setting)["scaling/2 devices"]()
    assert str(caught.value) == (
        "jaxbert.benchmark.child minilm-l6 16 192 float32 --devices 2 failed: MemoryError: 8 GiB"
    )


@pytest.mark.parametrize("packing", [False, True])
def test_the_host_makes_batches_for_all_devices(
    packing: bool, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_rows, "_SECONDS", 0.05)
    monkeypatch.setattr(host_rows, "_ROWS", 2)
    put: list[int] = []
    prefetch = host_rows.prefetch

    def watched(batches: Any, place: Any) -> Any:
        def seen(batch: Any) -> Any:
            tokens, placed = place(batch)
            arrays = placed.values()
            put.append(min(len({s.device for s in x.addressable_shards}) for x in arrays))
            return tokens, placed

        return prefetch(batches, seen)

    monkeypatch.setattr(host_rows, "prefetch", watched)
    demo = [str(DEMO / f"qa_en_{name}.json") for name in ("train", "dev")]
    setting = Setting("float32", 1, *demo, quick=True, say=print, small_model=str(tiny_folder))
    row = host_rows.questions(setting, "host/questions", packing=packing)
    assert row.jaxbert is not None
    assert row.jaxbert > 0
    assert row.more == {"batch": 16, "length": 384, "devices": 8}
    assert set(put) == {8}


@pytest.mark.parametrize(
    "name",
    [
        *("decode", "features", "product/forward", "inference", "finetune/grouped"),
        pytest.param("finetune/padded packing", marks=pytest.mark.slow),
    ],
)
def test_a_row_is_measured(name: str, tiny_folder: Path) -> None:
    said: list[str] = []
    setting = Setting(
        precision="float32",
        rounds=2,
        train_file=str(DEMO / "qa_en_train.json"),
        validation_file=str(DEMO / "qa_en_dev.json"),
        quick=name != "finetune/padded packing",
        say=said.append,
        small_model=str(tiny_folder),
        large_model=str(tiny_folder),
        peak_of=lambda precision: Peak(1e11, "a data sheet"),
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
    if "mfu" in row.more:
        flops = row.more["model_flops_per_second"]["jaxbert"]
        assert row.more["mfu"]["jaxbert"] == pytest.approx(flops / 1e11, abs=1e-4)
    if "finetune" in name:
        assert row.more["tokens_per_second"]["jaxbert"] == pytest.approx(row.jaxbert, rel=1e-3)
        assert len(row.more["row_lengths"]) == (1 if "packing" in name else 6)
        assert set(row.more["baseline_tried"]) == (
            {"sdpa"} if setting.quick else {"sdpa", "eager attention"}
        )
        assert row.more["padding_of_epoch"]["baseline"] > 0


def test_an_accelerator_has_rows_of_its_own() -> None:
    setting = Setting("bfloat16", 2, "", "", quick=False, say=lambda line: None, gpu=False)
    on_cpu, on_gpu = table.jobs(setting), table.jobs(dataclasses.replace(setting, gpu=True))
    assert {name for name in on_gpu if name not in on_cpu} == {
        *(f"step/bert-large/{length}" for length in steps.LENGTHS),
        *(f"finetune/grouped {way}, no attention dropout" for way in ("buckets", "packing")),
    }


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
