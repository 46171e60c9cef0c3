"""Which attention is taken for what, and what is refused."""

from __future__ import annotations

import importlib.util
from typing import Any

import jax
import pytest

from jaxbert.errors import InputError
from jaxbert.model.choose_attention import choose_attention
from jaxbert.runtime.target import Target

BASE: dict[str, Any] = {
    "dtype": "bfloat16",
    "heads": 12,
    "head_size": 64,
    "lengths": [64, 384],
    "packed": False,
    "dropout": 0.1,
}
HOPPER, TURING, AMD, TPU = Target("gpu", 90), Target("gpu", 75), Target("gpu"), Target("tpu")
TRITON = pytest.mark.skipif(
    importlib.util.find_spec("jax_triton") is None, reason="jax-triton is not installed"
)


@pytest.mark.parametrize(
    ("target", "changed", "expected", "reason"),
    [
        (TPU, {}, "pallas", "fused and exact, with dropout too"),
        (TPU, {"packed": True, "dropout": 0.0, "dtype": "float32"}, "pallas", "fused and exact"),
        (TPU, {"lengths": [1024]}, "xla", "pallas has rows of up to 512 tokens, not 1024"),
        (TPU, {"head_size": 26}, "xla", "heads that fill 128 lanes, not 12 of 26"),
        (TPU, {"heads": 3}, "xla", "heads that fill 128 lanes, not 3 of 64"),
        (Target("cpu"), {}, "xla", "fused kernels are for GPUs and TPUs"),
        (AMD, {}, "xla", "triton needs an NVIDIA GPU of compute capability 8.0 or more"),
        (TURING, {}, "xla", "triton needs an NVIDIA GPU of compute capability 8.0 or more"),
        (HOPPER, {"head_size": 256}, "xla", "triton needs a head size of up to 128, not 256"),
        pytest.param(HOPPER, {}, "triton", "with dropout too", marks=TRITON),
        pytest.param(Target("gpu", 80), {"packed": True}, "triton", "fused", marks=TRITON),
        pytest.param(HOPPER, {"head_size": 26}, "triton", "fused", marks=TRITON),
    ],
)
def test_the_choice_is_exact_and_says_why(
    target: Target, changed: dict[str, Any], expected: str, reason: str
) -> None:
    found, why = choose_attention("auto", **{**BASE, **changed}, target=target)
    assert found == expected
    assert reason in why


@pytest.mark.skipif(importlib.util.find_spec("jax_triton") is not None, reason="it is installed")
def test_without_triton_it_says_what_to_install() -> None:
    found, why = choose_attention("auto", **BASE, target=HOPPER)
    assert found == "xla"
    assert "needs the package jax-triton (pip install 'jaxbert[cuda]')" in why
    assert why.endswith("--attention cudnn trains without that dropout")
    assert choose_attention("auto", **{**BASE, "dropout": 0.0}, target=HOPPER)[0] == "cudnn"


def test_what_was_asked_for_is_taken() -> None:
    assert choose_attention("xla", **BASE, target=TPU) == ("xla", "as asked")
    found, why = choose_attention("cudnn", **BASE, target=HOPPER)
    assert (found, why) == ("cudnn", "as asked; it drops no attention weights")


@pytest.mark.parametrize(
    ("asked", "target", "changed", "message"),
    [
        ("cudnn", Target("cpu"), {}, "--attention cudnn needs an NVIDIA GPU"),
        ("cudnn", TURING, {}, "compute capability 8.0"),
        ("cudnn", HOPPER, {"dtype": "float32"}, "--attention cudnn needs --dtype bfloat16"),
        ("cudnn", HOPPER, {"head_size": 20}, "multiple of 8, up to 128, not 20"),
        ("cudnn", HOPPER, {"packed": True}, "--attention cudnn has no packed rows"),
        ("pallas", HOPPER, {}, "--attention pallas needs a TPU"),
        ("triton", TPU, {}, "--attention triton needs an NVIDIA GPU"),
        ("triton", AMD, {}, "--attention triton needs an NVIDIA GPU"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    asked: str, target: Target, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        choose_attention(asked, **{**BASE, **changed}, target=target)
    assert message in str(caught.value)
    assert str(caught.value).endswith("; give auto or xla")


@pytest.mark.parametrize(
    ("platform", "capability", "expected"),
    [
        ("gpu", "9.0", Target("gpu", 90)),
        ("gpu", "7.5", Target("gpu", 75)),
        ("gpu", "12.1", Target("gpu", 121)),
        ("gpu", "gfx90a", Target("gpu")),  # AMD's
        ("tpu", "", Target("tpu")),
        ("cpu", "", Target("cpu")),
    ],
)
def test_the_target_of_a_device(platform: str, capability: str, expected: Target) -> None:
    assert Target.of(platform, capability) == expected


def test_the_target_of_this_process() -> None:
    assert Target.here().platform == jax.default_backend()
