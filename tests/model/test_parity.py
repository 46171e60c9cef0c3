"""The encoder and its gradients against transformers' PyTorch classes, in float32."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from conftest import SMALL
from flax import traverse_util
from torch_pairs import (
    CONFIGS,
    TOLERANCE,
    Arrays,
    Pair,
    forward,
    gap,
    jit,
    loss_and_gradients,
    make_pair,
    random_batch,
    torch_loss,
    torch_outputs,
)

from jaxbert import demo
from jaxbert.benchmark.synthetic import full_batch
from jaxbert.data.encode_qa import encode_qa
from jaxbert.data.questions import read_qa
from jaxbert.data.sampling import make_batch
from jaxbert.errors import InputError
from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.config import BertConfig, config_from_dict
from jaxbert.model.folders import find_model_folder
from jaxbert.model.heads import Params, init_params, make_apply
from jaxbert.model.pretrained import Entry, load_pretrained, name_table, save_pretrained
from jaxbert.model.tokenizer import load_tokenizer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("deep"), CONFIGS["gelu_new-4x6"])


def tensors_of(table: list[Entry], params: Params) -> Iterator[tuple[Entry, np.ndarray]]:
    leaves = traverse_util.flatten_dict(params)
    assert set(leaves) == {entry.leaf for entry in table}
    for entry in table:
        yield entry, entry.to_tensor(np.asarray(leaves[entry.leaf]))


def theirs_of(entry: Entry, tensors: dict[str, np.ndarray]) -> np.ndarray:
    tensor = tensors[entry.name]
    return tensor if entry.row is None else tensor[entry.row : entry.row + 1]


def assert_equal_forward(pair: Pair, batch: Arrays) -> None:
    real = batch["attention_mask"] != 0
    with torch.no_grad():
        theirs = torch_outputs(pair.model, batch)
    states, outputs = forward(pair.params, batch, cfg=pair.cfg)
    assert len(states) == len(theirs.hidden_states) == pair.cfg.num_hidden_layers + 1
    for number, (ours, state) in enumerate(zip(states, theirs.hidden_states, strict=True)):
        assert gap(ours[real], state.numpy()[real]) <= TOLERANCE, f"hidden state {number}"
    for name in ("start_logits", "end_logits"):
        assert gap(outputs[name][real], theirs[name].numpy()[real]) <= TOLERANCE, name


# --- forward ----------------------------------------------------------------------------------


def test_every_layer_and_the_logits_equal_torch(pair: Pair) -> None:
    batch = random_batch(pair.cfg, seed=1)
    assert_equal_forward(pair, batch)
    # The weights are not so small that all layers are nearly the identity.
    states, _ = forward(pair.params, batch, cfg=pair.cfg)
    changes = [np.abs(b - a).max() for a, b in itertools.pairwise(states)]
    assert min(changes) > 0.5


def test_saved_folder_opens_in_torch_with_equal_logits(pair: Pair, tmp_path: Path) -> None:
    noise = np.random.default_rng(4)
    params = jax.tree.map(
        lambda x: x + noise.normal(0, 0.1, x.shape).astype(np.float32), pair.params
    )
    save_pretrained(tmp_path, pair.cfg, params, None)
    model, info = transformers.BertForQuestionAnswering.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(info.values()), info
    theirs = config_from_dict(model.config.to_dict(), "transformers")
    # transformers names two classes even where there are none.
    assert dataclasses.replace(theirs, id2label=()) == pair.cfg
    assert_equal_forward(Pair(model.eval(), pair.cfg, params), random_batch(pair.cfg, seed=5))
    _, again = load_pretrained(tmp_path, "qa", draw_head=False)
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_minilm_on_real_questions(tmp_path: Path) -> None:
    try:
        folder = find_model_folder("minilm-l6")
    except InputError as error:
        pytest.skip(str(error))
    cfg, params = load_pretrained(folder, "qa", key=jax.random.key(1))
    examples = read_qa([str(Path(demo.__file__).parent / "qa_en_dev.json")]).examples
    features = encode_qa(examples, load_tokenizer(folder, vocab_size=cfg.vocab_size))
    windows = np.linspace(0, len(features) - 1, 8).astype(int)
    length = int(features.lengths[windows].max()) + 3
    batch = make_batch(features, windows, length, len(windows))
    assert len(set(features.lengths[windows])) > 1
    model = transformers.BertForQuestionAnswering.from_pretrained(
        folder, attn_implementation="eager"
    ).eval()
    with torch.no_grad():  # the checkpoint has no head: PyTorch gets ours
        for entry, tensor in tensors_of(name_table(cfg, "qa"), params):
            if entry.row is not None:
                row = getattr(model.qa_outputs, entry.name.rpartition(".")[2])[entry.row]
                row.copy_(torch.tensor(tensor[0]))
    assert_equal_forward(Pair(model, cfg, params), batch)


# --- gradients --------------------------------------------------------------------------------


def is_zero_in_theory(entry: Entry, cfg: BertConfig) -> bool:
    """Whether a leaf's gradient is exactly 0 in mathematics, and rounding noise on a machine.

    The key's bias adds one number to all scores of a query; the head's bias, and the bias of the
    last LayerNorm before it, one number to all logits of a row. A softmax does not change when a
    number is added to all that it is over.
    """
    last_norm = ("bert", f"layer_{cfg.num_hidden_layers - 1}", "mlp_norm")
    module = entry.leaf[:-1]
    return entry.leaf[-1] == "bias" and (
        module[-1] == "key" or module[0] == "qa_outputs" or module == last_norm
    )


def assert_equal_gradients(pair: Pair, ours: Params, loss: torch.Tensor) -> None:
    pair.model.zero_grad()
    loss.backward()
    tensors = {n: x.grad.numpy().astype(np.float64) for n, x in pair.model.named_parameters()}
    largest = max(np.linalg.norm(x) for x in tensors.values())
    for entry, tensor in tensors_of(name_table(pair.cfg, "qa"), ours):
        a, b = tensor.astype(np.float64).ravel(), theirs_of(entry, tensors).ravel()
        norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
        if is_zero_in_theory(entry, pair.cfg):
            assert max(norm_a, norm_b) <= 1e-6 * largest, entry.leaf
            continue
        assert norm_b > 1e-4 * largest, f"{entry.leaf}: too small to compare"
        assert relative_error(norm_a, norm_b) <= 1e-5, entry.leaf
        assert a @ b / (norm_a * norm_b) >= 0.99999, entry.leaf


def relative_error(a: float, b: float) -> float:
    return abs(a - b) / b


def test_gradients_equal_torch(pair: Pair) -> None:
    batch = random_batch(pair.cfg, seed=6)
    value, ours = loss_and_gradients(pair.params, batch, cfg=pair.cfg)
    loss = torch_loss(pair.model, batch)
    assert gap(value, loss.detach().numpy()) <= TOLERANCE
    assert_equal_gradients(pair, ours, loss)


def test_without_padding_loss_and_gradients_are_transformers_own(pair: Pair) -> None:
    batch = random_batch(pair.cfg, seed=7, padded=False)
    batch["weight"] = np.ones_like(batch["weight"])
    value, ours = loss_and_gradients(pair.params, batch, cfg=pair.cfg)
    inputs = {n: torch.from_numpy(x.astype(np.int64)) for n, x in batch.items() if n != "weight"}
    loss = pair.model(**inputs).loss
    assert gap(value, loss.detach().numpy()) <= TOLERANCE
    assert_equal_gradients(pair, ours, loss)


def test_remat_and_scan_do_not_change_gradients(deep: Pair) -> None:
    """Nor what is dropped."""
    cfg = dataclasses.replace(deep.cfg, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    batch = random_batch(cfg, seed=8)

    def gradient(**how: bool) -> Any:
        apply = make_apply(cfg, "qa", **how)

        def loss(params: Params) -> jax.Array:
            outputs = apply(params, batch, key=jax.random.key(3), train=True)
            loss_sum, weight = span_cross_entropy(outputs, batch)
            return loss_sum / weight

        return jax.grad(loss)

    plain = jax.tree.leaves(jit(gradient())(deep.params))
    largest = max(np.abs(x).max() for x in plain)
    for how in ({"remat": True}, {"scan": True}):
        again = gradient(**how)
        program = str(jax.make_jaxpr(again)(deep.params))
        assert ("remat" in program, "scan[" in program) == ("remat" in how, True)
        for a, b in zip(jax.tree.leaves(jit(again)(deep.params)), plain, strict=True):
            assert gap(a, b) <= 1e-6 * largest


def test_remat_takes_less_memory() -> None:
    cfg = dataclasses.replace(SMALL, num_hidden_layers=4, max_position_embeddings=128)
    batch = full_batch(cfg.vocab_size, 16, 128)
    params = jax.eval_shape(lambda: init_params(cfg, "qa", jax.random.key(0)))

    def memory(remat: bool) -> int:
        apply = make_apply(cfg, "qa", remat=remat)
        compiled = jit(jax.grad(lambda p: span_cross_entropy(apply(p, batch), batch)[0]))
        return compiled.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert memory(True) < 0.5 * memory(False)
