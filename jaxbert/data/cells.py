"""Cells of rows -> texts, classes and numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from jaxbert.data.rows import Cell, Fields, field
from jaxbert.errors import DataError
from jaxbert.io.untrusted import shown

_WHOLE = re.compile(r"-?[0-9]{1,15}\.0+")
LARGEST = 1e15  # of a target: the sum of squared errors is to be a float32


def is_there(value: Cell) -> bool:
    """Whether a cell holds anything; NaN is how pandas writes that it does not."""
    missing = value is None or value != value
    return not missing and not (isinstance(value, str) and not value.strip())


def as_number(value: Cell) -> float | None:
    """The finite number that a cell is, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_whole(value: Cell) -> Cell:
    """A whole number in pandas' form, 1.0 or its text, without the decimals; others as they are."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST:
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return str(int(value.split(".")[0]))
    return value


def text_in(row: Fields, column: str, where: str) -> str:
    """A text, which must be there and not be empty."""
    text = field(row, column, str, where)
    if not text.strip():
        raise DataError(where, f'the text of column "{column}" is empty')
    return text


def class_in(row: Fields, column: str, where: str) -> str | None:
    """The name of the class. One that is a whole number is named by its digits: 1.0 is 1, for
    pandas writes so where a row has no label."""
    value = as_whole(row.get(column))
    if not is_there(value):
        return None
    if not isinstance(value, str | int):  # a bool is an int
        raise DataError(
            where,
            f'label column "{column}" is of the wrong type: {type(value).__name__}, '
            "expected the name or number of a class (str, int or bool)",
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip()


def classes_in(row: Fields, column: str, where: str) -> tuple[str, ...] | None:
    """The names of any number of classes; None for a row that does not say."""
    value = row.get(column)
    if value is None:
        return None
    if not isinstance(value, list):
        raise DataError(
            where,
            f'label column "{column}" is of the wrong type: {type(value).__name__}, expected a '
            "list of labels, as other rows have",
        )
    found = tuple(class_in({column: item}, column, where) or "" for item in value)
    if "" in found:
        raise DataError(where, f'a label of column "{column}" is empty')
    if len(set(found)) < len(found):
        double = next(name for name in found if found.count(name) > 1)
        hint = ""
        if {*found} <= {"0", "1"}:
            hint = "; of 0 and 1 for each label, give a column a label to --label_column_name"
        raise DataError(where, f'label column "{column}" names {shown(double)} twice{hint}')
    return found


_INDICATED = {"1": True, "true": True, "0": False, "false": False}


def indicated_in(row: Fields, columns: Sequence[str], where: str) -> tuple[str, ...] | None:
    """The names of the columns that have 1; None for a row of which none says anything."""
    values = [row.get(column) for column in columns]
    if not any(map(is_there, values)):
        return None
    found = []
    for column, value in zip(columns, values, strict=True):
        word = str(as_whole(value)).strip().lower()
        if word not in _INDICATED:
            raise DataError(
                where, f'label column "{column}" is {str(value)[:40]!r}, expected 0 or 1'
            )
        if _INDICATED[word]:
            found.append(column)
    return tuple(found)


def number_in(row: Fields, column: str, where: str) -> float | None:
    """A target; None for a row without one."""
    value = row.get(column)
    if not is_there(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(
            where,
            f'label column "{column}" is of the wrong type: {type(value).__name__}, '
            "expected a number",
        )
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST:  # NaN is not either
        bound = f" of at most {LARGEST:g}" if math.isfinite(number) else ""
        raise DataError(
            where,
            f'label column "{column}" is {str(value)[:40]!r}, expected a finite number' + bound,
        )
    return number
