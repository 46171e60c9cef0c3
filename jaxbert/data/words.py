"""Reads sentences, with a tag for each word, from any file with lists of words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxbert.data.conll import DOCUMENT, read_conll
from jaxbert.data.documents import Documents, neighbours, runs_of
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
    replace_surrogates_in,
)
from jaxbert.data.sources import is_folder, load_rows
from jaxbert.errors import DataError, InputError
from jaxbert.io.untrusted import shown


@dataclasses.dataclass(frozen=True)
class WordsExample:
    """The words of a sentence and a tag for each, or None if tags are unknown.

    Attributes:
        before, after: the words around it in its document, where they are to be read with it.
    """

    where: str = dataclasses.field(repr=False)
    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    before: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    after: tuple[str, ...] = dataclasses.field(default=(), repr=False)

    def __repr__(self) -> str:
        """What fingerprints and kept features are told by: that of a sentence alone stays what it
        was before there were words around it."""
        around = f", before={self.before}, after={self.after}" if self.before or self.after else ""
        return f"{type(self).__name__}(words={self.words}, tags={self.tags}{around})"


def load_words(
    path: str,
    *,
    word_column: str | None,
    tag_column: str | None,
    documents: Documents | None = None,
) -> Content:
    """Load a file: JSON, Parquet and folders with load_rows, everything else with read_conll.

    Args:
        word_column, tag_column: the numbers of CoNLL columns.
        documents: the sentences are to be read with the words around them.

    Raises:
        InputError: the file cannot be read, or a line has the wrong number of columns.
    """
    file = Path(path)
    if is_folder(file) or file.suffix.lower() in (".json", ".jsonl", ".parquet"):
        return load_rows(path)
    if file.suffix.lower() == ".csv":
        raise InputError(
            f"{path}: a CSV file has no lists of words; give CoNLL columns, or JSONL with the "
            "lists tokens and ner_tags"
        )
    if documents is not None and documents.column is not None:
        raise InputError(
            f"{path}: --document_column_name {shown(documents.column)} is for rows; in CoNLL files "
            "-DOCSTART- lines say where documents begin: leave it out"
        )
    return read_conll(
        path,
        word_column=word_column,
        tag_column=tag_column,
        document_lines=documents is not None,
    )


def read_words(
    tables: Iterable[tuple[str, Content]],
    *,
    word_column: str | None,
    tag_column: str | None,
    strict: bool,
    documents: Documents | None = None,
) -> Data[WordsExample]:
    """Read sentences with a tag for each word.

    Args:
        tables: the name of each file and its content, as load_words (with the same columns) or
            load_hub_rows returns it.
        word_column: the column with lists of words; None looks for "tokens" and "words".
        tag_column: the column with lists of tags; None looks for "ner_tags", "pos_tags" and others;
            data with none of them has no tags.
        strict: raise at the first problem instead of reporting it.
        documents: with the words around each sentence in its document. Sentences of one document
            stand one behind the other; those that have no tags, or are of no use otherwise, are
            words around the others all the same if they can be read.

    Raises:
        InputError: a column is missing, no row has words and an equal number of tags, or the
            sentences of a document are apart.
    """

    def examples_of(sheet: Sheet, report: Report) -> tuple[list[WordsExample], tuple[str, ...]]:
        words_name, tags_name = _columns(sheet, word_column, tag_column, report)
        document = None if documents is None else _document_column(sheet, documents)
        keys: list[str | int] = []

        def example_of(located: tuple[str, Fields]) -> WordsExample:
            where, row = located
            key = "" if document is None else field(row, document, (str, int), where)
            words = _strings(field(row, words_name, list, where), words_name, where)
            tags = None if tags_name is None else _tags(row, tags_name, where, report)
            if tags is not None and len(tags) != len(words):
                raise DataError(where, f"{len(words)} words and {len(tags)} tags")
            if not words:
                raise DataError(where, "the sentence has no words")
            cleaned = replace_surrogates_in([*words, *(tags or ())], where, report)
            clean_words, clean_tags = tuple(cleaned[: len(words)]), tuple(cleaned[len(words) :])
            keys.append(key)
            return WordsExample(where, clean_words, None if tags is None else clean_tags)

        examples = list(report.each(sheet.rows, example_of))
        if documents is not None:
            examples = _in_documents(examples, keys, documents.most)
        return examples, () if tags_name is None else sheet.classes.get(tags_name, ())

    return read_labelled(tables, examples_of, lambda e: e.tags, strict=strict, what="sentence")


def _document_column(sheet: Sheet, documents: Documents) -> str:
    """The column that says which document a row is of.

    Raises:
        InputError: there is none.
    """
    known = [DOCUMENT, "document_id", "doc_id", "document", "doc"]
    found = find_column(sheet.origin, sheet.names, documents.column, known)
    if found is None:
        raise InputError(
            f"{sheet.origin}: --document_context: no column says which document a row is of; it "
            f"has {names_of(sheet.names)}; name it with --document_column_name, or give "
            "--document_context no"
        )
    return found


def _in_documents(
    examples: Sequence[WordsExample], keys: Sequence[str | int], most: int
) -> list[WordsExample]:
    """Sentences with the words around them, `most` at most on each side.

    Args:
        keys: of the document of each.

    Raises:
        InputError: the sentences of a document are apart.
    """
    try:
        runs = runs_of(keys)
    except ValueError as error:
        (at,) = error.args
        raise InputError(
            f"{examples[at].where}: a sentence of the document {shown(str(keys[at]))}, which has "
            "begun before another one; --document_context needs the sentences of a document one "
            "behind the other"
        ) from None
    return [
        dataclasses.replace(example, before=before, after=after)
        for first, last in runs
        for example, (before, after) in zip(
            examples[first:last],
            neighbours([e.words for e in examples[first:last]], most),
            strict=True,
        )
    ]


def _columns(
    sheet: Sheet, word_column: str | None, tag_column: str | None, report: Report
) -> tuple[str, str | None]:
    """The columns of words and tags: by name, else the first and second lists, like run_ner."""
    origin, names = sheet.origin, sheet.names
    first = sheet.rows[0][1]
    known = ["tokens", "words", *(["text"] if isinstance(first.get("text"), list) else [])]
    words_name = find_column(origin, names, word_column, known)
    known = ["ner_tags", "pos_tags", "tags", "labels", "upos", "ner", "pos", "chunk_tags", "chunk"]
    tags_name = find_column(origin, names, tag_column, known)
    lists = [name for name in names if name != tags_name and _holds_lists(name, sheet)]
    guessed = []
    if words_name is None:
        words_name = next(iter(lists), None)
        guessed = [f'words are in the column "{words_name}"']
    if words_name is None:
        raise InputError(
            f"{origin}: no column is known to hold words; it has "
            f"{names_of(names) or 'none'}; name it with --text_column_name"
        )
    if words_name == tags_name:
        raise InputError(
            f'{origin}: column "{words_name}" cannot hold both the words and the tags; name both '
            "columns, with --text_column_name and --label_column_name"
        )
    if tags_name is None and tag_column is None:
        tags_name = next(
            (n for n in lists if n != words_name and _fits(n, words_name, sheet)), None
        )
        guessed += [f'tags are in the column "{tags_name}"'] if tags_name else []
    if guessed:
        report.note(f"{origin}: {' and '.join(guessed)}")
    return words_name, tags_name


def _holds_lists(name: str, sheet: Sheet) -> bool:
    """Whether the first value of the column is a list of str or numbers."""
    value = next((row[name] for _, row in sheet.rows if row.get(name) is not None), None)
    return isinstance(value, list) and all(isinstance(item, str | int | float) for item in value)


def _fits(name: str, words_name: str, sheet: Sheet) -> bool:
    """Whether the column has one item per word in every row that has it."""
    both = ((row.get(name), row.get(words_name)) for _, row in sheet.rows)
    return all(
        isinstance(one, list) and isinstance(other, list) and len(one) == len(other)
        for one, other in both
        if one is not None
    )


def _tags(row: Fields, column: str, where: str, report: Report) -> list[str] | None:
    """The tags of a row; None if it has none: the Hub's -1 are read as None."""
    if row.get(column) is None:
        return None
    items = field(row, column, list, where)
    if items and all(tag is None or tag != tag for tag in items):  # NaN is pandas' None
        return None
    report.labels += bool(items)
    integral = [int(t) if isinstance(t, float) and t.is_integer() else t for t in items]
    tags = _strings(integral, column, where)
    if not all(tag.strip() for tag in tags):
        raise DataError(where, f'a tag of column "{column}" is empty')
    return tags


def _strings(items: Sequence[Cell], column: str, where: str) -> list[str]:
    """The items as str; integers become their digits."""
    for index, item in enumerate(items):
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise DataError(
                where,
                f'item {index} of column "{column}" is {type(item).__name__}, expected str or int',
            )
    return [str(item) for item in items]
