"""Losses of several passes and of a teacher: their equations, and that no split changes them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SMALL

from jaxbert.data.features import Features
from jaxbert.data.packing import PackedSampler
from jaxbert.data.sampling import NumpyBatch, make_batch
from jaxbert.losses.distillation import distillation
from jaxbert.losses.forms import divergence
from jaxbert.losses.label_losses import label_cross_entropy, squared_error, supervised_contrastive
from jaxbert.losses.passes import fgm, pgd, r_drop
from jaxbert.losses.span_losses import (
    joint_span,
    span_cross_entropy,
    span_focal,
    span_label_smoothing,
    span_marginal,
    span_soft_targets,
)
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import init_params, make_apply
from jaxbert.training.parallel import make_parallel
from jaxbert.training.step import init_state, make_train_step

pytestmark = pytest.mark.integration

CAPACITY, WINDOWS, CHOICES = 20, 24, 3
CFG = dataclasses.replace(SMALL, max_position_embeddings=CAPACITY)
KEY = jax.random.key(5)
BASES: dict[str, Any] = {
    "qa": span_cross_entropy,
    "classification": label_cross_entropy,
    "tagging": label_cross_entropy,
    "multiple_choice": label_cross_entropy,
    "regression": squared_error,
}


@functools.cache
def features_of(head: str) -> Features:
    """Windows of 4 to 12 tokens, with labels, reference answers and a teacher's outputs."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(4, 13, WINDOWS)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    total = int(bounds[-1])
    wide = [CHOICES] * (head == "multiple_choice")
    tokens: dict[str, np.ndarray] = {
        "input_ids": rng.integers(1, 50, (total, *wide)).astype(np.int32),
        "token_type_ids": rng.integers(0, 2, (total, *wide)).astype(np.int32),
    }
    if wide:
        tokens["attention_mask"] = np.ones((total, CHOICES), np.int32)
    rows: dict[str, np.ndarray] = {}
    if head == "qa":
        position = np.arange(total) - np.repeat(bounds[:-1], lengths)
        tokens["context_mask"] = (position >= 1) & (position < np.repeat(lengths, lengths) - 1)
        start = rng.integers(1, lengths - 1)
        end = rng.integers(start, lengths - 1)
        rows = {"start_positions": start, "end_positions": end}
        rows["answer_starts"] = np.stack([start, np.where(start > 1, 1, -1)], 1)
        rows["answer_ends"] = np.stack([end, np.where(start > 1, 1, -1)], 1)
        rows = {n: x.astype(np.int32) for n, x in rows.items()}
        for side in ("start", "end"):
            tokens[f"teacher_{side}_logits"] = rng.normal(0, 2, total).astype(np.float32)
    elif head == "tagging":
        tokens["labels"] = rng.integers(-1, 3, total).astype(np.int32)
        tokens["labels"][tokens["labels"] < 0] = -100
        tokens["teacher_logits"] = rng.normal(0, 2, (total, 3)).astype(np.float32)
    elif head == "regression":
        rows["labels"] = rng.normal(size=WINDOWS).astype(np.float32)
        rows["teacher_scores"] = rng.normal(size=WINDOWS).astype(np.float32)
    else:
        rows["labels"] = rng.integers(0, 3, WINDOWS).astype(np.int32)
        rows["teacher_logits"] = rng.normal(0, 2, (WINDOWS, 3)).astype(np.float32)
    choices = CHOICES if wide else 1
    rows["teacher_first"] = rng.normal(size=(WINDOWS, choices * 16)).astype(np.float32)
    return Features(bounds, tokens, rows, np.arange(WINDOWS, dtype=np.int32))


def batch_of(head: str, size: int = 16) -> NumpyBatch:
    """Fourteen windows in a batch of `size` rows."""
    return make_batch(features_of(head), np.arange(14) * 5 % WINDOWS, CAPACITY, size)


@functools.cache
def params_of(head: str, cfg: BertConfig = CFG) -> Any:
    return init_params(cfg, head, jax.random.key(1))


WITH_BASE: dict[str, Any] = {
    "r_drop": functools.partial(r_drop, alpha=2.0),
    "fgm": functools.partial(fgm, epsilon=0.7, weight=0.5),
    "pgd": functools.partial(pgd, epsilon=0.5, step=0.3, steps=2),
    "distillation": functools.partial(
        distillation, teacher="", alpha=0.6, temperature=2.0, hidden=0.5
    ),
}
ALL: dict[tuple[str, str], Any] = {
    ("qa", "label_smoothing"): span_label_smoothing,
    ("qa", "soft_targets"): span_soft_targets,
    ("qa", "focal"): span_focal,
    ("qa", "marginal"): span_marginal,
    ("qa", "joint_span"): joint_span,
    ("classification", "contrastive"): functools.partial(supervised_contrastive, group=2),
    **{
        (head, name): functools.partial(WITH_BASE[name], base=BASES[head])
        for head, names in {
            "qa": list(WITH_BASE),
            "classification": ["r_drop", "distillation"],
            "tagging": ["fgm"],
            "multiple_choice": ["fgm", "distillation"],
            "regression": ["r_drop", "distillation"],
        }.items()
        for name in names
    },
}
# One of each kind, and each kind of head; the others are -m slow.
SAMPLE = {
    ("qa", "marginal"),
    ("qa", "pgd"),
    ("classification", "contrastive"),
    ("tagging", "fgm"),
    ("multiple_choice", "distillation"),
    ("regression", "r_drop"),
}


def step_of(
    head: str, loss: Any, batch: NumpyBatch, devices: int = 1, accumulate: int = 1
) -> tuple[dict[str, Any], Any]:
    """The metrics and the parameters of a step of plain gradient descent."""
    parallel = make_parallel("pmap" if devices > 1 else "jit", jax.devices()[:devices])
    tx = optax.sgd(0.1)
    step = make_train_step(
        make_apply(CFG, head),
        loss,
        tx,
        accumulate=accumulate,
        axis_name=parallel.axis_name,
        mesh=parallel.mesh,
    )
    split = {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in batch.items()}
    state = parallel.replicate(jax.device_get(init_state(params_of(head), tx)))
    state, metrics = parallel.compile_train(step)(state, parallel.shard(split), KEY)
    return parallel.fetch(metrics), parallel.fetch(state).params


@pytest.mark.skipif(jax.local_device_count() < 2, reason="needs 2 devices")
@pytest.mark.parametrize(
    ("head", "name"),
    [pytest.param(*key, marks=[] if key in SAMPLE else pytest.mark.slow) for key in ALL],
)
def test_no_split_changes_a_step(head: str, name: str) -> None:
    """All windows at once, each in a row of its own; and two devices with two micro-batches, of
    packed rows where the loss takes them: the same step."""
    loss = ALL[head, name]
    if head == "multiple_choice" or name == "contrastive":
        plain = parted = batch_of(head)
    else:
        order = PackedSampler(features_of(head).lengths, 14, 0, CAPACITY, multiple=4)
        slots, _ = order.batch(0)
        plain = make_batch(features_of(head), slots, CAPACITY, order.size)
        parted = order.finish(plain)
        assert len(parted["input_ids"]) < len(plain["input_ids"])
    whole, params = step_of(head, loss, plain)
    assert np.isfinite(whole["loss"])
    assert whole["skipped"] == 0
    compare(*step_of(head, loss, parted, devices=2, accumulate=2), whole, params)


def compare(metrics: Any, params: Any, wanted: Any, wanted_params: Any) -> None:
    for name in wanted:
        np.testing.assert_allclose(metrics[name], wanted[name], rtol=2e-5, atol=1e-6)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(wanted_params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


# --- equations ----------------------------------------------------------------------------------


def call(head: str, loss: Any, **options: Any) -> Any:
    return loss(
        make_apply(CFG, head), params_of(head), jnp_batch(head), KEY, base=BASES[head], **options
    )


def jnp_batch(head: str) -> Any:
    return {n: jnp.asarray(x) for n, x in batch_of(head).items()}


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max())
    return p / p.sum()


@pytest.mark.parametrize("head", ["qa", "tagging", "classification"])
def test_divergence_is_a_plain_loop_over_what_may_be_chosen(head: str) -> None:
    """In float64, row by row and position by position; weights of a half, and rows of padding."""
    rng = np.random.default_rng(8)
    batch = {**batch_of(head), "weight": batch_of(head)["weight"] * rng.choice([0.5, 1.0], 16)}
    names = ("start_logits", "end_logits") if head == "qa" else ("logits",)
    shape = {"qa": (16, CAPACITY), "tagging": (16, CAPACITY, 3), "classification": (16, 3)}[head]
    one, two = ({n: rng.normal(0, 2, shape) for n in names} for _ in range(2))
    wanted = 0.0
    for row in range(16):
        for name in names:
            a, b, weights = one[name][row], two[name][row], [batch["weight"][row] / len(names)]
            if head == "qa":  # one choice, among the real tokens
                real = batch["attention_mask"][row] != 0
                a, b = a[real], b[real]
            if head == "tagging":  # a choice at each word that has a label
                weights = (weights[0] * (batch["labels"][row] >= 0)).tolist()
            for x, y, weight in zip(
                a.reshape(len(weights), -1), b.reshape(len(weights), -1), weights, strict=True
            ):
                if weight:
                    p, q = softmax(x / 1.7), softmax(y / 1.7)
                    wanted += weight * float(np.sum(p * np.log(p / q)))
    found, _ = divergence(
        *(jax.tree.map(jnp.float32, x) for x in (one, two)), batch, temperature=1.7
    )
    assert wanted > 1
    assert float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("head", BASES)
def test_r_drop_is_its_equation(head: str) -> None:
    apply, params, batch = make_apply(CFG, head), params_of(head), jnp_batch(head)
    one = apply(params, batch, key=KEY, train=True)
    two = apply(params, batch, key=jax.random.fold_in(KEY, 1), train=True)
    losses = [float(BASES[head](o, batch)[0]) for o in (one, two)]
    apart = float(divergence(one, two, batch)[0]) + float(divergence(two, one, batch)[0])
    assert apart > 0
    (base, divided), reported = call(head, r_drop, alpha=3.0)
    assert base.factor * float(base.sum) == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert divided.factor * float(divided.sum) == pytest.approx(3.0 * apart / 4, rel=1e-5)
    assert float(base.weight) == float(divided.weight) == float(BASES[head](one, batch)[1])
    assert float(reported["base_loss"][0]) == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_r_drop_without_dropout_is_the_base() -> None:
    cfg = CFG.__class__(
        **{**CFG.__dict__, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    )
    apply, batch = make_apply(cfg, "qa"), jnp_batch("qa")
    base = span_cross_entropy(apply(params_of("qa", cfg), batch), batch)[0]
    (first, _), reported = r_drop(
        apply, params_of("qa", cfg), batch, KEY, base=span_cross_entropy, alpha=5.0
    )
    assert float(first.sum) == pytest.approx(float(base), rel=1e-6)
    assert float(reported["divergence"][0]) == pytest.approx(0, abs=1e-5)


def at_offsets(head: str, row: int, r: np.ndarray) -> float:
    """The loss of one row alone with its word embeddings moved by r (T, D)."""
    batch = {n: x[row : row + 1] for n, x in jnp_batch(head).items()}
    batch["word_offsets"] = jnp.asarray(r, jnp.float32)[None]
    outputs = make_apply(CFG, head)(params_of(head), batch, key=KEY, train=True)
    return float(BASES[head](outputs, batch)[0])


@pytest.mark.parametrize("head", ["qa", "classification", "tagging"])
def test_fgm_moves_each_row_by_epsilon_along_its_own_gradient(head: str) -> None:
    """Row by row, the gradient by differences in the direction that was gone."""
    apply, params, batch = make_apply(CFG, head), params_of(head), jnp_batch(head)

    def of_offsets(r: jax.Array) -> jax.Array:
        outputs = apply(params, {**batch, "word_offsets": r}, key=KEY, train=True)
        return BASES[head](outputs, batch)[0]

    g = np.asarray(jax.grad(of_offsets)(jnp.zeros((16, CAPACITY, 16))), np.float64)
    wanted = clean = 0.0
    for row in range(14):
        length = np.linalg.norm(g[row])
        if length:
            direction = g[row] / length
            ahead, behind = (at_offsets(head, row, s * 1e-2 * direction) for s in (1, -1))
            assert (ahead - behind) / 2e-2 == pytest.approx(length, rel=0.05, abs=1e-3)
            wanted += at_offsets(head, row, 0.7 * direction)
        clean += at_offsets(head, row, np.zeros((CAPACITY, 16)))
    found, _, reported = call(head, fgm, epsilon=0.7, weight=0.5)
    assert float(reported["base_loss"][0]) == pytest.approx(clean, rel=1e-5)
    assert float(reported["adversarial_loss"][0]) == pytest.approx(wanted, rel=1e-3)
    assert float(found) == pytest.approx(clean + 0.5 * wanted, rel=1e-3)
    assert wanted > clean


def test_pgd_is_a_plain_loop_over_each_row_alone() -> None:
    """Five steps of a row: those of all rows at once, of which the last ones are shortened."""
    epsilon, step, shortened = 1.0, 0.4, 0
    total = 0.0
    for row in range(14):
        r = np.zeros((CAPACITY, 16))
        for _ in range(5):
            g = gradient_at(row, r)
            if np.linalg.norm(g):
                r = r + step * g / np.linalg.norm(g)
            if np.linalg.norm(r) > epsilon:
                r, shortened = r * epsilon / np.linalg.norm(r), shortened + 1
        total += at_offsets("qa", row, r)
    assert shortened > 10
    _, _, reported = call("qa", pgd, epsilon=epsilon, step=step, steps=5)
    assert float(reported["adversarial_loss"][0]) == pytest.approx(total, rel=1e-4)


@functools.cache
def offsets_gradient() -> Any:
    """Compiled once: (r (1, T, D), a batch of one row) -> the gradient of the row's loss."""
    params = params_of("qa")

    def loss(r: jax.Array, batch: Any) -> jax.Array:
        moved = {**batch, "word_offsets": r}
        outputs = make_apply(CFG, "qa")(params, moved, key=KEY, train=True)
        return span_cross_entropy(outputs, batch)[0]

    return jax.jit(jax.grad(loss))


def gradient_at(row: int, r: np.ndarray) -> np.ndarray:
    batch = {n: x[row : row + 1] for n, x in jnp_batch("qa").items()}
    return np.asarray(offsets_gradient()(jnp.asarray(r, jnp.float32)[None], batch)[0], np.float64)


def test_pgd_is_worse_than_fgm_within_the_same_length() -> None:
    losses = [
        float(call("qa", pgd, epsilon=1.0, step=step, steps=steps)[2]["adversarial_loss"][0])
        for step, steps in ((1.0, 1), (0.4, 6))
    ]
    assert losses[1] > losses[0]
    one = float(call("qa", fgm, epsilon=1.0)[2]["adversarial_loss"][0])
    assert one == pytest.approx(losses[0], rel=1e-6)
    # Steps that lead out are brought back: a ball of radius 0 leaves the words where they are.
    _, _, reported = call("qa", pgd, epsilon=0.0, step=5.0, steps=2)
    still, clean = (float(reported[n][0]) for n in ("adversarial_loss", "base_loss"))
    assert still == pytest.approx(clean, rel=1e-6)


@pytest.mark.parametrize("head", BASES)
def test_distillation_is_its_equation(head: str) -> None:
    apply, batch = make_apply(CFG, head), jnp_batch(head)
    outputs = apply(params_of(head), batch)
    base, weight = BASES[head](outputs, batch)
    teacher = {n.removeprefix("teacher_"): x for n, x in batch.items() if "teacher_" in n}
    square = 1 if head == "regression" else 9
    apart = square * divergence(teacher, outputs, batch, temperature=3.0)[0]
    options: Any = {"base": BASES[head], "teacher": "", "alpha": 0.3, "temperature": 3.0}
    terms, _ = distillation(outputs, batch, **options)
    assert [term.factor for term in terms] == pytest.approx([0.7, 0.3])
    assert [float(term.sum) for term in terms] == pytest.approx([float(base), float(apart)])
    assert [float(term.weight) for term in terms] == [float(weight)] * 2
    own = np.asarray(outputs["last_hidden_state"])[:, 0].reshape(16, -1, 16)
    of_teacher = batch_of(head)["teacher_first"].reshape(16, -1, 16)
    total = 0.0
    for a, b in zip(own[:14].reshape(-1, 16), of_teacher[:14].reshape(-1, 16), strict=True):
        total += float(np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2))
    *_, hidden = distillation(outputs, batch, hidden=0.5, **options).terms
    assert (hidden.factor, float(hidden.sum)) == (0.5, pytest.approx(total, rel=1e-5))
    assert float(hidden.weight) == 14  # rows, however many words each has


def test_a_student_that_says_what_its_teacher_says_has_no_distance() -> None:
    batch = jnp_batch("qa")
    outputs = make_apply(CFG, "qa")(params_of("qa"), batch)
    same = {
        **batch,
        **{f"teacher_{side}_logits": outputs[f"{side}_logits"] for side in ("start", "end")},
    }
    (base, apart), _ = distillation(outputs, same, base=span_cross_entropy, teacher="", alpha=1.0)
    assert base.factor == 0
    assert float(apart.sum) == pytest.approx(0, abs=1e-4)
