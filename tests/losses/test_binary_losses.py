"""Losses of any number of classes a row against PyTorch's, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch

from jaxbert.errors import InputError
from jaxbert.losses.choose import choose_loss
from jaxbert.losses.forms import divergence, objective_of
from jaxbert.losses.label_losses import (
    label_accuracy,
    label_cross_entropy,
    label_focal,
    label_smoothing,
    supervised_contrastive,
)
from jaxbert.tasks.classification import Classification

ROWS, CLASSES = 7, 4
WEIGHTS = np.array([0.5, 1.0, 3.0, 0.0], np.float32)


def random_case(seed: int) -> tuple[Any, Any]:
    """Seven rows and a padding row, some without any class and one with all."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (ROWS + 1, CLASSES)).astype(np.float32)
    labels[0], labels[1] = 0, 1
    outputs = {"logits": rng.normal(0, 3, labels.shape).astype(np.float32)}
    return outputs, {"labels": labels, "weight": (np.arange(ROWS + 1) < ROWS).astype(np.float32)}


def tensors(outputs: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    found = (outputs["logits"], batch["labels"])
    logits, labels = (torch.tensor(x[:ROWS], dtype=torch.float64) for x in found)
    return logits, labels


def test_the_mean_is_that_of_pytorch() -> None:
    outputs, batch = random_case(0)
    loss_sum, weight_sum = label_cross_entropy(outputs, batch)
    assert float(weight_sum) == ROWS * CLASSES
    wanted = torch.nn.BCEWithLogitsLoss()(*tensors(outputs, batch)).item()
    assert float(loss_sum / weight_sum) == pytest.approx(wanted, rel=1e-6)


def test_class_weights_are_weights_of_labels() -> None:
    outputs, batch = random_case(1)
    loss_sum, weight_sum = label_cross_entropy(outputs, batch, class_weights=WEIGHTS)
    each = torch.nn.BCEWithLogitsLoss(torch.tensor(WEIGHTS), reduction="sum")
    assert float(loss_sum) == pytest.approx(each(*tensors(outputs, batch)).item(), rel=1e-6)
    assert float(weight_sum) == pytest.approx(ROWS * WEIGHTS.sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
def test_smoothed_labels_are_pytorchs_loss_of_smoothed_targets(smoothing: float) -> None:
    outputs, batch = random_case(2)
    logits, labels = tensors(outputs, batch)
    targets = labels * (1 - smoothing) + smoothing / 2
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    found, weight = label_smoothing(outputs, batch, smoothing=smoothing)
    assert [float(found), float(weight)] == pytest.approx([wanted.item(), 28], rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 1.5])
def test_focal_loss_is_its_equation(gamma: float) -> None:
    outputs, batch = random_case(3)
    logits, labels = tensors(outputs, batch)
    p = torch.sigmoid(logits)
    q = torch.where(labels > 0, p, 1 - p)
    wanted = ((1 - q) ** gamma * -torch.log(q) * torch.tensor(WEIGHTS)).sum().item()
    found, _ = label_focal(outputs, batch, gamma=gamma, class_weights=WEIGHTS)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", [label_cross_entropy, label_smoothing, label_focal])
def test_a_factor_on_all_class_weights_changes_nothing(loss: Callable[..., Any]) -> None:
    outputs, batch = random_case(4)
    (a, n), (b, m) = (loss(outputs, batch, class_weights=c * WEIGHTS) for c in (1, 10))
    assert float(a / n) == pytest.approx(float(b / m), rel=1e-6)


@pytest.mark.parametrize("loss", [label_cross_entropy, label_smoothing, label_focal])
def test_gradients_are_finite_and_padding_has_none(loss: Callable[..., Any]) -> None:
    outputs, batch = random_case(5)
    outputs["logits"][0], outputs["logits"][1] = 90, -90
    gradient = np.asarray(jax.grad(lambda o: loss(o, batch)[0])(outputs)["logits"])
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[:2]).max() > 0.5  # wrong rows are learned from
    assert not gradient[ROWS].any()


def test_divergence_is_that_of_two_outcomes_a_class() -> None:
    (one, batch), (other, _) = random_case(6), random_case(7)
    p, q = (torch.sigmoid(tensors(x, batch)[0]) for x in (one, other))
    wanted = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum().item()
    found, weight = divergence(one, other, batch)
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    assert float(weight) == ROWS * CLASSES
    assert float(divergence(one, one, batch)[0]) == pytest.approx(0, abs=1e-5)


def test_accuracy_is_of_every_decision() -> None:
    outputs, batch = random_case(8)
    right, count = label_accuracy(outputs, batch)["accuracy"]
    logits, labels = tensors(outputs, batch)
    assert float(right) == ((logits > 0) == (labels > 0)).sum().item()
    assert float(count) == ROWS * CLASSES


def test_a_contrast_of_classes_is_refused_by_name() -> None:
    outputs, batch = random_case(0)
    with pytest.raises(InputError, match="--loss supervised_contrastive: rows with several labels"):
        supervised_contrastive(outputs, batch, group=2)


@pytest.mark.parametrize("name", ["r_drop", "fgm", "pgd"])
@pytest.mark.parametrize("base", ["cross_entropy", "focal"])
def test_losses_that_add_to_another_have_its_weight(name: str, base: str) -> None:
    outputs, batch = random_case(9)
    params: Any = {"bert": {"embeddings": {"word_embeddings": {"embedding": np.zeros((5, 4))}}}}
    tokens = np.ones((ROWS + 1, 3), np.int32)
    batch = {**batch, "input_ids": tokens, "attention_mask": tokens}

    def apply(params: Any, batch: Any, **more: Any) -> Any:
        moved = batch.get("word_offsets", np.zeros((ROWS + 1, 3, 4), np.float32))
        return {"logits": outputs["logits"] + moved[:, 0]}

    loss = choose_loss(Classification.losses, name, f'{{"base": "{base}"}}').function
    terms, reported = objective_of(loss)(apply, params, batch, jax.random.key(0))
    plain = choose_loss(Classification.losses, base).function
    wanted = [float(x) for x in plain(outputs, batch)]  # type: ignore[call-arg,arg-type,misc]
    assert [float(x) for x in reported["base_loss"]] == pytest.approx(wanted, rel=1e-6)
    assert [float(term.weight) for term in terms] == [ROWS * CLASSES] * len(terms)
    assert sum(float(term.factor * term.sum) for term in terms) >= wanted[0] * (1 - 1e-6)
