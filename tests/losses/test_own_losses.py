"""A user's loss as courses and PyTorch's classes have it: over padding too, and one value a row."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from conftest import SMALL
from flax import traverse_util
from test_choose import attempt, features

from jaxbert.data.sampling import make_batch
from jaxbert.errors import InputError
from jaxbert.losses.choose import choose_loss
from jaxbert.losses.forms import objective_of
from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.heads import init_params, make_apply
from jaxbert.model.names import name_table
from jaxbert.model.pretrained import load_pretrained
from jaxbert.tasks.qa import QA
from jaxbert.tasks.registry import TASKS

pytestmark = pytest.mark.integration

KEY = jax.random.key(1)
TEXTBOOK = '''
import jax
import jax.numpy as jnp

def textbook(outputs, batch):
    """Of each row the mean of start and end, over all positions: as BertForQuestionAnswering."""
    def cross_entropy(logits, gold):
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), gold[:, None], 1)[:, 0]
    start = cross_entropy(outputs["start_logits"], batch["start_positions"])
    return (start + cross_entropy(outputs["end_logits"], batch["end_positions"])) / 2

def textbook_sums(outputs, batch):
    return jnp.sum(textbook(outputs, batch) * batch["weight"]), jnp.sum(batch["weight"])

def with_model(apply, params, batch, key):
    return textbook(apply(params, batch, key=key, train=True), batch)

def masked(outputs, batch):
    real = batch["attention_mask"] != 0
    names = ("start_logits", "end_logits")
    return textbook({n: jnp.where(real, outputs[n], -1e30) for n in names}, batch)

def mean(outputs, batch):
    return jnp.mean(textbook(outputs, batch))

def tokens(outputs, batch):
    return outputs["start_logits"]

def classes(outputs, batch):
    log_p = jax.nn.log_softmax(outputs["logits"])
    return -jnp.take_along_axis(log_p, batch["labels"][..., None], -1)[..., 0]
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "losses.py"
    path.write_text(TEXTBOOK)
    return path


def test_the_textbook_loss_is_that_of_pytorch(source: Path, tmp_path: Path) -> None:
    """Rows padded to one length, as with --length_bucket 0: the loss and every gradient."""
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.5,
    )
    model = transformers.BertForQuestionAnswering(config).eval()
    model.save_pretrained(tmp_path / "model")
    cfg, params = load_pretrained(tmp_path / "model", "qa")
    batch = make_batch(features(), np.arange(8), 24, 8)
    names = ("input_ids", "token_type_ids", "attention_mask", "start_positions", "end_positions")
    theirs = model(**{n: torch.from_numpy(batch[n].astype(np.int64)) for n in names}).loss
    theirs.backward()
    wanted = dict(model.named_parameters())

    for name in ("textbook", "textbook_sums", "with_model"):
        objective = objective_of(choose_loss(QA.losses, f"{source}:{name}").function)

        def mean(params: Any) -> jax.Array:
            ((_, total, weight),), _ = objective(make_apply(cfg, "qa"), params, batch, KEY)  # noqa: B023
            return total / weight

        value, gradient = jax.jit(jax.value_and_grad(mean))(params)
        assert float(value) == pytest.approx(theirs.item(), rel=1e-5)
        leaves = traverse_util.flatten_dict(gradient)
        for entry in name_table(cfg, "qa"):
            theirs_of = wanted[entry.name].grad
            assert theirs_of is not None
            pad = 1 if entry.name.endswith("word_embeddings.weight") else 0  # torch has none there
            expected = entry.to_leaf(theirs_of.numpy())[pad:]
            np.testing.assert_allclose(leaves[entry.leaf][pad:], expected, atol=2e-5)
    apply = make_apply(cfg, "qa")
    loss_sum, weight = span_cross_entropy(apply(params, batch), batch)
    assert abs(float(loss_sum / weight) - theirs.item()) > 0.1  # ours, without padding


def test_what_reads_padding_is_told_once_and_accepted(
    source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "jaxbert"):
        attempt(source, "masked")
        assert not caplog.records
        attempt(source, "textbook_sums")
        attempt(source, "textbook", lengths=(19, 20))
    one, several = (record.getMessage() for record in caplog.records)
    assert one == (
        f"--loss {source}:textbook_sums reads padding tokens, so its value depends on how far rows "
        "are padded, here to --max_seq_length; PyTorch's classes do that too"
    )
    assert "here to the length of the batch (to --max_seq_length with --length_bucket 0)" in several


def test_in_packed_rows_it_has_no_meaning(source: Path) -> None:
    with pytest.raises(InputError, match="with --packing are those of other texts; leave out wh"):
        attempt(source, "textbook", packing=True)
    attempt(source, "masked", packing=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mean",
            "it returned one number, not (loss_sum, weight_sum); a mean does not say how much it "
            "is a mean of: return one value a row, (4,), or jnp.sum(loss * batch[",
        ),
        ("tokens", "it returned the shape (4, 20), not (loss_sum, weight_sum) or one value a row"),
    ],
)
def test_what_is_no_value_a_row_is_refused(source: Path, name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        attempt(source, name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_are_weighed_and_padding_rows_are_nothing(source: Path) -> None:
    """Also where the loss is not finite on a row of padding."""
    function = choose_loss(TASKS["classification"].losses, f"{source}:classes").function
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    labels = np.array([0, 2, 1, 0])
    batch = {"labels": labels, "weight": np.array([1.0, 0.5, 0.0, 0.0], np.float32)}
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = -(log_p[0, 0] + 0.5 * log_p[1, 2])
    logits[3] = np.nan
    loss_sum, weight_sum = function({"logits": jnp.asarray(logits)}, batch)
    assert (float(loss_sum), float(weight_sum)) == (pytest.approx(wanted, rel=1e-6), 1.5)


def test_choices_have_one_value_a_row_and_tags_have_not(source: Path) -> None:
    """Of multiple choice a row is a question with its choices; of tagging, a text with its words:
    one value for each word is no value a row."""
    choices = choose_loss(TASKS["multiple_choice"].losses, f"{source}:classes").function
    batch = {"labels": jnp.array([1, 0]), "weight": jnp.ones(2)}
    assert float(choices({"logits": jnp.zeros((2, 5))}, batch)[0]) == pytest.approx(2 * np.log(5))
    tags = choose_loss(TASKS["tagging"].losses, f"{source}:classes").function
    batch = {"labels": jnp.zeros((2, 7), int), "weight": jnp.ones(2)}
    with pytest.raises(InputError, match=r"the shape \(2, 7\), not .* one value a row, \(2,\)"):
        tags({"logits": jnp.zeros((2, 7, 3))}, batch)


def test_it_can_be_the_base_of_another_loss(source: Path) -> None:
    args = json.dumps({"base": f"{source}:masked"})
    chosen = choose_loss(QA.losses, "r_drop", args)
    assert chosen.user_defined
    named = choose_loss(QA.losses, "r_drop")
    params = init_params(SMALL, "qa", jax.random.key(0))
    batch = make_batch(features(), np.arange(4), 20, 6)
    apply = make_apply(SMALL, "qa")
    ours, theirs = (objective_of(x.function)(apply, params, batch, KEY) for x in (chosen, named))
    for a, b in zip(ours.terms, theirs.terms, strict=True):
        assert float(a.sum) == pytest.approx(float(b.sum), rel=1e-5)
        assert float(a.weight) == float(b.weight)
