"""`jaxbert compile`: what it refuses, and its figures of small models on devices that are here or,
where their compilers are installed, only described."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from conftest import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.cli import compile_command
from jaxbert.compiling.described_devices import Described, DeviceKind, describe
from jaxbert.compiling.step_report import DoesNotFit
from jaxbert.compiling.training_step import most
from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.runtime.target import Target
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task_commands import TASK_COMMANDS

Compile = Callable[..., dict[str, Json]]

KIND = DeviceKind(Target("cpu"), 2**34, 1e11, 1e13, 1e12, 1.0)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    shape = {
        "model_type": "bert",
        "vocab_size": 300,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "max_position_embeddings": 128,
        "type_vocab_size": 2,
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(shape))
    return path


@pytest.fixture
def compile_here(config: Path, tmp_path: Path) -> Compile:
    """Compiles for the first device that is here, as if it were described; returns the figures."""

    def compiled(task: str, *flags: str) -> dict[str, Json]:
        here = Described("here", KIND, jax.devices()[:1], 1)
        out = tmp_path / "figures.json"
        words = ["--target", "here", "--config_name", str(config), "--json", str(out)]
        compile_command.run(task, [*words, "--max_seq_length", "64", *flags], lambda _: here)
        return json.loads(out.read_text())

    return compiled


@pytest.mark.integration
@pytest.mark.parametrize("task", TASK_COMMANDS)
def test_the_step_of_every_task(
    task: str, compile_here: Compile, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--doc_stride", "16") if task == "qa" else ()
    found = compile_here(task, *small)
    assert found["fits"] is True
    assert found["devices"] == found["hosts"] == 1
    assert found["exchanged_gib"] == 0
    assert found["compile_seconds"] > 0
    for name in ("args_gib", "temp_gib", "traffic_gib", "flops", "tokens_per_second"):
        assert found[name] > 0, name
    parts = found["traffic_parts_gib"]
    assert sum(parts.values()) == pytest.approx(found["traffic_gib"])
    total = found["memory_seconds"] + found["product_seconds"]
    assert found["estimate_seconds"] == pytest.approx(total)
    out = capsys.readouterr().out
    assert out.startswith("here: 1 device on 1 host, 8 rows a device, attention by xla")
    assert "traffic by part, GiB:" in out


@pytest.mark.integration
def test_operations_and_memory_are_those_of_the_shapes(compile_here: Compile) -> None:
    words = ("--doc_stride", "16")
    one = compile_here("qa", *words)
    # Four products of D x D, the MLP's two, those of the scores, and the head's; the gradient has
    # two for each.
    tokens, width = 8 * 64, 64
    layer = 2 * tokens * (4 * width**2 + 2 * width * 128) + 4 * tokens * 64 * width
    head = 2 * tokens * width * 2
    assert one["flops"] == pytest.approx(3 * (2 * layer + head), rel=1e-6)
    packed = compile_here("qa", *words, "--packing")
    assert packed["per_device_train_batch_size"] == 8
    assert packed["traffic_gib"] < one["traffic_gib"]  # fewer rows for as many windows
    twice = compile_here("qa", *words, "--gradient_accumulation_steps", "2")
    assert twice["flops"] == pytest.approx(2 * one["flops"], rel=1e-6)
    assert twice["temp_gib"] < 1.5 * one["temp_gib"]
    large = compile_here("qa", *words, "--per_device_train_batch_size", "16")
    assert large["args_gib"] == pytest.approx(one["args_gib"], rel=0.1)
    assert large["temp_gib"] > 1.5 * one["temp_gib"]


@pytest.mark.integration
def test_rows_of_several_windows_are_full(compile_here: Compile) -> None:
    plain = compile_here("classification")
    words = ("--long_texts", "windows", "--window_pooling", "attention", "--windows_per_row", "3")
    weighed = compile_here("classification", *words)
    assert weighed["flops"] == pytest.approx(3 * plain["flops"], rel=0.01)
    tokens = [f["tokens_per_second"] * f["estimate_seconds"] for f in (plain, weighed)]
    assert tokens[1] == pytest.approx(3 * tokens[0])


@pytest.mark.integration
def test_several_devices_share_the_rows_by_either_way(config: Path, tmp_path: Path) -> None:
    found = {}
    for way in ("pmap", "jit"):
        here = Described("here", KIND, jax.devices()[:2], 1)
        out = tmp_path / f"{way}.json"
        words = ["--target", "here", "--config_name", str(config), "--json", str(out)]
        words += ["--max_seq_length", "64", "--doc_stride", "16", "--parallel", way]
        compile_command.run("qa", words, lambda _, here=here: here)
        found[way] = json.loads(out.read_text())
        assert found[way]["devices"] == 2
        # Gradients in float32, a third of parameters and optimizer state.
        gradients = found[way]["args_gib"] / 3
        assert found[way]["exchanged_gib"] == pytest.approx(gradients, rel=0.1)
    assert found["pmap"]["flops"] == found["jit"]["flops"]  # of one device
    assert found["pmap"]["args_gib"] == pytest.approx(found["jit"]["args_gib"], rel=0.01)


@given(largest=st.integers(0, 20_000), first=st.integers(1, 20_000))
def test_the_most_rows_are_found_to_a_sixteenth(largest: int, first: int) -> None:
    tried: list[int] = []

    def fits(number: int) -> bool:
        tried.append(number)
        return number <= largest

    found = most(fits, first, first_fits=first <= largest)
    assert found <= largest
    assert (
        found == min(largest, 4096) if largest < 32 else found >= min(largest, 4096) * 15 / 16 - 1
    )
    assert len(tried) == len(set(tried)) <= 20
    assert first not in tried


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give --target, the device to compile for: h100, v5e:2x4, ..."),
        (["--target", "h1000"], "--target h1000: did you mean h100? There are h100, h200, a100"),
        (["--target", "v5e"], "--target v5e: which slice? For example v5e:2x2"),
        (["--target", "v5p-100"], "--target v5p-100: v5p- is followed by 8, 16, 32, ..."),
        (["--target", "v5litepod-1"], "--target v5litepod-1: v5litepod- is followed by 4, 8, 16"),
        (["--target", "v5p"], "--target v5p: which slice? For example v5p:2x2x1"),
        (
            ["--target", "h100", "--loss", "distillation", "--loss_args", '{"teacher": "runs/a"}'],
            "--loss distillation: a teacher is asked about data; compile reads none",
        ),
        (["--target", "h100", "--json", "."], "--json .: it is a folder; give a file"),
        (
            ["--target", "h100", "--json", f"{__file__}/x.json"],
            f"--json, in {__file__}: {__file__} is a file; give a folder",
        ),
        (["--target", "h100", "--packin"], "did you mean --packing"),
        (["--target", "h100", "--learning_rat", "1"], "did you mean --learning_rate"),
    ],
)
def test_wrong_flags_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(InputError) as error:
        compile_command.run("qa", words)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_misspelled_size_is_told() -> None:
    here = Described("here", KIND, jax.devices()[:1], 1)
    with pytest.raises(
        InputError, match="--config_name bert-bas: no such file; did you mean bert-base"
    ):
        compile_command.run("qa", ["--target", "h", "--config_name", "bert-bas"], lambda _: here)


@pytest.mark.parametrize(("target", "extra"), [("h100", "cuda"), ("v6e:2x2", "tpu")])
def test_without_its_compiler_a_target_names_what_to_install(target: str, extra: str) -> None:
    module = {"cuda": "jax_cuda13_plugin", "tpu": "libtpu"}[extra]
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed")
    said = f"--target {target}: its compiler is not installed; pip install 'jaxbert.compile-{extra}"
    with pytest.raises(InputError, match=said):
        describe(target)


def test_a_step_that_the_compiler_refuses_says_what_it_needs() -> None:
    lines = list(
        compile_command.lines(
            {
                "target": "v5e:2x2",
                "devices": 4,
                "hosts": 1,
                "per_device_train_batch_size": 512,
                "attention": "pallas",
                "jax": "0.10.2",
            },
            DoesNotFit(30.25),
        )
    )
    assert lines[1] == "  the step does not fit in the device's memory: it needs 30.2 GiB"


# --- by the compilers of described devices -------------------------------------------------------


@pytest.fixture
def compile_for(config: Path, tmp_path: Path) -> Compile:
    """Compiles in a process of its own, in which Triton does not interpret; returns the figures."""

    def compiled(target: str, *flags: str, task: str = "qa") -> dict[str, Json]:
        module = "libtpu" if ":" in target else "jax_cuda13_plugin"
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
        shape = json.loads(config.read_text()) | {"hidden_size": 128}
        config.write_text(json.dumps(shape))
        out = tmp_path / "figures.json"
        words = ["--target", target, "--config_name", str(config), "--json", str(out)]
        words += ["--max_seq_length", "128", *flags]
        words += ["--doc_stride", "32"] if task == "qa" else []
        command = [sys.executable, "-m", "jaxbert", "compile", task, *words]
        environment = {
            n: x for n, x in os.environ.items() if n not in ("TRITON_INTERPRET", "XLA_FLAGS")
        }
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)
        return json.loads(out.read_text())

    return compiled


@pytest.mark.slow
@pytest.mark.parametrize("target", ["v5e:2x2", "v5e:4x4", "v5p:2x2x1", "v6e:2x2", "h100", "a100"])
def test_described_devices(target: str, compile_for: Compile) -> None:
    found = compile_for(target)
    assert found["attention"] == ("pallas" if ":" in target else "triton")
    assert found["hosts"] == (4 if target == "v5e:4x4" else 1)
    assert found["fits"] is True


@pytest.mark.slow
def test_hosts_add_gradients_in_float32(compile_for: Compile) -> None:
    found = compile_for("v5e:4x4", "--dtype", "bfloat16")
    assert found["exchanged_gib"] == pytest.approx(found["args_gib"] / 3, rel=0.1)


@pytest.mark.slow
def test_a_step_of_bert_base_moves_no_more_than_it_did(compile_for: Compile) -> None:
    """The figures of BENCHMARKS.md: the same on every machine for one version of JAX."""
    rows = ("--per_device_train_batch_size", "32", "--max_seq_length", "384", "--doc_stride", "128")
    found = compile_for("h100", "--config_name", "bert-base", "--dtype", "bfloat16", *rows)
    assert found["traffic_gib"] <= 30.3
    assert found["temp_gib"] <= 3.1
    assert found["flops"] == pytest.approx(7.0e12, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["auto", "xla"])
@pytest.mark.parametrize("task", TASK_COMMANDS)
def test_on_a_gpu_every_sum_has_its_order(task: str, attention: str, compile_for: Compile) -> None:
    for packing in ((), ("--packing",)):
        if packing and not TASKS[task].packs:
            continue
        found = compile_for("h100", "--attention", attention, *packing, task=task)
        assert found["unordered_sums"] == []


@pytest.mark.slow
def test_a_loop_over_layers_computes_the_same_and_moves_more(compile_for: Compile) -> None:
    """What the backward pass needs of each layer is copied to a stack and from it. (On a TPU so
    small a model without a loop stays in the memory beside its units.)"""
    rows = ("--per_device_train_batch_size", "64", "--length_bucket", "0")
    one_by_one = compile_for("h100", *rows)
    looped = compile_for("h100", *rows, "--scan_layers")
    assert looped["flops"] == one_by_one["flops"]
    assert 1 <= looped["traffic_gib"] / one_by_one["traffic_gib"] < 2


@pytest.mark.slow
def test_a_tpu_whose_memory_is_too_small_says_what_is_needed(compile_for: Compile) -> None:
    found = compile_for("v5e:2x2", "--per_device_train_batch_size", "65536")
    assert found["fits"] is False
    assert found["needed_gib"] > 16
