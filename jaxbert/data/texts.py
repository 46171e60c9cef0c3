"""Rows -> texts, pairs of texts and multiple choices, with their labels."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from jaxbert.data.rows import (
    Cell,
    Data,
    Report,
    Sheet,
    columns_of_text,
    field,
    find_column,
    names_of,
    read_labelled,
    whole_texts,
)
from jaxbert.errors import DataError, InputError
from jaxbert.untrusted import shown

_WHOLE = re.compile(r"-?[0-9]{1,15}\.0+")
_LARGEST = 1e15  # of a target: the sum of squared errors is to be a float32
# Columns that are found without being named, the first that are there: those of GLUE and others.
_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)
_SINGLES = ("sentence", "text", "review")
_Fields = dict[str, Any]  # of a row
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


@dataclasses.dataclass(frozen=True)
class ChoiceExample:
    """A first segment, its possible second segments, and the number of the right one if known."""

    where: str = dataclasses.field(repr=False)
    context: str
    endings: tuple[str, ...]
    label: int | None = None


def read_texts(
    tables: Iterable[tuple[str, Any]],
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

        def label_of(row: _Fields, where: str) -> str | float | tuple[str, ...] | None:
            report.labels += any(_is_there(row.get(name)) for name in of_labels)
            if indicators:
                return _indicated(row, indicators, where)
            if column is None:
                return None
            if numeric:
                return _number(row, column, where)
            return _classes(row, column, where) if several else _class(row, column, where)

        def example_of(placed: tuple[str, dict[str, Any]]) -> TextExample:
            where, row = placed
            label = label_of(row, where)
            texts = [_text(row, name, where) for name in columns]
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


def _is_there(value: Cell) -> bool:
    """Whether a cell holds anything; NaN is how pandas writes that it does not."""
    missing = value is None or value != value
    return not missing and not (isinstance(value, str) and not value.strip())


def _check_kind(column: str, sheet: Sheet, *, numeric: bool, declared: bool) -> None:
    """Refuse a column of numbers as classes, and one of names as numbers.

    Raises:
        DataError: all labels are numbers, some with decimals, and they are to be classes; or no
            label is a number, and they are to be numbers.
    """
    labels = [(where, row[column]) for where, row in sheet.rows if _is_there(row.get(column))]
    if numeric:
        if labels and all(isinstance(v, str) and _as_number(v) is None for _, v in labels):
            where, value = labels[0]
            raise DataError(
                where,
                f'label column "{column}" is {value[:40]!r}, expected a finite number, and no row '
                "has one; train/classification.py learns classes",
            )
        return
    numbers = [(where, _as_number(value)) for where, value in labels]
    if declared or any(number is None for _, number in numbers):
        return
    for (where, number), (_, value) in zip(numbers, labels, strict=True):
        if number is not None and not number.is_integer():
            raise DataError(
                where,
                f'label column "{column}" is {str(value)[:40]!r}, and all labels are numbers; '
                "train/regression.py learns numbers (classes have names, or whole numbers)",
            )


def _as_number(value: Cell) -> float | None:
    """The finite number that a cell is, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(row: _Fields, column: str, where: str) -> str:
    text = field(row, column, str, where)
    if not text.strip():
        raise DataError(where, f'the text of column "{column}" is empty')
    return text


def _class(row: dict[str, Any], column: str, where: str) -> str | None:
    """The name of the class. One that is a whole number is named by its digits: 1.0 is 1, for
    pandas writes so where a row has no label."""
    value = row.get(column)
    if not _is_there(value):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST:
        value = int(value)
    if not isinstance(value, str | int):  # a bool is an int
        raise DataError(
            where,
            f'label column "{column}" is of the wrong type: {type(value).__name__}, '
            "expected the name or number of a class (str, int or bool)",
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    return _whole(str(value).strip())


def _whole(name: str) -> str:
    """A whole number as its digits: 1.0 is 1. Another name is as it was."""
    return str(int(name.split(".")[0])) if _WHOLE.fullmatch(name) else name


def _classes(row: _Fields, column: str, where: str) -> tuple[str, ...] | None:
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
    found = tuple(_class({column: item}, column, where) or "" for item in value)
    if "" in found:
        raise DataError(where, f'a label of column "{column}" is empty')
    if len(set(found)) < len(found):
        double = next(name for name in found if found.count(name) > 1)
        hint = ""
        if {*found} <= {"0", "1"}:
            hint = "; of 0 and 1 for each label, give a column a label to --label_column_name"
        raise DataError(where, f'label column "{column}" names {shown(double)} twice{hint}')
    return found


def _holds_lists(column: str, rows: Sequence[tuple[str, _Fields]]) -> bool:
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


_INDICATED = {"1": True, "true": True, "0": False, "false": False}


def _indicated(row: _Fields, columns: Sequence[str], where: str) -> tuple[str, ...] | None:
    """The names of the columns that have 1; None for a row of which none says anything."""
    values = [row.get(column) for column in columns]
    if all(value is None or (isinstance(value, str) and not value.strip()) for value in values):
        return None
    found = []
    for column, value in zip(columns, values, strict=True):
        word = _whole(str(value).strip()).lower()
        if word not in _INDICATED:
            raise DataError(
                where, f'label column "{column}" is {str(value)[:40]!r}, expected 0 or 1'
            )
        if _INDICATED[word]:
            found.append(column)
    return tuple(found)


def _number(row: dict[str, Any], column: str, where: str) -> float | None:
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
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
    if not abs(number) <= _LARGEST:  # NaN is not either
        bound = f" of at most {_LARGEST:g}" if math.isfinite(number) else ""
        raise DataError(
            where,
            f'label column "{column}" is {str(value)[:40]!r}, expected a finite number' + bound,
        )
    return number


def _holds_numbers(column: str, rows: Sequence[tuple[str, _Fields]]) -> bool:
    """Whether the first label of the column is a number."""
    for where, row in rows:
        try:
            if _number(row, column, where) is not None:
                return True
        except InputError:
            return False
    return False


# --- multiple choice --------------------------------------------------------------------------


def read_choices(
    tables: Iterable[tuple[str, Any]], *, label_column: str | None, strict: bool
) -> Data[ChoiceExample]:
    """Questions with several answers, one of which is right.

    A row has SWAG's columns (sent1, sent2, ending0, ending1, ...), or question, a list of str as
    choices or options, and if it likes a context, article or passage. The first segment is sent1,
    the context, or without one the question; every second segment is an ending or choice, behind
    sent2 or, where there is a context, behind the question.

    Args:
        tables: of each file its name and its content, as load_rows gives it.
        label_column: None looks for "label" and "answer"; data without any has no labels.
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: no row has this form, with texts that are not empty and a label that names one
            choice.
    """
    count = 0  # of the first row's choices

    def examples_of(sheet: Sheet, report: Report) -> tuple[list[ChoiceExample], tuple[str, ...]]:
        column = find_column(sheet.origin, sheet.names, label_column, ["label", "answer"])

        def example_of(placed: tuple[str, dict[str, Any]]) -> ChoiceExample:
            nonlocal count
            where, row = placed
            report.labels += column is not None and _is_there(row.get(column))
            context, prompt, choices = _choice_texts(row, where)
            if len(choices) < 2:
                raise DataError(where, f"{len(choices)} choices, expected at least 2")
            if len(choices) != (count or len(choices)):
                found = f"{len(choices)} choices, expected {count} as in the first row"
                raise DataError(where, f"{found}")
            label = None if column is None else _right_choice(row, column, choices, where)
            endings = [f"{prompt} {choice}" if prompt.strip() else choice for choice in choices]
            context, *endings = whole_texts([context, *endings], where, report)
            count = len(choices)
            return ChoiceExample(where, context, tuple(endings), label)

        return list(report.each(sheet.rows, example_of)), ()

    return read_labelled(tables, examples_of, lambda e: e.label, strict=strict)


def _choice_texts(row: _Fields, where: str) -> tuple[str, str, list[str]]:
    """The first segment, what stands before every choice, which may be nothing, and the choices."""
    endings = [name for name in row if re.fullmatch("ending[0-9]+", name)]
    if "sent1" in row and endings:
        texts = [_text(row, f"ending{n}", where) for n in range(len(endings))]
        return _text(row, "sent1", where), field(row, "sent2", str, where), texts
    column = next((name for name in ("choices", "options") if name in row), None)
    if column is None or "question" not in row:
        raise DataError(
            where,
            f"not a form that is known; it needs sent1, sent2, ending0, ending1, ... or "
            f"question and choices, and has {names_of(row) or 'none'}",
        )
    choices = field(row, column, list, where)
    for number, choice in enumerate(choices):
        if not isinstance(choice, str) or not choice.strip():
            found = "empty" if isinstance(choice, str) else type(choice).__name__
            raise DataError(where, f'choice {number} of "{column}" is {found}, expected a text')
    question = _text(row, "question", where)
    for name in ("context", "article", "passage"):
        if row.get(name) not in (None, ""):
            return _text(row, name, where), question, choices
    return question, "", choices


def _right_choice(
    row: dict[str, Any], column: str, choices: Sequence[str], where: str
) -> int | None:
    """The number of the right choice, which a label names by number, by letter or by its text.

    A text may look like a number or a letter: then all that it can mean must be one choice.
    """
    value = row.get(column)
    if not _is_there(value):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST:
        value = int(value)  # pandas' form of a whole number
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(
            where,
            f'label column "{column}" is of the wrong type: {type(value).__name__}, '
            "expected the number, letter or text of a choice",
        )
    meant = {value} if isinstance(value, int) else set()
    if isinstance(value, str):
        word = value.strip()
        meant |= {number for number, choice in enumerate(choices) if choice.strip() == word}
        if re.fullmatch(r"[0-9]{1,9}(\.0+)?", word):
            meant.add(int(word.split(".")[0]))
        if re.fullmatch("[A-Z]", word):
            meant.add(ord(word) - ord("A"))
    found = sorted(meant & set(range(len(choices))))
    if len(found) != 1:
        several = f"may be each of the choices {', '.join(map(str, found))}"
        raise DataError(
            where,
            f'label column "{column}" is {str(value)[:40]!r}, which '
            f"{several if found else f'is none of the {len(choices)} choices'}; give the number "
            f"of the right one, from 0 to {len(choices) - 1}",
        )
    return found[0]
