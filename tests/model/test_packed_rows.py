"""Packed rows against the same windows one by one: outputs, gradients, decoders, and no leak."""

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
from jaxbert.data.masking import mask_batch
from jaxbert.data.packing import PackedSampler
from jaxbert.data.sampling import NumpyBatch, make_batch
from jaxbert.losses.label_losses import label_cross_entropy, squared_error
from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import init_params, make_apply
from jaxbert.options.task_settings import QAOptions, TaggingOptions
from jaxbert.runtime.target import Platform, Target
from jaxbert.tasks.qa import QA
from jaxbert.tasks.tagging import Tagging
from jaxbert.training.parallel import make_parallel
from jaxbert.training.step import init_state, make_train_step

pytestmark = pytest.mark.integration

CAPACITY = 20
CFG = dataclasses.replace(SMALL, max_position_embeddings=CAPACITY)
DEEPER = dataclasses.replace(CFG, num_hidden_layers=2)
LOSSES: dict[str, Any] = {
    "qa": span_cross_entropy,
    "classification": label_cross_entropy,
    "regression": squared_error,
    "tagging": label_cross_entropy,
    "mlm": label_cross_entropy,
}
KEY = jax.random.key(5)


def features_of(head: str) -> Features:
    rng = np.random.default_rng(2)
    lengths = rng.integers(4, 13, 21)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    total = int(bounds[-1])
    tokens = {
        "input_ids": rng.integers(1, 50, total).astype(np.int32),
        "token_type_ids": rng.integers(0, 2, total).astype(np.int32),
    }
    rows: dict[str, np.ndarray] = {}
    if head == "qa":
        tokens["context_mask"] = rng.random(total) < 0.7
        start = rng.integers(0, lengths - 1)
        rows = {
            "start_positions": start.astype(np.int32),
            "end_positions": rng.integers(start, lengths).astype(np.int32),
        }
    elif head == "tagging":
        tokens["labels"] = rng.integers(-1, 3, total).astype(np.int32)
        tokens["labels"][tokens["labels"] < 0] = -100
    elif head == "mlm":
        tokens["word"] = np.arange(total, dtype=np.int32)
    elif head == "regression":
        rows = {"labels": rng.normal(size=21).astype(np.float32)}
    else:
        rows = {"labels": rng.integers(0, 3, 21).astype(np.int32)}
    return Features(bounds, tokens, rows, np.arange(21, dtype=np.int32))


def batches(
    head: str, windows: int = 12, multiple: int = 1
) -> tuple[NumpyBatch, NumpyBatch, np.ndarray]:
    """Windows a row each, the same windows packed, and their numbers."""
    features = features_of(head)
    order = PackedSampler(features.lengths, windows, 0, CAPACITY, multiple)
    slots, length = order.batch(0)
    assert (slots < 0).any()  # slots that are empty
    plain = make_batch(features, slots, length, order.size)
    if head == "mlm":
        mask = {"probability": 0.3, "whole_words": False, "mask_id": 3, "special_ids": [0]}
        plain = mask_batch(plain, seed=0, draw=0, vocab_size=50, **mask)  # type: ignore[arg-type]
    return plain, order.finish(plain), slots


@functools.cache
def params_of(head: str, cfg: BertConfig = CFG) -> Any:
    return init_params(cfg, head, jax.random.key(1))


def values(head: str, batch: NumpyBatch, train: bool, cfg: BertConfig = CFG, **how: Any) -> Any:
    """Outputs, loss sums and gradients."""
    apply = make_apply(cfg, head, **how)

    @jax.jit
    def compute(params: Any, batch: Any) -> Any:
        def loss_sum(params: Any) -> Any:
            outputs = apply(params, batch, key=KEY, train=train)
            total, weight = LOSSES[head](outputs, batch)
            return total, (outputs, weight)

        (total, (outputs, weight)), grads = jax.value_and_grad(loss_sum, has_aux=True)(params)
        outputs.pop("last_hidden_state")  # of rows, not of windows
        return outputs, total, weight, grads

    return jax.device_get(compute(params_of(head, cfg), batch))


def real(name: str, outputs: Any, plain: NumpyBatch) -> np.ndarray:
    """The outputs of real windows and tokens."""
    if outputs[name].ndim == 1 or (name == "logits" and outputs[name].ndim == 2):
        return outputs[name][plain["row"] >= 0]
    return outputs[name][plain["attention_mask"] != 0]


@pytest.mark.parametrize("train", [False, True], ids=["no dropout", "dropout"])
@pytest.mark.parametrize("head", list(LOSSES))
def test_packed_is_one_by_one(head: str, train: bool) -> None:
    """Dropout is no exception: a window's masks do not depend on where it is."""
    plain, packed, _ = batches(head)
    outputs, total, weight, grads = values(head, plain, train)
    outputs_p, total_p, weight_p, grads_p = values(head, packed, train)
    assert weight_p == weight > 5
    np.testing.assert_allclose(total_p, total, rtol=1e-5)
    if head == "mlm":  # its outputs are those of masked positions
        logits = outputs["logits"][plain["labels"] >= 0]
        np.testing.assert_allclose(
            outputs_p["logits"][packed["labels"] >= 0], logits, rtol=0, atol=1e-5
        )
    else:
        for name in outputs:
            np.testing.assert_allclose(
                real(name, outputs_p, plain), real(name, outputs, plain), rtol=0, atol=1e-5
            )
    largest = max(np.abs(g).max() for g in jax.tree.leaves(grads))
    for g, g_p in zip(jax.tree.leaves(grads), jax.tree.leaves(grads_p), strict=True):
        np.testing.assert_allclose(g_p, g, rtol=0, atol=1e-5 * max(1, largest))


@pytest.mark.parametrize(("how", "platform"), [({"scan": True}, "cpu"), ({"remat": True}, "gpu")])
def test_packed_layers_in_a_loop_or_computed_again(
    how: dict[str, bool], platform: Platform
) -> None:
    """By the programs of both platforms, in bfloat16, with offsets of the words too."""
    _, packed, _ = batches("qa")
    rng = np.random.default_rng(4)
    shape = (*packed["input_ids"].shape, CFG.hidden_size)
    packed = {**packed, "word_offsets": rng.normal(0, 0.01, shape).astype(np.float32)}
    for dtype, atol in ((jnp.float32, 1e-5), (jnp.bfloat16, 0.05)):
        same: dict[str, Any] = {"dtype": dtype, "target": Target(platform)}
        plain = jax.tree.leaves(values("qa", packed, True, DEEPER, **same))
        found = jax.tree.leaves(values("qa", packed, True, DEEPER, **same, **how))
        for a, b in zip(found, plain, strict=True):  # each by its own size
            np.testing.assert_allclose(a, b, rtol=0, atol=atol * max(1, np.abs(b).max()))


@pytest.mark.parametrize("head", list(LOSSES))
def test_no_window_sees_another(head: str) -> None:
    """Other tokens in one window leave the others' outputs as they are, to the last bit."""
    plain, packed, slots = batches(head)
    apply = jax.jit(functools.partial(make_apply(CFG, head), key=KEY, train=True))
    each = len(slots) // len(packed["input_ids"])
    slot = next(s for s in range(each, len(slots)) if slots[s] >= 0 and slots[s + 1] >= 0)
    row, segment = slot // each, slot % each + 1
    changed = {**packed, "input_ids": packed["input_ids"].copy()}
    mine = packed["segment_ids"] == segment
    mine[np.arange(len(mine)) != row] = False
    changed["input_ids"][mine] = (packed["input_ids"][mine] + 7) % 50
    before = jax.device_get(apply(params_of(head), packed))
    after = jax.device_get(apply(params_of(head), changed))
    for name in before.keys() - {"last_hidden_state"}:  # that is of rows, not of windows
        if head == "mlm":
            shown = packed["labels"] >= 0
            of_mine = np.take_along_axis(mine, packed["masked_positions"], 1)
            a, b = before[name][shown], after[name][shown]
            other = ~of_mine[shown]
        else:
            a, b = real(name, before, plain), real(name, after, plain)
            window = np.arange(len(slots))
            if len(a) != (slots >= 0).sum():  # of tokens
                window = np.broadcast_to(window[:, None], plain["attention_mask"].shape)
                window = window[plain["attention_mask"] != 0]
            else:
                window = window[slots >= 0]
            other = window != slot
        assert other.any()
        assert not other.all()
        np.testing.assert_array_equal(a[other], b[other])
        assert not np.array_equal(a[~other], b[~other])


def test_answers_are_decoded_window_by_window() -> None:
    plain, packed, slots = batches("qa")
    apply = make_apply(CFG, "qa")
    reduce = QA(QAOptions(max_seq_length=CAPACITY, n_best_size=5, max_answer_length=6)).reduce()

    @jax.jit
    def best(params: Any, batch: Any) -> Any:
        return reduce(apply(params, batch), batch)

    expected, found = (jax.device_get(best(params_of("qa"), batch)) for batch in (plain, packed))
    for name in expected:
        a, b = expected[name][slots >= 0], found[name][slots >= 0]
        if a.dtype == np.float32:
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-5)
        else:
            np.testing.assert_array_equal(b, a)


def test_tags_are_decoded_window_by_window() -> None:
    plain, packed, _ = batches("tagging")
    apply = make_apply(CFG, "tagging")
    reduce = Tagging(TaggingOptions(max_seq_length=CAPACITY)).reduce()
    labels = jax.jit(lambda params, batch: reduce(apply(params, batch), batch))
    expected, found = (jax.device_get(labels(params_of("tagging"), b)) for b in (plain, packed))
    mask = plain["attention_mask"] != 0
    np.testing.assert_array_equal(found["label"][mask], expected["label"][mask])
    np.testing.assert_allclose(found["score"][mask], expected["score"][mask], atol=1e-5)


def test_padding_of_packed_rows_is_inert() -> None:
    _, packed, _ = batches("qa")
    padding = packed["segment_ids"] == 0
    assert padding.any()
    changed = {**packed, "input_ids": np.where(padding, 9, packed["input_ids"])}
    apply = jax.jit(functools.partial(make_apply(CFG, "qa"), key=KEY, train=True))
    one, two = (values("qa", batch, True)[1] for batch in (packed, changed))
    assert one == two
    logits = apply(params_of("qa"), changed)["start_logits"]
    assert bool(jnp.isfinite(logits).all())


@pytest.mark.skipif(jax.local_device_count() < 4, reason="needs 4 devices; see conftest.py")
@pytest.mark.parametrize("head", ["qa", "classification", "mlm"])
def test_a_packed_step_equals_that_of_one_device(head: str) -> None:
    _, packed, _ = batches(head, windows=24, multiple=8)
    found = []
    for devices, accumulate in ((1, 1), (4, 2)):
        parallel = make_parallel("pmap", jax.local_devices()[:devices])
        tx, apply = optax.sgd(0.1), make_apply(CFG, head)
        step = make_train_step(
            apply,
            LOSSES[head],
            tx,
            accumulate=accumulate,
            axis_name=parallel.axis_name,
            mesh=parallel.mesh,
        )
        state = parallel.replicate(init_state(jax.device_get(params_of(head)), tx))
        split = {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in packed.items()}
        state, metrics = parallel.compile_train(step)(state, parallel.shard(split), KEY)
        found.append((parallel.fetch(state).params, parallel.fetch(metrics)))
    (params, metrics), (other, measured) = found
    assert measured["loss"] == pytest.approx(metrics["loss"], rel=2e-6)
    assert measured["weight"] == metrics["weight"]
    for ours, theirs in zip(jax.tree.leaves(other), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6, rtol=0)
