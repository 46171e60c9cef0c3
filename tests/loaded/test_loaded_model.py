"""LoadedModel alone: every window's outputs are those of apply, in any batches on any devices."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from transformers import PreTrainedTokenizerFast

from jaxbert import InputError, QuestionAnswerer
from jaxbert.data.features import Features
from jaxbert.data.sampling import NumpyBatch, make_batch
from jaxbert.loaded.model import Compute, LoadedModel
from jaxbert.losses.forms import Arrays
from jaxbert.model.heads import Params, init_params, make_apply
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import QAOptions
from jaxbert.runtime.target import Target
from jaxbert.training.parallel import Backend, make_parallel

pytestmark = pytest.mark.integration

# Seven windows of two buckets, 8 and 16.
LENGTHS = np.array([5, 16, 8, 3, 12, 7, 9])


@dataclasses.dataclass(frozen=True)
class Starts:
    """The logits of starts, padded to 16 tokens."""

    times: int = 1

    def __call__(self, outputs: Arrays, batch: Arrays) -> Arrays:
        logits = outputs["start_logits"] * batch["attention_mask"] * self.times
        return {"starts": jnp.pad(logits, ((0, 0), (0, 16 - logits.shape[1])))}


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(tiny_folder)


@pytest.fixture(scope="module")
def features() -> Features:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, TINY.vocab_size, LENGTHS.sum()).astype(np.int32)
    columns = {"input_ids": ids, "token_type_ids": np.zeros_like(ids)}
    bounds = np.concatenate([[0], np.cumsum(LENGTHS)])
    return Features(bounds, columns, {}, np.arange(len(LENGTHS), dtype=np.int32))


def compute_on(devices: int = 1, backend: Backend = "jit", **fields: str | bool) -> Compute:
    parallel = make_parallel(backend, jax.local_devices()[:devices])
    return dataclasses.replace(Compute(parallel=parallel), **fields)


def drawn(seed: int) -> Params:
    """Random parameters that are far from zero."""
    params = jax.jit(lambda key: init_params(TINY, "qa", key))(jax.random.key(seed))
    return jax.tree.map(lambda x: 5 * np.asarray(x), params)


def rows_of(features: Features, params: Params) -> np.ndarray:
    """Each window's logits of starts, by make_apply on that window alone."""
    apply, found = jax.jit(make_apply(TINY, "qa")), np.zeros((len(features), 16), np.float32)
    for window in range(len(features)):
        batch = make_batch(features, np.array([window]), 16, 1)
        logits = np.asarray(apply(params, batch)["start_logits"])
        found[window] = (logits * batch["attention_mask"])[0]
    return found


def starts(model: LoadedModel, features: Features, params: Params | None = None) -> np.ndarray:
    size = 2 * model.compute.parallel.devices
    found = model.predict(features, Starts(), size=size, buckets=(8, 16), params=params)
    assert found is not None
    return found["starts"]


@pytest.mark.parametrize(("backend", "devices"), [("jit", 1), ("jit", 2), ("pmap", 2)])
def test_predictions_are_those_of_apply_row_by_row(
    backend: Backend, devices: int, features: Features, tokenizer: PreTrainedTokenizerFast
) -> None:
    params, other = drawn(1), drawn(2)
    model = LoadedModel(TINY, params, tokenizer, "qa", compute_on(devices, backend))
    np.testing.assert_allclose(starts(model, features), rows_of(features, params), atol=1e-5)
    # Other parameters, those of a step of training say, change neither the model nor a program.
    assert len(model.programs) == 1
    replicated = model.compute.parallel.replicate(other)
    wanted = rows_of(features, other)
    np.testing.assert_allclose(starts(model, features, replicated), wanted, atol=1e-5)
    assert len(model.programs) == 1
    jax.tree.map(np.testing.assert_array_equal, model.params, params)
    np.testing.assert_allclose(starts(model, features), rows_of(features, params), atol=1e-5)


def test_a_program_is_compiled_once_for_a_shape_and_equal_functions_share_it(
    features: Features, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = LoadedModel(TINY, drawn(1), tokenizer, "qa", compute_on())
    for _ in range(3):
        starts(model, features)  # with an equal Starts each time
    (program,) = model.programs.values()
    # Rows of 8 and of 16 tokens; the eighth row is missing, so the last batch has half the rows.
    assert program._cache_size() == 3
    twice = model.predict(features, Starts(2), size=2, buckets=(8, 16))
    assert twice is not None
    np.testing.assert_array_equal(twice["starts"], 2 * starts(model, features))
    assert len(model.programs) == 2


def test_a_prediction_is_stopped_and_its_batches_are_corrupted(
    features: Features, tokenizer: PreTrainedTokenizerFast
) -> None:
    params = drawn(1)
    model = LoadedModel(TINY, params, tokenizer, "qa", compute_on())
    how = {"size": 2, "buckets": (8, 16)}
    assert model.predict(features, Starts(), stopped=lambda: True, **how) is None

    def corrupt(batch: NumpyBatch) -> NumpyBatch:
        return {**batch, "input_ids": np.where(batch["input_ids"] > 99, 99, batch["input_ids"])}

    found = model.predict(features, Starts(), corrupt=corrupt, **how)
    assert found is not None
    ids = np.minimum(features.tokens["input_ids"], 99)
    cut = dataclasses.replace(features, tokens={**features.tokens, "input_ids": ids})
    np.testing.assert_allclose(found["starts"], rows_of(cut, params), atol=1e-5)


@pytest.mark.parametrize("how", [{}, {"remat": True}, {"scan": True}])
def test_training_computes_the_same_model(
    how: dict[str, bool], features: Features, tokenizer: PreTrainedTokenizerFast
) -> None:
    params, batch = drawn(1), make_batch(features, np.arange(4), 16, 4)
    model = LoadedModel(TINY, params, tokenizer, "qa", compute_on(dtype="bfloat16"))
    key = jax.random.key(3)
    found = model.train_apply((16,), **how)(params, batch, key=key, train=True)
    apply = make_apply(TINY, "qa", dtype=jnp.bfloat16)
    wanted = apply(params, batch, key=key, train=True)
    assert found["last_hidden_state"].dtype == jnp.bfloat16
    for name, value in wanted.items():
        np.testing.assert_allclose(
            np.asarray(found[name], np.float32), np.asarray(value, np.float32), atol=0.1
        )


def test_a_saved_model_is_opened_with_equal_parameters(
    features: Features, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    params, other = drawn(1), drawn(2)
    model = LoadedModel(TINY, params, tokenizer, "qa", compute_on(2, "pmap"))
    wanted = starts(model, features)
    model.save(tmp_path / "own")  # from the devices
    model.save(tmp_path / "other", other)
    for name, tree in (("own", params), ("other", other)):
        again = LoadedModel.from_folder(tmp_path / name, "qa", model.compute)
        assert again.cfg == TINY
        assert again.tokenizer.get_vocab() == tokenizer.get_vocab()
        jax.tree.map(np.testing.assert_array_equal, again.params, tree)
        if name == "own":
            np.testing.assert_array_equal(starts(again, features), wanted)
    with pytest.raises(InputError, match="it has no tagging head"):
        LoadedModel.from_folder(tmp_path / "own", "tagging", model.compute)
    drawn_head = LoadedModel.from_folder(
        tmp_path / "own", "regression", model.compute, draw_head=True, key=jax.random.key(1)
    )
    jax.tree.map(np.testing.assert_array_equal, drawn_head.params["bert"], params["bert"])


def test_random_weights_are_those_of_the_key(tokenizer: PreTrainedTokenizerFast) -> None:
    key = jax.random.key(7)
    model = LoadedModel.from_config(TINY, tokenizer, "qa", compute_on(), key=key)
    wanted = jax.jit(lambda key: init_params(TINY, "qa", key))(key)
    jax.tree.map(np.testing.assert_array_equal, model.params, wanted)


def test_the_attention_of_a_target(tokenizer: PreTrainedTokenizerFast) -> None:
    """It is chosen for what the program is made for, with dropout in training."""
    cfg = dataclasses.replace(TINY, hidden_size=128, num_attention_heads=2)

    def attention(asked: str, target: Target, *lengths: int, train: bool = True) -> str:
        how = dataclasses.replace(compute_on(), attention=asked, packing=True, target=target)
        return LoadedModel(cfg, {}, tokenizer, "qa", how).attention_for(lengths, train=train)[0]

    for train in (True, False):
        assert attention("auto", Target("tpu"), 64, 128, train=train) == "pallas"
        assert attention("auto", Target("tpu"), 64, 640, train=train) == "xla"
        with pytest.raises(InputError, match="up to 512 tokens, not 640"):
            attention("pallas", Target("tpu"), 64, 640, train=train)


def test_a_predictor_asks_a_model_on_several_devices(tiny_folder: Path) -> None:
    ask = {
        "question": ["Who met Zoe?", "What is it?", "Where?"],
        "context": ["Ada met Zoe in York.", "It is the north. " * 60, "北京是中国的首都。"],
    }
    found = []
    for compute in (compute_on(), compute_on(2), compute_on(2, "pmap")):
        model = LoadedModel.from_folder(tiny_folder, "qa", compute)
        answerer = QuestionAnswerer(model, QAOptions(), batch_size=1)
        found.append([answerer(**ask), answerer(**ask, batch_size=3)])
    for each in found[1:]:
        for answers, wanted in zip(each, found[0], strict=True):
            for answer, one in zip(answers, wanted, strict=True):
                assert answer["answer"] == one["answer"]
                assert answer["score"] == pytest.approx(one["score"], rel=1e-4)


def test_in_training_a_model_is_that_of_one_device_with_any_rows(tiny_folder: Path) -> None:
    """The step gives each device its own; before the first step a loss is tried on one's alone."""
    compute = dataclasses.replace(compute_on(4, attention="xla"), target=Target("gpu"))
    model = LoadedModel.from_folder(tiny_folder, "qa", compute)
    batch = {"input_ids": jnp.ones((1, 8), jnp.int32)}
    key = jax.random.key(0)
    alone = model.train_apply([8])
    outputs = jax.eval_shape(lambda params: alone(params, batch, key=key, train=True), model.params)
    assert outputs["start_logits"].shape == (1, 8)
