"""Each head against its class in transformers: logits, gradients, an AdamW step, a folder.

Question answering has its own, deeper file: test_parity.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
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

from jaxbert.errors import InputError
from jaxbert.losses.forms import Arrays
from jaxbert.losses.label_losses import label_cross_entropy, squared_error
from jaxbert.model.config import BertConfig
from jaxbert.model.families import FAMILIES
from jaxbert.model.heads import HEADS, Params, init_params, make_apply
from jaxbert.model.pretrained import load_pretrained, name_table, save_pretrained
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.step import init_state, make_train_step

pytestmark = pytest.mark.integration

TOLERANCE = 1e-5
OTHERS = [head for head in HEADS if head != "qa"]
LABELS = {"classification": ("no", "maybe", "yes"), "tagging": ("O", "B", "I", "X")}
LENGTH, ROWS, CHOICES = 11, 5, 3


def torch_config(head: str) -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": 61,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "max_position_embeddings": 16,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "attn_implementation": "eager",
    }
    if head in LABELS:
        sizes["id2label"] = dict(enumerate(LABELS[head]))
    elif head == "regression":
        sizes["num_labels"] = 1
    return transformers.BertConfig(**sizes)


def randomise(model: Any) -> None:
    rng = np.random.default_rng(3)
    with torch.no_grad():
        for name, x in model.named_parameters():
            scale = 0.3 if x.ndim == 1 else 1.2 / x.shape[-1] ** 0.5
            values = rng.normal(size=x.shape) * scale + name.endswith("LayerNorm.weight")
            x.copy_(torch.from_numpy(values.astype(np.float32)))


@dataclasses.dataclass(frozen=True)
class Pair:
    head: str
    model: Any
    cfg: BertConfig
    params: Params


@pytest.fixture(scope="module", params=OTHERS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    head, folder = request.param, tmp_path_factory.mktemp(request.param)
    model = getattr(transformers, FAMILIES["bert"].classes[head])(torch_config(head)).eval()
    randomise(model)
    model.save_pretrained(folder)
    return Pair(head, model, *load_pretrained(folder, head, draw_head=False))


def random_batch(pair: Pair, *, masked: bool = False) -> dict[str, Any]:
    """Rows of other lengths; labels of the head's kind."""
    rng = np.random.default_rng(7)
    choices = [CHOICES] if pair.head == "multiple_choice" else []
    lengths = rng.integers(3, LENGTH + 1, (ROWS, *choices))
    mask = np.moveaxis(np.arange(LENGTH) < lengths[..., None], -1, 1)  # (B, T) or (B, T, K)
    types = np.moveaxis(np.sort(rng.integers(0, 2, (ROWS, *choices, LENGTH)), axis=-1), -1, 1)
    batch: dict[str, Any] = {
        "input_ids": np.where(mask, rng.integers(1, 61, mask.shape), 0).astype(np.int32),
        "token_type_ids": np.where(mask, types, 0).astype(np.int32),
        "attention_mask": mask.astype(np.int32),
        "weight": np.ones(ROWS, np.float32),
    }
    classes = {"classification": 3, "multiple_choice": CHOICES, "next_sentence": 2}
    if pair.head == "regression":
        batch["labels"] = rng.normal(2, 1, ROWS).astype(np.float32)
    elif pair.head in classes:
        batch["labels"] = rng.integers(0, classes[pair.head], ROWS).astype(np.int32)
    else:  # a label a token, some of them without one
        size = 61 if pair.head == "mlm" else 4
        chosen = (rng.random(mask.shape) < 0.6) & mask
        labels = np.where(chosen, rng.integers(0, size, mask.shape), -100).astype(np.int32)
        batch["labels"] = labels
        if masked:
            places = np.argsort(labels < 0, axis=1, kind="stable")[:, :8]
            batch["masked_positions"] = places.astype(np.int32)
            batch["labels"] = np.take_along_axis(labels, places, 1)
    return batch


def torch_outputs(pair: Pair, model: Any, batch: Arrays) -> Any:
    names = ("input_ids", "token_type_ids", "attention_mask")
    inputs = {n: torch.from_numpy(np.asarray(batch[n], np.int64)) for n in names}
    if pair.head == "multiple_choice":  # transformers has the choices in front
        inputs = {n: torch.swapaxes(x, 1, 2).contiguous() for n, x in inputs.items()}
    labels = torch.from_numpy(np.asarray(batch["labels"]))
    return model(**inputs, labels=labels if pair.head == "regression" else labels.long())


def our_logits(pair: Pair, params: Params, batch: Arrays) -> np.ndarray:
    out = make_apply(pair.cfg, pair.head)(params, batch)
    return np.asarray(out["scores"][:, None] if pair.head == "regression" else out["logits"])


def our_loss(pair: Pair) -> Any:
    return squared_error if pair.head == "regression" else label_cross_entropy


def counted(pair: Pair, batch: Arrays) -> np.ndarray:
    """Which logits are compared: those of real tokens."""
    if pair.head in ("tagging", "mlm"):
        return np.asarray(batch["attention_mask"]) != 0
    return np.ones(ROWS, bool)


def test_logits_and_loss_equal_torch(pair: Pair) -> None:
    batch = random_batch(pair)
    with torch.no_grad():
        theirs = torch_outputs(pair, pair.model, batch)
    ours, real = our_logits(pair, pair.params, batch), counted(pair, batch)
    assert ours.shape == tuple(theirs.logits.shape)
    assert np.abs(ours - theirs.logits.numpy())[real].max() <= TOLERANCE
    assert np.std(ours[real]) > 0.1
    outputs = make_apply(pair.cfg, pair.head)(pair.params, batch)
    loss_sum, weight = our_loss(pair)(outputs, batch)
    assert abs(float(loss_sum / weight) - float(theirs.loss)) <= TOLERANCE


def gradients(pair: Pair, batch: Arrays) -> dict[Any, np.ndarray]:
    def mean(params: Params) -> jax.Array:
        outputs = make_apply(pair.cfg, pair.head)(params, batch)
        loss_sum, weight = our_loss(pair)(outputs, batch)
        return loss_sum / weight

    return traverse_util.flatten_dict(jax.jit(jax.grad(mean))(pair.params))


def test_gradients_and_an_adamw_step_equal_torch(pair: Pair) -> None:
    batch = random_batch(pair)
    model = getattr(transformers, FAMILIES["bert"].classes[pair.head])(
        torch_config(pair.head)
    ).eval()
    model.load_state_dict(pair.model.state_dict())
    torch_outputs(pair, model, batch).loss.backward()
    theirs = {n: x.grad.numpy() for n, x in model.named_parameters() if x.grad is not None}
    found = gradients(pair, batch)
    table = name_table(pair.cfg, pair.head)
    largest = max(float(np.linalg.norm(x)) for x in found.values())
    for entry in table:
        ours, other = entry.to_tensor(found[entry.leaf]), theirs[entry.name]
        if np.linalg.norm(other) < 1e-5 * largest:  # zero in mathematics: the keys' biases
            assert np.linalg.norm(ours) < 1e-5 * largest, entry.name
            continue
        cosine = np.vdot(ours, other) / (np.linalg.norm(ours) * np.linalg.norm(other))
        assert cosine >= 0.99999, entry.name

    decayed = [x for n, x in model.named_parameters() if "bias" not in n and "LayerNorm" not in n]
    others = [x for n, x in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    # A large epsilon: Adam's first step is the gradient's sign, which turns rounding into +-1.
    torch.optim.AdamW(groups, lr=1e-2, eps=1e-2).step()
    tx = adamw(
        make_schedule(1e-2, steps=10, decay="constant"), weight_decay=0.01, clip_norm=1.0, eps=1e-2
    )
    apply = make_apply(dataclasses.replace(pair.cfg), pair.head)
    step = jax.jit(make_train_step(apply, our_loss(pair), tx))
    micro = {name: x[None] for name, x in batch.items()}
    state, _ = step(init_state(pair.params, tx), micro, jax.random.key(0))
    stepped = traverse_util.flatten_dict(state.params)
    after = {n: x.detach().numpy() for n, x in model.named_parameters()}
    for entry in table:
        ours = entry.to_tensor(np.asarray(stepped[entry.leaf]))
        assert np.abs(ours - after[entry.name]).max() <= TOLERANCE, entry.name


def test_saved_folder_opens_in_torch_with_equal_logits(pair: Pair, tmp_path: Path) -> None:
    noise = np.random.default_rng(4)
    params = jax.tree.map(
        lambda x: x + noise.normal(0, 0.1, x.shape).astype(np.float32), pair.params
    )
    save_pretrained(tmp_path, pair.cfg, params, None, head=pair.head)
    kind = getattr(transformers, FAMILIES["bert"].classes[pair.head])
    model, info = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    batch = random_batch(pair)
    with torch.no_grad():
        theirs = torch_outputs(pair, model.eval(), batch).logits.numpy()
    real = counted(pair, batch)
    assert np.abs(our_logits(pair, params, batch) - theirs)[real].max() <= TOLERANCE
    if pair.head in LABELS:
        assert tuple(model.config.id2label.values()) == LABELS[pair.head]
    cfg, again = load_pretrained(tmp_path, pair.head, draw_head=False)
    assert cfg == pair.cfg
    jax.tree.map(np.testing.assert_array_equal, params, again)


@pytest.mark.parametrize("pair", ["mlm"], indirect=True)
def test_masked_positions_are_those_of_the_whole(pair: Pair) -> None:
    whole, part = random_batch(pair), random_batch(pair, masked=True)
    everywhere = our_logits(pair, pair.params, whole)
    there = our_logits(pair, pair.params, part)
    places = np.asarray(part["masked_positions"])[..., None]
    np.testing.assert_allclose(there, np.take_along_axis(everywhere, places, 1), atol=1e-5)
    kept = int((part["labels"] >= 0).sum())
    assert kept > 10
    loss, weight = label_cross_entropy({"logits": there}, part)
    assert float(weight) == kept
    assert np.isfinite(float(loss))


def test_dropout_of_the_classifier_has_its_own_rate(pair: Pair) -> None:
    """With the encoder's dropout off, classifier_dropout alone changes the outputs of training."""
    batch, key = random_batch(pair), jax.random.key(5)
    quiet = make_apply(pair.cfg, pair.head)(pair.params, batch, key=key, train=True)
    cfg = dataclasses.replace(pair.cfg, classifier_dropout=0.5)
    loud = make_apply(cfg, pair.head)(pair.params, batch, key=key, train=True)
    name = "scores" if pair.head == "regression" else "logits"
    changed = bool(np.any(np.asarray(quiet[name]) != np.asarray(loud[name])))
    assert changed == (pair.head not in ("mlm", "next_sentence"))


# --- checkpoints with another head --------------------------------------------------------------


def saved(tmp_path: Path, head: str, labels: tuple[str, ...] = ()) -> Path:
    cfg = BertConfig(
        vocab_size=61,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=16,
        id2label=labels,
    )
    params = jax.device_get(init_params(cfg, head, jax.random.key(2)))
    save_pretrained(tmp_path / head, cfg, params, None, head=head)
    return tmp_path / head


def test_same_classes_keep_the_classifier_and_others_draw_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path, "classification", ("a", "b"))
    _, params = load_pretrained(folder, "classification")
    with caplog.at_level("INFO", "jaxbert"):
        cfg, same = load_pretrained(folder, "classification", id2label=["a", "b"])
        assert not caplog.text
        other, drawn = load_pretrained(folder, "classification", id2label=["a", "c"])
    assert cfg.id2label == ("a", "b")
    assert other.id2label == ("a", "c")
    jax.tree.map(np.testing.assert_array_equal, params, same)
    np.testing.assert_array_equal(drawn["pooler"]["kernel"], params["pooler"]["kernel"])
    assert not np.array_equal(drawn["classifier"]["kernel"], params["classifier"]["kernel"])
    assert "classifier is for a, b; initializing a new one" in caplog.text
    assert "+ classifier.weight  newly initialized" in caplog.text
    with pytest.raises(InputError, match="no classification head"):
        load_pretrained(folder, "classification", id2label=["a", "c"], draw_head=False)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("classification", "tagging"),
        ("tagging", "classification"),
        ("multiple_choice", "regression"),
    ],
)
def test_a_classifier_of_something_else_is_not_taken(
    there: str, wanted: str, tmp_path: Path
) -> None:
    labels = () if there == "multiple_choice" else ("a", "b")
    folder = saved(tmp_path, there, labels)
    with pytest.raises(InputError, match=f"no {wanted} head"):
        load_pretrained(folder, wanted, draw_head=False)
    _, old = load_pretrained(folder, there)
    _, new = load_pretrained(folder, wanted)
    assert not np.array_equal(old["classifier"]["kernel"], new["classifier"]["kernel"])


def test_question_answering_forgets_the_classes(tmp_path: Path) -> None:
    folder = saved(tmp_path, "classification", ("a", "b", "c", "d"))
    cfg, params = load_pretrained(folder, "qa")
    assert cfg.id2label == ()
    save_pretrained(tmp_path / "out", cfg, params, None)
    model = transformers.BertForQuestionAnswering.from_pretrained(tmp_path / "out")
    assert tuple(model.qa_outputs.weight.shape) == (2, 24)


def test_a_pooler_is_drawn_where_masked_lm_had_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved(tmp_path, "mlm")
    with caplog.at_level("INFO", "jaxbert"):
        load_pretrained(folder, "classification", id2label=["x", "y"])
    assert "+ bert.pooler.dense.weight  newly initialized" in caplog.text
    assert "- cls.predictions.bias  left out" in caplog.text


@pytest.mark.parametrize(
    ("asked", "around", "expected"),
    [
        (None, None, None),
        (None, "highest", "HIGHEST"),  # the user's own setting stays
        ("high", None, "HIGH"),
        ("highest", "high", "HIGHEST"),
    ],
)
def test_products_have_the_precision_that_is_asked_for(
    asked: str | None, around: str | None, expected: str | None
) -> None:
    params = jax.eval_shape(lambda: init_params(TINY, "qa", jax.random.key(0)))
    apply = make_apply(TINY, "qa", matmul_precision=asked)
    with jax.default_matmul_precision(around) if around else contextlib.nullcontext():
        made = jax.make_jaxpr(apply)(params, {"input_ids": jnp.ones((2, 4), jnp.int32)})
    found = [e.params["precision"] for e in made.jaxpr.eqns if e.primitive.name == "dot_general"]
    names = {None if p is None else p[0].name for p in found}
    assert names == {expected}
