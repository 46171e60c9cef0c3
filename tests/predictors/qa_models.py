"""Tiny BERT folders with a question-answering head, the same on every machine and for every reader.

They are written with numpy alone, under the names of transformers' checkpoints, so that the
environment in which answers are recorded needs nothing of jaxbert.
"""

from __future__ import annotations

import dataclasses
import json
import string
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_SIGNS = list(".,;:!?'\"()-%/$€°。，？、")
_WORDS = (
    "the of and in was is at to on a by which who where what when how many founded field paris "
    "london city river hugging ##face ##ing ##ed ##s ##ly work start ##up new york capital england "
    "he she they it that for from with as an are be left met ada zoe"
)
_CHINESE = (
    "北京是中国的首都上海在东边人口多少什么时候哪里"
    "国語教科書小学校全年に学わたって挿し絵が用いられている"
)


@dataclasses.dataclass(frozen=True)
class Model:
    """What makes one folder different from another.

    Attributes:
        cased: letters keep their case and their accents.
        letters: English words and letters are in the vocabulary.
        loud: what the logits are multiplied by.
        positions: tokens of the longest row.
        seed: of the weights.
    """

    cased: bool = False
    letters: bool = True
    loud: float = 1.0
    positions: int = 512
    seed: int = 0


MODELS = {
    "english": Model(),
    "cased": Model(cased=True, seed=1),
    "chinese": Model(letters=False, seed=2),
    "loud": Model(loud=2000, seed=7),
    "short": Model(positions=40, seed=3),
}


def vocabulary(model: Model) -> list[str]:
    """The lines of vocab.txt."""
    digits = list(string.digits)
    letters = [*string.ascii_lowercase, *(string.ascii_uppercase if model.cased else ())]
    own = [*_WORDS.split(), *letters, *(f"##{c}" for c in letters)] if model.letters else letters
    return list(
        dict.fromkeys(
            [
                *_SPECIAL,
                *own,
                *digits,
                *(f"##{d}" for d in digits),
                *_SIGNS,
                *_CHINESE,
                "\U0001f917",
            ]
        )
    )


def write_model(folder: Path, name: str) -> Path:
    """The folder of one of MODELS: config.json, vocab.txt, tokenizer_config.json, weights."""
    model = MODELS[name]
    words = vocabulary(model)
    hidden, inner, layers = 16, 32, 1
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (len(words), hidden),
        "bert.embeddings.position_embeddings.weight": (model.positions, hidden),
        "bert.embeddings.token_type_embeddings.weight": (2, hidden),
        **_norm("bert.embeddings.LayerNorm", hidden),
    }
    for layer in range(layers):
        at = f"bert.encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _dense(f"{at}.attention.{part}", hidden, hidden)
        shapes |= _norm(f"{at}.attention.output.LayerNorm", hidden)
        shapes |= _dense(f"{at}.intermediate.dense", hidden, inner)
        shapes |= _dense(f"{at}.output.dense", inner, hidden)
        shapes |= _norm(f"{at}.output.LayerNorm", hidden)
    shapes |= _dense("qa_outputs", hidden, 2)
    rng = np.random.default_rng(model.seed)
    weights = {}
    for key, shape in shapes.items():
        drawn = rng.normal(0, 0.1 if key.endswith("bias") else 0.4, shape)
        if key.endswith("LayerNorm.weight"):
            drawn += 1
        if key.startswith("qa_outputs"):
            drawn *= model.loud
        weights[key] = drawn.astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["BertForQuestionAnswering"],
        "model_type": "bert",
        "vocab_size": len(words),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": inner,
        "hidden_act": "gelu",
        "max_position_embeddings": model.positions,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": not model.cased,
        "model_max_length": model.positions,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return folder


def _dense(name: str, before: int, behind: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (behind, before), f"{name}.bias": (behind,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
