"""Which sums of a compiled program have no fixed order."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys

import pytest

from jaxbert.compiling.hlo import parse
from jaxbert.compiling.unordered import unordered

SUM = [
    "%sum (a: f32[], b: f32[]) -> f32[] {",
    "  %a = f32[] parameter(0)",
    "  %b = f32[] parameter(1)",
    "  ROOT %c = f32[] add(%a, %b)",
    "}",
    "",
]
LAST = [*SUM[:3], "  ROOT %c = f32[] parameter(1)", "}", ""]


def found(combiner: list[str], more: str = "") -> list[str]:
    """Of a scatter in a fusion."""
    name = (
        "jit(train_step)/transpose(jvp(BertWithHead))/bert/embeddings/word_embeddings/scatter-add"
    )
    text = [
        *combiner,
        "%rows (t: f32[9,4], i: s32[2,1], u: f32[2,1,4]) -> f32[9,4] {",
        "  %t = f32[9,4]{1,0} parameter(0)",
        "  %i = s32[2,1]{1,0} parameter(1)",
        "  %u = f32[2,1,4]{2,1,0} parameter(2)",
        f"  ROOT %s = f32[9,4]{{1,0}} scatter(%t, %i, %u), index_vector_dim=1{more}, "
        f'to_apply=%sum, metadata={{op_name="{name}"}}',
        "}",
        "",
        "ENTRY %main (t: f32[9,4], i: s32[2,1], u: f32[2,1,4]) -> f32[9,4] {",
        "  %t = f32[9,4]{1,0} parameter(0)",
        "  %i = s32[2,1]{1,0} parameter(1)",
        "  %u = f32[2,1,4]{2,1,0} parameter(2)",
        "  ROOT %f = f32[9,4]{1,0} fusion(%t, %i, %u), kind=kInput, calls=%rows",
        "}",
    ]
    return unordered(parse("\n".join(text)))


def test_a_scatter_that_adds_is_one_unless_each_row_has_its_place() -> None:
    assert found(SUM) == ["embeddings/word_embeddings backward"]
    assert found(SUM, ", unique_indices=true") == []
    assert found(LAST) == []


KERNELS = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from jaxbert.model.kernel_launch import kernel_named

sizes = dict(M=768, T=384, N=12, H=64, W=64, D=64, TOKENS=2, STEPS=16, QUERIES=64, KEYS=64)
other = dict(OTHER_QUERIES=64, OTHER_KEYS=64, SCALE=0.1, BY_SEGMENT=True, DROP=True, EPS=1e-12)
values = dict(**sizes, **other, THRESHOLD=9, KEEP=1.1, DOT="tf32")
integers, floats = ("facts",), ("largest", "norm", "mean", "scale", "bias", "dscale", "dbias")
kernel = kernel_named(sys.argv[1])
types = {
    name: "constexpr" if name in values else "*i32" if name in integers
    else "*fp32" if name in floats else "*bf16"
    for name in kernel.arg_names
}
constants = {
    (place,): values[name] for place, name in enumerate(kernel.arg_names) if name in values
}
made = compile(
    ASTSource(kernel, types, constants), target=GPUTarget("cuda", int(sys.argv[2]), 32),
    options={"num_warps": 8},
)
print(made.asm["ptx"])
"""


@pytest.mark.integration
@pytest.mark.parametrize("capability", ["80", "90"])
@pytest.mark.parametrize(
    "kernel",
    [
        *("triton_attention.forward", "triton_attention.backward"),
        *("triton_norm.forward", "triton_norm.backward"),
    ],
)
def test_kernels_have_no_atomics(kernel: str, capability: str) -> None:
    """As Triton compiles them, in a process in which it does not interpret."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    environment = {name: x for name, x in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", KERNELS, kernel, capability]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert ".entry" in result.stdout
    assert "ld.global" in result.stdout
    assert not re.findall(r"\b(?:atom|red)\.\S*", result.stdout)
