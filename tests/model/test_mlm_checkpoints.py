"""Checkpoints of masked language models in all their forms: the logits of transformers' class."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from jaxbert.errors import InputError
from jaxbert.model.config import load_config
from jaxbert.model.heads import make_apply
from jaxbert.model.pretrained import load_pretrained, save_pretrained

pytestmark = pytest.mark.integration

TINY = transformers.BertConfig(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=24,
    initializer_range=0.3,
)
IDS = np.array([[2, 7, 4, 31, 9, 3], [2, 11, 12, 3, 0, 0]], np.int32)
MASK = (IDS > 0).astype(np.int32)
EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
WEIGHT = "cls.predictions.decoder.weight"
BIAS, DECODER_BIAS = "cls.predictions.bias", "cls.predictions.decoder.bias"

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def whole() -> Tensors:
    """A BertForPreTraining: the masked language model, next sentences and the pooler."""
    torch.manual_seed(0)
    model = transformers.BertForPreTraining(TINY)
    tensors = {name: t.detach().clone() for name, t in model.state_dict().items()}
    for name in (BIAS, DECODER_BIAS):
        tensors[name] = torch.linspace(-1, 1, TINY.vocab_size)
    return tensors


def write(folder: Path, tensors: Tensors, **config: Any) -> Path:
    folder.mkdir()
    tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    fields = {**TINY.to_dict(), "architectures": ["BertForMaskedLM"], **config}
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def logits(folder: Path) -> np.ndarray:
    cfg, params = load_pretrained(folder, "mlm", draw_head=False)
    batch = {"input_ids": IDS, "attention_mask": MASK, "token_type_ids": np.zeros_like(IDS)}
    return np.asarray(make_apply(cfg, "mlm")(params, batch)["logits"])


def expected(folder: Path) -> np.ndarray:
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        found = model(torch.tensor(IDS).long(), attention_mask=torch.tensor(MASK).long())
    return found.logits.numpy()


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {n: t for n, t in tensors.items() if not n.startswith(names)}


def old_names(tensors: Tensors) -> Tensors:
    def old(name: str) -> str:
        name = re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", name)
        return re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name)

    return {old(name): tensor for name, tensor in tensors.items()}


def unequal(tensors: Tensors) -> Tensors:
    return tensors | {BIAS: tensors[BIAS] * 3}


def with_buffers(tensors: Tensors) -> Tensors:
    positions = torch.arange(TINY.max_position_embeddings)[None]
    return tensors | {
        "bert.embeddings.position_ids": positions,
        "bert.embeddings.token_type_ids": torch.zeros_like(positions),
    }


POOLER = ("bert.pooler", "cls.seq_relationship")
FORMS: dict[str, Callable[[Tensors], Tensors]] = {
    "all of pretraining": lambda tensors: tensors,
    "no pooler": without(*POOLER),
    "neither decoder": without(*POOLER, WEIGHT, DECODER_BIAS),
    "the decoder's bias alone": without(*POOLER, WEIGHT, BIAS),
    "the decoder's bias, and its weight": without(*POOLER, BIAS),
    "both biases": without(*POOLER, WEIGHT),
    "both biases, which differ": unequal,
    "the decoder's weight alone": without(*POOLER, EMBEDDINGS),
    "the decoder's weight and bias alone": without(*POOLER, EMBEDDINGS, BIAS),
    "old names": old_names,
    "old names, the decoder's bias alone": lambda t: old_names(without(*POOLER, WEIGHT, BIAS)(t)),
    "buffers": with_buffers,
    "half precision": lambda tensors: {n: t.half() for n, t in tensors.items()},
    "bfloat16": lambda tensors: {n: t.bfloat16() for n, t in tensors.items()},
}


@pytest.mark.filterwarnings("ignore")  # transformers' own
@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_logits_are_those_of_transformers(
    tmp_path: Path, whole: Tensors, form: Callable[[Tensors], Tensors]
) -> None:
    # In float32, which transformers would not compute of a file of halves by itself.
    folder = write(tmp_path / "model", form(whole), dtype="float32")
    found = logits(folder)
    np.testing.assert_allclose(found, expected(folder), rtol=2e-5, atol=2e-5)
    assert np.ptp(found) > 1
    # What is saved is opened with the same logits, by both.
    cfg, params = load_pretrained(folder, "mlm")
    save_pretrained(tmp_path / "saved", cfg, params, None, head="mlm")
    np.testing.assert_array_equal(logits(tmp_path / "saved"), found)
    np.testing.assert_allclose(expected(tmp_path / "saved"), found, rtol=2e-5, atol=2e-5)


def test_the_decoders_bias_is_the_one_that_is_added(tmp_path: Path, whole: Tensors) -> None:
    folder = write(tmp_path / "model", unequal(whole))
    _, params = load_pretrained(folder, "mlm")
    np.testing.assert_array_equal(params["predictions"]["bias"], whole[DECODER_BIAS].numpy())


@pytest.mark.parametrize("head", ["qa", "mlm"])
def test_a_decoder_that_is_not_tied(tmp_path: Path, whole: Tensors, head: str) -> None:
    """It is another model for masked tokens; for questions it is not read at all."""
    folder = write(tmp_path / "a", whole, tie_word_embeddings=False)
    other = write(tmp_path / "b", whole | {WEIGHT: whole[WEIGHT] * 2})
    if head == "qa":
        load_pretrained(folder, head)
        load_pretrained(other, head)
        return
    with pytest.raises(InputError, match=r"config\.json: tie_word_embeddings is false"):
        load_pretrained(folder, head)
    with pytest.raises(InputError, match=rf"{WEIGHT} is not {EMBEDDINGS}; jaxbert's decoder is"):
        load_pretrained(other, head)


def test_a_bias_of_another_shape(tmp_path: Path, whole: Tensors) -> None:
    tensors = without(*POOLER, WEIGHT, BIAS)(whole) | {DECODER_BIAS: torch.zeros(39)}
    with pytest.raises(InputError, match=r"cls\.predictions\.bias  has shape \(39,\)"):
        load_pretrained(write(tmp_path / "model", tensors), "mlm")


@pytest.mark.parametrize("head", ["qa", "mlm"])
def test_an_adapter_beside_the_weights(tmp_path: Path, whole: Tensors, head: str) -> None:
    """transformers would add it to them."""
    folder = write(tmp_path / "model", whole)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(InputError, match=r"adapter_config\.json: .* an adapter of PEFT"):
        load_pretrained(folder, head)
    (folder / "config.json").unlink()  # as most of them are saved
    with pytest.raises(InputError, match=r"adapter_config\.json: .* an adapter of PEFT"):
        load_pretrained(folder, head)
    whole_model = rf"an adapter of PEFT .* give {re.escape(str(tmp_path))}, which has it merged"
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=whole_model):
        load_config(folder)
