"""Rows -> examples: what every reader of rows needs, and the report of what it found.

A fault of a file is an InputError. One of a row is a Problem: the row is repaired or left out, and
the report names it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar, overload

from jaxbert.errors import DataError, InputError
from jaxbert.io.untrusted import shown


class _Placed(Protocol):
    @property
    def where(self) -> str: ...


# What a cell of a row can be.
Cell: TypeAlias = "str | int | float | bool | list[Cell] | dict[str, Cell] | None"
Fields: TypeAlias = dict[str, Cell]  # of a row, by column

_IDS = {"id", "idx", "index", "guid", "uuid", "uid"}  # names of columns that are no text
_SHOWN = 5  # problems that are shown in full

T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V")
W = TypeVar("W")
E = TypeVar("E", bound=_Placed)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What was found in one row: where it is, what is wrong, and what was done about it.

    Attributes:
        malformed: the row is not of its form, and left out.
    """

    where: str
    what: str
    malformed: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Lines for a log: the first problems in full, and how many there are."""
    lines = [str(problem) for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"... {len(problems)} problems in all; --strict stops at the first")
    return lines


class Report:
    """What is found in rows.

    Args:
        strict: raise at the first problem instead of noting it.

    Attributes:
        problems: in the order in which they were found.
        notes: what was decided about whole files, and is no fault: which columns were taken.
        labels: rows with a label, whether it can be used or not.
    """

    def __init__(self, strict: bool) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.labels = 0
        self._strict = strict
        self._first: DataError | None = None

    def __call__(self, where: str, what: str) -> None:
        """Note a problem of a row that has been repaired or left out."""
        if self._strict:
            raise DataError(where, f"{what} (--strict)")
        self.problems.append(Problem(where, what))

    def note(self, text: str) -> None:
        """Note what was decided about a file."""
        self.notes.append(text)

    def each(self, rows: Iterable[R], make: Callable[[R], T | None]) -> Iterator[T]:
        """What is made of each row. One for which that is None or a DataError is left out, and the
        error noted."""
        for row in rows:
            try:
                made = make(row)
            except DataError as error:
                if self._strict:
                    raise
                self._first = self._first or error
                self.problems.append(Problem(error.where, f"{error.what}; it is left out", True))
                continue
            if made is not None:
                yield made

    def nothing(self, otherwise: str) -> InputError:
        """The error of a file of which nothing is left: the first row's fault, if one had any."""
        return self._first or InputError(otherwise)


class Table(list[Fields]):
    """Rows with what their file says beside them.

    Attributes:
        classes: column -> names of its classes, in the order of their numbers.
        notes: what was decided in reading, for the log.
    """

    def __init__(self, rows: Iterable[Fields] = ()) -> None:
        super().__init__(rows)
        self.classes: dict[str, tuple[str, ...]] = {}
        self.notes: list[str] = []


# What a loader gives: rows, or JSON of one of the forms that the readers know; text of a text file.
Content: TypeAlias = "Table | Sequence[Cell] | dict[str, Cell] | Cell"


@dataclasses.dataclass(frozen=True)
class Data(Generic[T]):
    """Examples in the order of the files, and what was repaired or left out."""

    examples: tuple[T, ...]
    problems: tuple[Problem, ...] = ()
    classes: tuple[str, ...] = ()  # names in their own order, where the data declare them
    columns: tuple[str, ...] = dataclasses.field(default=(), compare=False)  # for messages
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)  # for the log
    label_column: str | None = dataclasses.field(default=None, compare=False)  # for messages


class Row(dict[str, Cell]):
    """A row that knows the line of the file at which it begins, counted from 1."""

    __slots__ = ("line",)

    def __init__(self, fields: Mapping[str, Cell] | Iterable[tuple[str, Cell]], line: int) -> None:
        super().__init__(fields)
        self.line = line


@dataclasses.dataclass(frozen=True)
class Sheet:
    """The rows of one file, each with its place for messages, and the names of all columns.

    Attributes:
        classes: column -> names of its classes, where the data set declares them.
    """

    origin: str
    names: list[str]
    rows: list[tuple[str, Fields]]
    classes: dict[str, tuple[str, ...]]


# --- content -> rows --------------------------------------------------------------------------


def where_of(origin: str, number: int, row: Cell) -> str:
    """What a message calls a row: its line where that is known, else its number from 0."""
    return f"{origin}: line {row.line}" if isinstance(row, Row) else f"{origin}: row {number}"


def table_of(origin: str, content: Content) -> Sheet:
    """What a loader gave as rows: a list of objects, or an object with one as "data".

    Raises:
        InputError: it is something else.
    """
    entries = field(content, "data", list, origin) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InputError(f"{origin}: expected a list of rows, found {type(content).__name__}")
    rows = []
    for number, row in enumerate(entries):
        where = where_of(origin, number, row)
        if not isinstance(row, dict):
            raise DataError(where, f"expected an object, found {type(row).__name__}")
        rows.append((where, row))
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    return Sheet(origin, names, rows, content.classes if isinstance(content, Table) else {})


def find_column(
    origin: str, names: Sequence[str], asked: str | None, known: Iterable[str]
) -> str | None:
    """The column that is asked for, else the first known one that is there, else None.

    A name that is asked for with a question mark behind it may be missing: then it is None.

    Raises:
        InputError: the column asked for is not there.
    """
    if asked is None:
        return next((name for name in known if name in names), None)
    if asked.endswith("?") and asked not in names:
        return asked[:-1] if asked[:-1] in names else None
    if asked not in names:
        raise InputError(f'{origin}: no column "{asked}"; it has {names_of(names) or "none"}')
    return asked


def columns_of_text(sheet: Sheet, *, but: str | None) -> list[str]:
    """The columns whose first rows are str with letters in them; no ids, and not the column `but`.

    They are what is left to try where no column has a known name.
    """
    found = []
    for name in sheet.names:
        values = [row[name] for _, row in sheet.rows[:20] if row.get(name) is not None]
        texts = [value for value in values if isinstance(value, str)]
        letters = len(texts) == len(values) and any(c.isalpha() for text in texts for c in text)
        if letters and name != but and name.lower() not in _IDS:
            found.append(name)
    return found


@overload
def field(mapping: Content, name: str, kind: type[V], where: str) -> V: ...


@overload
def field(mapping: Content, name: str, kind: tuple[type[V], type[W]], where: str) -> V | W: ...


def field(
    mapping: Content, name: str, kind: type[V] | tuple[type[V], type[W]], where: str
) -> V | W:
    """mapping[name], which must be there and of that type."""
    if not isinstance(mapping, dict):
        raise DataError(where, f"expected an object, found {type(mapping).__name__}")
    if name not in mapping:
        raise DataError(where, f'no field "{name}"; it has {names_of(mapping) or "none"}')
    value = mapping[name]
    for each in kind if isinstance(kind, tuple) else (kind,):
        if isinstance(value, each):
            return value
    wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
    raise DataError(where, f'field "{name}" is {type(value).__name__}, expected {wanted}')


def names_of(fields: Iterable[str]) -> str:
    """The first few names of an object's fields, in one line."""
    names = [shown(" ".join(str(name).split())) for name in fields]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def whole_texts(texts: Sequence[str], where: str, report: Report) -> list[str]:
    """Each text whole (see whole_text), and a problem if one was not."""
    whole = [whole_text(text) for text in texts]
    if whole != list(texts):
        report(where, "lone surrogates in the text; replaced by U+FFFD")
    return whole


def whole_text(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, replaced one for one."""
    try:
        text.encode()  # by far the fastest way to see that there are none
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def read_labelled(
    tables: Iterable[tuple[str, Content]],
    examples_of: Callable[[Sheet, Report], tuple[list[E], tuple[str, ...]]],
    label_of: Callable[[E], Cell | tuple[str, ...]],
    *,
    strict: bool,
    what: str = "example",
) -> Data[E]:
    """The examples of all tables. Where some have a label, those without one are left out.

    Args:
        tables: of each file its name and its content, as a loader gives it.
        examples_of: of a sheet with rows, its examples and the classes that it declares.
        label_of: an example's label, None where it has none.
        strict: raise at the first problem instead of reporting it.
        what: an example, in words.

    Raises:
        InputError: there is no example, or none of those with a label can be used.
    """
    examples: list[E] = []
    declared: tuple[str, ...] = ()
    columns: list[str] = []
    origins = []
    report = Report(strict)
    for origin, content in tables:
        origins.append(origin)
        sheet = table_of(origin, content)
        report.notes += content.notes if isinstance(content, Table) else []
        if sheet.rows:
            found, classes = examples_of(sheet, report)
            examples += found
            declared, columns = declared or classes, columns or sheet.names
    if not examples:
        raise report.nothing(f"{', '.join(origins)}: no {what} in it")
    labelled = [example for example in examples if label_of(example) is not None]
    if labelled:
        for example in examples:
            if label_of(example) is None:
                report(example.where, "no label, and other rows have one; it is left out")
    elif report.labels:
        raise report.nothing(f"{', '.join(origins)}: no {what} with a label can be used")
    kept = tuple(labelled or examples)
    return Data(kept, tuple(report.problems), declared, tuple(columns), tuple(report.notes))
