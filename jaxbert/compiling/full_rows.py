"""Windows of any lengths with the columns of a task, to have the shapes of its batches."""

from __future__ import annotations

import dataclasses

import numpy as np
from tokenizers import Tokenizer, models

from jaxbert.data.features import Features
from jaxbert.model.tokenizer import PreTrainedTokenizerFast

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def stretched(features: Features, lengths: np.ndarray) -> Features:
    """Features with the same columns, whose windows have these lengths; the values repeat.

    Args:
        lengths: (M,) int, tokens of each window.
    """
    total = int(lengths.sum())

    def tokens(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {n: np.resize(x, (total, *x.shape[1:])) for n, x in columns.items()}

    return dataclasses.replace(
        features,
        bounds=np.concatenate([[0], np.cumsum(lengths)]),
        tokens=tokens(features.tokens),
        rows={n: np.resize(x, (len(lengths), *x.shape[1:])) for n, x in features.rows.items()},
        example=np.resize(features.example, len(lengths)),
        host=tokens(features.host),
        learnable=None,
    )


def letters_tokenizer(texts: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters: enough to encode a text when only shapes count."""
    letters = sorted(set(texts))
    tokens = dict.fromkeys((*_SPECIAL, *letters, *(f"##{letter}" for letter in letters)))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **dict(zip(names, _SPECIAL, strict=True))
    )
