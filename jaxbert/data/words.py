"""Rows with lists of words, from any file -> sentences, with a tag for each word."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxbert.data.conll import read_conll
from jaxbert.data.rows import (
    Cell,
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
from jaxbert.data.sources import is_folder, load_rows
from jaxbert.errors import DataError, InputError


@dataclasses.dataclass(frozen=True)
class WordsExample:
    """The words of a sentence and a tag for each, or None if they are not known."""

    where: str = dataclasses.field(repr=False)
    words: tuple[str, ...]
    tags: tuple[str, ...] | None


def load_words(path: str, *, word_column: str | None, tag_column: str | None) -> Content:
    """The content of a file: JSON, Parquet and folders as load_rows, all else as read_conll.

    Args:
        word_column, tag_column: the numbers of the columns of CoNLL.

    Raises:
        InputError: the file cannot be read, or a line has another number of columns.
    """
    file = Path(path)
    if is_folder(file) or file.suffix.lower() in (".json", ".jsonl", ".parquet"):
        return load_rows(path)
    if file.suffix.lower() == ".csv":
        raise InputError(
            f"{path}: a CSV file has no lists of words; give CoNLL columns, or JSONL with the "
            "lists tokens and ner_tags"
        )
    return read_conll(path, word_column=word_column, tag_column=tag_column)


def read_words(
    tables: Iterable[tuple[str, Content]],
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
        words_in, tags_in = _columns(sheet, word_column, tag_column, report)

        def example_of(placed: tuple[str, Fields]) -> WordsExample:
            where, row = placed
            words = _strings(field(row, words_in, list, where), words_in, where)
            tags = None if tags_in is None else _tags(row, tags_in, where, report)
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


def _columns(
    sheet: Sheet, word_column: str | None, tag_column: str | None, report: Report
) -> tuple[str, str | None]:
    """The columns of the words and of the tags: by name, else as run_ner, the first and second."""
    origin, names = sheet.origin, sheet.names
    first = sheet.rows[0][1]
    known = ["tokens", "words", *(["text"] if isinstance(first.get("text"), list) else [])]
    words_in = find_column(origin, names, word_column, known)
    known = ["ner_tags", "pos_tags", "tags", "labels", "upos", "ner", "pos", "chunk_tags", "chunk"]
    tags_in = find_column(origin, names, tag_column, known)
    lists = [name for name in names if name != tags_in and _holds_lists(name, sheet)]
    guessed = []
    if words_in is None:
        words_in = next(iter(lists), None)
        guessed = [f'words are in the column "{words_in}"']
    if words_in is None:
        raise InputError(
            f"{origin}: no column that is known to hold words; it has "
            f"{names_of(names) or 'none'}; name it with --text_column_name"
        )
    if words_in == tags_in:
        raise InputError(
            f'{origin}: column "{words_in}" is to hold both the words and the tags; name both '
            "columns, with --text_column_name and --label_column_name"
        )
    if tags_in is None and tag_column is None:
        tags_in = next((n for n in lists if n != words_in and _fits(n, words_in, sheet)), None)
        guessed += [f'tags are in the column "{tags_in}"'] if tags_in else []
    if guessed:
        report.note(f"{origin}: {' and '.join(guessed)}")
    return words_in, tags_in


def _holds_lists(name: str, sheet: Sheet) -> bool:
    """Whether the first value of the column is a list of str or numbers."""
    value = next((row[name] for _, row in sheet.rows if row.get(name) is not None), None)
    return isinstance(value, list) and all(isinstance(item, str | int | float) for item in value)


def _fits(name: str, words_in: str, sheet: Sheet) -> bool:
    """Whether the column has an item for each word, wherever both are there."""
    both = ((row.get(name), row.get(words_in)) for _, row in sheet.rows)
    return all(
        isinstance(one, list) and isinstance(other, list) and len(one) == len(other)
        for one, other in both
        if one is not None
    )


def _tags(row: Fields, column: str, where: str, report: Report) -> list[str] | None:
    """None for a row of None, which is how the Hub's -1 come: it has no tags."""
    if row.get(column) is None:
        return None
    found = field(row, column, list, where)
    if found and all(tag is None or tag != tag for tag in found):  # NaN is pandas' None
        return None
    report.labels += bool(found)
    whole = [int(t) if isinstance(t, float) and t.is_integer() else t for t in found]
    tags = _strings(whole, column, where)
    if not all(tag.strip() for tag in tags):
        raise DataError(where, f'a tag of column "{column}" is empty')
    return tags


def _strings(items: Sequence[Cell], column: str, where: str) -> list[str]:
    """A list of str; whole numbers become their digits."""
    for number, item in enumerate(items):
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise DataError(
                where,
                f'item {number} of column "{column}" is {type(item).__name__}, expected str or int',
            )
    return [str(item) for item in items]
