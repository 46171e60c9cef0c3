"""Finds answers, as a file gives them, in their paragraph."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import math
import re
from typing import NamedTuple

from jaxbert.io.untrusted import shown

# An answer that is not at its offset is searched for within this many characters. Farther away, it
# is accepted only if it occurs once in the paragraph.
_NEARBY = 64


@dataclasses.dataclass(frozen=True)
class Located:
    """An answer, its offset in the file, and where it was found, from start to end."""

    text: str
    offset: int | None
    span: tuple[int, int] | None

    def fault(self, context: str) -> str | None:
        """What is wrong with it, or None."""
        if not self.text.strip():
            return "an answer is empty"
        name = f"the answer {self.text[:40]!r}"
        if self.span is None:
            occurs = " ".join(self.text.split()) in _normalize(context).text
            fault = f"not near {shown(self.offset)} but in several places" if occurs else "not"
            return f"{name} is {fault} in the paragraph"
        start, end = self.span
        if end - start != len(self.text) or not context.startswith(self.text, start):
            actual = context[start : min(end, start + 40)]
            return (
                f"{name} is in the paragraph with different white space, as {actual!r} at {start}"
            )
        if self.offset not in (start, None):
            return f"{name} is at {start}, not {shown(self.offset)}"
        return None


def locate(context: str, text: str, start: int | None) -> Located:
    """Find an answer in its paragraph.

    Args:
        start: where it begins according to the file, or None.
    """
    return Located(text, start, _span(context, text, start) if text.strip() else None)


@dataclasses.dataclass(frozen=True)
class _Normalized:
    """A text with every run of white space replaced by one space, and stripped.

    Attributes:
        words: where each of its words begins.
        original: where that word begins in the original text.
    """

    text: str
    words: list[int]
    original: list[int]

    def from_original(self, position: int) -> int:
        """The position here of a position in the original text."""
        word = bisect.bisect_right(self.original, position) - 1
        if word < 0:
            return 0
        here = self.words[word] + position - self.original[word]
        is_last = word + 1 == len(self.words)  # a position after the text keeps its distance
        return here if is_last else min(here, self.words[word + 1] - 1)

    def to_original(self, position: int) -> int:
        """The position in the original text of a character here that is not a space."""
        word = bisect.bisect_right(self.words, position) - 1
        return self.original[word] + position - self.words[word]


@functools.lru_cache(maxsize=1)  # questions of one paragraph follow each other
def _normalize(text: str) -> _Normalized:
    words = text.split()
    starts = itertools.accumulate((len(word) + 1 for word in words), initial=0)
    original = [match.start() for match in re.finditer(r"\S+", text)]
    return _Normalized(" ".join(words), list(starts)[:-1], original)


def _span(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Where the answer begins and ends: at `start`, else nearby, else its only place in the text.

    An answer whose white space differs from the paragraph's is found too, without the white space
    around it. Of two places the nearer one counts.
    """
    if start is not None and start < 0:
        start = None
    exact = _search(context, text, start)
    if exact is None or exact.distance > 0:
        normalized, answer = _normalize(context), " ".join(text.split())
        near = start
        if start is not None:
            near = normalized.from_original(start + len(text) - len(text.lstrip()))
        loose = _search(normalized.text, answer, near)
        if loose is not None and (exact is None or loose.distance < exact.distance):
            last = loose.position + len(answer) - 1
            return normalized.to_original(loose.position), normalized.to_original(last) + 1
    return (exact.position, exact.position + len(text)) if exact else None


class _Match(NamedTuple):
    """Where a text was found, and its distance from where it was expected."""

    position: int
    distance: float


def _search(context: str, text: str, start: int | None) -> _Match | None:
    """The match nearest to `start`, if one is nearby, else the only one in the paragraph.

    Without a start it is the first.
    """
    if start is not None and context.startswith(text, start):
        return _Match(start, 0)
    position = context.find(text)
    if position < 0 or start is None:
        return _Match(position, 0) if position >= 0 else None
    # Not all matches in the paragraph: a long run of one character has too many.
    around = range(max(0, start - _NEARBY), start + _NEARBY + 1)
    near = [_Match(p, abs(p - start)) for p in around if context.startswith(text, p)]
    if near:
        return min(near, key=lambda match: (match.distance, match.position))
    return _Match(position, math.inf) if context.find(text, position + 1) < 0 else None
