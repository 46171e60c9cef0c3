"""What a page shows, as records: curves, tables, examples with their predictions. Of no task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from jaxbert.report.worst import Confidences, Worst

Numbers: TypeAlias = Sequence[float]


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve, or points.

    Attributes:
        x: ascending.
        y: None where there is no value.
        look: a line; faint, what a line is the mean of; points; guide, a line to compare with.
        low, high: the band around a line, where it has one.
    """

    name: str
    x: Numbers
    y: Sequence[float | None]
    look: Literal["line", "faint", "points", "guide"] = "line"
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclasses.dataclass(frozen=True)
class Chart:
    """Series over one axis; x and y are the axes' names, with their units.

    Attributes:
        says: what can be seen there, in words, for those who cannot see it.
        linked: it is zoomed together with the other charts that are.
        log: its x has a logarithmic axis.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    says: str = ""
    linked: bool = False
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Range:
    """A cell of a table that is drawn: points on a line from least to most.

    Attributes:
        low, high: the ends of the bar.
        mark: a value to compare with, or None.
    """

    least: float
    most: float
    low: float
    high: float
    points: Numbers = ()
    mark: float | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells in rows, under the names of their columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Range]]
    title: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Confusion:
    """How often a word or row of one class was taken for another: counts[gold][predicted].

    Attributes:
        of: what is counted: "words", "texts".
    """

    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    of: str


@dataclasses.dataclass(frozen=True)
class Mark:
    """text[start:end] of a passage, in code points: what it is, and who says so."""

    start: int
    end: int
    label: str
    by: Literal["gold", "predicted"]


@dataclasses.dataclass(frozen=True)
class Passage:
    """A text of an example. A title names it, where there are several."""

    title: str
    text: str
    marks: Sequence[Mark] = ()


@dataclasses.dataclass(frozen=True)
class Choice:
    """Something that could have been predicted, and its probability where it has one."""

    text: str
    probability: float | None
    gold: bool
    predicted: bool


@dataclasses.dataclass(frozen=True)
class Shown:
    """An example with what was predicted of it.

    Attributes:
        name: its id, or its place in the data.
        gold: None where the data do not say what is right.
        right: None likewise.
        badness: the worst are shown first.
        confidence: the probability of what was predicted, or None.
        length: of its text, in characters, or in words.
        facets: by which examples can be told apart: name -> value.
    """

    name: str
    passages: Sequence[Passage]
    choices: Sequence[Choice]
    gold: str | None
    predicted: str
    right: bool | None
    badness: float
    confidence: float | None
    length: int
    facets: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an evaluation found of its examples.

    Attributes:
        shown: those that a page has room for.
        confidences: of predictions, and whether each was right.
    """

    shown: Worst
    confusion: Confusion | None = None
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    confidences: Confidences | None = None


@dataclasses.dataclass(frozen=True)
class Facts:
    """Names and values under a heading."""

    title: str
    rows: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Page:
    """All of a report.

    Attributes:
        lead: a sentence under the title.
        headline: the figures that are read first: name -> value.
        command: that repeats it.
    """

    title: str
    lead: str
    headline: Mapping[str, str]
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    findings: Findings | None = None
    facts: Sequence[Facts] = ()
    command: str = ""
