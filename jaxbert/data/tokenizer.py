"""A BERT tokenizer from a model folder, without importing PyTorch.

`transformers.AutoTokenizer` and `BertTokenizerFast` import torch wherever it is installed;
`PreTrainedTokenizerFast` does not, and reads and writes the same folders.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Read by transformers at its import, to say that PyTorch is missing; it is not needed here.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import PreTrainedTokenizerFast

from jaxbert.data.tokenizer_file import MOST, check_rows, read_tokenizer_json
from jaxbert.errors import InputError
from jaxbert.untrusted import check_file, read_object, shown

_SPECIAL = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
# Values of tokenizer_class that read BERT's WordPiece; another would cut words in another way.
_CLASSES = (
    "BertTokenizer",
    "BertTokenizerFast",
    "BertTokenizerLegacy",
    "DistilBertTokenizer",
    "DistilBertTokenizerFast",
    "ElectraTokenizer",
    "ElectraTokenizerFast",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
)


class BertTokenizer(PreTrainedTokenizerFast):
    """PreTrainedTokenizerFast under the name by which transformers opens a saved BERT tokenizer."""


def load_tokenizer(folder: str | Path, *, vocab_size: int | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder: its tokenizer.json, or vocab.txt as BERT's WordPiece.

    Args:
        vocab_size: rows of the model's embedding table, to check the tokenizer's ids against.

    Raises:
        InputError: no tokenizer is there, a special token is missing, or an id is out of range.
    """
    folder = Path(folder)
    settings = _settings(folder / "tokenizer_config.json")
    try:
        if (folder / "tokenizer.json").is_file():
            inner = Tokenizer.from_str(read_tokenizer_json(folder / "tokenizer.json", vocab_size))
        elif (folder / "vocab.txt").is_file():
            _check_lines(folder / "vocab.txt", vocab_size)
            inner = BertWordPieceTokenizer(
                str(folder / "vocab.txt"),
                lowercase=settings.get("do_lower_case", True),
                strip_accents=settings.get("strip_accents"),
                handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
            )._tokenizer
        else:
            raise InputError(f"{folder}: no tokenizer.json and no vocab.txt; copy the tokenizer in")
    except InputError:
        raise
    except Exception as error:  # the Rust library raises bare Exceptions and its own panics
        raise InputError(f"{folder}: its tokenizer cannot be read ({shown(error)})") from None
    # PreTrainedTokenizerFast adds a missing special token behind the vocabulary, where the model
    # has no row or one that was never trained; so ask the file's own vocabulary before.
    vocab = inner.get_vocab()
    missing = [t for t in _SPECIAL.values() if t not in vocab]
    if missing:
        raise InputError(f"{folder}: the tokenizer has no {', '.join(missing)}; BERT needs them")
    check_rows(folder, max(vocab.values()), vocab_size)
    tokenizer = BertTokenizer(tokenizer_object=inner, **_SPECIAL)
    # What transformers makes its own BertTokenizer of, when it opens the saved folder. A
    # tokenizer.json has its settings itself, whatever tokenizer_config.json says.
    used = inner.normalizer
    tokenizer.init_kwargs |= {
        "do_lower_case": getattr(used, "lowercase", settings.get("do_lower_case", True)),
        "strip_accents": getattr(used, "strip_accents", settings.get("strip_accents")),
        "tokenize_chinese_chars": getattr(
            used, "handle_chinese_chars", settings.get("tokenize_chinese_chars", True)
        ),
    }
    tokenizer.model_max_length = settings.get("model_max_length") or 512
    return tokenizer


def _check_lines(path: Path, vocab_size: int | None) -> None:
    """Hold a vocab.txt against the model before the library builds a table of it."""
    check_file(path, MOST)
    with path.open("rb") as file:
        check_rows(path.parent, sum(1 for _ in file) - 1, vocab_size)


def _settings(path: Path) -> dict[str, Any]:
    """The few settings of tokenizer_config.json that say how vocab.txt is to be used."""
    try:
        raw = read_object(path)
    except FileNotFoundError:
        return {}
    for name in ("auto_map", "trust_remote_code"):
        if raw.get(name):
            raise InputError(
                f"{path}: {name} names code to be run, and jaxbert runs none that comes with a "
                "model; take a tokenizer of plain BERT"
            )
    kind = raw.get("tokenizer_class")
    if kind is not None and kind not in _CLASSES:
        raise InputError(
            f"{path}: tokenizer_class is {shown(repr(kind))}, and jaxbert reads BERT's WordPiece "
            "only (BertTokenizer)"
        )
    types = {
        "do_lower_case": bool,
        "strip_accents": bool,
        "tokenize_chinese_chars": bool,
        "model_max_length": int,
    }
    settings = {k: raw[k] for k, t in types.items() if type(raw.get(k)) is t}
    if not 0 < settings.get("model_max_length", 1) <= 1 << 20:
        del settings["model_max_length"]  # transformers' 10**30 for "unknown"
    return settings
