"""Twenty steps of AdamW against PyTorch, bfloat16, and packed rows against the rows alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from torch_pairs import (
    CONFIGS,
    TOLERANCE,
    Pair,
    forward,
    gap,
    jit,
    make_pair,
    random_batch,
    torch_loss,
)

from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.attention import Attention
from jaxbert.model.heads import make_apply
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.step import init_state, make_train_step

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("deep"), CONFIGS["gelu_new-4x6"])


# --- training ---------------------------------------------------------------------------------


def torch_adamw(model: Any, rate: float, steps: int, warmup: int) -> tuple[Any, Any]:
    """PyTorch's AdamW as Hugging Face's Trainer sets it up: no decay of biases and LayerNorm."""
    named = list(model.named_parameters())
    plain = [x for n, x in named if n.endswith("bias") or "LayerNorm" in n]
    decayed = [x for n, x in named if not (n.endswith("bias") or "LayerNorm" in n)]
    groups = [
        {"params": decayed, "weight_decay": 0.01},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, warmup, steps)
    return optimizer, schedule


def test_twenty_adamw_steps_equal_torch(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, CONFIGS["gelu-3x5"])
    steps, warmup, rate = 20, 4, 1e-3
    optimizer, torch_schedule = torch_adamw(pair.model, rate, steps, warmup)
    schedule = make_schedule(rate, steps=steps, warmup_steps=warmup)
    tx = adamw(schedule, weight_decay=0.01, clip_norm=1.0)
    train_step = jit(make_train_step(make_apply(pair.cfg, "qa"), span_cross_entropy, tx))
    state = init_state(pair.params, tx)
    losses, norms = [], []
    for step in range(steps):
        batch = random_batch(pair.cfg, seed=100 + step % 4)
        optimizer.zero_grad()
        loss = torch_loss(pair.model, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(pair.model.parameters(), 1.0)
        assert torch_schedule.get_last_lr()[0] == pytest.approx(float(schedule(step)), rel=1e-6)
        optimizer.step()
        torch_schedule.step()
        one = {n: x[None] for n, x in batch.items()}  # one micro-batch
        state, metrics = train_step(state, one, jax.random.key(0))
        assert gap(metrics["loss"], loss.detach().numpy()) <= TOLERANCE, f"step {step}"
        assert gap(metrics["grad_norm"], norm.numpy()) <= 1e-4 * float(norm), f"step {step}"
        losses.append(float(metrics["loss"]))
        norms.append(float(metrics["grad_norm"]))
    assert max(norms) > 1.0  # else clipping was never tried
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_float16_is_as_near_as_pytorchs_autocast_and_grad_scaler(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, CONFIGS["gelu-3x5"])
    steps, rate = 12, 1e-3

    def with_torch(dtype: torch.dtype) -> list[float]:
        model = copy.deepcopy(pair.model)
        optimizer, schedule = torch_adamw(model, rate, steps, 0)
        scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
        found = []
        for step in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                loss = torch_loss(model, random_batch(pair.cfg, seed=100 + step % 4))
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            found.append(float(loss.detach()))
        return found

    tx = adamw(make_schedule(rate, steps=steps), weight_decay=0.01, clip_norm=1.0)
    apply = make_apply(pair.cfg, "qa", dtype=jnp.float16)
    train_step = jit(make_train_step(apply, span_cross_entropy, tx))
    state = init_state(pair.params, tx, "float16")
    ours = []
    for step in range(steps):
        one = {n: x[None] for n, x in random_batch(pair.cfg, seed=100 + step % 4).items()}
        state, metrics = train_step(state, one, jax.random.key(0))
        assert not metrics["skipped"]
        assert metrics["loss_scale"] == 2**16
        ours.append(float(metrics["loss"]))
    exact, theirs = with_torch(torch.float32), with_torch(torch.float16)
    noise = np.abs(np.subtract(theirs, exact)).max()
    assert 0 < np.abs(np.subtract(ours, exact)).max() < 3 * noise
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}


def test_bfloat16_computes_near_float32_and_keeps_float32_parameters(deep: Pair) -> None:
    batch = random_batch(deep.cfg, seed=10)
    real = batch["attention_mask"] != 0
    _, full = forward(deep.params, batch, cfg=deep.cfg)
    apply = make_apply(deep.cfg, "qa", dtype=jnp.bfloat16)
    half = jax.jit(apply)(deep.params, batch)
    no_types = {**batch, "token_type_ids": np.zeros_like(batch["token_type_ids"])}
    _, broken = forward(deep.params, no_types, cfg=deep.cfg)
    for name in ("start_logits", "end_logits"):
        assert half[name].dtype == full[name].dtype == jnp.float32
        size = float(np.std(full[name][real]))
        error = rms_gap(half[name], full[name], real) / size
        # A step of bfloat16 is 2**-8 of a value. Two layers of rounded products make it 3 to 5
        # such steps, as in PyTorch's bfloat16; a model that forgets the token types is 100 off.
        assert 2**-12 < error < 8 * 2**-8
        assert rms_gap(broken[name], full[name], real) / size > 64 * 2**-8

    tx = adamw(make_schedule(1e-3, steps=2, decay="constant"), weight_decay=0.01)
    train_step = make_train_step(apply, span_cross_entropy, tx)
    one = {n: x[None] for n, x in batch.items()}
    # Traced, not computed: dtypes are all that is asked.
    before = init_state(deep.params, tx)
    state, metrics = jax.eval_shape(train_step, before, one, jax.random.key(0))
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert len(floats) == 3 * len(jax.tree.leaves(deep.params))  # parameters, m and v
    assert {x.dtype for x in floats} == {jnp.dtype(jnp.float32)}
    assert {x.dtype for x in metrics.values()} == {jnp.dtype(jnp.float32)}


def rms_gap(a: jax.Array, b: jax.Array, real: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a[real] - b[real]))))


# --- packed rows ------------------------------------------------------------------------------


def test_attention_over_segments_is_attention_in_each_segment() -> None:
    rng = np.random.default_rng(11)
    q, k, v = (jnp.asarray(rng.normal(size=(2, 12, 3, 5)), jnp.float32) for _ in range(3))
    segments = np.array([[1] * 5 + [2] * 4 + [3] + [0] * 2, [7] * 12], np.int32)
    masked = jax.jit(lambda mask: Attention()(q, k, v, key_mask=mask))
    packed = jax.jit(lambda ids: Attention()(q, k, v, segment_ids=ids))(segments)
    for row, number in ((0, 1), (0, 2), (0, 3), (1, 7)):
        mask = segments == number
        alone = masked(mask)
        assert gap(packed[row][mask[row]], alone[row][mask[row]]) <= TOLERANCE
    part = [x[:1, :5] for x in (q, k, v)]  # and with nothing else there
    assert gap(packed[0, :5], Attention()(*part)[0]) <= TOLERANCE
    assert np.isfinite(packed).all()
    with pytest.raises(ValueError, match="not both"):
        Attention()(q, k, v, key_mask=jnp.asarray(segments), segment_ids=jnp.asarray(segments))


def test_packed_rows_give_the_logits_of_the_rows_alone(deep: Pair) -> None:
    batch = random_batch(deep.cfg, seed=12)
    lengths = batch["attention_mask"].sum(1)
    rows = [r for r in range(len(lengths)) if r != 0]  # all but the full one, in one row
    real = [slice(0, lengths[r]) for r in rows]

    def pack(columns: list[np.ndarray]) -> np.ndarray:
        joined = np.concatenate(columns).astype(np.int32)
        return np.pad(joined, (0, 3))[None]

    packed = {
        n: pack([batch[n][r, s] for r, s in zip(rows, real, strict=True)])
        for n in ("input_ids", "token_type_ids")
    }
    packed["position_ids"] = pack([np.arange(lengths[r]) for r in rows])
    packed["segment_ids"] = pack([np.full(lengths[r], i) for i, r in enumerate(rows, start=1)])
    together = jax.jit(make_apply(deep.cfg, "qa"))(deep.params, packed)
    _, alone = forward(deep.params, batch, cfg=deep.cfg)
    for name in ("start_logits", "end_logits"):
        expected = np.concatenate([alone[name][r, s] for r, s in zip(rows, real, strict=True)])
        assert gap(together[name][0, : len(expected)], expected) <= TOLERANCE, name
