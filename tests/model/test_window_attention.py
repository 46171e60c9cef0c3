"""A query that weighs the windows of a text: beside PyTorch and the host, in rows of any size, in a
folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from conftest import TINY
from flax import traverse_util

from jaxbert.decoding.window_pooling import pool_windows
from jaxbert.errors import InputError
from jaxbert.losses.label_losses import label_cross_entropy
from jaxbert.model.config import BertConfig
from jaxbert.model.heads import Params, init_params, make_apply
from jaxbert.model.pretrained import load_pretrained, save_pretrained

CFG = dataclasses.replace(
    TINY, id2label=("no", "maybe", "yes"), window_attention=True, initializer_range=0.2
)
WINDOW, MOST = 7, 3
COUNTS = np.array([3, 1, 2])  # windows of each text


def params_of(cfg: BertConfig, head: str, seed: int = 0) -> Params:
    """Random ones, the query among them, which begins at 0."""
    params = init_params(cfg, head, jax.random.key(seed))
    size = cfg.hidden_size
    query = np.random.default_rng(seed).normal(0, 0.3, size).astype(np.float32)
    assert not np.asarray(params["window_attention"]["query"]).any()
    return {**params, "window_attention": {"query": query}}


def batch_of(most: int = MOST) -> dict[str, np.ndarray]:
    """(B, T, K); the last window of each text is shorter."""
    rng = np.random.default_rng(1)
    shape = len(COUNTS), WINDOW, most
    ids = np.zeros(shape, np.int32)
    mask = np.zeros(shape, np.int32)
    for row, count in enumerate(COUNTS):
        for k in range(count):
            length = WINDOW if k + 1 < count else 4
            ids[row, :length, k] = rng.integers(5, CFG.vocab_size, length)
            mask[row, :length, k] = 1
    row = np.arange(len(COUNTS), dtype=np.int32)
    return {"input_ids": ids, "attention_mask": mask, "row": row}


def windows_of(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same windows as rows, those that there are."""
    ids, mask = (
        np.moveaxis(batch[n], 2, 1).reshape(-1, WINDOW) for n in ("input_ids", "attention_mask")
    )
    there = mask[:, 0] > 0
    return {"input_ids": ids[there], "attention_mask": mask[there]}


@pytest.mark.parametrize("head", ["classification", "regression"])
def test_the_steps_output_is_what_the_host_pools(head: str) -> None:
    cfg = CFG if head == "classification" else dataclasses.replace(CFG, id2label=("score",))
    params, apply = params_of(cfg, head), make_apply(cfg, head)
    batch: Any = batch_of()
    name = "logits" if head == "classification" else "scores"
    together = apply(params, batch)
    alone = apply(params, windows_of(batch))  # type: ignore[arg-type]
    example = np.repeat(np.arange(3, dtype=np.int32), COUNTS)
    scores = np.asarray(alone["window_scores"])[:, 0]
    pooled = pool_windows(np.asarray(alone[name]), example, "attention", scores)
    np.testing.assert_allclose(together[name], pooled, atol=1e-6)
    assert np.ptp(scores) > 0.1  # the weights are not equal
    mean = pool_windows(np.asarray(alone[name]), example, "mean")
    assert np.abs(pooled - mean)[COUNTS > 1].max() > 1e-3
    here = np.asarray(together["window_scores"])
    assert here.shape == (3, MOST)
    np.testing.assert_allclose(here[here > -1e29], scores, atol=1e-5)


def test_it_is_pytorchs_to_the_gradients(tmp_path: Path) -> None:
    """transformers' class window by window, and the softmax in PyTorch."""
    cfg = dataclasses.replace(CFG, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    params = params_of(cfg, "classification")
    save_pretrained(tmp_path, cfg, params, None, head="classification")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path, attn_implementation="eager"
    )
    query = torch.tensor(np.asarray(params["window_attention"]["query"]), requires_grad=True)
    batch: Any = batch_of()
    labels = np.array([0, 2, 1])
    rows = windows_of(batch)
    inputs = {n: torch.tensor(x.astype(np.int64)) for n, x in rows.items()}
    found = model(**inputs, output_hidden_states=True)
    scores = found.hidden_states[-1][:, 0] @ query
    texts = []
    for part in np.split(np.arange(len(rows["input_ids"])), np.cumsum(COUNTS)[:-1]):
        weights = torch.softmax(scores[part], 0)
        texts.append((weights[:, None] * found.logits[part]).sum(0))
    loss = torch.nn.functional.cross_entropy(torch.stack(texts), torch.tensor(labels))
    loss.backward()

    apply = make_apply(cfg, "classification")
    weighed: Any = {**batch, "labels": labels, "weight": np.ones(3, np.float32)}

    def mean_loss(params: Params) -> Any:
        loss_sum, weight_sum = label_cross_entropy(apply(params, weighed), weighed)
        return loss_sum / weight_sum

    value, grads = jax.value_and_grad(mean_loss)(params)
    assert float(value) == pytest.approx(loss.item(), abs=1e-6)
    assert query.grad is not None
    pairs = [
        (grads["window_attention"]["query"], query.grad),
        (grads["classifier"]["kernel"].T, model.classifier.weight.grad),
        (grads["pooler"]["kernel"].T, model.bert.pooler.dense.weight.grad),
        (
            grads["bert"]["embeddings"]["word_embeddings"]["embedding"],
            model.bert.embeddings.word_embeddings.weight.grad,
        ),
    ]
    for ours, theirs in pairs:
        one, other = np.asarray(ours).ravel(), theirs.numpy().ravel()
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert cosine > 0.99999


def test_a_row_is_the_same_however_many_windows_it_has_room_for() -> None:
    """With dropout too, whose masks depend on the window's place alone."""
    params, apply = params_of(CFG, "classification"), make_apply(CFG, "classification")
    key = jax.random.key(3)

    def logits(batch: Any) -> np.ndarray:
        return np.asarray(apply(params, batch, key=key, train=True)["logits"])

    found = logits(batch_of())
    np.testing.assert_allclose(logits(batch_of(MOST + 2)), found, atol=1e-6)
    last: Any = {n: x[2:] for n, x in batch_of().items()}
    np.testing.assert_allclose(
        logits({n: x[..., :2] if x.ndim == 3 else x for n, x in last.items()}), found[2:], atol=1e-6
    )
    first = {n: x[1:2, :, 0] if x.ndim == 3 else x[1:2] for n, x in batch_of().items()}
    np.testing.assert_allclose(logits(first), found[1:2], atol=1e-6)  # as a row that is a window
    one = apply(params, batch_of(), key=key, train=True)["last_hidden_state"]  # type: ignore[arg-type]
    assert len({np.asarray(x).tobytes() for x in one}) == len(one)  # no two windows have one mask


def test_empty_rows_have_finite_gradients() -> None:
    params, apply = params_of(CFG, "classification"), make_apply(CFG, "classification")
    batch: Any = jax.tree.map(np.zeros_like, batch_of())
    grads = jax.grad(lambda p: jnp.sum(apply(p, batch)["logits"]))(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))


def test_a_folder_has_it_and_other_heads_leave_it_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = params_of(CFG, "classification")
    save_pretrained(tmp_path, CFG, params, None, head="classification")
    cfg, loaded = load_pretrained(tmp_path, "classification", draw_head=False)
    assert cfg == dataclasses.replace(CFG, problem_type=cfg.problem_type)
    for path, x in traverse_util.flatten_dict(loaded).items():
        assert np.array_equal(x, traverse_util.flatten_dict(params)[path])
    caplog.set_level("INFO")
    for head in ("tagging", "qa"):
        other, others = load_pretrained(tmp_path, head)
        assert not other.window_attention
        assert "window_attention" not in others
    assert "- window_attention.weight  left out" in caplog.text
    plain, _ = load_pretrained(tmp_path, "classification", window_attention=False)
    assert not plain.window_attention
    drawn = load_pretrained(tmp_path, "regression", window_attention=True, id2label=["score"])[1]
    assert np.array_equal(drawn["window_attention"]["query"], params["window_attention"]["query"])


def test_a_folder_that_lost_it_is_refused(tmp_path: Path) -> None:
    cfg = dataclasses.replace(CFG, window_attention=False)
    params = init_params(cfg, "classification", jax.random.key(0))
    save_pretrained(tmp_path, cfg, params, None, head="classification")
    config = json.loads((tmp_path / "config.json").read_text())
    assert "window_attention" not in config
    (tmp_path / "config.json").write_text(json.dumps({**config, "window_attention": True}))
    with pytest.raises(InputError, match=r"no window_attention\.weight"):
        load_pretrained(tmp_path, "classification", draw_head=False)
