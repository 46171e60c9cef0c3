"""What is to be right on an accelerator before anything is timed there: fused attention, LayerNorm
and MLP beside the plain operations, and a run that is stopped and resumed beside one that is not.

B batch, T length, N heads, H head size.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbert.model import nvidia_mlp
from jaxbert.model.attention import Attention
from jaxbert.model.dropout import Seeds, row_seeds
from jaxbert.model.kernel_launch import Compiled, Launch
from jaxbert.model.residual_norm import ResidualNorm

_RATE, _SITE = 0.1, 4
_ALLOWED = 2e-2  # of an array's largest number: a step of bfloat16 is 0.4 to 0.8 % of a number
_LENGTHS, _SIZES = (37, 128, 384, 512), (32, 64, 128)


class Check(NamedTuple):
    """One thing that was tried, and what was found."""

    name: str
    passed: bool
    found: str


def kernels(
    fused: Attention, lengths: Sequence[int] = _LENGTHS, sizes: Sequence[int] = _SIZES
) -> Iterator[Check]:
    """Fused attention: its masks to the bit, its outputs and gradients; then fused LayerNorm and
    MLP.

    Args:
        sizes: of heads.
    """
    for length, size in itertools.product(lengths, sizes):
        heads = 128 // size * 2  # as many as fill a TPU's lanes
        for packed in (False, True):
            name = f"{length} tokens, heads of {size}{', packed' * packed}"
            wrong = _wrong_masks(fused, length, heads, size, packed=packed)
            yield Check(f"masks: {name}", wrong == 0, f"{wrong} weights differ")
            gap = _gap(fused, length, heads, size, packed=packed)
            yield Check(
                f"values and gradients: {name}",
                gap <= _ALLOWED,
                _said(gap),
            )
    norm = ResidualNorm.beside(fused)
    if norm.capability is not None:
        gap = _norm_gap(norm)
        yield Check("LayerNorm of a sum", gap <= _ALLOWED, _said(gap))
        gap = _mlp_gap(Compiled(norm.capability))
        yield Check("MLP", gap <= _ALLOWED, _said(gap))


def _rows(length: int, *, packed: bool) -> tuple[jax.Array, jax.Array | None, Seeds]:
    """key_mask, segment_ids and seeds of three rows; packed, each has two windows."""
    lengths = np.array([length, length // 2 + 1, length // 3 + 1])
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    if not packed:
        return jnp.asarray(mask), None, row_seeds(jax.random.key(3), jnp.arange(3))
    second = np.broadcast_to(np.arange(length) >= length // 2, mask.shape)
    windows = row_seeds(jax.random.key(3), jnp.arange(6))
    low, high = (
        jnp.take_along_axis(x.reshape(3, 2), jnp.asarray(second * 1), axis=1) for x in windows[:2]
    )
    places = jnp.asarray(np.arange(length) - second * (length // 2), jnp.int32)
    segments = jnp.asarray(mask * np.where(second, 2, 1), jnp.int32)
    return jnp.asarray(mask), segments, Seeds(low, high, places)


def _wrong_masks(fused: Attention, length: int, heads: int, size: int, *, packed: bool) -> int:
    """How many weights one drops and the other keeps.

    With equal scores a weight is zero where it is dropped, and values that are unit vectors show
    the weights of as many keys as they have elements. The plain operations drop by the reference.
    """
    _, _, seeds = _rows(length, packed=packed)
    zeros = jnp.zeros((3, length, heads, size), jnp.bfloat16)

    @jax.jit
    def kept(values: jax.Array) -> jax.Array:
        parts = [
            attend(zeros, zeros, values, dropout_rate=_RATE, seeds=seeds, site=_SITE)
            for attend in (fused, Attention())
        ]
        return jnp.sum((parts[0] != 0) != (parts[1] != 0))

    wrong = 0
    for first in range(0, length, size):
        units = np.eye(length, size, -first, dtype=np.float32)[None, :, None]
        wrong += int(kept(jnp.broadcast_to(jnp.asarray(units, jnp.bfloat16), zeros.shape)))
    return wrong


def _gap(fused: Attention, length: int, heads: int, size: int, *, packed: bool) -> float:
    """Between outputs, and gradients, of the kernel and of the plain operations."""
    mask, segments, seeds = _rows(length, packed=packed)
    real = (mask != 0)[..., None, None]
    keys = jax.random.split(jax.random.key(0), 3)
    qkv = [jax.random.normal(key, (3, length, heads, size), jnp.bfloat16) for key in keys]

    def values(attend: Attention) -> list[jax.Array]:
        def total(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
            out = attend(
                *(q, k, v),
                key_mask=None if packed else mask,
                segment_ids=segments,
                dropout_rate=_RATE,
                seeds=seeds,
                site=_SITE,
            )
            out = jnp.where(real, out.astype(jnp.float32), 0)
            return jnp.sum(jnp.sin(out)), out

        grads, out = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(*qkv)
        return [out, *grads]

    return _largest_gap(values(fused), values(Attention()))


def _norm_gap(fused: ResidualNorm) -> float:
    """The same of LayerNorm of a residual sum, and of the gradients of its scale and biases."""
    keys = jax.random.split(jax.random.key(1), 2)
    x, branch = (jax.random.normal(key, (3, 384, 768), jnp.bfloat16) for key in keys)
    scale, bias = jnp.linspace(0.5, 1.5, 768), jnp.linspace(-1, 1, 768)
    arrays = x, branch, bias[::-1].astype(jnp.bfloat16), scale, bias
    seeds = row_seeds(jax.random.key(3), jnp.arange(3))

    def values(norm: ResidualNorm) -> list[jax.Array]:
        def total(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = norm(*arrays, eps=1e-12, dropout_rate=_RATE, seeds=seeds, site=_SITE)
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

        grads, y = jax.jit(jax.grad(total, range(len(arrays)), has_aux=True))(*arrays)
        return [y, *grads]

    return _largest_gap(values(fused), values(ResidualNorm()))


def _mlp_gap(launch: Launch) -> float:
    """The same of the MLP, and of the gradients of its weights."""
    keys = jax.random.split(jax.random.key(2), 4)
    shapes = (3, 384, 768), (768, 3072), (3072,), (3072, 768)
    scales = 1.0, 768**-0.5, 1.0, 3072**-0.5
    arrays = [
        (scale * jax.random.normal(key, shape)).astype(jnp.bfloat16)
        for key, shape, scale in zip(keys, shapes, scales, strict=True)
    ]

    def plain(x: jax.Array, k_in: jax.Array, b_in: jax.Array, k_out: jax.Array) -> jax.Array:
        return jax.nn.gelu(x @ k_in + b_in, approximate=False) @ k_out

    def fused(x: jax.Array, k_in: jax.Array, b_in: jax.Array, k_out: jax.Array) -> jax.Array:
        return nvidia_mlp.triton(x @ k_in, b_in, k_out, launch=launch)

    def values(mlp: Callable[..., jax.Array]) -> list[jax.Array]:
        def total(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = mlp(*arrays)
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

        grads, y = jax.jit(jax.grad(total, range(len(arrays)), has_aux=True))(*arrays)
        return [y, *grads]

    return _largest_gap(values(fused), values(plain))


def _largest_gap(ours: Sequence[jax.Array], theirs: Sequence[jax.Array]) -> float:
    """Of any array, as a part of its largest number."""
    found = []
    for x, y in zip(ours, theirs, strict=True):
        wide = y.astype(jnp.float32)
        found.append(float(jnp.max(jnp.abs(x.astype(jnp.float32) - wide)) / jnp.max(jnp.abs(wide))))
    return max(found)


def _said(gap: float) -> str:
    return f"{gap:.1e} of the largest number"


def equal_bits(folder: Path, python: Sequence[str], *flags: str) -> Check:
    """Train on the demo's texts in one go, and in two: the saved parameters are to be equal.

    Args:
        folder: for the two runs.
        python: the command that starts a process of its own.
        flags: of the training, besides.
    """

    def train(name: str, *more: str) -> str:
        command = [*python, "-m", "jaxbert", "train", "classification", "--output_dir"]
        words = [str(folder / name), "--save_steps", "10", "--max_steps", "20", *flags, *more]
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["?"])[-1]

    new = "--overwrite_output_dir"  # there may be the runs of a former report
    said = train("unbroken", new) or train("resumed", new)
    if not said:  # as a process that was killed after step 10 leaves it
        _forget_the_end(folder / "resumed", 10)
        said = train("resumed")
    if said:
        return Check("a resumed run has equal bits", False, said)
    files = [folder / name / "model.safetensors" for name in ("unbroken", "resumed")]
    same = files[0].read_bytes() == files[1].read_bytes()
    return Check("a resumed run has equal bits", same, "equal" if same else "parameters differ")


def _forget_the_end(run: Path, step: int) -> None:
    """Leave of a run what it had at a step."""
    for folder in (run / "checkpoints").iterdir():
        if folder.name.isdecimal() and int(folder.name) > step:
            shutil.rmtree(folder)
    log = run / "train_log.jsonl"
    lines = [x for x in log.read_text("utf-8").splitlines() if json.loads(x)["step"] <= step]
    log.write_text("\n".join(lines) + "\n", "utf-8")
    for name in ("model.safetensors", "metrics.json"):
        (run / name).unlink(missing_ok=True)
