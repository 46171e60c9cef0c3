"""config.json: which are read, and what of one is refused by its field's name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jaxbert.errors import InputError
from jaxbert.model.config import BertConfig, config_from_dict, config_to_dict, load_config
from jaxbert.model.folders import find_model_folder

CFG = BertConfig(vocab_size=11, hidden_size=6, num_attention_heads=2, intermediate_size=10)


def write(folder: Path, **changed: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config_to_dict(CFG) | changed))
    return folder


def refusal(folder: Path) -> str:
    """The message of the InputError: one line that begins with the folder or a file in it."""
    with pytest.raises(InputError) as caught:
        load_config(folder)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("model_type", ["xlnet", "modernbert", "BERT", "", 3, ["bert"]])
def test_other_model_types_are_refused_by_name(tmp_path: Path, model_type: Any) -> None:
    message = refusal(write(tmp_path, model_type=model_type))
    assert f"config.json: model_type is {model_type!r}, and jaxbert reads bert, rob" in message


BIG = 10**9
CONFIG_FAULTS: list[tuple[str, Any]] = [
    *((name, value) for name in ("vocab_size", "hidden_size") for value in (0, -1, BIG, 2.5, "9")),
    ("num_attention_heads", 4),  # no divisor of 6
    ("num_attention_heads", 0),
    ("num_hidden_layers", True),
    ("num_hidden_layers", BIG),
    ("intermediate_size", [10]),
    ("max_position_embeddings", {}),
    ("type_vocab_size", 0),
    ("hidden_dropout_prob", 1.0),
    ("hidden_dropout_prob", -0.1),
    ("attention_probs_dropout_prob", float("nan")),
    ("layer_norm_eps", 0),
    ("layer_norm_eps", float("inf")),
    ("layer_norm_eps", "1e-12"),
    ("initializer_range", -1),
    ("pad_token_id", 11),
    ("pad_token_id", -1),
    ("hidden_act", "swish"),
    ("hidden_act", ["gelu"]),
    ("position_embedding_type", "relative_key"),
    ("is_decoder", True),
    ("add_cross_attention", True),
    ("chunk_size_feed_forward", 8),
    ("pruned_heads", {"0": [1]}),
    ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
]


@pytest.mark.parametrize(("name", "value"), CONFIG_FAULTS)
def test_config_fault_names_the_field(tmp_path: Path, name: str, value: Any) -> None:
    folder = write(tmp_path, **{name: value})
    message = refusal(folder)
    assert message.startswith(f"{folder / 'config.json'}: ")
    assert name in message


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "null", '"bert"', "[" * 50_000, '{"a": ' + "9" * 5000 + "}", "\xff"],
)
def test_config_that_is_no_object(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    assert "config.json: " in refusal(tmp_path)


def test_config_is_missing(tmp_path: Path) -> None:
    assert "config.json: no such file" in refusal(tmp_path)


def test_config_of_old_and_of_other_fields(tmp_path: Path) -> None:
    raw = {
        "hidden_size": 24,
        "num_attention_heads": 3,
        "layer_norm_eps": 1e-5,
        "architectures": ["BertForMaskedLM"],
        "directionality": "bidi",
        "pad_token_id": None,
        "position_embedding_type": None,
        "is_decoder": False,
    }
    (tmp_path / "config.json").write_text(json.dumps(raw))
    cfg = BertConfig(hidden_size=24, num_attention_heads=3, layer_norm_eps=1e-5)
    assert load_config(tmp_path) == load_config(tmp_path / "config.json") == cfg
    assert cfg.head_size == 8
    assert config_from_dict(json.loads(json.dumps(config_to_dict(cfg))), "again") == cfg


def test_names_that_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, expected in [
        (tmp_path / "file", "is a file; give the folder"),
        (tmp_path / "none", "not a model name of the Hub"),
        ("no-such-owner/no-such-model", "no such folder, and the Hub did not give it"),
        ("~no-such-user/model", "no such folder"),
        ("two words", "not a model name of the Hub"),
    ]:
        with pytest.raises(InputError, match=f"^{re.escape(str(name))}.*{expected}.*$"):
            find_model_folder(name)
