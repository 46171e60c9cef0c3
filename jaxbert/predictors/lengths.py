"""Lengths: how much of a text a predictor reads."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

from jaxbert.data.encode_texts import Truncation
from jaxbert.errors import InputError
from jaxbert.model.tokenizer import PreTrainedTokenizerFast
from jaxbert.predictors.predictor import CallSettings

_TRUNCATIONS = ("longest_first", "only_first", "only_second", "do_not_truncate")
_PADDINGS = ("longest", "max_length", "do_not_pad")


class TokenizerKeywords(TypedDict, total=False):
    """The supported keywords of a transformers tokenizer; see Lengths."""

    truncation: bool | str | None
    max_length: int | None
    padding: bool | str


@dataclasses.dataclass(frozen=True)
class Lengths(CallSettings):
    """The keywords truncation, max_length and padding of a transformers tokenizer.

    Attributes:
        truncation: True or "longest_first" cuts to max_length tokens, starting with the longer text
            of a pair; "only_first" and "only_second" cut only that text; False or "do_not_truncate"
            refuses a text that is too long for the model. None, the default, cuts to max_length if
            that is given, otherwise to the length that the model was trained with.
        max_length: maximum tokens, including [CLS] and [SEP]; by default the tokenizer's.
        padding: changes no answer. But unless it is False, max_length without truncation does not
            cut.

    Raises:
        InputError: a value is not one of these.
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
    def as_trained(self) -> bool:
        """Whether the caller leaves it to the training what is read of a long text."""
        return self.truncation is None and not self.truncates

    @property
    def truncates(self) -> bool:
        """Whether the caller asked for texts to be cut."""
        if self.truncation is None:
            return self.max_length is not None and self.padding is False
        return self.truncation not in (False, "do_not_truncate")

    def limit(
        self, tokenizer: PreTrainedTokenizerFast, *, trained: int, positions: int
    ) -> int | None:
        """The tokens texts are cut to, at most the model's positions; None for no cut."""
        if self.truncates:
            return min(self.max_length or int(tokenizer.model_max_length), positions)
        return trained if self.truncation is None else None


def _check(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{name} is {value!r}: give True, False, {', '.join(known)}")
