"""What eval/score.py reads, and where it says what is odd.

A predictions file may be large: many entries lie in a file of this process, from which each is
read when it is asked for, so that of each there are a few numbers in memory.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from jaxbert.data.record_blocks import Blocks, write_blocks
from jaxbert.errors import InputError
from jaxbert.io.fetched import scratch_folder
from jaxbert.io.files import Json
from jaxbert.io.json_stream import entries_of_array, entries_of_object, first_sign

_IN_MEMORY = 1 << 10  # entries
_ADVICE = "the predictions kept there cannot be read ({}); start the command again"
_ELSEWHERE = "set TMPDIR to a folder with room for them"


def warn(line: str) -> None:
    """What is odd, on standard error: other programs read the scores on standard output."""
    print(f"warning: {line}", file=sys.stderr)


def read_json(path: str) -> Json:
    """The content of a JSON file.

    Raises:
        InputError: it is missing, or no JSON.
    """
    try:
        content: Json = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    return content


def read_predictions_file(path: str) -> Json:
    """The content of a JSON file, of a long list or object of texts without all of it in memory.

    Returns:
        A Sequence of entries, a Mapping of texts, or whatever else is there.

    Raises:
        InputError: as read_json, and there is no room for a copy.
    """
    try:
        sign = first_sign(Path(path))
        if sign == "[":
            return _entries(entries_of_array(Path(path)))
        if sign == "{":
            return _texts(entries_of_object(Path(path)))
    except InputError:
        raise
    except (OSError, ValueError, OverflowError, RecursionError):
        pass  # no JSON, which is told below with its line; or what such a copy cannot hold
    return read_json(path)


def _entries(entries: Iterator[Json]) -> Sequence[Json]:
    first = list(itertools.islice(entries, _IN_MEMORY + 1))
    if len(first) <= _IN_MEMORY:
        return first
    count = 0

    def counted() -> Iterator[Json]:
        nonlocal count
        for entry in itertools.chain(first, entries):
            count += 1
            yield entry

    with scratch_folder("predictions", _ELSEWHERE) as folder:
        blocks = write_blocks(counted(), folder / "blocks")
        return Blocks(folder / "blocks", blocks, count, None, _ADVICE)


def _texts(pairs: Iterator[tuple[str, Json]]) -> Mapping[str, str]:
    """The texts of an object.

    Raises:
        ValueError: a value is no text.
    """
    first = [_text(*pair) for pair in itertools.islice(pairs, _IN_MEMORY + 1)]
    if len(first) <= _IN_MEMORY:
        return dict(first)
    rest = (_text(*pair) for pair in pairs)
    with scratch_folder("predictions", _ELSEWHERE) as folder:
        return TextsById(itertools.chain(first, rest), folder / "texts")


def _text(name: str, value: Json) -> tuple[str, str]:
    if not isinstance(value, str):
        raise ValueError("no text")
    return name, value


class TextsById(Mapping[str, str]):
    """Texts that lie in a file, by their names, which are in memory.

    Args:
        texts: with their names; of one that comes twice the last counts, as in JSON.
        path: of a new file, which may be removed.
    """

    def __init__(self, texts: Iterable[tuple[str, str]], path: Path) -> None:
        self._numbers: dict[str, int] = {}
        self._ends = array("q", [0])
        with path.open("xb") as file:
            for number, (name, text) in enumerate(texts):
                self._numbers[name] = number
                file.write(text.encode("utf-8", "surrogatepass"))
                self._ends.append(file.tell())
        self._file = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def __getitem__(self, name: str) -> str:
        number = self._numbers[name]
        start, end = self._ends[number : number + 2]
        return os.pread(self._file, end - start, start).decode("utf-8", "surrogatepass")

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)
