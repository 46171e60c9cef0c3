"""Outputs beside the head's: those of transformers, and none that nobody asked for."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from jaxbert.errors import InputError
from jaxbert.model.heads import REQUESTS, make_apply
from jaxbert.model.pretrained import load_pretrained

ALL = ("hidden_states", "attentions", "pooler_output", "embeddings")
LENGTHS = np.array([12, 7, 3])


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        initializer_range=0.5,
        attn_implementation="eager",
    )
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    cfg, params = load_pretrained(folder, "classification")
    rng = np.random.default_rng(0)
    batch = {
        "input_ids": rng.integers(1, 40, (3, 12)),
        "attention_mask": (np.arange(12) < LENGTHS[:, None]).astype(np.int32),
    }
    with torch.no_grad():
        of_torch = {n: torch.from_numpy(x) for n, x in batch.items()}
        wanted = model.bert(**of_torch, output_hidden_states=True, output_attentions=True)
    return cfg, params, batch, wanted


@pytest.mark.parametrize("how", [{}, {"scan": True}, {"remat": True}])
def test_they_are_those_of_transformers(case: Any, how: dict[str, bool]) -> None:
    cfg, params, batch, wanted = case
    found = make_apply(cfg, "classification", **how)(params, batch, also=ALL)
    real = batch["attention_mask"] != 0
    for ours, theirs in zip(found["hidden_states"], wanted.hidden_states, strict=True):
        np.testing.assert_allclose(ours[real], theirs.numpy()[real], atol=1e-5)
    for ours, theirs in zip(found["attentions"], wanted.attentions, strict=True):
        weights = np.moveaxis(np.asarray(ours), 1, 2)[real]
        np.testing.assert_allclose(weights, np.moveaxis(theirs.numpy(), 1, 2)[real], atol=1e-5)
    np.testing.assert_allclose(found["pooler_output"], wanted.pooler_output.numpy(), atol=1e-5)
    np.testing.assert_array_equal(found["embeddings"], found["hidden_states"][0])


def test_what_nobody_asked_for_is_not_computed(case: Any) -> None:
    """The program without requests has no more operations than one that is never asked."""
    cfg, params, batch, _ = case
    apply = make_apply(cfg, "classification")
    assert set(apply(params, batch)) == {"logits", "last_hidden_state"}
    assert set(ALL) == set(REQUESTS)

    def text(**more: Any) -> str:
        program = jax.jit(lambda p, b: apply(p, b, **more)["logits"])
        return program.lower(params, batch).compile().as_text()

    def operations(**more: Any) -> int:
        return text(**more).count(" = ")

    assert operations(also=("hidden_states", "pooler_output", "embeddings")) == operations()


def test_with_dropout_the_outputs_are_the_same_ones(case: Any) -> None:
    """To ask for more changes nothing of a training step."""
    cfg, params, batch, _ = case
    apply = make_apply(cfg, "classification")
    key = jax.random.key(1)
    plain = apply(params, batch, key=key, train=True)
    more = apply(params, batch, key=key, train=True, also=ALL)
    for name, value in plain.items():
        np.testing.assert_allclose(more[name], value, atol=1e-6)
    assert jnp.allclose(more["attentions"].sum(-1), 1, atol=1e-5)


def test_what_there_is_not_is_refused(case: Any) -> None:
    cfg, params, batch, _ = case
    with pytest.raises(
        InputError, match=r"apply\(also=...\): states: there are hidden_states, att"
    ):
        make_apply(cfg, "classification")(params, batch, also=("states",))
    spans = {n: x for n, x in params.items() if n == "bert"}
    kernel = {"kernel": np.zeros((16, 1)), "bias": np.zeros(1)}
    spans["qa_outputs"] = {"start": kernel, "end": kernel}
    with pytest.raises(InputError, match="pooler_output: the head of qa has none"):
        make_apply(cfg, "qa")(spans, batch, also=("pooler_output",))
