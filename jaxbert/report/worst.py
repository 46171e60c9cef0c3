"""Of the examples of an evaluation those that a page shows: the worst, as many as fit."""

from __future__ import annotations

import dataclasses
import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from jaxbert.report.records import Mark, Passage, Shown

MOST_BYTES = 18_000_000  # of the examples, so that a page stays below 20 MB
LONGEST = 20_000  # characters of a text that are shown
LONGEST_CHOICE = 500
_BEFORE = 2_000  # of a longer one, those before its first mark
UNKNOWN = "not known"
_VERDICTS = {True: "right", False: "wrong", None: UNKNOWN}


class Worst:
    """The worst of any number of examples, which come in the order of the data.

    What cannot be on the page is dropped as soon as that is clear, so that memory does not grow
    with the examples.

    Attributes:
        most_bytes: of the JSON of those that are shown.
        total: how many there were.
        facets: name -> values, of all of them.
    """

    def __init__(self, examples: Iterable[Shown] = (), most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes, self.total = most_bytes, 0
        self.facets: dict[str, set[str]] = {}
        self._heap: list[tuple[float, int, Shown]] = []  # the least bad first, of these the last
        self._bytes = 0  # that the JSON has at least
        self._times: Counter[str] = Counter()  # that a text occurs; on the page it stands once
        self._texts: dict[str, str] = {}
        for shown in examples:
            self.add(shown)

    def add(self, shown: Shown) -> None:
        """One more example."""
        for name, value in facets_of(shown).items():
            self.facets.setdefault(name, set()).add(value)
        shown = dataclasses.replace(shown, passages=[self._excerpt(p) for p in shown.passages])
        self._times.update(p.text for p in shown.passages)
        self._bytes += self._least_bytes(shown)
        heapq.heappush(self._heap, (shown.badness, -self.total, shown))
        self.total += 1
        while self._bytes > self.most_bytes:
            least = self._least_bytes(self._heap[0][2])
            if self._bytes - least <= self.most_bytes:  # it may be on the page
                break
            _, _, dropped = heapq.heappop(self._heap)
            self._bytes -= least
            for passage in dropped.passages:
                self._times[passage.text] -= 1
                if not self._times[passage.text]:
                    del self._times[passage.text], self._texts[passage.text]

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Shown]:
        """Those that may be shown, in the order of the data."""
        return (shown for _, shown in sorted(self.ranked()))

    def ranked(self) -> list[tuple[int, Shown]]:
        """Those that may be shown, the worst first, each with its number in the data."""
        ordered = sorted(self._heap, key=lambda entry: (-entry[0], -entry[1]))
        return [(-minus, shown) for _, minus, shown in ordered]

    def _excerpt(self, passage: Passage) -> Passage:
        text, marks = _excerpt(passage.text, passage.marks)
        return Passage(passage.title, self._texts.setdefault(text, text), marks)

    def _least_bytes(self, shown: Shown) -> int:
        """That the example's JSON has, and the texts that no other example has."""
        words = (shown.name, shown.gold or "", shown.predicted, *(p.title for p in shown.passages))
        of_choices = sum(10 + min(len(c.text), LONGEST_CHOICE) for c in shown.choices)
        times = Counter(p.text for p in shown.passages)
        texts = sum(len(text) for text, count in times.items() if count == self._times[text])
        return 60 + sum(map(len, words)) + of_choices + texts


class Confidences:
    """Probabilities, and whether what each is of was right: 9 bytes each.

    Attributes:
        given, right: as many.
    """

    def __init__(self, pairs: Iterable[tuple[float | None, bool | None]] = ()) -> None:
        self.given, self.right = array("d"), array("b")
        for confidence, right in pairs:
            self.add(confidence, right)

    def add(self, confidence: float | None, right: bool | None) -> None:
        """One more, where both are known."""
        if confidence is not None and right is not None:
            self.given.append(confidence)
            self.right.append(right)

    def __len__(self) -> int:
        return len(self.given)

    def __iter__(self) -> Iterator[tuple[float, bool]]:
        return zip(self.given, map(bool, self.right), strict=True)


def facets_of(shown: Shown) -> Mapping[str, str]:
    """By which it can be told from others: whether it is right, and its own facets."""
    return {"verdict": _VERDICTS[shown.right], **shown.facets}


def _excerpt(text: str, marks: Sequence[Mark]) -> tuple[str, Sequence[Mark]]:
    """A text of at most LONGEST characters around its first mark, and the marks that it has."""
    if len(text) <= LONGEST:
        return text, marks
    first = max(0, min((m.start for m in marks), default=0) - _BEFORE)
    last = min(len(text), first + LONGEST)
    before, after = "… " * (first > 0), " …" * (last < len(text))
    kept = [
        Mark(m.start - first + len(before), m.end - first + len(before), m.label, m.by)
        for m in marks
        if m.end <= last
    ]
    return before + text[first:last] + after, kept
