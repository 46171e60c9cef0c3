"""Examples and a tokenizer -> Features: windows of tokens as flat arrays, with what training needs.

T tokens of a window, M windows. Tokens of all windows lie one behind the other, without padding.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxbert.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# What a token column is padded with in a batch, where that is not 0: losses pass over labels of
# -100, and 0 is a class.
PADDING = {"labels": -100}


@dataclasses.dataclass(frozen=True)
class Features:
    """Encoded windows.

    Attributes:
        bounds: (M + 1,) int64; window m has the tokens bounds[m] to bounds[m + 1].
        tokens: columns with a value a token, (total, ...); padded in a batch, see PADDING.
        rows: columns with a value a window, (M, ...).
        example: (M,) int32, the number of the example that each window is of.
        host: columns with a value (or several) a token, (total, ...), that stay on the host.
        notes: what was counted while encoding, to be printed.
        learnable: (M,) bool, False at windows from which nothing can be learned, which have no
            weight; None where there are none.
        left_out: what these are and why, to be printed by a training, which leaves them out.
    """

    bounds: np.ndarray
    tokens: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    example: np.ndarray
    host: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    learnable: np.ndarray | None = None
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(M,) int64, tokens of each window."""
        return np.diff(self.bounds)

    def to_learn(self) -> Features:
        """The windows from which something can be learned."""
        if self.learnable is None:
            return self
        kept = np.flatnonzero(self.learnable)
        lengths = self.lengths[kept]
        tokens = ranges(self.bounds[kept], lengths)
        return dataclasses.replace(
            self,
            bounds=np.concatenate([[0], np.cumsum(lengths)]),
            tokens={name: column[tokens] for name, column in self.tokens.items()},
            rows={name: column[kept] for name, column in self.rows.items()},
            example=self.example[kept],
            host={name: column[tokens] for name, column in self.host.items()},
            learnable=None,
        )

    def fingerprint(self) -> str:
        """SHA-256 of all that training sees; equal fingerprints give equal batches."""
        digest = hashlib.sha256(self.bounds.tobytes())
        for columns in (self.tokens, self.rows):
            for name in sorted(columns):
                digest.update(name.encode() + columns[name].tobytes())
        return digest.hexdigest()


def check_ids(features: Features, *, vocab_size: int, positions: int, types: int) -> None:
    """Hold every index against its table: a JAX gather out of range clamps without a word.

    Raises:
        InputError: a token, a position or a token type is outside of the model's tables.
    """
    limits = {"input_ids": vocab_size, "token_type_ids": types}
    for name, size in limits.items():
        column = features.tokens[name]
        if column.size and not 0 <= int(column.min()) <= int(column.max()) < size:
            raise InputError(
                f"{name} go from {column.min()} to {column.max()}, and the model has {size}; "
                "is the tokenizer that of the model?"
            )
    longest = int(features.lengths.max(initial=0))
    if longest > positions:
        raise InputError(
            f"windows have up to {longest} tokens and the model {positions} positions; "
            f"give --max_seq_length {positions} or less"
        )


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The whole numbers of many ranges, one range behind the other.

    Args:
        starts: (N,) int, the first number of each range.
        lengths: (N,) int, how many numbers each has.

    Returns:
        (lengths.sum(),) int64.

    >>> ranges(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist()
    [5, 6, 7, 8, 9]
    """
    before = np.cumsum(lengths) - lengths
    found: np.ndarray = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return found


@dataclasses.dataclass(frozen=True)
class Tokenized:
    """One text's token ids (T,) and their characters: starts and ends (T,), ascending."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> dict[str, Tokenized]:
    """Every different text once: a paragraph of five questions is not tokenized five times."""
    unique = list(dict.fromkeys(texts))
    backend = tokenizer.backend_tokenizer
    # Truncation and padding, stored in tokenizer.json or left by an earlier call, would act unseen.
    backend.no_truncation()
    backend.no_padding()
    encodings = backend.encode_batch(unique, add_special_tokens=False)
    found = {}
    for text, encoding in zip(unique, encodings, strict=True):
        offsets = np.asarray(encoding.offsets, np.int32).reshape(-1, 2)
        ids = np.asarray(encoding.ids, np.int32)
        found[text] = Tokenized(ids, offsets[:, 0], offsets[:, 1])
    return found
