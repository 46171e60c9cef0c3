"""A multi-label classifier against BertForSequenceClassification in PyTorch, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
import transformers

from jaxbert.losses.label_losses import label_cross_entropy
from jaxbert.model.heads import make_apply
from jaxbert.model.names import name_table
from jaxbert.model.pretrained import load_pretrained, save_pretrained
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.step import init_state, make_train_step

pytestmark = pytest.mark.integration

ROWS, LENGTH, CLASSES = 5, 9, 3
NAMES = {0: "food", 1: "money", 2: "travel"}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """transformers' model with random weights, and ours, loaded from what that saved."""
    folder = tmp_path_factory.mktemp("model")
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=NAMES,
        label2id={name: number for number, name in NAMES.items()},
        problem_type="multi_label_classification",
        attn_implementation="eager",
    )
    model = transformers.BertForSequenceClassification(config).eval()
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for name, x in model.named_parameters():
            scale = 0.3 if x.ndim == 1 else 1.2 / x.shape[-1] ** 0.5
            values = rng.normal(size=x.shape) * scale + name.endswith("LayerNorm.weight")
            x.copy_(torch.from_numpy(values.astype(np.float32)))
    model.save_pretrained(folder)
    return model, *load_pretrained(folder, "classification", draw_head=False)


def random_batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    mask = np.arange(LENGTH) < np.array([LENGTH, 4, 2, 7, 5])[:, None]
    return {
        "input_ids": np.where(mask, rng.integers(5, 60, mask.shape), 0).astype(np.int32),
        "token_type_ids": np.zeros(mask.shape, np.int32),
        "attention_mask": mask.astype(np.int32),
        "labels": rng.integers(0, 2, (ROWS, CLASSES)).astype(np.float32),
        "weight": np.ones(ROWS, np.float32),
    }


def theirs(model: Any, batch: dict[str, np.ndarray]) -> Any:
    names = ("input_ids", "token_type_ids", "attention_mask")
    inputs = {n: torch.from_numpy(batch[n].astype(np.int64)) for n in names}
    return model(**inputs, labels=torch.from_numpy(batch["labels"]))


def tensors_of(cfg: Any, tree: Any) -> dict[str, np.ndarray]:
    """Leaves under the names and in the layout of the checkpoint."""
    found = {}
    for entry in name_table(cfg, "classification"):
        leaf = tree
        for part in entry.leaf:
            leaf = leaf[part]
        found[entry.name] = entry.to_tensor(np.asarray(leaf))
    return found


def test_config_says_what_it_is(both: Any, tmp_path: Path) -> None:
    model, cfg, params = both
    assert cfg.multi_label
    assert cfg.id2label == tuple(NAMES.values())
    save_pretrained(tmp_path, cfg, params, None, head="classification")
    again = transformers.BertForSequenceClassification.from_pretrained(tmp_path)
    assert again.config.problem_type == "multi_label_classification"
    batch = random_batch()
    with torch.no_grad():
        found, wanted = (theirs(m.eval(), batch).logits.numpy() for m in (again, model))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_logits_loss_gradient_and_an_adamw_step_equal_pytorchs(both: Any) -> None:
    model, cfg, params = both
    batch = random_batch()
    apply = make_apply(cfg, "classification")

    def loss_of(params: Any) -> Any:
        outputs = apply(params, batch)
        loss_sum, weight = label_cross_entropy(outputs, batch)
        return loss_sum / weight, outputs["logits"]

    (value, logits), gradient = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(params)
    model.zero_grad()
    found = theirs(model, batch)
    found.loss.backward()
    np.testing.assert_allclose(logits, found.logits.detach().numpy(), rtol=0, atol=1e-5)
    assert float(value) == pytest.approx(found.loss.item(), abs=1e-5)
    ours = tensors_of(cfg, gradient)
    assert max(np.abs(x).max() for x in ours.values()) > 1e-2
    for name, x in model.named_parameters():
        np.testing.assert_allclose(ours[name], x.grad.numpy(), rtol=0, atol=1e-5, err_msg=name)

    named = list(model.named_parameters())
    plain = [x for n, x in named if n.endswith("bias") or "LayerNorm" in n]
    decayed = [x for n, x in named if not (n.endswith("bias") or "LayerNorm" in n)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    # An epsilon above the noise of a gradient that is 0 in mathematics.
    optimizer = torch.optim.AdamW(groups, lr=1e-3, eps=1e-4)
    optimizer.step()
    schedule = make_schedule(1e-3, steps=1, warmup_steps=0, decay="constant")
    tx: optax.GradientTransformation = adamw(schedule, weight_decay=0.01, clip_norm=0.0, eps=1e-4)
    step = jax.jit(make_train_step(apply, label_cross_entropy, tx))
    one = {name: x[None] for name, x in batch.items()}
    state, metrics = step(init_state(params, tx), one, jax.random.key(0))
    assert float(metrics["loss"]) == pytest.approx(found.loss.item(), abs=1e-5)
    moved = tensors_of(cfg, jax.device_get(state.params))
    before = tensors_of(cfg, params)
    for name, x in model.named_parameters():
        np.testing.assert_allclose(moved[name], x.detach().numpy(), rtol=0, atol=1e-5)
        if name.startswith("classifier"):
            assert np.abs(moved[name] - before[name]).max() > 5e-4
