"""Reads texts, classes and numbers from the cells of rows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from jaxbert.data.rows import Cell, Fields, field
from jaxbert.errors import DataError
from jaxbert.io.untrusted import shown

_INTEGRAL = re.compile(r"-?[0-9]{1,15}\.0+")
LARGEST = 1e15  # target: the sum of squared errors must fit in a float32


def has_value(value: Cell) -> bool:
    """Whether a cell holds anything; pandas marks empty cells by NaN."""
    missing = value is None or value != value
    return not missing and not (isinstance(value, str) and not value.strip())


def as_number(value: Cell) -> float | None:
    """The finite number in a cell, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def without_decimals(value: Cell) -> Cell:
    """The cell, but pandas' form of an integer, 1.0 or "1.0", becomes 1 or "1"."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST:
        return int(value)
    if isinstance(value, str) and _INTEGRAL.fullmatch(value.strip()):
        return str(int(value.split(".")[0]))
    return value


def text_in(row: Fields, column: str, where: str) -> str:
    """The text in a column; it must not be missing or empty."""
    text = field(row, column, str, where)
    if not text.strip():
        raise DataError(where, f'the text of column "{column}" is empty')
    return text


def class_in(row: Fields, column: str, where: str) -> str | None:
    """The name of the class; None for a row without one.

    An integer's name is its digits. 1.0 is also "1": that is how pandas writes integers in a column
    with empty cells.
    """
    value = without_decimals(row.get(column))
    if not has_value(value):
        return None
    if not isinstance(value, str | int):  # a bool is an int
        raise DataError(
            where,
            f'label column "{column}" has the wrong type: {type(value).__name__}, '
            "expected the name or number of a class (str, int or bool)",
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip()


def classes_in(row: Fields, column: str, where: str) -> tuple[str, ...] | None:
    """The classes in a list, which may be empty; None for a row without a list."""
    value = row.get(column)
    if value is None:
        return None
    if not isinstance(value, list):
        raise DataError(
            where,
            f'label column "{column}" has the wrong type: {type(value).__name__}, expected a '
            "list of labels, as in other rows",
        )
    names = tuple(class_in({column: cell}, column, where) or "" for cell in value)
    if "" in names:
        raise DataError(where, f'a label of column "{column}" is empty')
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        hint = ""
        if {*names} <= {"0", "1"}:
            hint = "; for a 0 or 1 per label, give --label_column_name one column per label"
        raise DataError(where, f'label column "{column}" names {shown(repeated)} twice{hint}')
    return names


_INDICATED = {"1": True, "true": True, "0": False, "false": False}


def indicated_in(row: Fields, columns: Sequence[str], where: str) -> tuple[str, ...] | None:
    """The names of the columns that hold 1; None for a row in which all of them are empty."""
    values = [row.get(column) for column in columns]
    if not any(map(has_value, values)):
        return None
    names = []
    for column, value in zip(columns, values, strict=True):
        text = str(without_decimals(value)).strip().lower()
        if text not in _INDICATED:
            raise DataError(
                where, f'label column "{column}" is {str(value)[:40]!r}, expected 0 or 1'
            )
        if _INDICATED[text]:
            names.append(column)
    return tuple(names)


def number_in(row: Fields, column: str, where: str) -> float | None:
    """The target of regression; None for a row without one."""
    value = row.get(column)
    if not has_value(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(
            where,
            f'label column "{column}" has the wrong type: {type(value).__name__}, '
            "expected a number",
        )
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST:  # also true of NaN
        bound = f" of at most {LARGEST:g}" if math.isfinite(number) else ""
        raise DataError(
            where,
            f'label column "{column}" is {str(value)[:40]!r}, expected a finite number' + bound,
        )
    return number
