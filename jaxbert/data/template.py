"""Template: the special tokens that a tokenizer puts around texts and between them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
    """A window is first text last, or for a pair first text between text last.

    Attributes:
        first, last: (1,) int32: [CLS] and [SEP], or <s> and </s>.
        between: (n,) int32: one [SEP], or two </s>.
        second_type: the token type of the second text and its end.
        word_prefix: what stands before a word by itself, so that it is tokenized as one within a
            text: a space for RoBERTa, whose tokens begin with the space before a word.
    """

    first: np.ndarray
    between: np.ndarray
    last: np.ndarray
    second_type: int
    word_prefix: str

    @property
    def single(self) -> int:
        """How many special tokens a window with one text has."""
        return len(self.first) + len(self.last)

    @property
    def pair(self) -> int:
        """How many special tokens a window with two texts has."""
        return self.single + len(self.between)

    @property
    def before_second(self) -> int:
        """How many special tokens come before the second text."""
        return len(self.first) + len(self.between)


def template_of(tokenizer: PreTrainedTokenizerFast) -> Template:
    """What the tokenizer does to two empty texts, and to a word with and without a space.

    If it adds nothing to texts, it is BERT's template of the tokenizer's [CLS] and [SEP].
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    empty = backend.encode("", "")
    is_special = np.array([owner is None for owner in empty.sequence_ids], bool)
    special = np.asarray(empty.ids, np.int32)[is_special]
    adds = len(special) > 2
    if not adds:
        cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        special = np.array([cls, sep, sep], np.int32)
    alone, within = (backend.encode(text, add_special_tokens=False).ids for text in ("a", " a"))
    return Template(
        first=special[:1],
        between=special[1:-1],
        last=special[-1:],
        second_type=int(empty.type_ids[-1]) if adds else 1,
        word_prefix="" if alone == within or tokenizer.unk_token_id in within else " ",
    )
