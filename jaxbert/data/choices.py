"""Rows -> multiple choices, with the number of the right one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from jaxbert.data.cells import as_whole, is_there, text_in
from jaxbert.data.rows import (
    Content,
    Data,
    Fields,
    Report,
    Sheet,
    field,
    find_column,
    names_of,
    read_labelled,
    whole_texts,
)
from jaxbert.errors import DataError


@dataclasses.dataclass(frozen=True)
class ChoiceExample:
    """A first segment, its possible second segments, and the number of the right one if known."""

    where: str = dataclasses.field(repr=False)
    context: str
    endings: tuple[str, ...]
    label: int | None = None


def read_choices(
    tables: Iterable[tuple[str, Content]], *, label_column: str | None, strict: bool
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

        def example_of(placed: tuple[str, Fields]) -> ChoiceExample:
            nonlocal count
            where, row = placed
            report.labels += column is not None and is_there(row.get(column))
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


def _choice_texts(row: Fields, where: str) -> tuple[str, str, list[str]]:
    """The first segment, what stands before every choice, which may be nothing, and the choices."""
    endings = [name for name in row if re.fullmatch("ending[0-9]+", name)]
    if "sent1" in row and endings:
        texts = [text_in(row, f"ending{n}", where) for n in range(len(endings))]
        return text_in(row, "sent1", where), field(row, "sent2", str, where), texts
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
    question = text_in(row, "question", where)
    for name in ("context", "article", "passage"):
        if row.get(name) not in (None, ""):
            return text_in(row, name, where), question, choices
    return question, "", choices


def _right_choice(row: Fields, column: str, choices: Sequence[str], where: str) -> int | None:
    """The number of the right choice, which a label names by number, by letter or by its text.

    A text may look like a number or a letter: then all that it can mean must be one choice.
    """
    value = row.get(column)
    if not is_there(value):
        return None
    if isinstance(value, float):
        value = as_whole(value)
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
