"""Rows -> texts and pairs of texts, with their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from jaxbert.data.cells import (
    as_number,
    class_in,
    classes_in,
    indicated_in,
    is_there,
    number_in,
    text_in,
)
from jaxbert.data.rows import (
    Content,
    Data,
    Fields,
    Report,
    Sheet,
    columns_of_text,
    find_column,
    names_of,
    read_labelled,
    whole_texts,
)
from jaxbert.errors import DataError, InputError

# Columns that are found without being named, the first that are there: those of GLUE and others.
_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)
_SINGLES = ("sentence", "text", "review")
_NUMBERS = ("label", "score", "relatedness", "similarity", "target")


@dataclasses.dataclass(frozen=True)
class TextExample:
    """A text, or a pair of texts, and its label, or None if that is not known.

    Attributes:
        label: a class (str), any number of them (a tuple, which may be empty), or a number (float).
    """

    where: str = dataclasses.field(repr=False)  # the same text elsewhere is the same example
    text: str
    pair: str | None = None
    label: str | float | tuple[str, ...] | None = None


def read_texts(
    tables: Iterable[tuple[str, Content]],
    *,
    text_columns: Sequence[str] | None,
    label_column: str | None,
    numeric: bool,
    strict: bool,
    indicator_columns: Sequence[str] = (),
) -> Data[TextExample]:
    """Texts or pairs of texts to classify or to give a number.

    Args:
        tables: of each file its name and its content, as load_rows gives it.
        text_columns: one name, or two for pairs; None looks for those of GLUE and "text", "review",
            else takes the one or two that hold text, as run_glue.
        label_column: None looks for "label" and "labels" and, of numbers, for "score" and others;
            data without any has no labels. It may hold lists: then a text has any number of labels.
        numeric: labels are finite numbers, not names of classes.
        strict: raise at the first problem instead of reporting it.
        indicator_columns: in place of label_column, the columns that say of one label each whether
            a text has it.

    Raises:
        InputError: a column is not there, or no row has text and label as they should be.
    """
    if text_columns is not None and len(text_columns) not in (1, 2):
        raise InputError(f"--text_column_name takes one name or two, not {len(text_columns)}")

    label_columns: list[str] = []

    def examples_of(sheet: Sheet, report: Report) -> tuple[list[TextExample], tuple[str, ...]]:
        indicators = _indicator_columns(sheet, indicator_columns)
        known = ["label", "labels"] if not indicator_columns else []
        if numeric:  # in some data "label" is a class, and the number is in another column
            holding = [c for c in _NUMBERS if c in sheet.names and _holds_numbers(c, sheet.rows)]
            known = holding or [*_NUMBERS]
        column = find_column(sheet.origin, sheet.names, label_column, known)
        columns = _text_columns(sheet, text_columns, column, report)
        declared = () if numeric or column is None else sheet.classes.get(column, ())
        several = not numeric and column is not None and _holds_lists(column, sheet.rows)
        of_labels = indicators if column is None else (column,)
        if both := next((name for name in of_labels if name in columns), None):
            raise InputError(
                f'{sheet.origin}: column "{both}" is to hold both the text and the label; '
                "name both columns, with --text_column_name and --label_column_name"
            )
        if column is not None and not several:
            label_columns.append(column)
            _check_kind(column, sheet, numeric=numeric, declared=bool(declared))

        def label_of(row: Fields, where: str) -> str | float | tuple[str, ...] | None:
            report.labels += any(is_there(row.get(name)) for name in of_labels)
            if indicators:
                return indicated_in(row, indicators, where)
            if column is None:
                return None
            if numeric:
                return number_in(row, column, where)
            return classes_in(row, column, where) if several else class_in(row, column, where)

        def example_of(placed: tuple[str, Fields]) -> TextExample:
            where, row = placed
            label = label_of(row, where)
            texts = [text_in(row, name, where) for name in columns]
            of_one = (label,) if isinstance(label, str) else ()
            names = label if isinstance(label, tuple) else of_one
            whole = whole_texts([*texts, *names], where, report)
            pair = whole[1] if len(columns) == 2 else None
            if isinstance(label, tuple):
                label = tuple(whole[len(columns) :])
            elif isinstance(label, str):
                label = whole[-1]
            return TextExample(where, whole[0], pair, label)

        return list(report.each(sheet.rows, example_of)), indicators or declared

    data = read_labelled(tables, examples_of, lambda e: e.label, strict=strict)
    return dataclasses.replace(data, label_column=next(iter(label_columns), None))


def _text_columns(
    sheet: Sheet, asked: Sequence[str] | None, label: str | None, report: Report
) -> Sequence[str]:
    origin, names = sheet.origin, sheet.names
    for name in asked or ():
        find_column(origin, names, name, ())
    known = (*_PAIRS, *((name,) for name in _SINGLES))
    found = asked or next((columns for columns in known if set(columns) <= set(names)), None)
    if found is None:
        found = columns_of_text(sheet, but=label)
        if len(found) > (1 if label is None else 2):  # then a text may also be the label
            found = []
        elif found:
            quoted = " and ".join(f'"{name}"' for name in found)
            what = "texts are in the column" if len(found) == 1 else "pairs of texts are in columns"
            report.note(f"{origin}: {what} {quoted}")
    if not found:
        raise InputError(
            f"{origin}: no column that is known to hold texts; it has {names_of(names) or 'none'}; "
            "name one, or two for pairs, with --text_column_name"
        )
    return found


def _check_kind(column: str, sheet: Sheet, *, numeric: bool, declared: bool) -> None:
    """Refuse a column of numbers as classes, and one of names as numbers.

    Raises:
        DataError: all labels are numbers, some with decimals, and they are to be classes; or no
            label is a number, and they are to be numbers.
    """
    labels = [(where, row[column]) for where, row in sheet.rows if is_there(row.get(column))]
    if numeric:
        if labels and all(isinstance(v, str) and as_number(v) is None for _, v in labels):
            where, value = labels[0]
            raise DataError(
                where,
                f'label column "{column}" is {str(value)[:40]!r}, expected a finite number, and no '
                "row has one; train/classification.py learns classes",
            )
        return
    numbers = [(where, as_number(value)) for where, value in labels]
    if declared or any(number is None for _, number in numbers):
        return
    for (where, number), (_, value) in zip(numbers, labels, strict=True):
        if number is not None and not number.is_integer():
            raise DataError(
                where,
                f'label column "{column}" is {str(value)[:40]!r}, and all labels are numbers; '
                "train/regression.py learns numbers (classes have names, or whole numbers)",
            )


def _holds_lists(column: str, rows: Sequence[tuple[str, Fields]]) -> bool:
    """Whether the first label of the column is a list."""
    first = next((row[column] for _, row in rows if row.get(column) not in (None, "")), None)
    return isinstance(first, list)


def _indicator_columns(sheet: Sheet, asked: Sequence[str]) -> tuple[str, ...]:
    """The columns asked for; none where all of them may be missing and are.

    Raises:
        InputError: one is not there.
    """
    found = [find_column(sheet.origin, sheet.names, name, ()) for name in asked]
    there = tuple(name for name in found if name is not None)
    if there and len(there) < len(found):
        lacking = asked[found.index(None)].removesuffix("?")
        raise InputError(
            f'{sheet.origin}: no column "{lacking}" of label {lacking}; it has '
            f"{names_of(sheet.names)}"
        )
    if len(set(there)) < len(there):
        raise InputError("--label_column_name names a column twice")
    return there


def _holds_numbers(column: str, rows: Sequence[tuple[str, Fields]]) -> bool:
    """Whether the first label of the column is a number."""
    for where, row in rows:
        try:
            if number_in(row, column, where) is not None:
                return True
        except InputError:
            return False
    return False
