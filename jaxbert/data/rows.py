"""What every reader of rows needs: tables, columns, fields and a report of problems.

A fault of a file is an InputError. A fault of a row is a Problem: the row is repaired or left out,
and the report names it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar, overload

from jaxbert.data.json_entries import Entries
from jaxbert.data.text_files import TextFiles
from jaxbert.errors import DataError, InputError
from jaxbert.io.untrusted import shown


class _Located(Protocol):
    @property
    def where(self) -> str: ...


# What a cell of a row can be.
Cell: TypeAlias = "str | int | float | bool | list[Cell] | dict[str, Cell] | None"
Fields: TypeAlias = dict[str, Cell]  # a row's cells by column

_ID_COLUMNS = {"id", "idx", "index", "guid", "uuid", "uid"}  # columns that hold no text
_MAX_SHOWN = 5  # problems shown in full

T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V")
W = TypeVar("W")
E = TypeVar("E", bound=_Located)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem in one row: where it is, what is wrong, and what was done about it.

    Attributes:
        malformed: the row has the wrong form and was left out.
    """

    where: str
    what: str
    malformed: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Lines for a log: the first problems in full, and how many there are."""
    lines = [str(problem) for problem in problems[:_MAX_SHOWN]]
    if len(problems) > _MAX_SHOWN:
        lines.append(f"... {len(problems)} problems in all; --strict stops at the first")
    return lines


class Report:
    """Collects problems found in rows.

    Args:
        strict: raise at the first problem instead of noting it.

    Attributes:
        problems: in the order found.
        notes: decisions about files that are not faults, such as which columns were taken.
        labels: the number of rows with a label, usable or not.
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
        """Apply `make` to each row. Rows that give None are left out; so are rows that raise
        DataError, which is noted."""
        for row in rows:
            try:
                result = make(row)
            except DataError as error:
                if self._strict:
                    raise
                self._first = self._first or error
                self.problems.append(Problem(error.where, f"{error.what}; it is left out", True))
                continue
            if result is not None:
                yield result

    def nothing(self, otherwise: str) -> InputError:
        """The error if no row is usable: the first malformed row's fault, else `otherwise`."""
        return self._first or InputError(otherwise)


class Table(list[Fields]):
    """Rows, with what their file says about them.

    Attributes:
        classes: column -> names of its classes, in the order of their numbers.
        notes: decisions made while reading, for the log.
    """

    def __init__(self, rows: Iterable[Fields] = ()) -> None:
        super().__init__(rows)
        self.classes: dict[str, tuple[str, ...]] = {}
        self.notes: list[str] = []


@dataclasses.dataclass(frozen=True)
class RowStream:
    """Rows that are read when they are asked for, each time from the first.

    Attributes:
        names: of the columns.
        read: the rows with some of the columns.
    """

    names: list[str]
    read: Callable[[list[str]], Iterator[Fields]]

    def head(self, count: int) -> list[Fields]:
        """The first rows, with all columns."""
        return list(itertools.islice(self.read(self.names), count))


# What a loader returns: rows, JSON in a form that the readers know, text files or a stream of rows.
Content: TypeAlias = (
    "Table | Sequence[Cell] | dict[str, Cell] | Cell | Entries | TextFiles | RowStream"
)


@dataclasses.dataclass(frozen=True)
class Data(Generic[T]):
    """Examples in the order of the files, and what was repaired or left out."""

    examples: Sequence[T]
    problems: tuple[Problem, ...] = ()
    classes: tuple[str, ...] = ()  # in declared order, if the data declare them
    columns: tuple[str, ...] = dataclasses.field(default=(), compare=False)  # for messages
    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False)  # for the log
    label_column: str | None = dataclasses.field(default=None, compare=False)  # for messages


class Row(dict[str, Cell]):
    """A row that knows the line of the file where it begins, counted from 1."""

    __slots__ = ("line",)

    def __init__(self, fields: Mapping[str, Cell] | Iterable[tuple[str, Cell]], line: int) -> None:
        super().__init__(fields)
        self.line = line


@dataclasses.dataclass(frozen=True)
class Sheet:
    """The rows of one file, each with its name in messages, and the names of all columns.

    Attributes:
        classes: column -> names of its classes, if the data set declares them.
    """

    origin: str
    names: list[str]
    rows: list[tuple[str, Fields]]
    classes: dict[str, tuple[str, ...]]


# --- content -> rows --------------------------------------------------------------------------


def where_of(origin: str, index: int, row: Cell) -> str:
    """A row's name in messages: its line if known, else its index from 0."""
    return f"{origin}: line {row.line}" if isinstance(row, Row) else f"{origin}: row {index}"


def table_of(origin: str, content: Content) -> Sheet:
    """The rows in what a loader returned: a list of objects, or an object with one as "data".

    Raises:
        InputError: it is something else.
    """
    entries = field(content, "data", list, origin) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InputError(f"{origin}: expected a list of rows, found {type(content).__name__}")
    rows = []
    for index, row in enumerate(entries):
        where = where_of(origin, index, row)
        if not isinstance(row, dict):
            raise DataError(where, f"expected an object, found {type(row).__name__}")
        rows.append((where, row))
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    return Sheet(origin, names, rows, content.classes if isinstance(content, Table) else {})


def find_column(
    origin: str, names: Sequence[str], requested: str | None, known: Iterable[str]
) -> str | None:
    """The requested column, else the first known one that the file has, else None.

    A requested name that ends with a question mark is optional: None if it is missing.

    Raises:
        InputError: the requested column is missing.
    """
    if requested is None:
        return next((name for name in known if name in names), None)
    if requested.endswith("?") and requested not in names:
        return requested[:-1] if requested[:-1] in names else None
    if requested not in names:
        raise InputError(f'{origin}: no column "{requested}"; it has {names_of(names) or "none"}')
    return requested


def columns_of_text(sheet: Sheet, *, but: str | None) -> list[str]:
    """The columns whose first rows are str with letters, without ids and the column `but`.

    They are the candidates when no column has a known name.
    """
    columns = []
    for name in sheet.names:
        values = [row[name] for _, row in sheet.rows[:20] if row.get(name) is not None]
        texts = [value for value in values if isinstance(value, str)]
        letters = len(texts) == len(values) and any(c.isalpha() for text in texts for c in text)
        if letters and name != but and name.lower() not in _ID_COLUMNS:
            columns.append(name)
    return columns


@overload
def field(mapping: Content, name: str, expected: type[V], where: str) -> V: ...


@overload
def field(mapping: Content, name: str, expected: tuple[type[V], type[W]], where: str) -> V | W: ...


def field(
    mapping: Content, name: str, expected: type[V] | tuple[type[V], type[W]], where: str
) -> V | W:
    """mapping[name], which must be present and of the expected type."""
    if not isinstance(mapping, dict):
        raise DataError(where, f"expected an object, found {type(mapping).__name__}")
    if name not in mapping:
        raise DataError(where, f'no field "{name}"; it has {names_of(mapping) or "none"}')
    value = mapping[name]
    for cls in expected if isinstance(expected, tuple) else (expected,):
        if isinstance(value, cls):
            return value
    classes = expected if isinstance(expected, tuple) else (expected,)
    wanted = " or ".join(cls.__name__ for cls in classes)
    raise DataError(where, f'field "{name}" is {type(value).__name__}, expected {wanted}')


def names_of(fields: Iterable[str]) -> str:
    """The names of an object's first fields, in one line."""
    names = [shown(" ".join(str(name).split())) for name in fields]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def replace_surrogates_in(texts: Sequence[str], where: str, report: Report) -> list[str]:
    """replace_surrogates for each text; reports a problem if one had any."""
    cleaned = [replace_surrogates(text) for text in texts]
    if cleaned != list(texts):
        report(where, "lone surrogates in the text; replaced by U+FFFD")
    return cleaned


def replace_surrogates(text: str) -> str:
    """The text with each lone surrogate, which no tokenizer accepts, replaced by U+FFFD."""
    try:
        text.encode()  # by far the fastest check
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def read_labelled(
    tables: Iterable[tuple[str, Content]],
    examples_of: Callable[[Sheet, Report], tuple[list[E], tuple[str, ...]]],
    label_of: Callable[[E], Hashable],
    *,
    strict: bool,
    what: str = "example",
) -> Data[E]:
    """Read the examples of all tables. If some have a label, those without one are left out.

    Args:
        tables: the name of each file and its content, as a loader returns it.
        examples_of: returns the examples of a sheet and the classes that it declares.
        label_of: returns an example's label, None if it has none.
        strict: raise at the first problem instead of reporting it.
        what: the word for an example in messages.

    Raises:
        InputError: there is no example, or no labelled one can be used.
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
            sheet_examples, classes = examples_of(sheet, report)
            examples += sheet_examples
            declared, columns = declared or classes, columns or sheet.names
    if not examples:
        raise report.nothing(f"{', '.join(origins)}: no {what} in it")
    labelled = [example for example in examples if label_of(example) is not None]
    if labelled:
        for example in examples:
            if label_of(example) is None:
                report(example.where, "no label, but other rows have one; it is left out")
    elif report.labels:
        raise report.nothing(f"{', '.join(origins)}: no {what} with a label can be used")
    kept = tuple(labelled or examples)
    return Data(kept, tuple(report.problems), declared, tuple(columns), tuple(report.notes))
