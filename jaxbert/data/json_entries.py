"""The entries of a large JSON file one by one: of the file, only the text is in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jaxbert.errors import InputError

if TYPE_CHECKING:
    from jaxbert.data.rows import Cell

_LIST = "data"
_NAMED = re.compile(rf'"{_LIST}"\s*:')
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class Entries:
    """The list "data" of a JSON object, each of its entries parsed when it is reached.

    SQuAD's files are such objects. As Python objects, all of a file take about seven times the
    memory of its text.

    Args:
        text: of the file.
        start: where in it the list begins, after its bracket; see entries_of.
        fault: says what is wrong with the text.
    """

    def __init__(self, text: str, start: int, fault: Callable[[], InputError]) -> None:
        self._text, self._start, self._fault = text, start, fault

    def __iter__(self) -> Iterator[Cell]:
        text, position = self._text, _after_space(self._text, self._start)
        try:
            while text[position] != "]":
                entry, position = _DECODER.raw_decode(text, position)
                yield entry
                position = _after_space(text, position)
                if text[position] == ",":
                    position = _after_space(text, position + 1)
                    if text[position] == "]":
                        raise ValueError("a comma before a bracket")
                elif text[position] != "]":
                    raise ValueError("no comma between entries")
            json.loads(f'{{"": 0{text[position + 1 :]}')
        except (ValueError, IndexError, RecursionError):
            raise self._fault() from None


def entries_of(text: str, fault: Callable[[], InputError]) -> Entries | None:
    """The entries of a JSON text; None if it is not an object with one list "data".

    Args:
        fault: says what is wrong with the text, once an entry cannot be parsed.

    >>> list(entries_of('{"version": "1.1", "data": [{"a": 1}, 2]}', lambda: InputError("")))
    [{'a': 1}, 2]
    """
    if not text.lstrip().startswith("{") or len(_NAMED.findall(text)) != 1:
        return None
    try:
        position = _after_space(text, text.index("{") + 1)
        while True:
            name, position = _DECODER.raw_decode(text, position)
            position = _after_space(text, position)
            if text[position] != ":":
                return None
            position = _after_space(text, position + 1)
            if name == _LIST:
                return Entries(text, position + 1, fault) if text[position] == "[" else None
            _, position = _DECODER.raw_decode(text, position)
            position = _after_space(text, position)
            if text[position] != ",":
                return None
            position = _after_space(text, position + 1)
    except (ValueError, IndexError, RecursionError):
        return None


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
