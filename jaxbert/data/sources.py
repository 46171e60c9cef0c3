"""Loads rows from files and from the Hub: the only module that knows file formats."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jaxbert.data.json_entries import entries_of
from jaxbert.data.rows import Cell, Content, Row, Table, names_of
from jaxbert.data.text_files import read_text
from jaxbert.errors import InputError

if TYPE_CHECKING:
    import datasets


class MissingSplitError(InputError):
    """A data set has no split with that name."""


def is_folder(path: Path) -> bool:
    """Whether the path is a folder.

    Raises:
        InputError: the path is not a valid name, or its parent folder cannot be searched.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _read_json(path: Path) -> Content:
    """Read JSON or JSON Lines (one object per line), whatever the suffix is.

    If a line is a complete object and not the complete file, the file must be JSON Lines. A file of
    one line is JSON Lines if it is a row, and JSON if it is a list or a container of rows.
    """
    return _json_of(path, read_text(path))


def _json_of(path: Path, text: str) -> Content:
    try:
        content: Content = json.loads(text)
    except json.JSONDecodeError as error:
        if text.strip():
            if _is_json_lines(path, text):
                return _read_json_lines(path, text)
            raise _not_json(path, text, error) from None
        if path.suffix.lower() == ".jsonl":
            return []
        raise InputError(f"{path}: not JSON at line 1, column 1 (it is empty)") from None
    except ValueError as error:  # a number with thousands of digits
        raise InputError(f"{path}: not a data set ({error})") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply to be a data set") from None
    if isinstance(content, dict) and "data" not in content and "\n" not in text.strip():
        return _read_json_lines(path, text)
    return content


def _is_json_lines(path: Path, text: str) -> bool:
    """Whether a text that is not valid JSON is JSON Lines, perhaps with a fault.

    The fault may be in the first line: then it begins like an object, and most of the next lines
    are objects. (In a JSON list, a comma would follow each row.)
    """
    if not text.lstrip().startswith("{"):
        return False
    lines = itertools.islice((line for line in text.split("\n") if line.strip()), 100)
    objects = [_is_object(line) for line in lines]
    suffix = path.suffix.lower() == ".jsonl" and len(text.lstrip().split("\n", 1)[0].strip()) > 1
    return suffix or objects[0] or 2 * sum(objects) > len(objects)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read_json_lines(path: Path, text: str) -> list[Row | Cell]:
    rows: list[Row | Cell] = []
    # Not splitlines(), which also splits at U+2028 and other characters that JSON may contain.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}: not JSON at line {number}, column {error.colno} ({error.msg}); the file "
                "is JSON Lines, one row per line: fix that line or remove it"
            ) from None
        except ValueError as error:
            raise InputError(f"{path}: line {number}: not a row ({error})") from None
        except RecursionError:
            raise InputError(f"{path}: line {number}: nested too deeply to be a row") from None
        rows.append(Row(row, number) if isinstance(row, dict) else row)
    return rows


def _not_json(path: Path, text: str, error: json.JSONDecodeError) -> InputError:
    hint = "is the file complete?"
    if error.msg == "Extra data":
        hint = "expected one list of rows, or JSON Lines with one row per line"
        if text[error.pos] == "{":
            hint = "objects follow each other without a comma; write each on its own line"
    where = f"line {error.lineno}, column {error.colno}"
    return InputError(f"{path}: not JSON at {where} ({error.msg}); {hint}")


def _read_delimited(path: Path, delimiter: str, quoted: bool) -> list[Row]:
    """Read a CSV or TSV file whose first line names the columns; cells are str.

    Fields are quoted as in RFC 4180. Blank lines at the end are ignored.
    """
    text = read_text(path)
    # Python's default limit, 131,072 characters, is less than a book. Every C long can hold this.
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
            what = "a carriage return inside a line; end lines with LF or CRLF"
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
    if len(names) > 1 and not names[0]:  # pandas' index
        names[0] = "index" if "index" not in names else ""
    fault = "it is blank" if not names else ""
    if "" in names:
        fault = f"column {names.index('') + 1} has no name"
    elif len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        fault = f"two columns are named {names_of([duplicate])}"
    if fault:
        raise InputError(
            f"{path}: line 1: {fault}; expected a header with a different name for each column"
        )
    return names


def read_table(load: Callable[[], datasets.Dataset | datasets.DatasetDict], origin: str) -> Table:
    """Rows of a data set read by the library `datasets`; class numbers become names."""
    with readable_by_datasets(origin):
        table = load()
        rows = Table() if isinstance(table, dict) else _named_rows(table)
    if isinstance(table, dict):
        raise InputError(
            f"{origin}: a folder of the splits {', '.join(table)}; give it as --dataset_name"
        )
    return rows


@contextlib.contextmanager
def readable_by_datasets(origin: str) -> Iterator[None]:
    """Within it, what the library `datasets`, or one that it uses, cannot read is an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as raised:  # datasets raises, or wraps, errors of many libraries
        error: BaseException = raised
        while error.__cause__ is not None:
            error = error.__cause__
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{origin}: the library datasets cannot read it ({reason})") from None


def check_parquet(path: str) -> int:
    """The number of rows of a Parquet file.

    Raises:
        InputError: it is missing, empty or damaged.
    """
    import pyarrow
    import pyarrow.parquet

    if not Path(path).exists():
        raise InputError(f"{path}: no such file")
    try:
        if not Path(path).stat().st_size:
            raise InputError(f"{path}: the file is empty")
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: the library datasets cannot read it ({reason})") from None


def _named_rows(table: datasets.Dataset) -> Table:
    from datasets import ClassLabel

    rows = Table(table)
    for name, feature in (table.features or {}).items():  # a stream may have none
        classes = getattr(feature, "feature", feature)  # for a list: the type of its items
        if isinstance(classes, ClassLabel):
            rows.classes[name] = tuple(classes.names)
            for row in rows:
                row[name] = _class_names(row[name], classes)
    return rows


def _class_names(value: Cell, classes: datasets.ClassLabel) -> Cell:
    """Names for class numbers; None for -1, which marks rows without a label on the Hub."""
    if isinstance(value, list):
        return [_class_names(item, classes) for item in value]
    if value is None or value == -1:
        return None
    name: str = classes.int2str(value)
    return name


def load_rows(path: str, *, quoted_tsv: bool = False) -> Content:
    """Load a file or local data-set folder: parsed JSON, or a list of rows.

    JSON and JSON Lines are distinguished by content, not by suffix: transformers' scripts expect
    JSON Lines in files named .json. A row of JSON Lines is a Row, which knows its line. Rows of CSV
    and TSV are Rows of str. Parquet and folders of datasets' `save_to_disk` are read with the
    library `datasets`; their class labels are names, or None for -1.

    Args:
        quoted_tsv: TSV fields are quoted as in CSV; otherwise a quote is an ordinary character.

    Raises:
        InputError: the file is missing, damaged, or does not match its suffix.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    folder = is_folder(file)
    if folder or suffix == ".parquet":
        import datasets  # slow to import, and rarely needed

        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # it logs what it also raises
        if folder:
            return read_table(lambda: datasets.load_from_disk(path), path)
        if not check_parquet(path):  # datasets cannot read a file without rows
            return Table()
        return read_table(lambda: datasets.Dataset.from_parquet(path, keep_in_memory=True), path)
    if suffix == ".csv":
        return _read_delimited(file, ",", quoted=True)
    if suffix == ".tsv":
        return _read_delimited(file, "\t", quoted=quoted_tsv)
    return _read_json(file)


def load_entries(path: str) -> Content:
    """As load_rows; but a JSON object's list "data" is parsed entry by entry, as it is read.

    What is wrong with an entry's JSON is then raised when it is reached.
    """
    file = Path(path)
    if is_folder(file) or file.suffix.lower() in (".parquet", ".csv", ".tsv"):
        return load_rows(path)
    text = read_text(file)

    def fault() -> InputError:
        try:
            _json_of(file, text)
        except InputError as error:
            return error
        return InputError(f"{path}: not a data set")

    return entries_of(text, fault) or _json_of(file, text)


# GLUE's MNLI has two validation splits; run_glue uses the matched one.
_VALIDATION_SPLITS = {"mnli": "validation_matched"}


def validation_split_of(config: str | None) -> str:
    """The split to evaluate on, for a configuration of a data set."""
    return _VALIDATION_SPLITS.get(config or "", "validation")


def load_hub_rows(name: str, config: str | None, split: str) -> Table:
    """Load one split of a data set: a Hub name, or a local folder that datasets can load.

    Class labels are names, or None for -1.

    Raises:
        MissingSplitError: the data set exists, but not the split.
        InputError: it cannot be read.
    """
    origin = _origin_of(name, split)
    return read_table(lambda: _load_split(name, config, split, origin), origin)


def hub_stream(
    name: str, config: str | None, split: str
) -> tuple[str, datasets.Dataset | datasets.IterableDataset]:
    """The same split without a download, and its name in messages.

    Raises:
        MissingSplitError, InputError: as load_hub_rows.
    """
    origin = _origin_of(name, split)
    with readable_by_datasets(origin):
        return origin, _load_split(name, config, split, origin, streaming=True)


def _origin_of(name: str, split: str) -> str:
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if (Path(name) / "state.json").is_file():
        raise InputError(
            f"--dataset_name {name}: a saved data set without splits; give it as --train_file or "
            "--validation_file"
        )
    return f"--dataset_name {name}, split {split}"


def _load_split(
    name: str, config: str | None, split: str, origin: str, *, streaming: bool = False
) -> datasets.Dataset | datasets.IterableDataset:
    import datasets

    if Path(name).is_dir() and (Path(name) / "dataset_dict.json").is_file():
        splits = datasets.load_from_disk(name)  # by memory map
        if split not in splits:
            raise MissingSplitError(f"{origin}: it has {', '.join(splits)}")
        return splits[split]
    try:
        return datasets.load_dataset(name, config, split=split, streaming=streaming)
    except ValueError as error:
        if "Unknown split" in str(error) or "Bad split" in str(error):
            raise MissingSplitError(f"{origin}: {' '.join(str(error).split())}") from None
        raise
