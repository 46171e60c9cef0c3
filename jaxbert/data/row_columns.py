"""Columns of the user's own: numbers or lists of numbers, which a loss finds in the batch.

The cells are collected by the name of their row while a task reads the data, so no reader knows of
them. Rows that a task leaves out, or that are not asked for, need no cells.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from jaxbert.data.batch import Batch
from jaxbert.data.cells import has_value
from jaxbert.data.features import Features
from jaxbert.data.rows import Cell, Content, Fields, names_of, replace_surrogates
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown
from jaxbert.options.source_settings import OwnColumns

logger = logging.getLogger("jaxbert")

WEIGHT = "weight"  # the batch's key
_KEYS = frozenset(Batch.__annotations__)
_SMALLEST, _LARGEST = -(2**31), 2**31 - 1


@dataclasses.dataclass(frozen=True)
class LocatedRow:
    """A row of the data: the name that its example has, its name in messages, and its cells."""

    key: str
    where: str
    fields: Fields


@dataclasses.dataclass(frozen=True)
class RowColumns:
    """Columns of N examples.

    Attributes:
        rows: (N, ...) int32 or float32, a value or several for each example.
        words: (total,) int32 or float32, a value for each word of all examples.
        word_starts: (N,) int64, the first word of each example in `words`.
        view: another text of each example, or None.
    """

    rows: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    words: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    word_starts: np.ndarray | None = None
    view: tuple[str, ...] | None = None

    def added_to(self, features: Features) -> Features:
        """The features of the N examples with these columns; those of words at the token at which a
        word is predicted, 0 at others."""
        rows = {name: column[features.example] for name, column in self.rows.items()}
        if WEIGHT in rows and WEIGHT in features.rows:  # of windows of a text, which share it
            rows[WEIGHT] = rows[WEIGHT] * features.rows[WEIGHT]
        tokens = {}
        if self.words:
            assert self.word_starts is not None  # it is there where `words` is
            word = features.host["word"]
            example = np.repeat(features.example, features.lengths)
            place = np.flatnonzero(word >= 0)
            source = self.word_starts[example[place]] + word[place]
            for name, column in self.words.items():
                tokens[name] = np.zeros(len(word), column.dtype)
                tokens[name][place] = column[source]
        return dataclasses.replace(
            features, rows={**features.rows, **rows}, tokens={**features.tokens, **tokens}
        )

    def describe(self, names: OwnColumns) -> None:
        """Say in the log which columns there are, and what a weight weighs."""
        for name in names.extra:
            column = self.rows.get(name, self.words.get(name))
            assert column is not None
            what = "a word" if name in self.words else "a row"
            wide = f"{column.shape[1]} numbers" if column.ndim == 2 else "a number"
            logger.info('  batch["%s"]: %s %s, %s', name, wide, what, column.dtype)
        if names.weight is not None:
            weight = self.rows[WEIGHT]
            logger.info(
                '  rows are weighed by "%s", %g on average, from %g to %g: the loss and what is '
                "measured beside it are weighted means; eval_loss and all scores of an evaluation "
                "count every row once",
                names.weight,
                weight.mean(dtype=np.float64),
                weight.min(),
                weight.max(),
            )


class CellCollector:
    """The cells of the columns that were named, of all rows of the training data.

    Args:
        names: of the columns.

    Raises:
        InputError: a name is that of something else in the batch, or stands twice.
    """

    def __init__(self, names: OwnColumns) -> None:
        self.names = names
        self._rows: dict[str, LocatedRow] = {}
        self._wanted = [*((n, "--extra_columns") for n in names.extra)]
        self._wanted += [(names.weight, "--weight_column")] if names.weight is not None else []
        self._wanted += [(names.view, "--view_column")] if names.view is not None else []
        for name in names.extra:
            if name in _KEYS:
                raise InputError(
                    f"--extra_columns {shown(name)}: the batch has something else of that name; "
                    "rename the column"
                )
        if len(set(names.extra)) < len(names.extra):
            raise InputError("--extra_columns names a column twice")

    @property
    def wants(self) -> bool:
        """Whether a column was named."""
        return bool(self._wanted)

    def take(self, origin: str, rows: Iterable[LocatedRow]) -> None:
        """Keep the cells of a file's rows.

        Raises:
            InputError: the file has no such column.
        """
        columns: dict[str, None] = {}
        for row in rows:
            columns.update(dict.fromkeys(row.fields))
            cells = {name: row.fields[name] for name, _ in self._wanted if name in row.fields}
            self._rows.setdefault(row.key, LocatedRow(row.key, row.where, cells))
        for name, flag in self._wanted:
            if name not in columns:
                raise InputError(
                    f'{origin}: no column "{shown(name)}" ({flag}); it has '
                    f"{names_of(columns) or 'none'}"
                )

    def columns(self, keys: Sequence[str], words: Sequence[int] | None) -> RowColumns:
        """The columns of examples.

        Args:
            keys: the name of each one's row.
            words: how many words each has, where examples are lists of words; else None.

        Raises:
            InputError: a cell has no number, or none that is finite; lists of one column differ in
                length; a weight is below 0, or all are 0.
        """
        if not self._wanted:
            return RowColumns()
        rows = [self._rows[key] for key in keys]
        of_rows, of_words = {}, {}
        for name in self.names.extra:
            column = _Column(name, "--extra_columns", rows)
            if words is not None and column.has_lists and column.sizes == list(words):
                of_words[name] = column.flat()
            else:
                of_rows[name] = column.array(words is not None)
        if self.names.weight is not None:
            of_rows[WEIGHT] = _weights(_Column(self.names.weight, "--weight_column", rows))
        starts = None if words is None else np.cumsum([0, *words])[:-1]
        view = None
        if self.names.view is not None:
            view = tuple(_text(row, self.names.view) for row in rows)
        return RowColumns(of_rows, of_words, starts, view)


class _Column:
    """The numbers of a column, row by row."""

    def __init__(self, name: str, flag: str, rows: Sequence[LocatedRow]) -> None:
        self._what, self._rows = f'column "{shown(name)}" ({flag})', rows
        cells = [_parsed(row.fields.get(name)) for row in rows]
        self.has_lists = isinstance(cells[0], list)
        self._numbers: list[list[int | float]] = []
        for row, cell in zip(rows, cells, strict=True):
            if isinstance(cell, list) != self.has_lists and has_value(cell):
                kinds = ("a number", "a list of numbers")
                raise self.error(
                    row,
                    f"is {kinds[not self.has_lists]}, and {kinds[self.has_lists]} in "
                    f"{rows[0].where}",
                )
            self._numbers.append([self._number(x, row) for x in _as_list(cell)])

    def error(self, row: LocatedRow, what: str) -> InputError:
        """The fault of a row."""
        return InputError(f"{row.where}: {self._what} {what}")

    @property
    def sizes(self) -> list[int]:
        """Numbers of each row."""
        return [len(numbers) for numbers in self._numbers]

    def _number(self, cell: Cell, row: LocatedRow) -> int | float:
        number = _number_in(cell)
        if number is None:
            found = f"is {shown(str(cell)[:40])!r}" if has_value(cell) else "is empty"
            raise self.error(row, f"{found}, expected a finite number")
        if not -3e38 <= number <= 3e38:
            raise self.error(row, f"is {str(number)[:40]}, which no float32 can hold")
        return number

    def flat(self) -> np.ndarray:
        """All numbers, (total,): int32 where all are whole and written so, else float32."""
        numbers = [x for row in self._numbers for x in row]
        whole = all(isinstance(x, int) and _SMALLEST <= x <= _LARGEST for x in numbers)
        return np.array(numbers, np.int32 if whole else np.float32)

    def array(self, has_words: bool) -> np.ndarray:
        """(N,), or (N, n) of lists.

        Args:
            has_words: lists could have been as long as a sentence.

        Raises:
            InputError: the lists have several lengths.
        """
        sizes = self.sizes
        for row, size in zip(self._rows, sizes, strict=True):
            if size != sizes[0] or not size:
                also = ", or one number for each word" if has_words else ""
                raise self.error(
                    row,
                    f"has {size} numbers, and {sizes[0]} in {self._rows[0].where}; give lists of "
                    f"one length{also}",
                )
        return self.flat().reshape(len(sizes), *[sizes[0]] * self.has_lists)

    def where(self, index: int) -> LocatedRow:
        """The row of a number."""
        return self._rows[index]


def _weights(column: _Column) -> np.ndarray:
    """(N,) float32, from 0 on."""
    if column.has_lists:
        raise column.error(column.where(0), "is a list, expected a number")
    weights = column.array(has_words=False).astype(np.float32)
    if (weights < 0).any():
        index = int(np.argmax(weights < 0))
        raise column.error(column.where(index), f"is {weights[index]:g}, expected 0 or more")
    if not weights.any():
        raise column.error(column.where(0), "is 0 there and in all other rows")
    return weights


def _text(row: LocatedRow, name: str) -> str:
    text = row.fields.get(name)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'{row.where}: column "{shown(name)}" (--view_column) holds no text')
    return replace_surrogates(text)


def _as_list(cell: Cell) -> list[Cell]:
    return cell if isinstance(cell, list) else [cell]


def _parsed(cell: Cell) -> Cell:
    """A list that a table of text has as JSON, as a list."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            found: Cell = json.loads(cell)
        except (ValueError, RecursionError):
            return cell
        return found
    return cell


def _number_in(cell: Cell) -> int | float | None:
    """A finite number; a whole one that is written so is an int."""
    if isinstance(cell, int):  # True is 1
        return int(cell)
    if not isinstance(cell, float | str):
        return None
    try:
        return int(cell) if isinstance(cell, str) else _finite(cell)
    except ValueError:
        pass
    try:
        return _finite(float(cell))
    except (ValueError, OverflowError):
        return None


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None


def watched(
    sources: Iterable[tuple[str, Content]],
    collector: CellCollector,
    rows_of: Callable[[str, Content], Iterable[LocatedRow]],
) -> Iterator[tuple[str, Content]]:
    """The sources, each when its cells have been collected.

    Args:
        rows_of: the rows of a content; see Task.
    """
    for origin, content in sources:
        if collector.wants:
            collector.take(origin, rows_of(origin, content))
        yield origin, content
