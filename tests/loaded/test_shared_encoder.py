"""One encoder of several models: its parameters once, each model as it is alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxbert.errors import InputError
from jaxbert.loaded.model import Compute, LoadedModel
from jaxbert.loaded.shared_encoder import SharedEncoder
from jaxbert.model.heads import make_apply
from jaxbert.training.parallel import make_parallel

HEADS = {"tagging": ("O", "B-PER", "I-PER"), "classification": ("no", "yes"), "qa": ()}


@pytest.fixture(scope="module")
def models(tiniest_folder: Path) -> dict[str, LoadedModel]:
    compute = Compute(parallel=make_parallel("jit", jax.local_devices()[:1]))

    def opened(number: int, head: str) -> LoadedModel:
        key = jax.random.key(number)
        more: dict[str, Any] = {"draw_head": True, "key": key, "id2label": HEADS[head]}
        return LoadedModel.from_folder(tiniest_folder, head, compute, **more)

    return {head: opened(number, head) for number, head in enumerate(HEADS)}


def test_each_model_computes_what_it_does_alone(models: dict[str, LoadedModel]) -> None:
    shared = SharedEncoder(models)
    assert set(shared.params) == {"bert", *HEADS}
    batch: Any = {"input_ids": np.array([[2, 7, 8, 3]], np.int32)}
    for name, model in models.items():
        own = shared.of_task(shared.params, name)
        assert jax.tree.structure(own) == jax.tree.structure(model.params)
        for one, other in zip(jax.tree.leaves(own), jax.tree.leaves(model.params), strict=True):
            np.testing.assert_array_equal(one, other)
        alone = make_apply(model.cfg, name)
        found = shared.apply(name, alone)(shared.params, batch, also=["hidden_states"])
        wanted = alone(model.params, batch, also=["hidden_states"])
        assert found.keys() == wanted.keys()
        for key, x in wanted.items():
            np.testing.assert_array_equal(found[key], x)


def test_what_is_beside_an_encoder_is_of_its_task(models: dict[str, LoadedModel]) -> None:
    """The parameters of a loss, for instance."""
    own = {name: model.params for name, model in models.items()}
    own["qa"] = {**own["qa"], "loss": {"scale": np.ones(1, np.float32)}}
    shared = SharedEncoder(models, own)
    assert shared.of_task(shared.params, "qa")["loss"] == {"scale": np.ones(1)}
    assert "loss" not in shared.of_task(shared.params, "tagging")


def test_a_task_teaches_the_encoder_and_its_own_head_alone(models: dict[str, LoadedModel]) -> None:
    shared = SharedEncoder(models)
    batch: Any = {"input_ids": np.array([[2, 7, 8, 3]], np.int32)}
    apply = shared.apply(
        "classification", make_apply(models["classification"].cfg, "classification")
    )
    grads: Any = jax.grad(lambda params: apply(params, batch)["logits"].var())(shared.params)
    sizes = {name: float(np.abs(ravel_pytree(part)[0]).max()) for name, part in grads.items()}
    assert sizes["bert"] > 0
    assert sizes["classification"] > 0
    assert sizes["tagging"] == sizes["qa"] == 0


def test_saved_models_are_those_of_the_tasks(
    models: dict[str, LoadedModel], tmp_path: Path
) -> None:
    shared = SharedEncoder(models)
    moved = jax.tree.map(lambda x: np.asarray(x) + 1, shared.params)
    shared.save(tmp_path, moved)
    for name, model in models.items():
        opened = LoadedModel.from_folder(tmp_path / name, name, model.compute)
        assert opened.cfg.id2label == model.cfg.id2label
        wanted = shared.of_task(moved, name)
        jax.tree.map(np.testing.assert_array_equal, opened.params, wanted)


def test_other_encoders_and_vocabularies_are_refused(models: dict[str, LoadedModel]) -> None:
    first, other = models["tagging"], models["classification"]
    cfg = dataclasses.replace(other.cfg, num_attention_heads=4)
    wider = LoadedModel(cfg, other.params, other.tokenizer, other.head, other.compute)
    with pytest.raises(InputError, match="tagging and classification cannot share an encoder"):
        SharedEncoder({"tagging": first, "classification": wider})
    with pytest.raises(InputError, match="no models"):
        SharedEncoder({})
