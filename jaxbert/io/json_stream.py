"""The entries of a JSON file one by one: of the file a small part is in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from jaxbert.io.files import Json

_SPACE = re.compile(r"[ \t\n\r]*")
_AFTER_VALUE = frozenset(" \t\n\r,:]}")
_DECODER = json.JSONDecoder()
_CHARACTERS = 1 << 16  # that are read at once


def first_sign(path: Path) -> str:
    """The first character that is no space, as in [ and {; "" where there is none.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8.
    """
    with path.open(encoding="utf-8-sig") as file:
        while text := file.read(_CHARACTERS):
            if found := text.lstrip(" \t\n\r"):
                return found[0]
    return ""


def entries_of_array(path: Path) -> Iterator[Json]:
    """The entries of a file that is an array.

    Raises:
        OSError, ValueError, RecursionError: it cannot be read, or is no such JSON, which may be
            found late; what is wrong with it, json.loads tells better.
    """
    with path.open(encoding="utf-8-sig") as file:
        text = _Text(file)
        text.take("[")
        if text.sign() != "]":
            yield text.value()
            while text.sign() == ",":
                text.take(",")
                yield text.value()
        text.take("]")
        text.check_end()


def entries_of_object(path: Path) -> Iterator[tuple[str, Json]]:
    """The names and values of a file that is an object; a name may come twice.

    Raises:
        As entries_of_array.
    """
    with path.open(encoding="utf-8-sig") as file:
        text = _Text(file)
        text.take("{")
        if text.sign() != "}":
            yield _named(text)
            while text.sign() == ",":
                text.take(",")
                yield _named(text)
        text.take("}")
        text.check_end()


def _named(text: _Text) -> tuple[str, Json]:
    if text.sign() != '"':
        raise ValueError("no name")
    name = str(text.value())
    text.take(":")
    return name, text.value()


class _Text:
    """A text that is read as far as its next value needs it."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._position = file, "", 0

    def _read_on(self) -> None:
        """More of the file behind what is left; twice as much each time, for a long value."""
        left = self._text[self._position :]
        more = self._file.read(max(_CHARACTERS, len(left)))
        if not more:
            raise ValueError("it ends too early, or a value is wrong")
        self._text, self._position = left + more, 0

    def sign(self) -> str:
        """The next character that is no space."""
        while True:
            space = _SPACE.match(self._text, self._position)
            self._position = space.end() if space else self._position
            if self._position < len(self._text):
                return self._text[self._position]
            self._read_on()

    def take(self, sign: str) -> None:
        """Go behind the next character, which is to be this one."""
        if self.sign() != sign:
            raise ValueError(f"no {sign}")
        self._position += 1

    def value(self) -> Json:
        """The next value."""
        self.sign()
        while True:
            try:
                value: Json
                value, end = _DECODER.raw_decode(self._text, self._position)
            except ValueError:  # cut off, or wrong, which shows at the end
                self._read_on()
                continue
            if self._text[end : end + 1] in _AFTER_VALUE:  # else a number may go on
                self._position = end
                return value
            self._read_on()

    def check_end(self) -> None:
        """Refuse more than spaces."""
        rest = self._text[self._position :]
        while not rest.strip(" \t\n\r"):
            rest = self._file.read(_CHARACTERS)
            if not rest:
                return
        raise ValueError("more than one value")
