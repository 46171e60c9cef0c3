"""Files and Hub names -> rows: the one place that knows file formats.

Every fault of a row is either an InputError (the file is not what it should be) or a Problem: the
row is repaired or left out, and the report names it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

from jaxbert.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What was found in one row: where it is, what is wrong, and what was done about it."""

    where: str
    what: str


@dataclasses.dataclass(frozen=True)
class Data(Generic[T]):
    """Examples in the order of the files, and what was repaired or left out."""

    examples: tuple[T, ...]
    problems: tuple[Problem, ...] = ()


def _read_json(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte {error.start}); convert it, for instance with "
            "iconv -f UTF-16 -t UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    before = 0  # lines of a JSONL file before the one that is parsed
    try:
        if path.suffix != ".jsonl":
            return json.loads(text)
        rows = []
        # Not splitlines(): it would also split at U+2028 and others that JSON strings may hold.
        for line in text.split("\n"):
            if line.strip():
                rows.append(json.loads(line))
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


def _read_table(load: Callable[[], Any], origin: str) -> list[dict[str, Any]]:
    """Rows of a data set that the library `datasets` reads."""
    try:
        table = load()
        rows = list(table)
    except Exception as error:  # datasets raises errors of many libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{origin}: the library datasets cannot read it ({reason})") from None
    if isinstance(table, dict):
        raise InputError(
            f"{origin}: a folder of the splits {', '.join(table)}; give it as --dataset_name"
        )
    return rows


def load_rows(path: str) -> Any:
    """The content of a file or local data-set folder: parsed JSON, or a list of rows.

    JSON and JSONL are parsed as they are; Parquet and folders of datasets' `save_to_disk` are read
    through the library `datasets`.
    """
    file = Path(path)
    if file.is_dir() or file.suffix == ".parquet":
        import datasets  # slow to import, and most runs do not need it

        datasets.disable_progress_bars()
        if file.is_dir():
            return _read_table(lambda: datasets.load_from_disk(path), path)
        return _read_table(lambda: datasets.Dataset.from_parquet(path, keep_in_memory=True), path)
    return _read_json(file)


def load_hub_rows(name: str, config: str | None, split: str) -> list[dict[str, Any]]:
    """The rows of one split of a data set: a Hub name, or a local folder that datasets can load."""
    import datasets

    datasets.disable_progress_bars()
    origin = f"--dataset_name {name}, split {split}"
    if Path(name).is_dir() and (Path(name) / "dataset_dict.json").is_file():
        return _read_table(lambda: datasets.load_from_disk(name)[split], origin)
    return _read_table(lambda: datasets.load_dataset(name, config, split=split), origin)


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


def whole_text(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, replaced one for one."""
    return (
        text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if any("\ud800" <= c <= "\udfff" for c in text)
        else text
    )
