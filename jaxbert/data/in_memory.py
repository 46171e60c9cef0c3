"""Converts rows in memory to the content of a file, as the readers of files take it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from jaxbert.data.rows import Cell, Table, names_of
from jaxbert.data.sources import read_table
from jaxbert.errors import DataError, InputError

if TYPE_CHECKING:
    import datasets


_LONGEST_INTEGER = 14_000  # bits; by default Python prints at most 4,300 digits


class Frame(Protocol):
    """The parts of a pandas DataFrame that are used; pandas need not be installed."""

    @property
    def columns(self) -> Sequence[Hashable]: ...

    def to_dict(self, orient: Literal["records"]) -> list[dict[str, Value]]: ...


# What a cell may be in memory: more types than in a file.
Value: TypeAlias = "Cell | np.generic | np.ndarray | Sequence[Value] | Mapping[str, Value]"
Rows: TypeAlias = "Sequence[Mapping[str, Value]] | Mapping[str, Value] | datasets.Dataset | Frame"
Paths: TypeAlias = "str | Path | Sequence[str | Path]"


class InMemory(NamedTuple):
    """Rows in memory, ready for a task's reader.

    Attributes:
        origin: their name in messages.
        content: what load_rows returns for a file with the same rows.
    """

    origin: str
    content: Table | dict[str, Cell]


def paths_of(data: Paths | Rows) -> list[str] | None:
    """The file names, if `data` is one or several; else None."""
    if isinstance(data, str | Path):
        return [str(data)]
    if isinstance(data, list | tuple) and data:
        names = [str(item) for item in data if isinstance(item, str | Path)]
        return names if len(names) == len(data) else None
    return None


def rows_in_memory(data: Rows, origin: str) -> InMemory:
    """Copy rows to the content of a file. The data are not changed.

    Args:
        data: a list of dicts; an object as in a JSON file, for instance SQuAD's, with rows under
            "data"; a datasets.Dataset, whose class labels become names; a pandas DataFrame.
        origin: their name in messages, for instance "train_data".

    Raises:
        InputError: it is none of these.
    """
    library = type(data).__module__.partition(".")[0]
    if library == "datasets" and (isinstance(data, Mapping) or hasattr(data, "with_format")):
        return InMemory(origin, _dataset_rows(data, origin))
    if library == "pandas" and hasattr(data, "to_dict") and hasattr(data, "columns"):
        _check_columns(data, origin)
        data = data.to_dict("records")
    try:
        return InMemory(origin, _content(data, origin))
    except RecursionError:
        raise InputError(
            f"{origin}: its values are nested too deeply or contain themselves"
        ) from None


def _content(data: Rows, origin: str) -> Table | dict[str, Cell]:
    if isinstance(data, Mapping):
        if data and "data" not in data and all(map(_is_column, data.values())):
            raise InputError(
                f"{origin}: a dict of lists; give one row as a list of this dict, or convert "
                "columns with pandas.DataFrame"
            )
        if "data" not in data:
            raise InputError(
                f'{origin}: a dict without "data", as of one row; give a list of dicts, one per row'
            )
        return _object(data, origin)
    if isinstance(data, Iterator):
        raise InputError(
            f"{origin}: a {type(data).__name__} can be read only once; give a list of its rows"
        )
    if isinstance(data, str | bytes) or not isinstance(data, Sequence):
        raise InputError(
            f"{origin} has the wrong type: {type(data).__name__}; give paths, a list of dicts, a "
            "datasets.Dataset or a pandas DataFrame"
        )
    table = Table()
    for index, row in enumerate(data):
        where = f"{origin}: row {index}"
        if not isinstance(row, Mapping):
            raise DataError(where, f"expected a dict, found {type(row).__name__}")
        table.append(_object(row, where))
    return table


def _is_column(value: Value) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _check_columns(frame: Frame, origin: str) -> None:
    """Refuse duplicate column names: rows as dicts would lose one of the columns."""
    names = [str(name) for name in frame.columns]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise InputError(f"{origin}: two columns are named {names_of([duplicate])}; rename one")


def _dataset_rows(data: datasets.Dataset, origin: str) -> Table:
    if isinstance(data, Mapping):
        raise InputError(
            f"{origin}: a DatasetDict of the splits {', '.join(data)}; give one of them"
        )
    # Without a format, rows are str, numbers and lists, whatever format is set for other uses.
    return read_table(lambda: data.with_format(None), origin)


def _object(fields: Mapping[str, Value], where: str) -> dict[str, Cell]:
    for name in fields:
        if not isinstance(name, str):
            raise DataError(
                where, f"the column name {name!r} is {type(name).__name__}, expected str"
            )
    return {name: _cell(value, where) for name, value in fields.items()}


def _cell(value: Value, where: str) -> Cell:
    """The value as JSON represents it: NumPy numbers and arrays become Python's."""
    if isinstance(value, np.generic | np.ndarray):  # first: np.float64 is a float
        return _cell(value.tolist(), where)
    if isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
        raise DataError(where, "an integer with more digits than Python can print; give it as text")
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return _object(value, where)
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas' None
        return None
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_cell(item, where) for item in value]
    return value  # type: ignore[return-value]  # the reader reports what it expected
