"""Adapters in PEFT's form: peft opens them with equal logits, and trains to the same ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from family_folders import SIZES, randomise
from safetensors.numpy import load_file
from test_families import LABELS, NO_DROPOUT, make_model, random_batch, torch_outputs
from torch_pairs import CONFIGS, TOLERANCE, gap, jit, make_pair, torch_loss
from torch_pairs import random_batch as random_spans

from jaxbert.losses.span_losses import span_cross_entropy
from jaxbert.model.families import FAMILIES
from jaxbert.model.heads import make_apply
from jaxbert.model.lora import LORA, Lora, adapted, changes, draw_lora, merged
from jaxbert.model.peft_folder import save_adapter
from jaxbert.model.pretrained import load_pretrained, save_pretrained
from jaxbert.options.settings import FROZEN_BY_LORA
from jaxbert.training.optim import make_schedule
from jaxbert.training.optimizers import make_optimizer
from jaxbert.training.step import init_state, make_train_step
from jaxbert.training.update_rules import RULES

peft = pytest.importorskip("peft", reason="peft is not installed")
pytestmark = [
    pytest.mark.integration,
    # peft's, of what it asks transformers and the Hub for.
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
]

TARGETS = {
    "bert": ["query", "value", "output.dense"],
    "roberta": ["key", "intermediate.dense"],
    "xlm-roberta": None,
    "distilbert": ["q_lin", "ffn.lin2"],
    "electra": ["query", "output.dense"],
    "albert": ["value", "ffn"],
}
CASES = [
    *(("bert", head) for head in FAMILIES["bert"].classes if head != "next_sentence"),
    *((family, "classification") for family in FAMILIES if family != "bert"),
    ("roberta", "multiple_choice"),
    ("electra", "multiple_choice"),
    ("distilbert", "qa"),
    ("albert", "tagging"),
]


def base_of(folder: Path, family: str, head: str) -> Any:
    if family != "bert":
        return make_model(folder, family, head)
    more: dict[str, Any] = dict.fromkeys(NO_DROPOUT[:2], 0.0)
    if head in LABELS:
        more["id2label"] = dict(enumerate(LABELS[head]))
    config = transformers.BertConfig(vocab_size=60, **SIZES, **more)
    if head == "regression":
        config.num_labels = 1
    model = getattr(transformers, FAMILIES[family].classes[head])(config).eval()
    randomise(model, seed=3)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(("family", "head"), CASES)
def test_peft_opens_an_adapter_with_equal_logits(family: str, head: str, tmp_path: Path) -> None:
    base = base_of(tmp_path / "base", family, head)
    cfg, params = load_pretrained(tmp_path / "base", head, id2label=LABELS.get(head))
    lora = Lora(3, 5.0, TARGETS[family], str(tmp_path / "base"))
    rng = np.random.default_rng(1)

    def moved(x: Any) -> np.ndarray:
        return (x + rng.normal(0, 0.3, x.shape)).astype(np.float32)

    change = jax.tree.map(moved, draw_lora(lora, cfg, head, jax.random.key(0)))
    of_head = {n: x for n, x in params.items() if n not in FROZEN_BY_LORA}
    params = {**params, **jax.tree.map(moved, of_head), LORA: change}
    batch = random_batch(base, head)
    apply = jax.jit(adapted(make_apply(cfg, head), lora.scale))
    ours = apply(params, batch)

    def assert_equal(model: Any) -> None:
        with torch.no_grad():
            theirs = torch_outputs(model.eval(), batch, family)
        real = batch["attention_mask"].astype(bool)
        for name in ("start_logits", "end_logits") if head == "qa" else ("logits",):
            x, y = np.asarray(ours["scores" if head == "regression" else name]), theirs[name]
            y = y.numpy().reshape(x.shape)
            if head in ("qa", "tagging", "mlm"):
                x, y = x[real], y[real]
            assert gap(x, y) <= TOLERANCE * max(1.0, np.abs(y).max()), name

    plain = merged(params, lora.scale)
    save_pretrained(tmp_path / "merged", cfg, plain, None, head=head)
    assert_equal(type(base).from_pretrained(tmp_path / "merged"))
    save_adapter(tmp_path / "adapter", lora, cfg, params, head=head)
    with_adapter = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert_equal(with_adapter)
    # And what peft writes of it are the same tensors, under the same names.
    with_adapter.save_pretrained(tmp_path / "again")
    one, other = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "again")
    )
    assert one.keys() == other.keys()
    for name, x in one.items():
        np.testing.assert_array_equal(x, other[name])
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (3, 5.0)
    assert (config["modules_to_save"] is None) == (head == "mlm")


def test_five_steps_give_the_adapter_that_peft_gives(tmp_path: Path) -> None:
    """Losses, gradient norms, A, B and the head, by AdamW with decay and clipping, from the same
    A."""
    pair = make_pair(tmp_path, CONFIGS["gelu-3x5"])
    lora, rate = Lora(4, 8.0, ["query", "attention.output.dense"]), 5e-3
    drawn = jax.device_get(draw_lora(lora, pair.cfg, "qa", jax.random.key(0)))
    params = {**pair.params, LORA: drawn}
    model = peft.get_peft_model(
        pair.model,
        peft.LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=list(lora.targets or ()),
            modules_to_save=["qa_outputs"],
        ),
    )
    table = {entry.leaf[:-1]: entry.name for entry in lora.kernels(pair.cfg, "qa")}
    own = dict(model.named_parameters())
    for path, (a, b) in changes(params).items():
        module = "base_model.model." + table[path].removesuffix(".weight")
        assert own[f"{module}.lora_B.default.weight"].shape == b.T.shape
        own[f"{module}.lora_A.default.weight"].data = torch.tensor(np.asarray(a).T.copy())
    trained = {n: x for n, x in own.items() if x.requires_grad}
    groups = [
        {"params": [x for n, x in trained.items() if n.endswith("bias") == plain]}
        | {"weight_decay": 0.0 if plain else 0.01}
        for plain in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    schedule = make_schedule(rate, steps=5, decay="constant")
    tx = make_optimizer(RULES["adamw"], schedule, weight_decay=0.01, frozen=FROZEN_BY_LORA)
    apply = adapted(make_apply(pair.cfg, "qa"), lora.scale)
    step = jit(make_train_step(apply, span_cross_entropy, tx, frozen=FROZEN_BY_LORA))
    state = init_state(params, tx)
    for number in range(5):
        batch = random_spans(pair.cfg, seed=100 + number)
        optimizer.zero_grad()
        loss = torch_loss(model, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        one = {n: x[None] for n, x in batch.items()}
        state, metrics = step(state, one, jax.random.key(0))
        assert gap(metrics["loss"], loss.detach().numpy()) <= TOLERANCE
        assert gap(metrics["grad_norm"], norm.numpy()) <= 1e-4 * float(norm)
    save_adapter(tmp_path / "ours", lora, pair.cfg, jax.device_get(state.params), head="qa")
    model.save_pretrained(tmp_path / "theirs")
    ours, theirs = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("ours", "theirs")
    )
    assert ours.keys() == theirs.keys()
    # The gradient of that bias is rounding alone: all logits of a side move by it.
    for name in ours.keys() - {"base_model.model.qa_outputs.bias"}:
        assert gap(ours[name], theirs[name]) <= 1e-4, name
        assert ours[name].any(), name
