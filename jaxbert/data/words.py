"""CoNLL files and rows -> sentences of words, with a tag for each word."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxbert.data.rows import (
    Data,
    Report,
    Row,
    Sheet,
    field,
    find_column,
    names_of,
    read_labelled,
    whole_texts,
)
from jaxbert.data.sources import is_folder, load_rows, read_text
from jaxbert.errors import DataError, InputError


@dataclasses.dataclass(frozen=True)
class WordsExample:
    """The words of a sentence and a tag for each, or None if they are not known."""

    where: str = dataclasses.field(repr=False)
    words: tuple[str, ...]
    tags: tuple[str, ...] | None


def load_words(path: str, *, word_column: str | None, tag_column: str | None) -> Any:
    """The content of a file: JSON, JSONL, Parquet and folders as load_rows, all else as CoNLL.

    CoNLL has a word a line, and blank lines between sentences. Columns are separated by tabs or, in
    lines without one, by spaces. -DOCSTART- lines are passed over, and in .conllu files comments,
    multi-word ranges and empty nodes.

    Args:
        word_column: of CoNLL the number of the column, from 0, or from -1 backwards; by default 0,
            and 1 in .conllu files.
        tag_column: likewise; by default the last column, and 3 in .conllu files. Files of one
            column have no tags.

    Returns:
        For CoNLL a Row a sentence, with the lists that read_words finds by the same names.

    Raises:
        InputError: the file cannot be read, or a line lacks a column.
    """
    file = Path(path)
    if is_folder(file) or file.suffix.lower() in (".json", ".jsonl", ".parquet"):
        return load_rows(path)
    if file.suffix.lower() == ".csv":
        raise InputError(
            f"{path}: a CSV file has no lists of words; give CoNLL columns, or JSONL with the "
            "lists tokens and ner_tags"
        )
    in_conllu = file.suffix.lower() == ".conllu"
    sentences: list[list[tuple[int, list[str]]]] = [[]]  # of lines: number, fields
    # Not splitlines() nor split(): a word may be U+2028, U+0085 or U+00A0.
    for number, line in enumerate(read_text(file).split("\n"), 1):
        line = line.rstrip("\r")
        if "\r" in line:
            raise InputError(
                f"{path}: line {number} has a carriage return inside; end lines with LF or CRLF"
            )
        fields = line.split("\t") if "\t" in line else [f for f in line.split(" ") if f]
        if not line.strip(" \t") or fields[0] == "-DOCSTART-":
            sentences.append([])
        elif not (in_conllu and re.match("#|[0-9]+[-.][0-9]", line)):
            sentences[-1].append((number, fields))
    names = [word_column or "words"]
    columns = [_column(path, word_column or ("1" if in_conllu else "0"))]
    asked = tag_column is not None and not tag_column.endswith("?")
    if asked or any(len(fields) > 1 for lines in sentences for _, fields in lines):
        names.append(tag_column or "tags")
        default = "3" if in_conllu else "-1"
        columns.append(_column(path, (tag_column or default).removesuffix("?")))
    least = max(len(columns), *(-c if c < 0 else c + 1 for c in columns))
    rows = []
    for lines in filter(None, sentences):
        for number, fields in lines:
            _check_line(path, number, fields, columns, least)
        cells = [[_cell(fields[c]) for _, fields in lines] for c in columns]
        rows.append(Row(zip(names, cells, strict=True), lines[0][0]))
    return rows


def _column(path: str, column: str) -> int:
    if not re.fullmatch("-?[0-9]{1,4}", column):
        raise InputError(
            f'{path}: the columns of CoNLL have numbers, and "{column}" is none; give 0 for the '
            "first or -1 for the last"
        )
    return int(column)


def _check_line(path: str, number: int, fields: list[str], columns: list[int], least: int) -> None:
    count = len(fields)
    if count < least:
        raise InputError(
            f"{path}: line {number} has {count} column{'s'[: count > 1]}, expected at least "
            f"{least}, with a tab or spaces between them"
        )
    if len(columns) == 2 and columns[0] % count == columns[1] % count:
        raise InputError(
            f"{path}: line {number}: word and tag are the same column; name both, with "
            "--text_column_name and --label_column_name"
        )
    for column in columns:
        if not fields[column]:
            raise InputError(f"{path}: line {number}: column {column % count} is empty")


def _cell(field: str) -> str:
    """The field without spaces around it, unless it is nothing else: a word may be a space."""
    return field.strip(" ") or field


def read_words(
    tables: Iterable[tuple[str, Any]],
    *,
    word_column: str | None,
    tag_column: str | None,
    strict: bool,
) -> Data[WordsExample]:
    """Sentences with a tag for each word.

    Args:
        tables: of each file its name and its content, as load_words gives it, with the same
            columns, or load_hub_rows.
        word_column: the column with lists of words; None looks for "tokens" and "words".
        tag_column: the column with lists of tags; None looks for "ner_tags", "pos_tags" and others;
            data without any has no tags.
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: a column is not there, or no row has words, and tags in the same number.
    """

    def examples_of(sheet: Sheet, report: Report) -> tuple[list[WordsExample], tuple[str, ...]]:
        origin, names = sheet.origin, sheet.names
        known = ["tokens", "words"]
        if isinstance(sheet.rows[0][1].get("text"), list):
            known.append("text")
        words_in = find_column(origin, names, word_column, known)
        if words_in is None:
            raise InputError(
                f"{origin}: no column that is known to hold words; it has "
                f"{names_of(names) or 'none'}; name it with --text_column_name"
            )
        known = ["ner_tags", "pos_tags", "tags", "labels", "upos"]
        tags_in = find_column(origin, names, tag_column, known)

        def example_of(placed: tuple[str, dict[str, Any]]) -> WordsExample:
            where, row = placed
            words = _strings(row, words_in, where)
            tags = None if tags_in is None else _tags(row, tags_in, where)
            if tags is not None and len(tags) != len(words):
                raise DataError(where, f"{len(words)} words and {len(tags)} tags")
            if not words:
                raise DataError(where, "the sentence has no words")
            whole = whole_texts([*words, *(tags or ())], where, report)
            first, second = tuple(whole[: len(words)]), tuple(whole[len(words) :])
            return WordsExample(where, first, None if tags is None else second)

        examples = list(report.each(sheet.rows, example_of))
        return examples, () if tags_in is None else sheet.classes.get(tags_in, ())

    return read_labelled(tables, examples_of, lambda e: e.tags, strict=strict, what="sentence")


def _tags(row: dict[str, Any], column: str, where: str) -> list[str] | None:
    """None for a row of None, which is how the Hub's -1 come: it has no tags."""
    if row.get(column) is None:
        return None
    found = field(row, column, list, where)
    if found and all(tag is None for tag in found):
        return None
    tags = _strings(row, column, where)
    if not all(tag.strip() for tag in tags):
        raise DataError(where, f'a tag of column "{column}" is empty')
    return tags


def _strings(row: dict[str, Any], column: str, where: str) -> list[str]:
    """A list of str; whole numbers become their digits."""
    items = field(row, column, list, where)
    for number, item in enumerate(items):
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise DataError(
                where,
                f'item {number} of column "{column}" is {type(item).__name__}, expected str or int',
            )
    return [str(item) for item in items]
