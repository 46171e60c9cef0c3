"""Like is compared with like, in turns, and the report says what was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from opened_pages import Opened

from jaxbert.benchmark import machine, report, timing
from jaxbert.benchmark.timing import More, Side, Timed, compare, of_less, show

pytestmark = pytest.mark.integration


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
    assert compare("x", "tokens", a, b, rounds=1, tolerance=0.2).ratio == pytest.approx(1.1)
    with pytest.raises(ValueError, match="110 tokens"):
        compare("x", "tokens", a, b, rounds=1, tolerance=0.05)


@pytest.mark.slow
def test_the_baseline_in_another_precision_is_timed_in_the_same_turns() -> None:
    log: list[str] = []
    fast = side([0.5, 1.0], log, "c", precision="bfloat16")
    a, b = side([1.0, 1.0], log, "a"), side([2.0, 2.0], log, "b")
    row = compare("x", "examples", a, b, rounds=2, bfloat16=fast)
    assert "".join(log) == "abccba"
    assert row.ratio == 2.0
    assert row.more["baseline_bfloat16"]["times_jaxbert"] == 1.5
    assert row.more["baseline_bfloat16"]["spread"] == (1.0, 2.0)
    assert show(row).endswith("; baseline in bfloat16 13.33")


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
    about = machine.Machine(
        device="a processor",
        platform="cpu",
        devices=1,
        cores=2,
        torch_device="cpu",
        threads={"torch": 2},
        flags={},
        malloc="",
        versions={"jax": "0.10.2"},
        command="python eval/benchmark.py",
        date="2026-11-22",
        peak=1e11,
        peak_source="a product",
    )
    more: More = {
        "tokens_per_second": {"jaxbert": 10.0, "baseline": 5.0},
        "compile_seconds": {"jaxbert": 3.04, "baseline": 0.0},
        "baseline_tried": {"sdpa": 1.234, "sdpa, torch.compile": "not possible here (E)"},
        "baseline_bfloat16": {"value": 3.0, "times_jaxbert": 1.5, "spread": (1.4, 1.75)},
        "baseline_batches": {"8 x 192": 4.0, "16 x 192": 4.3},
        "precision": "float32",
        "batch": 16,
    }
    measured = [
        Timed("step/x/128", "examples/s", 2.0, 1.0, 2.0, (1.5, 2.5), 5, more),
        of_less("memory", "GiB", [2.0], [1.0]),
    ]
    report.write_report(tmp_path, about, measured, minutes=3.2)
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert (found["device"], found["minutes"]) == ("a processor", 3.2)
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
    opened = Opened.read(tmp_path / "report.html")
    assert "step/x/128" in opened.text
    assert "the baseline tried as sdpa 1.23 s" in opened.text
    assert opened.attributes("svg", "aria-label") == ["from 1.5 to 2.5", "from 0.5 to 0.5"]
    pytest.importorskip("matplotlib")
    assert (tmp_path / "benchmark.png").stat().st_size > 5000
