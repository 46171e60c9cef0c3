"""Tiny folders of every family, as transformers saves them: a class's random weights and a
tokenizer of the family, trained on a few sentences. Nothing comes from a hub."""

from __future__ import annotations

import functools
import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    import torch

POSITIONS = 48
SENTENCES = (
    "Anna lives in New York, and she likes the café near the station.",
    "The museum opened in 1971. It is stable at 25°C!",
    "Where does the train 🚂 go? To Zürich — or to 北京, who knows?",
    "She paid $5 for tea  and two cakes; e\u0301lan vital 👩🏽‍🚀 is rare.",
)
ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": POSITIONS,
}
# A LayerNorm's epsilon so large shows whether it is read.
CONFIGS: dict[str, tuple[type[transformers.PreTrainedConfig], dict[str, Any]]] = {
    "roberta": (
        transformers.RobertaConfig,
        SIZES
        | {"type_vocab_size": 1, "layer_norm_eps": 0.02, "max_position_embeddings": POSITIONS + 2},
    ),
    "xlm-roberta": (
        transformers.XLMRobertaConfig,
        SIZES
        | {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "max_position_embeddings": POSITIONS + 2},
    ),
}


CONFIGS |= {
    "distilbert": (
        transformers.DistilBertConfig,
        {"dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 40}
        | {"max_position_embeddings": POSITIONS},
    ),
    "electra": (
        transformers.ElectraConfig,
        SIZES | {"embedding_size": 10, "layer_norm_eps": 0.02},
    ),
    "albert": (
        transformers.AlbertConfig,
        SIZES | {"embedding_size": 10, "num_hidden_layers": 3, "num_hidden_groups": 2},
    ),
}


def _word_pieces() -> transformers.PreTrainedTokenizerFast:
    letters = sorted(
        {*"".join(SENTENCES).lower(), *string.printable.lower()} - {*string.whitespace}
    )
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *letters, *(f"##{letter}" for letter in letters), "the", "cafe", "##lan"]
    return transformers.BertTokenizer(vocab={word: number for number, word in enumerate(words)})


def _byte_level() -> transformers.PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=ROBERTA_SPECIAL[:4],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    vocab = tokenizer.get_vocab()
    vocab["<mask>"] = len(vocab)  # the last, as RoBERTa's
    merges = [tuple(pair) for pair in _model(tokenizer)["merges"]]
    mask = transformers.AddedToken("<mask>", lstrip=True, normalized=False, special=True)
    return transformers.RobertaTokenizer(vocab=vocab, merges=merges, mask_token=mask)


def _unigram(family: str) -> transformers.PreTrainedTokenizerFast:
    special = ["<pad>", "<unk>", "[CLS]", "[SEP]"] if family == "albert" else ROBERTA_SPECIAL[:4]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=150,
        special_tokens=special,
        unk_token="<unk>",
        initial_alphabet=list(string.printable.replace(" ", "").strip()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    vocab = [(piece, score) for piece, score in _model(tokenizer)["vocab"]]
    name = "[MASK]" if family == "albert" else "<mask>"
    mask = transformers.AddedToken(name, lstrip=True, normalized=False, special=True)
    classes = {
        "albert": transformers.AlbertTokenizer,
        "xlm-roberta": transformers.XLMRobertaTokenizer,
    }
    return classes[family](vocab=[*vocab, (name, 0.0)], mask_token=mask)


def _model(tokenizer: Tokenizer) -> dict[str, Any]:
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return model


TOKENIZERS: dict[str, Callable[[], transformers.PreTrainedTokenizerFast]] = {
    "roberta": _byte_level,
    "xlm-roberta": functools.partial(_unigram, "xlm-roberta"),
    "distilbert": _word_pieces,
    "electra": _word_pieces,
    "albert": functools.partial(_unigram, "albert"),
}


@functools.cache
def tokenizer_of(family: str) -> transformers.PreTrainedTokenizerFast:
    tokenizer = TOKENIZERS[family]()
    tokenizer.model_max_length = POSITIONS
    return tokenizer


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Every parameter redrawn, biases and LayerNorms too, so large that no layer is nearly
    linear."""
    rng = np.random.default_rng(seed)
    import torch  # another Python's tests have none, and need the tokenizers here

    with torch.no_grad():
        for name, x in model.named_parameters():
            scale = 0.3 if x.ndim == 1 else 1.2 / x.shape[-1] ** 0.5
            is_scale = x.ndim == 1 and "norm" in name.lower() and name.endswith("weight")
            values = rng.normal(size=x.shape) * scale + is_scale
            x.copy_(torch.from_numpy(values.astype(np.float32)))


def make_folder(folder: Path, family: str, architecture: str, **more: Any) -> Any:
    """Write a model of transformers' class with its tokenizer; the model."""
    tokenizer = tokenizer_of(family)
    config_cls, sizes = CONFIGS[family]
    pad = {"pad_token_id": tokenizer.pad_token_id}
    config = config_cls(vocab_size=len(tokenizer), **sizes, **pad, **more)
    model = getattr(transformers, architecture)(config).eval()
    randomise(model, seed=len(architecture))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model
