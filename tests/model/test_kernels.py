"""The fused kernels of attention beside the plain products, and the masks of their dropout.

On a CPU they run operation by operation, by the interpreters of Pallas and Triton.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from triton_interpreter import Interpreted

from jaxbert.model import attention, encoder, nvidia_mlp, nvidia_norm, residual_norm
from jaxbert.model.attention import Attention
from jaxbert.model.config import BertConfig
from jaxbert.model.dropout import Seeds, keep_mask, row_seeds
from jaxbert.model.encoder import Encoder
from jaxbert.model.nvidia_attention import triton
from jaxbert.model.residual_norm import ResidualNorm
from jaxbert.model.tpu_attention import pallas
from jaxbert.runtime.target import Target

pytestmark = pytest.mark.integration

Kernel = Callable[..., jax.Array]
RATE, SITE = 0.1, 4


def kernel(name: str) -> Kernel:
    if name == "pallas":
        return partial(pallas, interpret=True)
    pytest.importorskip("triton", reason="Triton's interpreter comes with triton")

    def attend(q: jax.Array, k: jax.Array, v: jax.Array, *others: Any, **how: Any) -> jax.Array:
        bias = jnp.zeros((3, *q.shape[2:]), q.dtype)
        return triton(jnp.stack((q, k, v), axis=2), bias, *others, launch=Interpreted(), **how)

    return attend


@dataclasses.dataclass
class Case:
    """Rows with masks or packed windows, and dropout."""

    rows: int
    length: int
    heads: int
    size: int
    mask: str = "none"  # or keys, packed, no keys
    rate: float = RATE
    dtype: Any = jnp.float32

    def qkv(self) -> list[jax.Array]:
        shape = (self.rows, self.length, self.heads, self.size)
        keys = jax.random.split(jax.random.key(0), 3)
        return [jax.random.normal(key, shape, self.dtype) for key in keys]

    def arguments(self) -> tuple[np.ndarray | None, np.ndarray | None, Seeds]:
        """key_mask, segment_ids, seeds."""
        seeds = row_seeds(jax.random.key(3), jnp.arange(self.rows))
        lengths = np.linspace(self.length, self.length // 3, self.rows).astype(int)
        mask = (np.arange(self.length) < lengths[:, None]).astype(np.int32)
        if self.mask == "none":
            return None, None, seeds
        if self.mask == "keys":
            return mask, None, seeds
        if self.mask == "no keys":
            mask[0] = 0
            return mask, None, seeds
        # Two windows a row, which begin again at position 0 and have seeds of their own.
        second = np.arange(self.length) >= self.length // 2
        segments = mask * np.where(second, 2, 1)
        windows = row_seeds(jax.random.key(3), jnp.arange(2 * self.rows))
        low, high = (
            jnp.take_along_axis(x.reshape(self.rows, 2), jnp.asarray(second[None] * 1), axis=1)
            for x in (windows.low, windows.high)
        )
        positions = np.arange(self.length) - second * (self.length // 2)
        places = jnp.broadcast_to(jnp.asarray(positions, jnp.int32), mask.shape)
        return None, segments.astype(np.int32), Seeds(low, high, places)

    def values(self, attend: Kernel) -> list[np.ndarray]:
        """The outputs of queries that see a key, or of all, and the gradients of their sines."""
        key_mask, segments, seeds = self.arguments()
        real = jnp.ones((self.rows, self.length), bool) if segments is None else segments != 0

        def total(*qkv: jax.Array) -> tuple[jax.Array, jax.Array]:
            out = attend(*qkv, key_mask, segments, seeds, rate=self.rate, site=SITE)
            out = jnp.where(jnp.asarray(real)[..., None, None], out.astype(jnp.float32), 0)
            return jnp.sum(jnp.sin(out)), out

        grads, out = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(*self.qkv())
        return [np.asarray(x, np.float32) for x in (out, *grads)]


def plain(
    q: jax.Array, k: jax.Array, v: jax.Array, key_mask: Any, segments: Any, seeds: Any, **how: Any
) -> jax.Array:
    return Attention()(
        *(q, k, v),
        key_mask=key_mask,
        segment_ids=segments,
        seeds=seeds,
        dropout_rate=how["rate"],
        site=how["site"],
    )


CASES = [
    Case(2, 128, 2, 64),
    Case(2, 128, 2, 64, "keys"),
    Case(2, 128, 2, 64, "packed"),
    Case(2, 128, 2, 64, "no keys"),
    Case(2, 128, 2, 64, "packed", rate=0.0),
    Case(1, 1, 2, 64),
    Case(2, 37, 4, 32, "keys"),
    Case(2, 130, 4, 32, "packed"),
    Case(1, 200, 1, 128, "keys"),
    Case(2, 48, 3, 26, "packed"),
    Case(1, 512, 1, 64, "packed", rate=0.5),
]


@pytest.mark.parametrize("name", ["pallas", "triton"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_and_gradients_are_those_of_the_plain_products(name: str, case: Case) -> None:
    for ours, expected in zip(case.values(kernel(name)), case.values(plain), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("name", ["pallas"])
@pytest.mark.parametrize("mask", ["none", "keys", "packed", "no keys"])
def test_in_bfloat16_it_is_as_near_as_the_plain_products(name: str, mask: str) -> None:
    """To float32: Triton's interpreter has no bfloat16."""
    case = Case(2, 130, 2, 64, mask)
    exact = case.values(plain)
    case = dataclasses.replace(case, dtype=jnp.bfloat16)
    for ours, theirs, wanted in zip(
        case.values(kernel(name)), case.values(plain), exact, strict=True
    ):
        assert np.abs(ours - wanted).max() <= 1.5 * np.abs(theirs - wanted).max()


@pytest.mark.parametrize("name", ["pallas", "triton"])
@pytest.mark.parametrize("mask", ["none", "packed"])
@pytest.mark.parametrize("heads", [1, 3])
def test_the_masks_are_equal_to_the_bit(name: str, mask: str, heads: int) -> None:
    """With equal scores a weight is zero where it is dropped; the values are unit vectors."""
    case = Case(2, 128, heads, 32, mask, rate=0.37)
    key_mask, _, seeds = case.arguments()
    zeros = jnp.zeros((case.rows, case.length, heads, case.size))
    # In place of segments, so that each query has a weight for each key.
    wanted = keep_mask(seeds, SITE, (case.rows, heads, case.length, case.length), case.rate)
    attend = kernel(name)
    for first in range(0, case.length, case.size):
        units = (
            jnp.zeros((case.length, case.size))
            .at[first : first + case.size]
            .set(jnp.eye(case.size))
        )
        v = jnp.broadcast_to(units[None, :, None], zeros.shape)
        out = attend(zeros, zeros, v, key_mask, None, seeds, rate=case.rate, site=SITE)
        found = jnp.moveaxis(out, 2, 1) != 0
        np.testing.assert_array_equal(found, wanted[..., first : first + case.size])


@pytest.mark.parametrize("case", CASES[1:3] + CASES[6:10], ids=str)
def test_the_gradient_of_the_bias_is_the_sum_of_those_of_its_tokens(case: Case) -> None:
    pytest.importorskip("triton", reason="Triton's interpreter comes with triton")
    qkv = jnp.stack(case.qkv(), axis=2)
    how = {"rate": case.rate, "site": SITE, "launch": Interpreted()}

    def total(qkv: jax.Array, bias: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(triton(qkv, bias, *case.arguments(), **how)))

    dqkv, dbias = jax.grad(total, (0, 1))(qkv, jnp.zeros(qkv.shape[2:]))
    np.testing.assert_allclose(dbias, jnp.sum(dqkv, axis=(0, 1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["pallas", "triton"])
def test_no_window_sees_another(name: str) -> None:
    """Other tokens in one window leave the other's outputs as they are, to the last bit."""
    case = Case(2, 96, 2, 64, "packed")
    key_mask, segments, seeds = case.arguments()
    assert segments is not None
    q, k, v = case.qkv()
    second = jnp.asarray(segments == 2)[..., None, None]
    attend = partial(kernel(name), rate=case.rate, site=SITE)
    before = attend(q, k, v, key_mask, segments, seeds)
    moved = [jnp.where(second, x + 1, x) for x in (q, k, v)]
    after = attend(*moved, key_mask, segments, seeds)
    first = np.asarray(segments == 1)
    np.testing.assert_array_equal(np.asarray(after)[first], np.asarray(before)[first])
    assert np.all(np.any(np.asarray(after)[segments == 2] != np.asarray(before)[segments == 2], -1))


@pytest.mark.parametrize("name", ["pallas", "triton"])
def test_packed_windows_are_those_of_rows_of_their_own(name: str) -> None:
    """The dropout too."""
    case = Case(2, 96, 2, 32, "packed")
    _, segments, seeds = case.arguments()
    assert segments is not None
    assert seeds.positions is not None
    q, k, v = case.qkv()
    attend = partial(kernel(name), rate=case.rate, site=SITE)
    packed = attend(q, k, v, None, segments, seeds)
    for row in range(case.rows):
        for segment in (1, 2):
            at = np.flatnonzero(segments[row] == segment)
            if not len(at):
                continue
            alone = [x[row : row + 1, at[0] : at[-1] + 1] for x in (q, k, v)]
            own = Seeds(*(x[row : row + 1, at[0]] for x in seeds[:2]))
            expected = attend(*alone, None, None, own)
            np.testing.assert_allclose(packed[row, at], expected[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("mask", ["keys", "packed"])
def test_devices_share_the_rows_of_one_program(mask: str) -> None:
    """Under jit, whose arrays lie on all devices: each computes its own rows, none the others'."""
    case = Case(4, 64, 2, 64, mask)
    key_mask, segments, seeds = case.arguments()
    mesh = Mesh(np.array(jax.devices()[:4]), ("devices",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices"))

    def attend(how: Attention, *arrays: Any) -> jax.Array:
        q, k, v, key_mask, segments, seeds = arrays
        return how(
            *(q, k, v),
            key_mask=key_mask,
            segment_ids=segments,
            seeds=seeds,
            dropout_rate=RATE,
            site=SITE,
        )

    arrays = jax.device_put((*case.qkv(), key_mask, segments, seeds), rows)
    on_four = jax.jit(partial(attend, Attention("pallas", Target("cpu"), mesh)))
    found = on_four(*arrays)
    assert found.sharding.is_equivalent_to(rows, 4)
    assert "all-gather" not in on_four.lower(*arrays).compile().as_text()
    alone = attend(Attention("pallas", Target("cpu")), *case.qkv(), key_mask, segments, seeds)
    np.testing.assert_allclose(found, alone, rtol=0, atol=1e-6)

    def total(how: Attention, q: jax.Array, *others: Any) -> jax.Array:
        return jnp.sum(jnp.sin(attend(how, q, *others)))

    grad = jax.grad(total, (1, 2, 3))
    for ours, expected in zip(
        jax.jit(partial(grad, Attention("pallas", Target("cpu"), mesh)))(*arrays),
        grad(Attention("pallas", Target("cpu")), *case.qkv(), key_mask, segments, seeds),
        strict=True,
    ):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.skipif(jax.default_backend() == "cpu", reason="needs a GPU or TPU")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_kernel_of_this_machine(case: Case) -> None:
    name = "pallas" if jax.default_backend() == "tpu" else "triton"
    case = dataclasses.replace(case, dtype=jnp.bfloat16)

    def attend(q: Any, k: Any, v: Any, key_mask: Any, segments: Any, seeds: Any, **how: Any) -> Any:
        return Attention(name)(
            *(q, k, v),
            key_mask=key_mask,
            segment_ids=segments,
            seeds=seeds,
            dropout_rate=how["rate"],
            site=how["site"],
        )

    for ours, expected in zip(case.values(attend), case.values(plain), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-2)


def test_cudnn_refuses_segments() -> None:
    segments = jnp.ones((2, 16), jnp.int32)
    qkv = Case(2, 16, 2, 32).qkv()
    with pytest.raises(ValueError, match="no segments"):
        Attention("cudnn", Target("gpu", 90))(*qkv, segment_ids=segments)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rate", [0.0, RATE])
@pytest.mark.parametrize("size", [32, 26])
def test_the_norm_of_a_sum_is_that_of_plain_operations(
    packed: bool, rate: float, size: int
) -> None:
    pytest.importorskip("triton", reason="Triton's interpreter comes with triton")
    case = Case(3, 23, 1, size, "packed" if packed else "none")
    seeds = case.arguments()[2]
    x, branch = (part[:, :, 0] for part in case.qkv()[:2])
    branch_bias, scale, bias = x[0, 1], 1 + x[0, 0], branch[0, 0]
    how = {"eps": 1e-12, "rate": rate, "site": SITE}

    def values(norm: Callable[..., jax.Array]) -> list[jax.Array]:
        def total(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = norm(*arrays, seeds)
            return jnp.sum(jnp.sin(y)), y

        arrays = x, branch, branch_bias, scale, bias
        grads, y = jax.grad(total, range(len(arrays)), has_aux=True)(*arrays)
        return [y, *grads]

    def plain_norm(*arguments: Any) -> jax.Array:
        *arrays, seeds = arguments
        named = {"eps": 1e-12, "dropout_rate": rate, "seeds": seeds, "site": SITE}
        return ResidualNorm()(*arrays, **named)

    fused = partial(nvidia_norm.triton, launch=Interpreted(), **how)
    for ours, expected in zip(values(fused), values(plain_norm), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=5e-6)


def mlp_arrays(rows: int, length: int, size: int, width: int, dtype: Any) -> list[jax.Array]:
    """x, kernel_in, bias_in, kernel_out."""
    shapes = [(rows, length, size), (size, width), (width,), (width, size)]
    keys = jax.random.split(jax.random.key(2), len(shapes))
    scales = [1.0, size**-0.5, 1.0, width**-0.5]
    return [
        (scale * jax.random.normal(key, shape)).astype(dtype)
        for key, shape, scale in zip(keys, shapes, scales, strict=True)
    ]


def plain_mlp(x: jax.Array, k_in: jax.Array, b_in: jax.Array, k_out: jax.Array) -> jax.Array:
    return jax.nn.gelu(x @ k_in + b_in, approximate=False) @ k_out


def fused_mlp(mesh: Mesh | None = None) -> Callable[..., jax.Array]:
    def mlp(x: jax.Array, k_in: jax.Array, b_in: jax.Array, k_out: jax.Array) -> jax.Array:
        return nvidia_mlp.triton(x @ k_in, b_in, k_out, launch=Interpreted(), mesh=mesh)

    return mlp


def outputs_and_gradients(mlp: Callable[..., jax.Array], arrays: list[jax.Array]) -> Any:
    def total(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = mlp(*arrays).astype(jnp.float32)
        return jnp.sum(jnp.sin(y)), y

    grads, y = jax.grad(total, range(len(arrays)), has_aux=True)(*arrays)
    return [np.asarray(x, np.float32) for x in (y, *grads)]


@pytest.mark.parametrize("shape", [(2, 23, 16, 300), (1, 130, 32, 128), (3, 1, 26, 312)])
def test_the_mlp_is_that_of_plain_operations(shape: tuple[int, int, int, int]) -> None:
    """Widths that fill no block, tokens that fill no program."""
    pytest.importorskip("triton", reason="Triton's interpreter comes with triton")
    arrays = mlp_arrays(*shape, jnp.float32)
    for ours, expected in zip(
        outputs_and_gradients(fused_mlp(), arrays),
        outputs_and_gradients(plain_mlp, arrays),
        strict=True,
    ):
        np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=5e-6)


def test_devices_share_the_rows_of_the_mlp() -> None:
    """Each computes the GELU of its own rows; the gradients of the weights are sums over all."""
    pytest.importorskip("triton", reason="Triton's interpreter comes with triton")
    arrays = mlp_arrays(4, 9, 16, 64, jnp.float32)
    mesh = Mesh(np.array(jax.devices()[:4]), ("devices",))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices"))
    parted = [jax.device_put(arrays[0], rows), *arrays[1:]]
    for ours, expected in zip(
        outputs_and_gradients(fused_mlp(mesh), parted),
        outputs_and_gradients(plain_mlp, arrays),
        strict=True,
    ):
        np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=5e-6)


def test_the_mlp_keeps_one_array_of_its_width() -> None:
    """The product, not the GELU, which is computed again."""
    arrays = mlp_arrays(2, 8, 16, 300, jnp.float32)
    kept = jax.tree.leaves(jax.eval_shape(lambda *a: jax.vjp(fused_mlp(), *a)[1], *arrays))
    assert sum(x.shape == (2, 8, 300) for x in kept) == 1


@pytest.mark.parametrize("mask", ["keys", "packed"])
@pytest.mark.parametrize("adapted", [[], ["query", "mlp_in"], ["key", "value", "mlp_out"]])
def test_the_encoder_by_kernels_is_that_of_plain_operations(
    mask: str, adapted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs, and the gradients of all parameters: who adds a bias, and who sums its gradient."""
    pytest.importorskip("triton", reason="Triton's interpreter comes with triton")
    for module in (attention, encoder, residual_norm):
        monkeypatch.setattr(module, "Compiled", lambda _: Interpreted())
    cfg = BertConfig(
        vocab_size=20,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=40,
        max_position_embeddings=16,
    )
    case = Case(2, 9, 2, 16, mask)
    key_mask, segments, seeds = jax.tree.map(jnp.asarray, case.arguments())
    ids = jax.random.randint(jax.random.key(0), (2, 9), 0, 20)
    params = Encoder(cfg).init(jax.random.key(1), ids)["params"]
    params = jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), params)
    layer = params["layer_0"]
    for name in adapted:
        module = layer[name] if name in layer else layer["attention"][name]
        rows = module["kernel"].shape[0]
        a, b = (rows, 3), (3, module["kernel"].size // rows)
        for letter, shape in (("a", a), ("b", b)):
            module[f"lora_{letter}"] = 0.1 * jax.random.normal(jax.random.key(len(name)), shape)
    real = (key_mask if segments is None else segments)[..., None] != 0

    def values(attention: Attention) -> Any:
        def total(params: Any) -> tuple[jax.Array, jax.Array]:
            out = Encoder(cfg, attention=attention).apply(
                {"params": params},
                ids,
                attention_mask=key_mask,
                segment_ids=segments,
                position_ids=seeds.positions,
                seeds=seeds,
            )[-1]
            out = jnp.where(real, out, 0)
            return jnp.sum(jnp.sin(out)), out

        return jax.grad(total, has_aux=True)(params)

    fused, plain = values(Attention("triton", Target("gpu", 90))), values(Attention())
    for path, expected in jax.tree_util.tree_leaves_with_path(plain):
        ours = dict(jax.tree_util.tree_leaves_with_path(fused))[path]
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=2e-5, err_msg=str(path))
