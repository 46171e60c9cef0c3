"""Losses with parameters of their own, several losses, requests: any split of a batch gives one
step, and what cannot be used is refused in one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import SMALL

from jaxbert.errors import InputError
from jaxbert.losses.choose import choose_loss, with_keywords
from jaxbert.losses.own_params import of_model, save_loss_params, with_loss_params
from jaxbert.model.heads import init_params, make_apply
from jaxbert.tasks.classification import Classification
from jaxbert.training.optim import is_decayed, name_mask
from jaxbert.training.parallel import make_parallel
from jaxbert.training.step import init_state, make_train_step

LOSSES = Classification.losses
SOURCE = """
import jax
import jax.numpy as jnp

def init(key, cfg):
    shape = (len(cfg.id2label), cfg.hidden_size)
    return {"centers": {"kernel": jax.random.normal(key, shape), "bias": jnp.ones(3)}}

def loss(outputs, batch, loss_params, pooler_output, *, pull=0.1):
    own = loss_params["centers"]
    center = own["kernel"][batch["labels"]]
    return pull * jnp.sum((pooler_output - center) ** 2, -1) + own["bias"][batch["labels"]] ** 2

class Other:
    def init(self, key, cfg):
        return {"scale": jnp.ones(())}
    def loss(self, apply, params, batch, key, step):
        outputs = apply(params, batch, key=key, train=True, also=["hidden_states"])
        first = outputs["hidden_states"][1][:, 0]
        return jnp.mean(first ** 2, -1) * params["loss"]["scale"] + 0.1 * step

def near(outputs, batch):
    own = batch["teacher_score"]
    return (jax.nn.softmax(outputs["logits"])[:, 0] - own) ** 2

def weights(step):
    return 1.0, jnp.where(step < 1, 0.0, 0.5), 0.25

def two(step):
    return 1.0, 0.5

def lacks(outputs, batch, loss_params):
    return outputs["logits"][:, 0]

def states(apply, params, batch, key, hidden_states):
    return batch["weight"]

class Bad:
    def init(self, key, cfg):
        return jnp.ones(3)
    def loss(self, outputs, batch, loss_params):
        return batch["weight"]

class Nan(Bad):
    def init(self, key, cfg):
        return {"a": {"b": jnp.array([jnp.nan])}}

class Fails(Bad):
    def init(self, key, cfg):
        return {"a": cfg.nothing}

class Dotted(Bad):
    def init(self, key, cfg):
        return {"a.b": 1.0}
"""
KEY = jax.random.key(5)
CFG = dataclasses.replace(SMALL, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    return path


def batch_of(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, rows)
    return {
        "input_ids": rng.integers(1, 50, (rows, 8)).astype(np.int32),
        "attention_mask": (np.arange(8) < lengths[:, None]).astype(np.int32),
        "labels": rng.integers(0, 3, rows).astype(np.int32),
        "teacher_score": rng.uniform(size=rows).astype(np.float32),
        "weight": rng.choice([0.0, 0.5, 1.0, 3.0], rows).astype(np.float32),
        "row": np.arange(rows, dtype=np.int32),
    }


@pytest.mark.integration
@pytest.mark.parametrize("name", ["own.py", "several"])
def test_any_split_gives_the_same_steps(source: Path, name: str) -> None:
    """Two steps, on one device and on two with two micro-batches: parameters, also those of the
    loss, and what is reported."""
    given, more = str(source), {}
    if name == "several":
        given = f"cross_entropy:1.0 {source}:Other:0.5 {source}:near:2"
        more = {"loss_weights": f"{source}:weights"}
    task = Classification(Classification.settings_cls())
    loss = choose_loss(LOSSES, given, **more)
    params = with_loss_params(init_params(CFG, "classification", KEY), loss, CFG, seed=1)
    # Not AdamW, for which the rounding of a gradient that is 0 is as good as any other.
    tx = optax.sgd(0.1)
    apply, batch = make_apply(CFG, "classification"), batch_of(16)

    def run(devices: int, accumulate: int) -> tuple[Any, list[dict[str, float]]]:
        parallel = make_parallel("pmap" if devices > 1 else "jit", jax.devices()[:devices])
        step = parallel.compile_train(
            make_train_step(
                apply,
                loss.function,
                tx,
                accumulate=accumulate,
                measure=task.measure(),
                axis_name=parallel.axis_name,
                mesh=parallel.mesh,
            )
        )
        state = parallel.replicate(jax.device_get(init_state(params, tx)))
        found = []
        for _ in range(2):
            split = {n: x.reshape(accumulate, -1, *x.shape[1:]) for n, x in batch.items()}
            state, metrics = step(state, parallel.shard(split), KEY)
            found.append({n: float(x) for n, x in parallel.fetch(metrics).items()})
        return parallel.fetch(state.params), found

    wanted, measured = run(1, 1)
    for other, others in (run(2, 2), run(1, 4)):
        for a, b in zip(jax.tree.leaves(wanted), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)
        for one, two in zip(measured, others, strict=True):
            assert one == pytest.approx(two, rel=1e-4, abs=1e-5)
    assert not np.array_equal(*(jax.tree.leaves(x["loss"])[0] for x in (wanted, params)))
    assert "accuracy" in measured[0]
    if name == "several":
        names = ("cross_entropy_loss", "Other_loss", "near_loss")
        for n, factors in enumerate(((1.0, 0.0, 0.25), (1.0, 0.5, 0.25))):
            values = [measured[n][x] for x in names]
            assert measured[n]["loss"] == pytest.approx(np.dot(values, factors), rel=1e-5)


def test_its_parameters_are_drawn_decayed_by_name_and_saved(source: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    loss = choose_loss(LOSSES, str(source), '{"pull": 0.5}')
    plain = init_params(CFG, "classification", KEY)
    params = with_loss_params(plain, loss, CFG, seed=1)
    again = with_loss_params(plain, loss, CFG, seed=1)
    other = with_loss_params(plain, loss, CFG, seed=2)
    kernel = params["loss"]["centers"]["kernel"]
    np.testing.assert_array_equal(kernel, again["loss"]["centers"]["kernel"])
    assert not np.array_equal(kernel, other["loss"]["centers"]["kernel"])
    assert of_model(params) == plain
    assert name_mask(params, is_decayed)["loss"] == {"centers": {"kernel": True, "bias": False}}
    save_loss_params(tmp_path, params)
    saved = load_file(tmp_path / "loss.safetensors")
    assert set(saved) == {"centers.kernel", "centers.bias"}
    np.testing.assert_array_equal(saved["centers.kernel"], kernel)
    save_loss_params(tmp_path, plain)
    assert not (tmp_path / "loss.safetensors").exists()


def test_outputs_are_computed_once_for_all_losses(source: Path) -> None:
    loss = choose_loss(LOSSES, f"cross_entropy:1 focal:0.5 {source}:near:1")
    calls = []

    def apply(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs)
        return {"logits": jnp.zeros((16, 3))}

    loss.function(apply, {}, batch_of(16), KEY, 0)
    assert len(calls) == 1


def test_class_weights_are_of_those_losses_that_take_them(source: Path) -> None:
    weights = {"class_weights": np.array([1.0, 2.0, 0.0], np.float32)}
    both = with_keywords(choose_loss(LOSSES, f"cross_entropy:1 {source}:near:1"), weights).function
    alone = with_keywords(choose_loss(LOSSES, "cross_entropy"), weights).function
    batch, outputs = batch_of(16), {"logits": jnp.zeros((16, 3))}
    parts = both(lambda *_, **__: outputs, {}, batch, KEY, 0)
    wanted = alone(outputs, batch)
    assert (parts.terms[0].sum, parts.terms[0].weight) == wanted
    only = choose_loss(LOSSES, f"{source}:near:1")
    with pytest.raises(InputError, match="none of which has class_weights"):
        with_keywords(only, weights)


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        (
            "focal:1 cross_entropy",
            {},
            "cross_entropy has no weight from 0 on; give cross_entropy:1",
        ),
        ("focal:1 focal:2", {}, "--loss focal:1 focal:2: it names a loss twice"),
        ("focal:-1 cross_entropy:1", {}, "focal:-1 has no weight from 0 on"),
        ("focal:0 cross_entropy:0", {}, "all weights are 0"),
        ("focal:1 {}:focal:1", {}, "two losses would be reported as focal_loss"),
        ("focal:1 {}:nope:1", {}, "{} has no function nope; there are init, loss, near, weights"),
        ("focal:1 label_smoothing:1", {"loss_args": '{"gamma": 1}'}, "give their options by name"),
        ("focal:1 label_smoothing:1", {"loss_weights": "{}:weights"}, "it returned no 2 numbers"),
        ("focal", {"loss_weights": "{}:two"}, "--loss_weights {}:two: it is for several losses"),
        (
            "focal:1 label_smoothing:1",
            {"loss_weights": "{}:none"},
            "--loss_weights {}:none: {} has",
        ),
        ("{}:lacks", {}, "it takes loss_params, so give an object or a file with init(key, cfg)"),
        ("{}:states", {}, "for hidden_states let it call apply(..., also=['hidden_states'])"),
        ("{}:Bad", {}, "its init returned ArrayImpl, expected a dict of names and arrays"),
        ("{}:Nan", {}, "its init gives a.b numbers that are not finite"),
        ("{}:Fails", {}, "AttributeError: 'BertConfig' object has no attribute 'nothing'"),
        ("{}:Dotted", {}, "its init names a parameter 'a.b'; give a name without . and /"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    source: Path, given: str, more: dict[str, str], message: str
) -> None:
    more = {n: x.replace("{}", str(source)) for n, x in more.items()}

    def use() -> None:
        loss = choose_loss(LOSSES, given.replace("{}", str(source)), **more)
        with_loss_params({}, loss, CFG, seed=0)

    with pytest.raises(InputError) as caught:
        use()
    assert message.replace("{}", str(source)) in str(caught.value)
    assert "\n" not in str(caught.value)
