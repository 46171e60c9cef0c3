"""Files of text, and rows with a column of text -> lines of text, to learn language from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxbert.data.rows import (
    Content,
    Data,
    Report,
    columns_of_text,
    field,
    find_column,
    names_of,
    table_of,
    whole_texts,
)
from jaxbert.data.sources import is_folder, lines_of, load_rows, read_text
from jaxbert.errors import InputError


@dataclasses.dataclass(frozen=True)
class LineExample:
    """A line, sentence or paragraph of text."""

    where: str = dataclasses.field(repr=False)
    text: str


def load_lines(path: str, *, quoted_tsv: bool = False) -> Content:
    """The content of a file: load_rows's where it has rows, else its text.

    Raises:
        InputError: the file is missing, damaged, or not what its suffix says.
    """
    file = Path(path)
    tables = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
    if is_folder(file) or file.suffix.lower() in tables:
        return load_rows(path, quoted_tsv=quoted_tsv)
    return read_text(file)


def read_lines(
    tables: Iterable[tuple[str, Content]], *, text_column: str | None, strict: bool
) -> Data[LineExample]:
    """Lines of text; blank ones are passed over.

    Of SQuAD's JSON they are the paragraphs. A column "context" may repeat a paragraph for each of
    its questions: then it is taken once.

    Args:
        tables: of each file its name and its content, as load_lines gives it.
        text_column: the column of rows; None looks for "text", "sentence", "content", "context",
            else takes the one that holds text.
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: the column is not there or holds something else, or there is no text.
    """
    examples: list[LineExample] = []
    report = Report(strict)
    origins = []
    for origin, content in tables:
        origins.append(origin)
        for where, text in _texts(origin, content, text_column, report):
            if text.strip():
                [text] = whole_texts([text], where, report)
                examples.append(LineExample(where, text))
    if not examples:
        raise report.nothing(f"{', '.join(origins)}: no text in it")
    return Data(tuple(examples), tuple(report.problems), notes=tuple(report.notes))


def _texts(
    origin: str, content: Content, asked: str | None, report: Report
) -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        for number, line in enumerate(lines_of(content), 1):
            yield f"{origin}: line {number}", line
        return
    sheet = table_of(origin, content)
    names, rows = sheet.names, sheet.rows
    if not rows:
        return
    if "paragraphs" in names and asked in (None, "context"):
        articles = report.each(rows, lambda at: (at[0], field(at[1], "paragraphs", list, at[0])))
        rows = [
            (f"{where}, paragraph {number}", paragraph)
            for where, paragraphs in articles
            for number, paragraph in enumerate(paragraphs)
        ]
        names = ["context"]
    column = find_column(origin, names, asked, ["text", "sentence", "content", "context"])
    if column is None:
        found = columns_of_text(sheet, but=None)
        if len(found) == 1:
            column = found[0]
            report.note(f'{origin}: text is in the column "{column}"')
    if column is None:
        raise InputError(
            f"{origin}: no column that is known to hold text; it has {names_of(names) or 'none'}; "
            "name it with --text_column_name"
        )
    seen: set[str] = set()
    texts = report.each(rows, lambda at: (at[0], field(at[1], column, str, at[0])))
    for where, text in texts:
        if text not in seen:
            yield where, text
        if column == "context":
            seen.add(text)
