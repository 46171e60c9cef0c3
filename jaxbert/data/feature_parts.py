"""Features of consecutive parts of the data as features of them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jaxbert.data.features import Features, Line

# The value of what a narrower part of a row column lacks.
_ROW_PADDING = {"answer_starts": -1, "answer_ends": -1}


@dataclasses.dataclass
class Growing:
    """Everything of features but their token columns, as parts are added.

    A row column may be wider in some parts than in others: the narrower ones are padded.
    """

    parts: list[Features] = dataclasses.field(default_factory=list)
    lines: dict[Line, None] = dataclasses.field(default_factory=dict)
    sums: dict[str, int] = dataclasses.field(default_factory=dict)

    def add(self, part: Features) -> None:
        """One more part, of the examples that follow."""
        for name, number in part.sums.items():
            self.sums[name] = self.sums.get(name, 0) + number
        self.lines |= dict.fromkeys(part.lines)
        self.parts.append(dataclasses.replace(part, tokens={}, host={}))

    def features(
        self, tokens: Mapping[str, np.ndarray], host: Mapping[str, np.ndarray]
    ) -> Features:
        """All of it, with these token columns."""
        lengths = np.concatenate([part.lengths for part in self.parts])
        learnable = None
        if any(part.learnable is not None for part in self.parts):
            learnable = np.concatenate(
                [
                    np.ones(len(part), bool) if part.learnable is None else part.learnable
                    for part in self.parts
                ]
            )
        return Features(
            bounds=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
            tokens=dict(tokens),
            rows={
                name: _joined(name, [part.rows[name] for part in self.parts])
                for name in self.parts[0].rows
            },
            example=np.concatenate([part.example for part in self.parts]),
            host=dict(host),
            learnable=learnable,
            lines=tuple(self.lines),
            sums=self.sums,
        )


def merged(parts: Iterable[Features]) -> Features:
    """The features of at least one part, in memory."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    growing = Growing()
    for part in found:
        growing.add(part)
    return growing.features(
        {n: np.concatenate([part.tokens[n] for part in found]) for n in found[0].tokens},
        {n: np.concatenate([part.host[n] for part in found]) for n in found[0].host},
    )


def moved(part: Features, examples: int) -> Features:
    """A part whose examples are counted from the beginning of the data.

    Args:
        examples: how many come before it.
    """
    return dataclasses.replace(part, example=(part.example + examples).astype(np.int32))


def _joined(name: str, columns: Sequence[np.ndarray]) -> np.ndarray:
    if columns[0].ndim == 1:
        return np.concatenate(columns)
    widest = max(column.shape[1] for column in columns)
    padded = []
    for column in columns:
        padding = [(0, 0), (0, widest - column.shape[1]), *[(0, 0)] * (column.ndim - 2)]
        padded.append(np.pad(column, padding, constant_values=_ROW_PADDING.get(name, 0)))
    return np.concatenate(padded)
