"""Reads lines for language modelling from text files and from rows with a text column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from jaxbert.data.row_streams import parquet_stream
from jaxbert.data.rows import (
    Cell,
    Content,
    Data,
    Report,
    RowStream,
    columns_of_text,
    field,
    find_column,
    names_of,
    replace_surrogates_in,
    table_of,
    where_of,
)
from jaxbert.data.sources import is_folder, load_rows
from jaxbert.data.stored_lines import LineExample, stored
from jaxbert.data.text_files import TextFiles, text_files
from jaxbert.errors import InputError

_HEAD = 20  # rows of a stream by which a column of text is found


def load_lines(path: str, *, quoted_tsv: bool = False) -> Content:
    """The content of a file or folder: as load_rows returns it if it has rows, else text files.

    Raises:
        InputError: the file is missing, damaged, or does not match its suffix.
    """
    file = Path(path)
    if file.suffix.lower() == ".parquet" and not is_folder(file):
        return parquet_stream(path)
    suffixes = (".csv", ".tsv", ".json", ".jsonl")
    has_rows = _is_data_set(file) if is_folder(file) else file.suffix.lower() in suffixes
    return load_rows(path, quoted_tsv=quoted_tsv) if has_rows else text_files(file)


def _is_data_set(folder: Path) -> bool:
    """Whether the library `datasets` has saved the folder."""
    names = ("state.json", "dataset_info.json", "dataset_dict.json")
    return any((folder / name).exists() for name in names)


def read_lines(
    tables: Iterable[tuple[str, Content]], *, text_column: str | None, strict: bool
) -> Data[LineExample]:
    """Read lines of text, skipping blank ones.

    In SQuAD's JSON the lines are the paragraphs. A column "context" may repeat a paragraph for each
    of its questions: it is read once.

    Args:
        tables: the name of each file and its content, as load_lines returns it.
        text_column: the column of rows; None looks for "text", "sentence", "content" and "context",
            else takes the only column that holds text.
        strict: raise at the first problem instead of reporting it.

    Raises:
        InputError: the column is missing or does not hold text, or there is no text.
    """
    report = Report(strict)
    origins: list[str] = []

    def lines() -> Iterator[LineExample]:
        for origin, content in tables:
            origins.append(origin)
            for where, text in _texts(origin, content, text_column, report):
                if text.strip():
                    [text] = replace_surrogates_in([text], where, report)
                    yield LineExample(where, text)

    examples = stored(lines())
    if not examples:
        raise report.nothing(f"{', '.join(origins)}: no text in it")
    return Data(examples, tuple(report.problems), notes=tuple(report.notes))


def _texts(
    origin: str, content: Content, text_column: str | None, report: Report
) -> Iterator[tuple[str, str]]:
    if isinstance(content, TextFiles):
        yield from content.lines(origin)
        return
    stream = content if isinstance(content, RowStream) else None
    if stream is not None and "paragraphs" in stream.names:
        content, stream = list(stream.read(stream.names)), None
    sheet = table_of(origin, content if stream is None else stream.head(_HEAD))
    names: Sequence[str] = sheet.names
    rows: Iterable[tuple[str, Cell]] = sheet.rows
    if not sheet.rows:
        return
    if "paragraphs" in names and text_column in (None, "context"):
        articles = report.each(
            rows, lambda item: (item[0], field(item[1], "paragraphs", list, item[0]))
        )
        rows = [
            (f"{where}, paragraph {number}", paragraph)
            for where, paragraphs in articles
            for number, paragraph in enumerate(paragraphs)
        ]
        names = ["context"]
    column = find_column(origin, names, text_column, ["text", "sentence", "content", "context"])
    if column is None:
        candidates = columns_of_text(sheet, but=None)
        if len(candidates) == 1:
            column = candidates[0]
            report.note(f'{origin}: text is in the column "{column}"')
    if column is None:
        raise InputError(
            f"{origin}: no column is known to hold text; it has {names_of(names) or 'none'}; "
            "name it with --text_column_name"
        )
    if stream is not None:
        rows = ((where_of(origin, n, row), row) for n, row in enumerate(stream.read([column])))
    seen: set[str] = set()
    texts = report.each(rows, lambda item: (item[0], field(item[1], column, str, item[0])))
    for where, text in texts:
        if text not in seen:
            yield where, text
        if column == "context":
            seen.add(text)
