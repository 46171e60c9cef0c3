"""Each loss of labels against PyTorch's or its equation, written with loops in float64."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest
import torch

from jaxbert.errors import InputError
from jaxbert.losses.forms import divergence
from jaxbert.losses.label_losses import (
    label_cross_entropy,
    label_focal,
    label_smoothing,
    supervised_contrastive,
)

CLASSES = 4
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.0], np.float32)


def random_case(seed: int, *, many: bool = False) -> tuple[Any, Any]:
    """Ten rows with labels, the last a padding row; `many` labels a row, or one."""
    rng = np.random.default_rng(seed)
    shape = (10, 5) if many else (10,)
    labels = rng.integers(-1, CLASSES, shape) if many else rng.integers(0, CLASSES, shape)
    labels = np.where(labels < 0, -100, labels).astype(np.int32)
    outputs = {
        "logits": rng.normal(0, 2, (*shape, CLASSES)).astype(np.float32),
        "last_hidden_state": rng.normal(size=(10, 3, 6)).astype(np.float32),
    }
    return outputs, {"labels": labels, "weight": (np.arange(10) < 9).astype(np.float32)}


def without_padding(outputs: Any, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    logits, labels = torch.tensor(outputs["logits"][:9]), torch.tensor(batch["labels"][:9]).long()
    return logits.reshape(-1, CLASSES).double(), labels.reshape(-1)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_is_that_of_pytorch(many: bool, smoothing: float) -> None:
    outputs, batch = random_case(0, many=many)
    found, weight = label_smoothing(outputs, batch, smoothing=smoothing)
    wanted = torch.nn.functional.cross_entropy(
        *without_padding(outputs, batch), label_smoothing=smoothing, reduction="sum"
    )
    assert float(found) == pytest.approx(wanted.item(), rel=1e-6)
    assert float(weight) == (batch["labels"][:9] >= 0).sum()


@pytest.mark.parametrize("many", [False, True])
def test_focal_loss_is_its_equation(many: bool) -> None:
    outputs, batch = random_case(1, many=many)
    found, weight = label_focal(outputs, batch, gamma=1.5, class_weights=WEIGHTS)
    logits, labels = without_padding(outputs, batch)
    p = torch.softmax(logits, -1).numpy()
    pairs = [(float(p[i, y]), y) for i, y in enumerate(labels.tolist()) if y >= 0]
    assert float(found) == pytest.approx(
        sum(-WEIGHTS[y] * (1 - x) ** 1.5 * np.log(x) for x, y in pairs), rel=1e-6
    )
    assert float(weight) == pytest.approx(sum(WEIGHTS[y] for _, y in pairs))


def test_options_at_which_a_loss_is_the_cross_entropy() -> None:
    outputs, batch = random_case(2)
    for weights in (None, WEIGHTS):
        wanted = [float(x) for x in label_cross_entropy(outputs, batch, class_weights=weights)]
        for loss, option in (
            (label_smoothing, {"smoothing": 0.0}),
            (label_focal, {"gamma": 0.0}),
            (supervised_contrastive, {"weight": 0.0, "group": 5}),
        ):
            found = loss(outputs, batch, class_weights=weights, **option)  # type: ignore[operator]
            assert [float(x) for x in found] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_gradients_are_finite_where_the_model_is_sure(gamma: float) -> None:
    outputs = {"logits": np.array([[60.0, 0.0], [0.0, 60.0], [60.0, 0.0]], np.float32)}
    batch = {"labels": np.array([0, 0, -100], np.int32), "weight": np.ones(3, np.float32)}
    gradient = jax.grad(lambda o: label_focal(o, batch, gamma=gamma)[0])(outputs)["logits"]
    assert np.isfinite(gradient).all()
    assert np.abs(np.asarray(gradient)[1]).max() > 0.5  # a wrong row is learned from
    assert not np.any(np.asarray(gradient)[2])


@pytest.mark.parametrize("group", [2, 5, 10])
def test_contrast_is_its_equation_within_groups(group: int) -> None:
    outputs, batch = random_case(3)
    found, _ = supervised_contrastive(outputs, batch, weight=1.0, temperature=0.5, group=group)
    z = outputs["last_hidden_state"][:, 0].astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    wanted = 0.0
    for i in range(9):  # the last row is padding
        others = [k for k in range(9) if k != i and k // group == i // group]
        alike = [k for k in others if batch["labels"][k] == batch["labels"][i]]
        whole = sum(np.exp(z[i] @ z[k] / 0.5) for k in others)
        for k in alike:
            wanted -= np.log(np.exp(z[i] @ z[k] / 0.5) / whole) / len(alike)
    assert wanted > 0 or group == 2
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_contrast_pulls_equal_classes_together() -> None:
    outputs, batch = random_case(4)

    def apart(outputs: Any) -> float:
        return float(supervised_contrastive(outputs, batch, weight=1.0, group=10)[0])

    gradient = jax.grad(
        lambda h: supervised_contrastive(
            {**outputs, "last_hidden_state": h}, batch, weight=1.0, group=10
        )[0]
    )(outputs["last_hidden_state"])
    assert np.isfinite(gradient).all()
    assert not np.any(np.asarray(gradient)[9])  # padding
    moved = outputs["last_hidden_state"] - 0.1 * np.asarray(gradient)
    assert apart({**outputs, "last_hidden_state": moved}) < apart(outputs)


def test_rows_that_are_no_whole_groups_are_refused() -> None:
    with pytest.raises(InputError, match="group: 4 does not divide the 10 rows"):
        supervised_contrastive(*random_case(0), group=4)


@pytest.mark.parametrize("many", [False, True])
def test_divergence_is_that_of_pytorch(many: bool) -> None:
    (one, batch), (other, _) = random_case(5, many=many), random_case(6, many=many)
    found, weight = divergence(one, other, batch, temperature=2.0)
    (p, labels), (q, _) = without_padding(one, batch), without_padding(other, batch)
    counts = labels >= 0
    wanted = torch.nn.functional.kl_div(
        torch.log_softmax(q / 2, -1)[counts],
        torch.log_softmax(p / 2, -1)[counts],
        log_target=True,
        reduction="sum",
    )
    assert float(found) == pytest.approx(wanted.item(), rel=1e-5)
    assert float(weight) == int(counts.sum())
    assert float(divergence(one, one, batch)[0]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_soft_labels_are_those_of_pytorch(smoothing: float) -> None:
    """Probabilities in place of classes; at one class it is the loss of the label."""
    outputs, batch = random_case(5)
    shares = np.random.default_rng(6).dirichlet(np.ones(CLASSES), 10).astype(np.float32)
    batch["soft_labels"] = shares
    loss = functools.partial(label_smoothing, smoothing=smoothing)
    found, weight = loss(outputs, batch)
    logits, _ = without_padding(outputs, batch)
    wanted = torch.nn.functional.cross_entropy(
        logits, torch.tensor(shares[:9]).double(), label_smoothing=smoothing, reduction="sum"
    )
    assert float(found) == pytest.approx(wanted.item(), rel=1e-6)
    assert float(weight) == pytest.approx(9, rel=1e-6)
    if not smoothing:
        assert float(label_cross_entropy(outputs, batch)[0]) == float(found)
    plain = {n: x for n, x in batch.items() if n != "soft_labels"}
    at_one = {**plain, "soft_labels": np.eye(CLASSES, dtype=np.float32)[batch["labels"]]}
    for one, other in zip(
        loss(outputs, at_one, class_weights=WEIGHTS),
        loss(outputs, plain, class_weights=WEIGHTS),
        strict=True,
    ):
        assert float(one) == pytest.approx(float(other), rel=1e-6)
    with pytest.raises(InputError, match="--loss focal: it is of labels, and rows have distribut"):
        label_focal(outputs, batch)
