"""Answers as a file gives them -> where they are in their paragraph."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import math
import re
from typing import NamedTuple

from jaxbert.io.untrusted import shown

# An answer that is not at its offset is looked for this many characters around it; farther away it
# is taken only where the paragraph has it once.
_NEARBY = 64


@dataclasses.dataclass(frozen=True)
class Located:
    """An answer as given, and where it is found in the paragraph, from start to end."""

    text: str
    given: int | None
    span: tuple[int, int] | None

    def fault(self, context: str) -> str | None:
        """What is odd about it, if anything is."""
        if not self.text.strip():
            return "an answer is empty"
        name = f"the answer {self.text[:40]!r}"
        if self.span is None:
            several = " ".join(self.text.split()) in _squeezed(context).text
            fault = f"not near {shown(self.given)} but in several places" if several else "not"
            return f"{name} is {fault} in the paragraph"
        start, end = self.span
        if end - start != len(self.text) or not context.startswith(self.text, start):
            there = context[start : min(end, start + 40)]
            return f"{name} is in the paragraph with other white space, as {there!r} at {start}"
        if self.given not in (start, None):
            return f"{name} is at {start}, not {shown(self.given)}"
        return None


def locate(context: str, text: str, start: int | None) -> Located:
    """Find an answer in its paragraph.

    Args:
        start: where the file says that it begins, if it does.
    """
    return Located(text, start, _span(context, text, start) if text.strip() else None)


@dataclasses.dataclass(frozen=True)
class _Squeezed:
    """A text in which every run of white space is one space, and none is at its ends.

    Attributes:
        words: where each of its words begins.
        before: where that word began in the text as it was.
    """

    text: str
    words: list[int]
    before: list[int]

    def place_of(self, before: int) -> int:
        """Where a place of the text as it was has come to lie."""
        word = bisect.bisect_right(self.before, before) - 1
        if word < 0:
            return 0
        place = self.words[word] + before - self.before[word]
        last = word + 1 == len(self.words)  # a place behind the text stays as far behind it
        return place if last else min(place, self.words[word + 1] - 1)

    def before_of(self, place: int) -> int:
        """Where the character at that place, which is no space, was."""
        word = bisect.bisect_right(self.words, place) - 1
        return self.before[word] + place - self.words[word]


@functools.lru_cache(maxsize=1)  # questions of one paragraph follow each other
def _squeezed(text: str) -> _Squeezed:
    words = text.split()
    starts = itertools.accumulate((len(word) + 1 for word in words), initial=0)
    before = [found.start() for found in re.finditer(r"\S+", text)]
    return _Squeezed(" ".join(words), list(starts)[:-1], before)


def _span(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Where the answer begins and ends: at `start`, else nearby, else where the paragraph has it
    just once. An answer with other white space than the paragraph's is found as well, without the
    white space around it; of two places the nearer one counts."""
    if start is not None and start < 0:
        start = None
    exact = _search(context, text, start)
    if exact is None or exact.distance > 0:
        squeezed, wanted = _squeezed(context), " ".join(text.split())
        near = start
        if start is not None:
            near = squeezed.place_of(start + len(text) - len(text.lstrip()))
        loose = _search(squeezed.text, wanted, near)
        if loose is not None and (exact is None or loose.distance < exact.distance):
            last = loose.place + len(wanted) - 1
            return squeezed.before_of(loose.place), squeezed.before_of(last) + 1
    return (exact.place, exact.place + len(text)) if exact else None


class _Match(NamedTuple):
    """Where a text was found, and how far from the place at which it was sought."""

    place: int
    distance: float


def _search(context: str, text: str, start: int | None) -> _Match | None:
    """The place nearest to `start`, if one is nearby, else the only one in the paragraph; without a
    start the first."""
    if start is not None and context.startswith(text, start):
        return _Match(start, 0)
    place = context.find(text)
    if place < 0 or start is None:
        return _Match(place, 0) if place >= 0 else None
    # Not every place in the paragraph: of a long run of one character they are too many.
    around = range(max(0, start - _NEARBY), start + _NEARBY + 1)
    near = [_Match(p, abs(p - start)) for p in around if context.startswith(text, p)]
    if near:
        return min(near, key=lambda match: (match.distance, match.place))
    return _Match(place, math.inf) if context.find(text, place + 1) < 0 else None
