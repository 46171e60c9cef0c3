"""Reads CoNLL files as sentences of words with tags."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from jaxbert.data.rows import Cell, Row, Table
from jaxbert.data.text_files import read_text
from jaxbert.errors import DataError, InputError
from jaxbert.io.untrusted import shown

_TAG = re.compile("O|[BIESLUM](-.+)?")
_DOCUMENT = re.compile(r"#(begin document \(.*|end document\s*)")  # of CoNLL-2011 and 2012
_NEW_DOCUMENT = re.compile(r"#\s*newdoc(\s.*)?")  # of CoNLL-U
_NOT_A_WORD = re.compile("#|[0-9]+[-.][0-9]")  # of CoNLL-U: comments, ranges, empty nodes

DOCUMENT = "-DOCSTART-"  # the column of the number of a sentence's document


class _Line(NamedTuple):
    number: int
    fields: list[str]
    text: str
    document: int

    @property
    def may_be_comment(self) -> bool:
        """Whether it begins with a # followed by a space; #word is a word."""
        return self.fields[0] == "#" or self.fields[0].startswith("# ")


def read_conll(
    path: str,
    *,
    word_column: str | None,
    tag_column: str | None,
    document_lines: bool = False,
) -> Table:
    """Read a CoNLL or CoNLL-U file: one word per line, blank lines between sentences.

    Columns are separated by tabs or, in lines without tabs, by spaces. All lines must have as many
    columns as the first. These lines are skipped:

    - -DOCSTART- lines, "#begin document (...)" and "#end document";
    - in .conllu files comments, multi-word ranges and empty nodes;
    - in other files comments: lines before the first word of a sentence that begin with a # and a
      space or tab, and either have a different number of columns than the file or, separated by
      spaces, a tag that no word of the file has and that does not look like B-PER.

    All other lines that begin with # are words.

    Args:
        word_column: the index of the column, from 0, or from -1 backwards; by default 0, or 1 in
            .conllu files.
        tag_column: the same for tags; by default the last column, or 3 in .conllu files. Files with
            one column have no tags. A question mark at its end means that the column is optional.
        document_lines: number the documents. They begin at -DOCSTART- lines, "#begin document
            (...)" and "#end document", in .conllu files at "# newdoc" too.

    Returns:
        A Row per sentence, with a list of words and a list of tags. Their columns are named as the
        arguments, by default "words" and "tags". With document_lines the column DOCUMENT has the
        number of its document.

    Raises:
        InputError: the file cannot be read, a line has the wrong number of columns, or no line says
            where a document begins.
    """
    in_conllu = Path(path).suffix.lower() == ".conllu"
    sentences = _sentences(path, in_conllu)
    lines = [line for sentence in sentences for line in sentence]
    first_word = next(
        (line for line in lines if not line.may_be_comment), lines[0] if lines else None
    )
    if first_word is None:
        return Table()
    width = len(first_word.fields)
    names = [word_column or "words"]
    columns = [_column(path, word_column or ("1" if in_conllu else "0"))]
    tags_required = tag_column is not None and not tag_column.endswith("?")
    if tags_required or width > 1:
        names.append(tag_column or "tags")
        default = "3" if in_conllu else "-1"
        columns.append(_column(path, (tag_column or default).removesuffix("?")))

    known_tags = {line.fields[columns[-1]] for line in lines if _is_word(line, columns[-1], width)}
    comments: list[_Line] = []
    rows = Table()
    word_lines = [
        _without_comments(sentence, width, columns[-1], known_tags, comments)
        for sentence in sentences
    ]
    _check_is_conll(path, [len(line.fields) for sentence in word_lines for line in sentence])
    for sentence in filter(None, word_lines):
        for line in sentence:
            _check_line(path, line, first_word, columns)
        cells: list[Cell] = [[_cell(line.fields[c]) for line in sentence] for c in columns]
        row = Row(zip(names, cells, strict=True), sentence[0].number)
        if document_lines:
            row[DOCUMENT] = sentence[0].document
        rows.append(row)
    if document_lines and not max(line.document for line in lines):
        raise InputError(
            f"{path}: --document_context: no -DOCSTART- line says where a document begins; put one "
            "before each document, or give --document_context no"
        )
    if comments:
        counted = f"{len(comments)} comment line{'s'[: len(comments) > 1]}"
        example = f"line {comments[0].number}: {shown(comments[0].text)}"
        rows.notes.append(f"{path}: {counted} skipped, the first is {example}")
    return rows


def _sentences(path: str, in_conllu: bool) -> list[list[_Line]]:
    """The lines between blank lines and document boundaries, with their comments."""
    sentences: list[list[_Line]] = [[]]
    document = 0
    # Not splitlines() or split(): a word may be U+2028, U+0085 or U+00A0.
    for number, text in enumerate(read_text(Path(path)).split("\n"), 1):
        text = text.rstrip("\r")
        if "\r" in text:
            raise InputError(
                f"{path}: line {number} has a carriage return inside; end lines with LF or CRLF"
            )
        fields = text.split("\t") if "\t" in text else [f for f in text.split(" ") if f]
        if not text.strip(" \t"):
            sentences.append([])
        elif fields[0] == "-DOCSTART-" or _DOCUMENT.fullmatch(text):
            sentences.append([])
            document += 1
        elif not (in_conllu and _NOT_A_WORD.match(text)):
            sentences[-1].append(_Line(number, fields, text, document))
        elif _NEW_DOCUMENT.fullmatch(text):
            document += 1
    return sentences


def _is_word(line: _Line, column: int, width: int) -> bool:
    return not line.may_be_comment and len(line.fields) == width and -width <= column < width


def _without_comments(
    sentence: list[_Line], width: int, tag_column: int, known_tags: set[str], comments: list[_Line]
) -> list[_Line]:
    """The sentence without the comments at its start, which are added to `comments`."""
    for index, line in enumerate(sentence):
        is_word = not line.may_be_comment
        if not is_word and len(line.fields) == width and -width <= tag_column < width:
            tag = line.fields[tag_column]
            between_tabs = line.fields[0] == "#" and "\t" in line.text
            is_word = width == 1 or between_tabs or tag in known_tags or bool(_TAG.fullmatch(tag))
        if is_word:
            return sentence[index:]
        comments.append(line)
    return []


def _column(path: str, column: str) -> int:
    if not re.fullmatch("-?[0-9]{1,4}", column):
        raise InputError(
            f'{path}: a CoNLL column is named by its number, and "{column}" is not one; give 0 for '
            "the first or -1 for the last"
        )
    return int(column)


def _check_is_conll(path: str, widths: list[int]) -> None:
    """Refuse prose, whose lines rarely have equal numbers of words."""
    most_common = max(Counter(widths).values(), default=0)
    if len(widths) > 1 and 2 * most_common <= len(widths) and max(widths) > 4:
        examples = ", ".join(map(str, widths[:5])) + ", ..." * (len(widths) > 5)
        raise InputError(
            f"{path}: not CoNLL: its lines have {examples} fields; CoNLL has a word and its tag on "
            "each line, and a blank line between sentences"
        )


def _check_line(path: str, line: _Line, first_word: _Line, columns: list[int]) -> None:
    count = len(line.fields)
    where = f"{path}: line {line.number}"
    has = f"has {count} column{'s'[: count > 1]}"
    minimum = max(len(columns), *(-c if c < 0 else c + 1 for c in columns))
    hint = "with a tab or spaces between them"
    if line is first_word and count < minimum:
        raise InputError(f"{where} {has}, expected at least {minimum}, {hint}")
    if count != len(first_word.fields):
        expected = f"expected {len(first_word.fields)} as in line {first_word.number}"
        if count > len(first_word.fields) and "\t" not in line.text:
            hint = "if a word contains a space, separate the columns with tabs"
        if line.text.startswith("#"):
            hint = 'a comment begins with "# " and comes before the first word of a sentence'
        raise InputError(f"{where} {has}, {expected}; {hint}".replace("; with", ", with"))
    if len(columns) == 2 and columns[0] % count == columns[1] % count:
        raise InputError(
            f"{where}: word and tag are the same column; name both, with --text_column_name and "
            "--label_column_name"
        )
    for column in columns:
        if not line.fields[column]:
            raise DataError(where, f"column {column % count} is empty")


def _cell(field: str) -> str:
    """The field without surrounding spaces, unless it is only spaces: a word may be a space."""
    return field.strip(" ") or field
