"""What compiled programs move, counted by hand beside."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxbert.compiling.cost import cost_of
from jaxbert.compiling.hlo import Program, parse
from jaxbert.compiling.traffic import exchanged, moved_by
from jaxbert.errors import InputError

KIB = 1024


def program(*lines: str) -> Program:
    return parse("HloModule m\n\n" + "\n".join(lines) + "\n")


def moved(*lines: str) -> float:
    return sum(row.size for row in moved_by(program(*lines)))


ADDED = [
    "%added (a: f32[256], b: f32[256]) -> f32[256] {",
    "  %a = f32[256]{0} parameter(0)",
    "  %b = f32[256]{0} parameter(1)",
    "  ROOT %s = f32[256]{0} add(%a, %b)",
    "}",
    "",
]


def test_a_fusion_reads_its_operands_and_writes_its_result_once() -> None:
    assert (
        moved(
            *ADDED,
            "ENTRY %main (x: f32[256]) -> f32[256] {",
            "  %x = f32[256]{0} parameter(0)",
            "  ROOT %f = f32[256]{0} fusion(%x, %x), kind=kLoop, calls=%added",
            "}",
        )
        == 3 * KIB
    )


KNOWN = ', backend_config={"known_trip_count":{"n":"12"}}'


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("pred[] constant(true)", KNOWN),
        ("pred[] compare(%i, %n), direction=LT", ""),  # as the TPU's compiler leaves it
    ],
)
def test_a_loop_counts_as_often_as_it_runs(condition: str, said: str) -> None:
    assert moved(*ADDED, *loop(condition, said)) == pytest.approx(12 * 3 * KIB)


def test_a_loop_that_runs_nobody_knows_how_often_is_not_counted() -> None:
    with pytest.raises(InputError, match="w: nothing says how often the loop runs"):
        moved(*ADDED, *loop("pred[] compare(%i, %i), direction=LT", ""))


def loop(condition: str, said: str) -> list[str]:
    return [
        "%body (p: (s32[], f32[256])) -> (s32[], f32[256]) {",
        "  %p = (s32[], f32[256]{0}) parameter(0)",
        "  %i = s32[] get-tuple-element(%p), index=0",
        "  %x = f32[256]{0} get-tuple-element(%p), index=1",
        "  %f = f32[256]{0} fusion(%x, %x), kind=kLoop, calls=%added",
        "  ROOT %t = (s32[], f32[256]{0}) tuple(%i, %f)",
        "}",
        "",
        "%test (p: (s32[], f32[256])) -> pred[] {",
        "  %p = (s32[], f32[256]{0}) parameter(0)",
        "  %i = s32[]{:S(1)} get-tuple-element(%p), index=0",
        "  %n = s32[]{:S(1)} constant(12)",
        f"  ROOT %c = {condition}".replace("pred[]", "pred[]{:S(1)}"),
        "}",
        "",
        "ENTRY %main (x: (s32[], f32[256])) -> (s32[], f32[256]) {",
        "  %x = (s32[], f32[256]{0}) parameter(0)",
        f"  ROOT %w = (s32[], f32[256]{{0}}) while(%x), condition=%test, body=%body{said}",
        "}",
    ]


def test_of_a_slice_the_slice_counts_and_of_one_replaced_in_place_too() -> None:
    fused = [
        "%fused (a: f32[12,256], u: f32[256], i: s32[]) -> f32[12,256] {",
        "  %a = f32[12,256]{1,0} parameter(0)",
        "  %u = f32[256]{0} parameter(1)",
        "  %i = s32[] parameter(2)",
        "  %z = s32[] constant(0)",
        "  %s = f32[1,256]{1,0} dynamic-slice(%a, %i, %z), dynamic_slice_sizes={1,256}",
        "  %r = f32[1,256]{1,0} bitcast(%u)",
        "  %n = f32[1,256]{1,0} add(%s, %r)",
        "  ROOT %d = f32[12,256]{1,0} dynamic-update-slice(%a, %n, %i, %z)",
        "}",
        "",
    ]
    entry = [
        "ENTRY %main (a: f32[12,256], u: f32[256], i: s32[]) -> f32[12,256] {",
        "  %a = f32[12,256]{1,0} parameter(0)",
        "  %u = f32[256]{0} parameter(1)",
        "  %i = s32[] parameter(2)",
        "  ROOT %f = f32[12,256]{1,0} fusion(%a, %u, %i), kind=kLoop, calls=%fused",
        "}",
    ]
    assert moved(*fused, *entry) == 3 * KIB + 4  # the slice, the update, the result; the index


def test_of_a_table_to_whose_rows_is_added_the_rows_count() -> None:
    assert (
        moved(
            *ADDED,
            "%fused (t: f32[30522,256], i: s32[8,1], u: f32[8,1,256]) -> f32[30522,256] {",
            "  %t = f32[30522,256]{1,0} parameter(0)",
            "  %i = s32[8,1]{1,0} parameter(1)",
            "  %u = f32[8,1,256]{2,1,0} parameter(2)",
            "  ROOT %s = f32[30522,256]{1,0} scatter(%t, %i, %u), to_apply=%added",
            "}",
            "",
            "ENTRY %main (t: f32[30522,256], i: s32[8,1], u: f32[8,1,256]) -> f32[30522,256] {",
            "  %t = f32[30522,256]{1,0} parameter(0)",
            "  %i = s32[8,1]{1,0} parameter(1)",
            "  %u = f32[8,1,256]{2,1,0} parameter(2)",
            "  ROOT %f = f32[30522,256]{1,0} fusion(%t, %i, %u), kind=kInput, calls=%fused",
            "}",
        )
        == 3 * 8 * KIB + 32
    )


def test_rows_of_a_table_count_not_the_table() -> None:
    assert (
        moved(
            "ENTRY %main (t: f32[30522,256], i: s32[8,1]) -> f32[8,256] {",
            "  %t = f32[30522,256]{1,0} parameter(0)",
            "  %i = s32[8,1]{1,0} parameter(1)",
            "  ROOT %g = f32[8,256]{1,0} gather(%t, %i), offset_dims={1}, slice_sizes={1,256}",
            "}",
        )
        == 2 * 8 * KIB + 32
    )


def test_what_lies_beside_the_units_of_a_tpu_does_not_count() -> None:
    assert (
        moved(
            "ENTRY %main (x: bf16[512]) -> bf16[512] {",
            "  %x = bf16[512]{0:T(512)} parameter(0)",
            "  %s = (bf16[512]{0:T(512)S(1)}, bf16[512]{0:T(512)}, u32[]{:S(2)}) copy-start(%x)",
            "  %d = bf16[512]{0:T(512)S(1)} copy-done(%s)",
            "  ROOT %n = bf16[512]{0:T(512)} negate(%d)",
            "}",
        )
        == 2 * KIB
    )


def test_the_larger_branch_counts() -> None:
    small = [line.replace("256", "64").replace("%added", "%small") for line in ADDED]
    assert (
        moved(
            *ADDED,
            *small,
            "ENTRY %main (p: s32[], x: f32[256]) -> f32[256] {",
            "  %p = s32[] parameter(0)",
            "  %x = f32[256]{0} parameter(1)",
            "  ROOT %c = f32[256]{0} conditional(%p, %x, %x), branch_computations={%added, %small}",
            "}",
        )
        == 3 * KIB
    )


def test_a_text_that_is_no_program_is_refused() -> None:
    with pytest.raises(InputError, match="no text of the program"):
        parse("")


def layers(x: jax.Array, kernels: jax.Array, *, scanned: bool) -> jax.Array:
    """Four products, in a loop or one behind the other."""

    def one(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, None]:
        return jnp.tanh(x @ kernel), None

    if scanned:
        return jax.lax.scan(one, x, kernels)[0].sum()
    for kernel in kernels:
        x, _ = one(x, kernel)
    return x.sum()


def test_a_loop_moves_and_computes_as_many_times_as_it_has_layers() -> None:
    x = jnp.ones((512, 256))
    sizes = {}
    for number in (4, 8):
        kernels = jnp.ones((number, 256, 256))
        compiled = jax.jit(layers, static_argnames="scanned").lower(x, kernels, scanned=True)
        sizes[number] = sum(row.size for row in moved_by(parse(compiled.compile().as_text() or "")))
        for scanned in (False, True):
            jaxpr = jax.make_jaxpr(functools.partial(layers, scanned=scanned))(x, kernels)
            assert cost_of(jaxpr.jaxpr).flops == number * 2 * 512 * 256 * 256
    # A layer reads two matrices, and writes one; the copy and the sum around the loop stay.
    layer = (sizes[8] - sizes[4]) / 4
    assert layer >= x.nbytes + 256 * 256 * 4 + x.nbytes
    assert sizes[4] == pytest.approx(4 * layer + 3 * x.nbytes, rel=0.05)


def test_products_in_branches_gradients_and_kernels_count() -> None:
    x = jnp.ones((8, 8))
    product = 2 * 8**3

    def branch(x: jax.Array) -> jax.Array:
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    def flops(function: object) -> float:
        return cost_of(jax.make_jaxpr(function)(x).jaxpr).flops  # type: ignore[arg-type]

    assert flops(branch) == 2 * product
    assert flops(jax.jit(lambda x: x @ x)) == product
    assert flops(jax.value_and_grad(lambda x: (x @ x).sum())) == 3 * product
    assert flops(jax.value_and_grad(jax.checkpoint(lambda x: jnp.sin(x @ x).sum()))) == 4 * product
    assert flops(jax.grad(lambda x: (x @ x).sum())) == 2 * product  # nothing needs the sum


@pytest.mark.parametrize("start", ["", "-start"])
def test_what_devices_give_each_other_counts_once(start: str) -> None:
    """All gradients together, whether they are waited for or not."""
    result = "(f32[256], f32[512])"
    lines = [
        "ENTRY %main (x: f32[256], y: f32[512]) -> (f32[256], f32[512]) {",
        "  %x = f32[256]{0} parameter(0)",
        "  %y = f32[512]{0} parameter(1)",
        f"  %all = {result} all-reduce{start}(%x, %y), to_apply=%add",
    ]
    if start:
        lines.append(f"  ROOT %done = {result} all-reduce-done(%all)")
    else:
        lines[-1] = lines[-1].replace("%all", "ROOT %all", 1)
    assert exchanged(moved_by(program(*lines, "}"))) == 3 * KIB
