"""Files and Hub names -> rows: the one place that knows file formats.

Every fault of a row is either an InputError (the file is not what it should be) or a Problem: the
row is repaired or left out, and the report names it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from jaxbert.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What was found in one row: where it is, what is wrong, and what was done about it."""

    where: str
    what: str


class MissingSplitError(InputError):
    """A data set has no split of that name."""


class Table(list[dict[str, Any]]):
    """Rows of a data set that the library `datasets` has read.

    Attributes:
        classes: column -> names of its classes, in the order of their numbers.
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(rows)
        self.classes: dict[str, tuple[str, ...]] = {}


@dataclasses.dataclass(frozen=True)
class Data(Generic[T]):
    """Examples in the order of the files, and what was repaired or left out."""

    examples: tuple[T, ...]
    problems: tuple[Problem, ...] = ()
    classes: tuple[str, ...] = ()  # names in their own order, where the data declare them


class Row(dict[str, Any]):
    """A row that knows the line of the file at which it begins, counted from 1."""

    __slots__ = ("line",)

    def __init__(self, fields: Any, line: int) -> None:
        super().__init__(fields)
        self.line = line


# --- files -> content -------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The text of a file, which must be UTF-8, with its line ends as they are.

    Raises:
        InputError: the file is missing, cannot be read, is not UTF-8, or has a NUL byte.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode().removeprefix("\ufeff")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line} is not UTF-8 (byte {error.start} of the file); convert it, for "
            "instance with iconv -f UTF-16 -t UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    nul = text.find("\0")
    if nul >= 0:
        line = text.count("\n", 0, nul) + 1
        raise InputError(f"{path}: line {line} has a NUL byte; is it UTF-16, or damaged?")
    return text


def _read_json(path: Path) -> Any:
    text = read_text(path)
    before = 0  # lines of a JSONL file before the one that is parsed
    try:
        if path.suffix.lower() != ".jsonl":
            return json.loads(text)
        rows = []
        # Not splitlines(): it would also split at U+2028 and others that JSON strings may hold.
        for line in text.split("\n"):
            if line.strip():
                row = json.loads(line)
                rows.append(Row(row, before + 1) if isinstance(row, dict) else row)
            before += 1
        return rows
    except json.JSONDecodeError as error:
        hint = "is the file whole?"
        if error.msg == "Extra data":
            hint = "if it is JSON Lines, name it .jsonl"
        raise InputError(
            f"{path}: not JSON at line {before + error.lineno}, column {error.colno} "
            f"({error.msg if text.strip() else 'it is empty'}); {hint}"
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{path}: not a data set ({error})") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be a data set") from None


def _read_delimited(path: Path, delimiter: str, quoted: bool) -> list[Row]:
    """The rows of a CSV or TSV file, whose first line names the columns; cells are str.

    Quoted fields are those of RFC 4180. Blank lines at the end are passed over.
    """
    text = read_text(path)
    # Python's own limit, 131,072 characters, is less than a book. No C long is smaller than this.
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(
        io.StringIO(text),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    names: list[str] = []
    rows: list[Row] = []
    blank = 0  # the first blank line since the last row
    line = 1
    try:
        for cells in reader:
            if not names:
                names = _column_names(path, cells)
            elif not cells:
                blank = blank or line
            elif blank or len(cells) != len(names):
                has = "is blank" if blank else f"has {len(cells)} column{'s'[: len(cells) > 1]}"
                hint = ""
                if not quoted and not blank and '"' in "".join(cells):
                    hint = "; if its fields are quoted as in CSV, give --quoted_tsv"
                raise InputError(
                    f"{path}: line {blank or line} {has}, expected {len(names)} as in the first "
                    f"line ({names_of(names)}){hint}"
                )
            else:
                rows.append(Row(zip(names, cells, strict=True), line))
            line = reader.line_num + 1
    except csv.Error as error:
        what = f"not quoted as CSV ({error}); a quote in a quoted field is written twice"
        if "new-line" in str(error):
            what = "a carriage return inside of a line; end lines with LF or CRLF"
        elif "end of data" in str(error):
            what = "a quoted field begins here or later in the row and does not end"
        else:
            line = reader.line_num
        raise InputError(f"{path}: line {line}: {what}") from None
    if not names:
        raise InputError(f"{path}: line 1: the file is empty, expected the names of the columns")
    return rows


def _column_names(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) > 1 and not names[0]:  # an index, as pandas writes it
        names[0] = "index" if "index" not in names else ""
    what = "it is blank" if not names else ""
    if "" in names:
        what = f"column {names.index('') + 1} has no name"
    elif len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        what = f"two columns are named {names_of([double])}"
    if what:
        raise InputError(
            f"{path}: line 1: {what}; expected a header, with a name of its own for each column"
        )
    return names


def _read_table(load: Callable[[], Any], origin: str) -> Table:
    """Rows of a data set that the library `datasets` reads; numbers of classes become names."""
    try:
        table = load()
        rows = Table() if isinstance(table, dict) else _named_rows(table)
    except InputError:
        raise
    except Exception as error:  # datasets raises errors of many libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{origin}: the library datasets cannot read it ({reason})") from None
    if isinstance(table, dict):
        raise InputError(
            f"{origin}: a folder of the splits {', '.join(table)}; give it as --dataset_name"
        )
    return rows


def _named_rows(table: Any) -> Table:
    from datasets import ClassLabel

    rows = Table(table)
    for name, feature in table.features.items():
        classes = getattr(feature, "feature", feature)  # of a list: what it is a list of
        if isinstance(classes, ClassLabel):
            rows.classes[name] = tuple(classes.names)
            for row in rows:
                row[name] = _class_names(row[name], classes)
    return rows


def _class_names(value: Any, classes: Any) -> Any:
    """Names for numbers; None for -1, by which the Hub marks rows without a label."""
    if isinstance(value, list):
        return [_class_names(item, classes) for item in value]
    return None if value is None or value == -1 else classes.int2str(value)


def load_rows(path: str, *, quoted_tsv: bool = False) -> Any:
    """The content of a file or local data-set folder: parsed JSON, or a list of rows.

    JSON and JSONL are parsed as they are; of CSV and TSV every row is a Row of str; Parquet and
    folders of datasets' `save_to_disk` are read through the library `datasets`, and their class
    labels are names, or None for -1.

    Args:
        quoted_tsv: the fields of TSV are quoted as those of CSV; else a quote is a character.

    Raises:
        InputError: the file is missing, damaged, or not what its suffix says.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if file.is_dir() or suffix == ".parquet":
        import datasets  # slow to import, and most runs do not need it

        datasets.disable_progress_bars()
        if file.is_dir():
            return _read_table(lambda: datasets.load_from_disk(path), path)
        return _read_table(lambda: datasets.Dataset.from_parquet(path, keep_in_memory=True), path)
    if suffix == ".csv":
        return _read_delimited(file, ",", quoted=True)
    if suffix == ".tsv":
        return _read_delimited(file, "\t", quoted=quoted_tsv)
    return _read_json(file)


def load_hub_rows(name: str, config: str | None, split: str) -> Table:
    """The rows of one split of a data set: a Hub name, or a local folder that datasets can load.

    Class labels are names, or None for -1.

    Raises:
        MissingSplitError: the data set is there, and the split is not.
        InputError: it cannot be read.
    """
    import datasets

    datasets.disable_progress_bars()
    origin = f"--dataset_name {name}, split {split}"
    if (Path(name) / "state.json").is_file():
        raise InputError(
            f"--dataset_name {name}: a saved data set without splits; give it as --train_file or "
            "--validation_file"
        )

    def load() -> Any:
        if Path(name).is_dir() and (Path(name) / "dataset_dict.json").is_file():
            splits = datasets.load_from_disk(name)
            if split not in splits:
                raise MissingSplitError(f"{origin}: it has {', '.join(splits)}")
            return splits[split]
        try:
            return datasets.load_dataset(name, config, split=split)
        except ValueError as error:
            if "Unknown split" in str(error):
                raise MissingSplitError(f"{origin}: {' '.join(str(error).split())}") from None
            raise

    return _read_table(load, origin)


# --- content -> rows --------------------------------------------------------------------------


def where_of(origin: str, number: int, row: Any) -> str:
    """What a message calls a row: its line where that is known, else its number from 0."""
    return f"{origin}: line {row.line}" if isinstance(row, Row) else f"{origin}: row {number}"


def table_of(origin: str, content: Any) -> tuple[list[str], list[tuple[str, dict[str, Any]]]]:
    """The names of all columns, and the rows, each with its place.

    Args:
        origin: the file, for messages.
        content: what a loader gave: a list of objects, or an object with one as "data".

    Raises:
        InputError: it is something else.
    """
    entries = field(content, "data", list, origin) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InputError(f"{origin}: expected a list of rows, found {type(content).__name__}")
    rows = []
    for number, row in enumerate(entries):
        where = where_of(origin, number, row)
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object, found {type(row).__name__}")
        rows.append((where, row))
    return list(dict.fromkeys(name for _, row in rows for name in row)), rows


def find_column(
    origin: str, names: Sequence[str], asked: str | None, known: Iterable[str]
) -> str | None:
    """The column that is asked for, else the first known one that is there, else None.

    A name that is asked for with a question mark behind it may be missing: then it is None.

    Raises:
        InputError: the column asked for is not there.
    """
    if asked is None:
        return next((name for name in known if name in names), None)
    if asked.endswith("?") and asked not in names:
        return asked[:-1] if asked[:-1] in names else None
    if asked not in names:
        raise InputError(f'{origin}: no column "{asked}"; it has {names_of(names) or "none"}')
    return asked


def field(mapping: Any, name: str, kind: Any, where: str) -> Any:
    """mapping[name], which must be there and of that type."""
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: expected an object, found {type(mapping).__name__}")
    if name not in mapping:
        raise InputError(f'{where}: no field "{name}"; it has {names_of(mapping) or "none"}')
    if not isinstance(mapping[name], kind):
        wanted = kind.__name__ if isinstance(kind, type) else "str or int"
        raise InputError(
            f'{where}: field "{name}" is {type(mapping[name]).__name__}, expected {wanted}'
        )
    return mapping[name]


def names_of(fields: Iterable[Any]) -> str:
    """The first few names of an object's fields, in one line."""
    names = [" ".join(str(name).split()) for name in fields]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def report(problems: list[Problem], where: str, what: str, strict: bool) -> None:
    """Add a problem; an InputError if strict."""
    if strict:
        raise InputError(f"{where}: {what} (--strict)")
    problems.append(Problem(where, what))


def whole_texts(
    texts: Sequence[str], where: str, problems: list[Problem], strict: bool
) -> list[str]:
    """Each text whole (see whole_text), and a problem if one was not."""
    whole = [whole_text(text) for text in texts]
    if whole != list(texts):
        report(problems, where, "lone surrogates in the text; replaced by U+FFFD", strict)
    return whole


def whole_text(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, replaced one for one."""
    try:
        text.encode()  # by far the fastest way to see that there are none
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def check_labelled(
    labels: Sequence[tuple[str, Any]], *, file: bool, problems: list[Problem], strict: bool
) -> list[int]:
    """The rows to take: all where all have a label or none has, else those that have one.

    Args:
        labels: of each row its place, and its label or None.
        file: the rows are of a file, which its owner can mend; those of a published data set, where
            -1 marks a row without a label, are left out and reported.

    Raises:
        InputError: some have a label, and they are of a file, or strict; it names the first row
            that has none.
    """
    bare = [where for where, label in labels if label is None]
    if not bare or len(bare) == len(labels):
        return list(range(len(labels)))
    if file:
        raise InputError(
            f"{bare[0]}: no label, and {len(labels) - len(bare)} other rows have one; label this "
            "row or remove it"
        )
    for where in bare:
        report(problems, where, "no label; the row is left out", strict)
    return [number for number, (_, label) in enumerate(labels) if label is not None]
