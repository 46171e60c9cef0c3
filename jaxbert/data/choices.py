"""Reads multiple-choice questions, with the index of the right choice, from rows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from jaxbert.data.cells import has_value, text_in, without_decimals
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
    replace_surrogates_in,
)
from jaxbert.errors import DataError


@dataclasses.dataclass(frozen=True)
class ChoiceExample:
    """A first segment, its possible second segments, and the index of the right one if known."""

    where: str = dataclasses.field(repr=False)
    context: str
    endings: tuple[str, ...]
    label: int | None = None


def read_choices(
    tables: Iterable[tuple[str, Content]], *, label_column: str | None, strict: bool
) -> Data[ChoiceExample]:
    """Read questions with several choices, one of which is right.

    A row has SWAG's columns (sent1, sent2, ending0, ending1, ...), or the columns question, choices
    or options (a list of str), and optionally context, article or passage. The first segment is
    sent1, the context or, without a context, the question. Each second segment is an ending or
    choice, preceded by sent2 or, where there is a context, by the question.

    Args:
        tables: the name of each file and its content, as load_rows returns it.
        label_column: None looks for "label" and "answer"; data with neither has no labels.
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: no row has this form, texts that are not empty, and a label that names exactly
            one choice.
    """
    count = 0  # choices of the first row

    def examples_of(sheet: Sheet, report: Report) -> tuple[list[ChoiceExample], tuple[str, ...]]:
        column = find_column(sheet.origin, sheet.names, label_column, ["label", "answer"])

        def example_of(located: tuple[str, Fields]) -> ChoiceExample:
            nonlocal count
            where, row = located
            report.labels += column is not None and has_value(row.get(column))
            context, prompt, choices = _choice_texts(row, where)
            if len(choices) < 2:
                raise DataError(where, f"{len(choices)} choices, expected at least 2")
            if len(choices) != (count or len(choices)):
                raise DataError(
                    where, f"{len(choices)} choices, expected {count} as in the first row"
                )
            label = None if column is None else _right_choice(row, column, choices, where)
            endings = [f"{prompt} {choice}" if prompt.strip() else choice for choice in choices]
            context, *endings = replace_surrogates_in([context, *endings], where, report)
            count = len(choices)
            return ChoiceExample(where, context, tuple(endings), label)

        return list(report.each(sheet.rows, example_of)), ()

    return read_labelled(tables, examples_of, lambda e: e.label, strict=strict)


def _choice_texts(row: Fields, where: str) -> tuple[str, str, list[str]]:
    """The first segment, the text before each choice, which may be empty, and the choices."""
    endings = [name for name in row if re.fullmatch("ending[0-9]+", name)]
    if "sent1" in row and endings:
        texts = [text_in(row, f"ending{n}", where) for n in range(len(endings))]
        return text_in(row, "sent1", where), field(row, "sent2", str, where), texts
    column = next((name for name in ("choices", "options") if name in row), None)
    if column is None or "question" not in row:
        raise DataError(
            where,
            f"unknown form; it needs sent1, sent2, ending0, ending1, ... or "
            f"question and choices, and has {names_of(row) or 'none'}",
        )
    choices = field(row, column, list, where)
    for index, choice in enumerate(choices):
        if not isinstance(choice, str) or not choice.strip():
            actual = "empty" if isinstance(choice, str) else type(choice).__name__
            raise DataError(where, f'choice {index} of "{column}" is {actual}, expected a text')
    question = text_in(row, "question", where)
    for name in ("context", "article", "passage"):
        if row.get(name) not in (None, ""):
            return text_in(row, name, where), question, choices
    return question, "", choices


def _right_choice(row: Fields, column: str, choices: Sequence[str], where: str) -> int | None:
    """The index of the right choice, which a label names by index, by letter or by its text.

    A text can also look like an index or a letter: then all its readings must mean the same choice.
    """
    value = row.get(column)
    if not has_value(value):
        return None
    if isinstance(value, float):
        value = without_decimals(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(
            where,
            f'label column "{column}" has the wrong type: {type(value).__name__}, '
            "expected the number, letter or text of a choice",
        )
    meant = {value} if isinstance(value, int) else set()
    if isinstance(value, str):
        text = value.strip()
        meant |= {index for index, choice in enumerate(choices) if choice.strip() == text}
        if re.fullmatch(r"[0-9]{1,9}(\.0+)?", text):
            meant.add(int(text.split(".")[0]))
        if re.fullmatch("[A-Z]", text):
            meant.add(ord(text) - ord("A"))
    matches = sorted(meant & set(range(len(choices))))
    if len(matches) != 1:
        several = f"may mean any of the choices {', '.join(map(str, matches))}"
        raise DataError(
            where,
            f'label column "{column}" is {str(value)[:40]!r}, which '
            f"{several if matches else f'is none of the {len(choices)} choices'}; give the number "
            f"of the right one, from 0 to {len(choices) - 1}",
        )
    return matches[0]
