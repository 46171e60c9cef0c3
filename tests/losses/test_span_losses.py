"""Each loss of spans against its equation, written with loops in float64; and what all hold to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.errors import InputError
from jaxbert.losses.forms import masked_log_softmax
from jaxbert.losses.span_losses import (
    joint_span,
    span_accuracy,
    span_cross_entropy,
    span_focal,
    span_label_smoothing,
    span_marginal,
    span_soft_targets,
)

Arrays = dict[str, Any]
ROWS, LENGTH = 6, 13

LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": span_cross_entropy,
    "label_smoothing": functools.partial(span_label_smoothing, smoothing=0.3),
    "soft_targets": functools.partial(span_soft_targets, width=1.5),
    "focal": functools.partial(span_focal, gamma=1.7),
    "marginal": span_marginal,
    "joint_span": joint_span,
    "compound": functools.partial(joint_span, independent=0.5),
}


def random_case(seed: int) -> tuple[Arrays, Arrays]:
    """Windows [CLS] question [SEP] paragraph [SEP] of many lengths, some without an answer, one a
    padding row; each with two or three reference answers, some of them the same."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, LENGTH + 1, ROWS)
    position = np.arange(LENGTH)
    first = rng.integers(2, lengths - 2)
    context = (position >= first[:, None]) & (position < lengths[:, None] - 1)
    start = rng.integers(first, lengths - 1)
    end = rng.integers(start, lengths - 1)
    starts = np.stack([start, rng.integers(first, lengths - 1), np.full(ROWS, -1)], 1)
    ends = np.stack([end, rng.integers(starts[:, 1], lengths - 1), np.full(ROWS, -1)], 1)
    nothing = rng.random(ROWS) < 0.3
    start[nothing] = end[nothing] = 0
    starts[nothing], ends[nothing] = [0, -1, -1], [0, -1, -1]
    outputs = {
        f"{side}_logits": rng.normal(0, 2, (ROWS, LENGTH)).astype(np.float32)
        for side in ("start", "end")
    }
    batch = {
        "attention_mask": (position < lengths[:, None]).astype(np.int32),
        "context_mask": context,
        "start_positions": start.astype(np.int32),
        "end_positions": end.astype(np.int32),
        "answer_starts": starts.astype(np.int32),
        "answer_ends": ends.astype(np.int32),
        "weight": (np.arange(ROWS) < ROWS - 1).astype(np.float32),
    }
    return outputs, batch


def probabilities(outputs: Arrays, batch: Arrays, row: int, side: str) -> dict[int, float]:
    """Position -> probability among the real tokens of a row."""
    real = np.flatnonzero(batch["attention_mask"][row])
    odds = np.exp(outputs[f"{side}_logits"][row][real].astype(np.float64))
    return dict(zip(real.tolist(), (odds / odds.sum()).tolist(), strict=True))


def allowed(batch: Arrays, row: int) -> list[int]:
    return [0, *np.flatnonzero(batch["context_mask"][row]).tolist()]


def of_targets(
    outputs: Arrays, batch: Arrays, row: int, target: Callable[[int, int], float]
) -> float:
    """Cross-entropy to q ~ target(position, gold), start and end, their mean."""
    total = 0.0
    for side in ("start", "end"):
        gold = int(batch[f"{side}_positions"][row])
        p = probabilities(outputs, batch, row, side)
        weights = {i: target(i, gold) for i in allowed(batch, row)}
        whole = sum(weights.values())
        total -= sum(w / whole * np.log(p[i]) for i, w in weights.items() if w) / 2
    return total


def plain(name: str, outputs: Arrays, batch: Arrays, row: int) -> float:
    start, end = int(batch["start_positions"][row]), int(batch["end_positions"][row])
    p = {side: probabilities(outputs, batch, row, side) for side in ("start", "end")}
    inside = allowed(batch, row)
    if name == "cross_entropy":
        return of_targets(outputs, batch, row, lambda i, gold: float(i == gold))
    if name == "label_smoothing":
        n = len(inside)
        return of_targets(outputs, batch, row, lambda i, gold: 0.7 * (i == gold) + 0.3 / n)
    if name == "soft_targets":

        def bell(i: int, gold: int) -> float:
            apart = (i == 0) != (gold == 0)
            return 0.0 if apart else float(np.exp(-(((i - gold) / 1.5) ** 2) / 2))

        return of_targets(outputs, batch, row, bell)
    if name == "focal":
        found = (p["start"][start], p["end"][end])
        return sum(-((1 - x) ** 1.7) * np.log(x) / 2 for x in found)
    if name == "marginal":
        pairs = zip(batch["answer_starts"][row], batch["answer_ends"][row], strict=True)
        return -np.log(sum(p["start"][int(a)] * p["end"][int(b)] for a, b in pairs if a >= 0)) / 2
    s, e = (outputs[f"{side}_logits"][row].astype(np.float64) for side in ("start", "end"))
    spans = [(0, 0)] + [(i, j) for i in inside[1:] for j in inside[1:] if i <= j]
    joint = (np.log(sum(np.exp(s[i] + e[j]) for i, j in spans)) - s[start] - e[end]) / 2
    return joint + 0.5 * plain("cross_entropy", outputs, batch, row) * (name == "compound")


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(4))
def test_loss_is_its_equation(name: str, seed: int) -> None:
    outputs, batch = random_case(seed)
    found, weight = LOSSES[name](outputs, batch)
    wanted = sum(plain(name, outputs, batch, row) for row in range(ROWS) if batch["weight"][row])
    assert float(found) == pytest.approx(wanted, rel=2e-6)
    assert float(weight) == ROWS - 1


@pytest.mark.integration
@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, ROWS - 1), scale=st.floats(0.1, 40))
def test_sums_add_up_padding_is_inert_and_gradients_are_finite(
    name: str, seed: int, cut: int, scale: float
) -> None:
    outputs, batch = random_case(seed)
    outputs = {n: (x * scale).astype(np.float32) for n, x in outputs.items()}
    loss = LOSSES[name]
    whole = loss(outputs, batch)
    parts = [slice(0, cut), slice(cut, ROWS)]
    found = [
        loss({n: x[s] for n, x in outputs.items()}, {n: x[s] for n, x in batch.items()})
        for s in parts
    ]
    np.testing.assert_allclose(np.sum(found, axis=0), whole, rtol=1e-5, atol=1e-5)
    padding = batch["attention_mask"] == 0
    loud = {n: np.where(padding, np.float32(1e4), x) for n, x in outputs.items()}
    assert float(loss(loud, batch)[0]) == float(whole[0])
    gradient = jax.grad(lambda o: loss(o, batch)[0])(loud)
    for x in gradient.values():
        assert np.isfinite(x).all()
        assert not np.any(np.asarray(x)[padding])
        assert not np.any(np.asarray(x)[batch["weight"] == 0])


def test_options_at_which_a_loss_is_the_cross_entropy() -> None:
    outputs, batch = random_case(7)
    single = {n: x for n, x in batch.items() if not n.startswith("answer_")}
    wanted = float(span_cross_entropy(outputs, batch)[0])
    for found in (
        span_label_smoothing(outputs, batch, smoothing=0.0),
        span_soft_targets(outputs, batch, width=0.05),
        span_focal(outputs, batch, gamma=0.0),
        span_marginal(outputs, single),
    ):
        assert float(found[0]) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "option"),
    [
        (span_label_smoothing, {"smoothing": 1.5}),
        (span_soft_targets, {"width": 0.0}),
        (span_focal, {"gamma": -1.0}),
        (joint_span, {"independent": float("nan")}),
    ],
)
def test_an_option_out_of_range_is_refused(loss: Any, option: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"--loss_args {next(iter(option))}: "):
        loss(*random_case(0), **option)


def test_masked_softmax_equals_the_softmax_of_the_subset() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 5, (4, 11)).astype(np.float32)
    mask = rng.integers(0, 2, logits.shape)
    mask[:, 0] = 1
    log_p = np.asarray(masked_log_softmax(logits, mask))
    for row in range(len(logits)):
        subset = mask[row] != 0
        expected = jax.nn.log_softmax(logits[row][subset])
        np.testing.assert_allclose(log_p[row][subset], expected, rtol=1e-6, atol=1e-6)
        assert np.all(log_p[row][~subset] < -1e29)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_padding_rows_alone_is_zero(name: str) -> None:
    outputs, batch = random_case(2)
    empty = {**batch, "attention_mask": np.zeros_like(batch["attention_mask"])}
    empty |= {
        "context_mask": empty["attention_mask"] != 0,
        "weight": np.zeros_like(batch["weight"]),
    }
    assert [float(x) for x in LOSSES[name](outputs, empty)] == [0.0, 0.0]
    for x in jax.grad(lambda o: LOSSES[name](o, empty)[0])(outputs).values():
        assert not np.any(x)


@pytest.mark.parametrize("name", LOSSES)
def test_wider_rows_have_the_same_loss(name: str) -> None:
    def wider(x: np.ndarray) -> np.ndarray:
        return np.pad(x, ((0, 0), (0, 3))) if x.shape[-1] == LENGTH else x

    outputs, batch = random_case(3)
    wide = [{n: wider(x) for n, x in arrays.items()} for arrays in (outputs, batch)]
    expected = float(LOSSES[name](outputs, batch)[0])
    assert float(LOSSES[name](*wide)[0]) == pytest.approx(expected, rel=1e-6)


def test_loss_of_half_precision_logits_is_float32() -> None:
    outputs, batch = random_case(4)
    half = {n: x.astype(jnp.bfloat16) for n, x in outputs.items()}
    rounded = {n: x.astype(np.float32) for n, x in half.items()}
    loss, weight = span_cross_entropy(half, batch)
    assert loss.dtype == weight.dtype == jnp.float32
    assert float(loss) == pytest.approx(float(span_cross_entropy(rounded, batch)[0]), rel=1e-6)


def test_accuracy_counts_weights_of_rows_whose_best_real_position_is_gold() -> None:
    outputs, batch = random_case(5)
    batch["weight"] = np.array([1, 1, 2, 0.5, 1, 0], np.float32)
    padding = batch["attention_mask"] == 0
    loud = {n: np.where(padding, np.float32(1e4), x) for n, x in outputs.items()}
    found = span_accuracy(loud, batch)
    for side in ("start", "end"):
        right = 0.0
        for row, weight in enumerate(batch["weight"]):
            logits = outputs[f"{side}_logits"][row][~padding[row]]
            right += float(weight) * (logits.argmax() == batch[f"{side}_positions"][row])
        total, count = found[f"{side}_accuracy"]
        assert (float(total), float(count)) == (right, batch["weight"].sum())
    halves = [
        span_accuracy({n: x[s] for n, x in loud.items()}, {n: x[s] for n, x in batch.items()})
        for s in (slice(0, 2), slice(2, ROWS))
    ]
    assert jax.tree.map(lambda a, b: float(a + b), *halves) == jax.tree.map(float, found)
    perfect = {
        f"{side}_logits": np.eye(LENGTH, dtype=np.float32)[batch[f"{side}_positions"]]
        for side in ("start", "end")
    }
    assert all(total == count for total, count in span_accuracy(perfect, batch).values())
