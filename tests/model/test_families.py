"""Every family and head against its class in transformers: logits, gradients, a saved folder.

With `-s -m "slow or integration"` it prints the table of docs/families.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from family_folders import CONFIGS, make_folder
from flax import traverse_util

from jaxbert.data.encode_texts import encode_texts
from jaxbert.data.packing import pack_batch
from jaxbert.data.sampling import make_batch
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError
from jaxbert.model.families import FAMILIES
from jaxbert.model.heads import Params, make_apply
from jaxbert.model.names import name_table
from jaxbert.model.pretrained import load_pretrained, save_pretrained
from jaxbert.model.tokenizer import load_tokenizer

LENGTH, ROWS, CHOICES = 11, 3, 2
LABELS = {"classification": ("no", "maybe", "yes"), "tagging": ("O", "B", "I", "X")}
NO_DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout")
# The others differ in no more than these: they are tried where there is time.
QUICK = {"qa", "classification", "mlm"}
CHOICES_DIFFER = ("roberta", "electra")  # from the head of classification


def kind_of(family: str, head: str) -> pytest.MarkDecorator:
    is_quick = head in QUICK or (head == "multiple_choice" and family in CHOICES_DIFFER)
    return pytest.mark.integration if is_quick else pytest.mark.slow


CASES = [
    pytest.param(family, head, marks=kind_of(family, head), id=f"{family}-{head}")
    for family in CONFIGS
    for head in FAMILIES[family].classes
]
OUTPUTS = {"qa": ("start_logits", "end_logits"), "regression": ("scores",)}

Arrays = dict[str, np.ndarray]


def make_model(folder: Path, family: str, head: str) -> Any:
    more: dict[str, Any] = dict.fromkeys(NO_DROPOUT, 0.0)
    if head in LABELS:
        more["id2label"] = dict(enumerate(LABELS[head]))
    elif head == "regression":
        more["num_labels"] = 1
    return make_folder(folder, family, FAMILIES[family].classes[head], **more)


def random_batch(model: Any, head: str) -> Arrays:
    """Rows of other lengths; (B, T), or (B, T, K) for choices."""
    rng, config = np.random.default_rng(7), model.config
    shape = (ROWS, CHOICES) if head == "multiple_choice" else (ROWS,)
    lengths = rng.integers(3, LENGTH + 1, shape)
    lengths.reshape(-1)[0] = LENGTH
    mask = np.arange(LENGTH) < lengths[..., None]
    ids = rng.integers(config.pad_token_id + 1, config.vocab_size, mask.shape)
    types = np.sort(rng.integers(0, getattr(config, "type_vocab_size", 1), mask.shape), axis=-1)
    batch = {
        "input_ids": np.where(mask, ids, config.pad_token_id),
        "token_type_ids": np.where(mask, types, 0),
        "attention_mask": mask,
    }
    return {name: np.moveaxis(x, -1, 1).astype(np.int32) for name, x in batch.items()}


def torch_outputs(model: Any, batch: Arrays, family: str) -> dict[str, torch.Tensor]:
    inputs = {n: torch.from_numpy(np.moveaxis(x, 1, -1).astype(np.int64)) for n, x in batch.items()}
    if not getattr(model.config, "type_vocab_size", 0):
        del inputs["token_type_ids"]
    found = dict(model(**inputs).items())
    return {"scores" if n == "scores" else n: y for n, y in found.items()}


def outputs_of(head: str) -> tuple[str, ...]:
    return OUTPUTS.get(head, ("logits",))


def weights_of(head: str, outputs: dict[str, Any], batch: Arrays) -> Arrays:
    """Random weights for a sum of the outputs, 0 at padding."""
    rng = np.random.default_rng(5)
    weights = {}
    for name in outputs_of(head):
        shape = tuple(outputs[name].shape)
        weights[name] = rng.normal(size=shape).astype(np.float32)
        if shape[1:2] == (LENGTH,):
            real = batch["attention_mask"].reshape(ROWS, LENGTH, *[1] * (len(shape) - 2))
            weights[name] *= real
    return weights


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return 1.0 if not size and not a.any() and not b.any() else float(a @ b / size)


@pytest.fixture(scope="module")
def table() -> Any:
    rows: list[str] = []
    yield rows
    print("\n| class | logits | gradients |\n|---|---|---|")
    print("\n".join(rows))


@pytest.mark.parametrize(("family", "head"), CASES)
def test_logits_gradients_and_folder(
    tmp_path: Path, family: str, head: str, table: list[str]
) -> None:
    model = make_model(tmp_path, family, head)
    cfg, params = load_pretrained(tmp_path, head, draw_head=False)
    batch = random_batch(model, head)
    theirs = torch_outputs(model, batch, family)
    theirs = {"scores": theirs["logits"][:, 0]} if head == "regression" else theirs
    weights = weights_of(head, theirs, batch)
    sum(torch.sum(theirs[n] * torch.from_numpy(w)) for n, w in weights.items()).backward()

    apply = make_apply(cfg, head)

    def weighted(params: Params) -> tuple[jax.Array, Any]:
        outputs = apply(params, batch)
        return sum((outputs[n] * w).sum() for n, w in weights.items()), outputs

    gradients, ours = jax.grad(weighted, has_aux=True)(params)  # eager: quicker, in all
    gap = max(
        float(np.abs((np.asarray(ours[n]) - theirs[n].detach().numpy()) * (w != 0)).max())
        for n, w in weights.items()
    )
    assert gap <= 1e-5

    of_torch = {n: x.grad.numpy() for n, x in model.named_parameters(remove_duplicate=False)}
    leaves = traverse_util.flatten_dict(gradients)
    worst = 1.0
    for entry in name_table(cfg, head):
        tensor = of_torch[entry.name]
        tensor = tensor if entry.row is None else tensor[entry.row : entry.row + 1]
        mine = entry.to_tensor(np.asarray(leaves[entry.leaf]))
        if entry.name.endswith("key.bias") or entry.name.endswith("k_lin.bias"):
            assert np.abs(mine).max() < 1e-5  # softmax ignores it: its gradient is rounding
            continue
        worst = min(worst, cosine(mine, tensor))
    assert worst >= 0.99999
    table.append(f"| {type(model).__name__} | {gap:.1e} | {worst:.7f} |")
    saved = tmp_path / "saved"
    save_pretrained(saved, cfg, params, load_tokenizer(tmp_path), head=head)
    assert_opens_equal(saved, model)


def assert_opens_equal(folder: Path, model: Any) -> None:
    """transformers opens the folder by its class and with the same weights and tokens."""
    again, info = type(model).from_pretrained(folder, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs, found = model.state_dict(), again.state_dict()
    assert theirs.keys() == found.keys()
    assert all(torch.equal(theirs[name], found[name]) for name in theirs)
    assert again.config.architectures == [type(model).__name__]
    assert again.config.model_type == model.config.model_type
    ours = transformers.AutoTokenizer.from_pretrained(folder)
    before = transformers.AutoTokenizer.from_pretrained(folder.parent)
    text = "Zoë paid  $5 \U0001f682, e\u0301lan"
    assert type(ours) is type(before)
    assert ours(text, "a")["input_ids"] == before(text, "a")["input_ids"]


@pytest.mark.integration
@pytest.mark.parametrize("family", ["roberta", "electra", "albert"])
def test_packed_rows_are_padded_ones(tmp_path: Path, family: str) -> None:
    """Positions begin anew in every window of a row, whatever row of the table is the first."""
    make_model(tmp_path, family, "classification")
    cfg, params = load_pretrained(tmp_path, "classification", draw_head=False)
    examples = [TextExample("", text, pair) for text, pair in (("Anna", None), ("a b", "c"))]
    features = encode_texts(examples, load_tokenizer(tmp_path), max_length=20, targets=None)
    batch = make_batch(features, np.arange(2), int(features.lengths.sum()), 2)
    apply = make_apply(cfg, "classification")
    key = jax.random.key(2)  # with dropout's masks, too
    padded, packed = (apply(params, b, key=key, train=True) for b in (batch, pack_batch(batch, 1)))
    np.testing.assert_allclose(packed["logits"], padded["logits"], atol=1e-5)


def test_a_table_without_room_for_a_token_is_refused(tmp_path: Path) -> None:
    make_model(tmp_path, "roberta", "qa")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2}))
    with pytest.raises(InputError, match="the first 2 are the padding's, so there must be more"):
        load_pretrained(tmp_path, "qa")


def test_a_head_that_a_family_has_not_is_refused(tmp_path: Path) -> None:
    make_model(tmp_path, "distilbert", "qa")
    with pytest.raises(InputError, match="of the type distilbert has no head next_sentence"):
        load_pretrained(tmp_path, "next_sentence")
