"""Lengths: how much of a text a predictor reads."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

from transformers import PreTrainedTokenizerFast

from jaxbert.data.encode_texts import Truncation
from jaxbert.errors import InputError
from jaxbert.predictors.predictor import CallSettings

_TRUNCATIONS = ("longest_first", "only_first", "only_second", "do_not_truncate")
_PADDINGS = ("longest", "max_length", "do_not_pad")


class TokenizerKeywords(TypedDict, total=False):
    """Those keywords of a tokenizer of transformers that are known; see Lengths."""

    truncation: bool | str | None
    max_length: int | None
    padding: bool | str


@dataclasses.dataclass(frozen=True)
class Lengths(CallSettings):
    """The keywords truncation, max_length and padding of a tokenizer of transformers.

    Attributes:
        truncation: True or "longest_first" cuts to max_length tokens, of a pair the longer text;
            "only_first" and "only_second" cut that text alone; False or "do_not_truncate" refuses
            a text that the model cannot read whole. None, the default, cuts to max_length where
            that is given, and else to the length that the model was trained with.
        max_length: the most tokens, with [CLS] and [SEP]; by default those of the tokenizer.
        padding: changes no answer; but with any other than False, max_length alone does not cut.

    Raises:
        InputError: a value that is none of these.
    """

    truncation: bool | str | None = None
    max_length: int | None = None
    padding: bool | str = False

    def __post_init__(self) -> None:
        if not (self.truncation is None or isinstance(self.truncation, bool)):
            _check("truncation", self.truncation, _TRUNCATIONS)
        if not isinstance(self.padding, bool):
            _check("padding", self.padding, _PADDINGS)
        if self.max_length is not None and (
            not isinstance(self.max_length, int) or self.max_length < 3
        ):
            raise InputError(
                f"max_length is {self.max_length!r}: it must be at least 3, for [CLS], a token and "
                "[SEP]"
            )

    @property
    def strategy(self) -> Truncation:
        """Which text of a pair is cut."""
        if self.truncation == "only_first":
            return "only_first"
        return "only_second" if self.truncation == "only_second" else "longest_first"

    @property
    def asked(self) -> bool:
        """Whether the caller said that texts are to be cut."""
        if self.truncation is None:
            return self.max_length is not None and self.padding is False
        return self.truncation not in (False, "do_not_truncate")

    def most(
        self, tokenizer: PreTrainedTokenizerFast, *, trained: int, positions: int
    ) -> int | None:
        """The tokens to which a text is cut, at most the model's positions; None cuts nothing."""
        if self.asked:
            return min(self.max_length or int(tokenizer.model_max_length), positions)
        return trained if self.truncation is None else None


def _check(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}: give True, False, {', '.join(known)}")
