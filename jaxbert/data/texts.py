"""Reads texts and pairs of texts, with their labels, from rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from jaxbert.data.cells import (
    as_number,
    class_in,
    classes_in,
    has_value,
    indicated_in,
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
    replace_surrogates_in,
)
from jaxbert.data.soft_labels import SoftLabel, soft_label_in
from jaxbert.errors import DataError, InputError

# Columns that need not be named, in order of preference: those of GLUE and others.
_PAIR_COLUMNS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)
_TEXT_COLUMNS = ("sentence", "text", "review")
_NUMBER_COLUMNS = ("label", "score", "relatedness", "similarity", "target")


@dataclasses.dataclass(frozen=True)
class TextExample:
    """A text or a pair of texts, and its label, or None if it is unknown.

    Attributes:
        label: a class (str), several classes (a tuple, perhaps empty), a distribution over classes,
            or a number (float).
    """

    where: str = dataclasses.field(repr=False)  # not part of the example's identity
    text: str
    pair: str | None = None
    label: str | float | tuple[str, ...] | SoftLabel | None = None


def read_texts(
    tables: Iterable[tuple[str, Content]],
    *,
    text_columns: Sequence[str] | None,
    label_column: str | None,
    numeric: bool,
    strict: bool,
    indicator_columns: Sequence[str] = (),
) -> Data[TextExample]:
    """Read texts or pairs of texts, labelled with classes or numbers.

    Args:
        tables: the name of each file and its content, as load_rows returns it.
        text_columns: one name, or two for pairs; None looks for GLUE's, "text" and "review", else
            takes the one or two columns that hold text, like run_glue.
        label_column: None looks for "label" and "labels" or, for numbers, for "score" and others;
            data with none of them has no labels. If it holds lists, a text has several labels; an
            object of class: probability is a soft label.
        numeric: labels are finite numbers, not names of classes.
        strict: raise at the first problem instead of reporting it.
        indicator_columns: instead of label_column, one column per label that says whether a text
            has it.

    Raises:
        InputError: a column is missing, or no row has a valid text and label.
    """
    if text_columns is not None and len(text_columns) not in (1, 2):
        raise InputError(f"--text_column_name takes one name or two, not {len(text_columns)}")

    label_columns: list[str] = []

    def examples_of(sheet: Sheet, report: Report) -> tuple[list[TextExample], tuple[str, ...]]:
        indicators = _indicator_columns(sheet, indicator_columns)
        known = ["label", "labels"] if not indicator_columns else []
        if numeric:  # "label" may be a class, and the number in another column
            number_columns = [
                c for c in _NUMBER_COLUMNS if c in sheet.names and _holds_numbers(c, sheet.rows)
            ]
            known = number_columns or [*_NUMBER_COLUMNS]
        column = find_column(sheet.origin, sheet.names, label_column, known)
        columns = _text_columns(sheet, text_columns, column, report)
        declared = () if numeric or column is None else sheet.classes.get(column, ())
        multi_label = not numeric and column is not None and _holds_lists(column, sheet.rows)
        label_names = indicators if column is None else (column,)
        if shared := next((name for name in label_names if name in columns), None):
            raise InputError(
                f'{sheet.origin}: column "{shared}" cannot hold both the text and the label; '
                "name both columns, with --text_column_name and --label_column_name"
            )
        if column is not None and not multi_label:
            label_columns.append(column)
            _check_label_type(column, sheet, numeric=numeric, declared=bool(declared))

        def label_of(row: Fields, where: str) -> str | float | tuple[str, ...] | SoftLabel | None:
            report.labels += any(has_value(row.get(name)) for name in label_names)
            if indicators:
                return indicated_in(row, indicators, where)
            if column is None:
                return None
            if numeric:
                return number_in(row, column, where)
            if multi_label:
                return classes_in(row, column, where)
            cell = row.get(column)
            if isinstance(cell, dict):
                return soft_label_in(cell, column, where)
            return class_in(row, column, where)

        def example_of(located: tuple[str, Fields]) -> TextExample:
            where, row = located
            label = label_of(row, where)
            texts = [text_in(row, name, where) for name in columns]
            single = (label,) if isinstance(label, str) else ()
            names = label if isinstance(label, tuple) else single
            cleaned = replace_surrogates_in([*texts, *names], where, report)
            pair = cleaned[1] if len(columns) == 2 else None
            if isinstance(label, tuple):
                label = tuple(cleaned[len(columns) :])
            elif isinstance(label, str):
                label = cleaned[-1]
            return TextExample(where, cleaned[0], pair, label)

        return list(report.each(sheet.rows, example_of)), indicators or declared

    data = read_labelled(tables, examples_of, lambda e: e.label, strict=strict)
    return dataclasses.replace(data, label_column=next(iter(label_columns), None))


def with_texts(examples: Sequence[TextExample], texts: Sequence[str]) -> list[TextExample]:
    """Single texts in place of those of the examples.

    Raises:
        InputError: an example is a pair.
    """
    for example in examples:
        if example.pair is not None:
            raise InputError(
                f"{example.where}: --view_column is for single texts, and this row is a pair; name "
                "the column of the text with --text_column_name"
            )
    return [
        dataclasses.replace(example, text=text)
        for example, text in zip(examples, texts, strict=True)
    ]


def _text_columns(
    sheet: Sheet, requested: Sequence[str] | None, label_column: str | None, report: Report
) -> Sequence[str]:
    origin, names = sheet.origin, sheet.names
    for name in requested or ():
        find_column(origin, names, name, ())
    known = (*_PAIR_COLUMNS, *((name,) for name in _TEXT_COLUMNS))
    found = requested or next((columns for columns in known if set(columns) <= set(names)), None)
    if found is None:
        found = columns_of_text(sheet, but=label_column)
        if len(found) > (
            1 if label_column is None else 2
        ):  # with labels unknown, one text may be the label
            found = []
        elif found:
            quoted = " and ".join(f'"{name}"' for name in found)
            what = "texts are in the column" if len(found) == 1 else "pairs of texts are in columns"
            report.note(f"{origin}: {what} {quoted}")
    if not found:
        raise InputError(
            f"{origin}: no column is known to hold texts; it has {names_of(names) or 'none'}; "
            "name one, or two for pairs, with --text_column_name"
        )
    return found


def _check_label_type(column: str, sheet: Sheet, *, numeric: bool, declared: bool) -> None:
    """Refuse a column of numbers as classes, and a column of names as numbers.

    Raises:
        DataError: the task needs classes, but all labels are numbers and some have decimals; or it
            needs numbers, and no label is one.
    """
    labels = [(where, row[column]) for where, row in sheet.rows if has_value(row.get(column))]
    if numeric:
        if labels and all(isinstance(v, str) and as_number(v) is None for _, v in labels):
            where, value = labels[0]
            raise DataError(
                where,
                f'label column "{column}" is {str(value)[:40]!r}, expected a finite number, but no '
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


def _indicator_columns(sheet: Sheet, requested: Sequence[str]) -> tuple[str, ...]:
    """The requested columns; none if all are optional and missing.

    Raises:
        InputError: one is missing.
    """
    columns = [find_column(sheet.origin, sheet.names, name, ()) for name in requested]
    present = tuple(name for name in columns if name is not None)
    if present and len(present) < len(columns):
        missing = requested[columns.index(None)].removesuffix("?")
        raise InputError(
            f'{sheet.origin}: no column "{missing}" of label {missing}; it has '
            f"{names_of(sheet.names)}"
        )
    if len(set(present)) < len(present):
        raise InputError("--label_column_name names a column twice")
    return present


def _holds_numbers(column: str, rows: Sequence[tuple[str, Fields]]) -> bool:
    """Whether the first label of the column is a number."""
    for where, row in rows:
        try:
            if number_in(row, column, where) is not None:
                return True
        except InputError:
            return False
    return False
