"""The tokens of a text that is to be tagged, and where they are in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jaxbert.errors import InputError

Offsets = Sequence[tuple[int, int]]


class Piece(NamedTuple):
    """A token of a text: its id, its spelling in the tokenizer, its characters, and whether it
    begins a word."""

    token: int
    word: str
    start: int
    end: int
    first: bool


@dataclasses.dataclass(frozen=True)
class Text:
    """A text with its tokens and the offsets given by the caller, if any, from [CLS] on."""

    text: str
    pieces: list[Piece]
    offsets: Offsets | None = None

    def words(self) -> list[list[int]]:
        """The indices of the pieces of each word."""
        indices: list[list[int]] = []
        for index, piece in enumerate(self.pieces):
            if piece.first or not indices:
                indices.append([])
            indices[-1].append(index)
        return indices


def with_offsets(texts: list[Text], offset_mapping: Offsets | Sequence[Offsets]) -> list[Text]:
    """The texts with the caller's offsets: those of the only text, or a list with those of each.

    Raises:
        InputError: their number is not that of the texts, or is too small for a text's tokens.
    """
    single: list[tuple[int, int]] = []
    rows: list[Offsets] = []
    for entry in offset_mapping:
        match entry:
            case (int(start), int(end)):
                single.append((start, end))
            case _:
                rows.append(entry)
    if single:
        rows.append(single)
    if len(rows) != len(texts):
        raise InputError(f"offset_mapping has {len(rows)} texts, but there are {len(texts)}")
    for index, (text, row) in enumerate(zip(texts, rows, strict=True)):
        if len(row) < len(text.pieces) + 1:
            raise InputError(
                f"text {index} has {len(text.pieces)} tokens after [CLS], but offset_mapping has "
                f"{len(row)} entries"
            )
    return [dataclasses.replace(t, offsets=row) for t, row in zip(texts, rows, strict=True)]
