"""Every fused kernel against the plain products, and which one is taken where."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pallas_tpu

from jaxbert.errors import InputError
from jaxbert.model.attention import KERNELS, attention
from jaxbert.model.kernels import choose_attention, pallas

pytestmark = pytest.mark.integration

ROWS, LENGTH, HEADS, SIZE = 2, 128, 2, 32
# Of each row the lengths of its windows; the rest is padding.
PACKED = np.zeros((ROWS, LENGTH), np.int32)
PACKED[0, :50], PACKED[0, 50:110], PACKED[1, :128] = 1, 2, 1
MASKED = (np.arange(LENGTH) < [[90], [128]]).astype(np.int32)


def inputs(dtype: Any = jnp.float32) -> list[jax.Array]:
    keys = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(k, (ROWS, LENGTH, HEADS, SIZE), dtype) for k in keys]


def outputs(
    attend: Callable[..., jax.Array], where: dict[str, np.ndarray], dtype: Any = jnp.float32
) -> list[np.ndarray]:
    """The real tokens' outputs, and the gradients of a function of them."""
    [mask] = where.values()
    real = jnp.asarray(mask != 0)[..., None, None]

    def total(*qkv: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = jnp.where(real, attend(*qkv, **where).astype(jnp.float32), 0)
        return jnp.sum(jnp.sin(out)), out

    grads, out = jax.grad(total, (0, 1, 2), has_aux=True)(*inputs(dtype))
    return [np.asarray(x, np.float32) for x in (out, *grads)]


def kernel(**fixed: Any) -> Callable[..., jax.Array]:
    def attend(q: Any, k: Any, v: Any, key_mask: Any = None, segment_ids: Any = None) -> jax.Array:
        return pallas(q, k, v, key_mask, segment_ids, **fixed)

    return attend


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
@pytest.mark.parametrize("where", [{"segment_ids": PACKED}, {"key_mask": MASKED}], ids=str)
def test_pallas_is_the_plain_product(platform: str, where: dict[str, np.ndarray]) -> None:
    """On a CPU, by Pallas's interpreters for both."""
    interpreter: Any = contextlib.nullcontext()
    if platform == "tpu":
        interpreter = pallas_tpu.force_tpu_interpret_mode()
    with interpreter:
        found = outputs(kernel(platform=platform, interpret=platform == "gpu"), where)
    for ours, expected in zip(found, outputs(attention, where), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(jax.default_backend() == "cpu", reason="needs a GPU or TPU")
@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize("where", [{"segment_ids": PACKED}, {"key_mask": MASKED}], ids=str)
def test_the_kernels_of_this_machine(name: str, where: dict[str, np.ndarray]) -> None:
    packed = "segment_ids" in where
    options: dict[str, Any] = {"head_size": SIZE, "multiple": LENGTH, "packed": packed}
    if name == "cudnn" and (packed or jax.default_backend() != "gpu"):
        with pytest.raises(InputError, match="--attention cudnn"):
            choose_attention(name, dtype="bfloat16", dropout=0.0, **options)
        return
    choose_attention(name, dtype="bfloat16", dropout=0.0, **options)
    attend = functools.partial(attention, backend=name)
    found = outputs(attend, where, jnp.bfloat16)
    for ours, expected in zip(found, outputs(attention, where, jnp.bfloat16), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-2)


BASE: dict[str, Any] = {
    "dtype": "bfloat16",
    "head_size": 64,
    "multiple": 64,
    "packed": False,
    "dropout": 0.0,
    "platform": "gpu",
    "capability": 8.0,
}


def test_a_device_that_is_no_gpu_has_no_cudnn() -> None:
    for capability in (None, 7.5):  # None is that of this machine's CPU
        with pytest.raises(InputError, match="compute capability"):
            choose_attention("cudnn", **{**BASE, "capability": capability})


@pytest.mark.parametrize(
    ("asked", "changed", "expected", "reason"),
    [
        ("auto", {}, "cudnn", "fused"),
        ("auto", {"dropout": 0.1}, "xla", "--attention cudnn trains without that"),
        ("auto", {"dropout": 0.1, "platform": "cpu"}, "xla", "no fused kernel does exactly"),
        ("auto", {"dtype": "float32"}, "xla", "cudnn needs --dtype bfloat16"),
        ("auto", {"packed": True, "multiple": 384}, "pallas", "fused"),
        (
            "auto",
            {"packed": True, "multiple": 200},
            "xla",
            "cudnn has no packed rows; pallas needs --max",
        ),
        ("auto", {"platform": "tpu", "multiple": 128}, "pallas", "fused"),
        ("auto", {"platform": "cpu"}, "xla", "pallas needs a TPU or an NVIDIA GPU"),
        ("cudnn", {"dropout": 0.1}, "cudnn", "drops no attention weights"),
        ("xla", {"dropout": 0.1}, "xla", "as asked"),
    ],
)
def test_the_choice_is_exact_and_says_why(
    asked: str, changed: dict[str, Any], expected: str, reason: str
) -> None:
    found, why = choose_attention(asked, **{**BASE, **changed})
    assert found == expected
    assert reason in why


@pytest.mark.parametrize(
    ("asked", "changed", "message"),
    [
        (
            "cudnn",
            {"platform": "cpu"},
            "--attention cudnn needs an NVIDIA GPU",
        ),
        ("cudnn", {"dtype": "float32"}, "--attention cudnn needs --dtype bfloat16"),
        ("cudnn", {"head_size": 20}, "multiple of 8, up to 128, not 20"),
        ("cudnn", {"packed": True}, "--attention cudnn has no packed rows"),
        ("pallas", {"platform": "cpu"}, "--attention pallas needs a TPU or an NVIDIA GPU"),
        ("pallas", {"multiple": 64}, "--length_bucket to be multiples of 128"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    asked: str, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        choose_attention(asked, **{**BASE, **changed})
    assert message in str(caught.value)
    assert str(caught.value).endswith("; give auto or xla")


def test_cudnn_refuses_segments() -> None:
    with pytest.raises(ValueError, match="no segments"):
        attention(*inputs(), segment_ids=jnp.asarray(PACKED), backend="cudnn")
