"""Text files, whole or line by line with only a block in memory, compressed ones too."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from jaxbert.data.encodings import likely_encoding, wide_encoding
from jaxbert.errors import InputError
from jaxbert.io.untrusted import shown

_BLOCK = 1 << 22  # bytes
_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, with its line ends unchanged.

    Raises:
        InputError: the file is missing, cannot be read, is not UTF-8, or has a NUL byte.
    """
    with _readable(path, str(path)):
        return _decoded(path.read_bytes(), path, str(path)).removeprefix("\ufeff")


def lines_of(text: str) -> list[str]:
    """The lines of a text without their ends: LF or CRLF, or CR if the text has no LF.

    Not splitlines(), which also splits at U+2028 and other characters that a text may contain.

    >>> lines_of("a\\r\\nb\\n"), lines_of("a\\rb")
    (['a', 'b', ''], ['a', 'b'])
    """
    if "\n" not in text:
        return text.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """Text files whose lines are read when they are asked for; see text_files.

    Attributes:
        files: each with its name below the folder that was named, "" where it was named itself.
    """

    files: tuple[tuple[Path, str], ...]

    def lines(self, origin: str) -> Iterator[tuple[str, str]]:
        """Each line's name in messages, and its text; see lines_of.

        Args:
            origin: the file or folder that was named, for messages.

        Raises:
            InputError: as read_text.
        """
        for path, below in self.files:
            name = f"{origin}/{below}" if below else origin
            for number, line in enumerate(_lines(path, name), 1):
                yield f"{name}: line {number}", line


def text_files(path: Path) -> TextFiles:
    """A file, decompressed where its suffix is .gz, .zst or .bz2; or those in a folder and below
    it, in the order of their names, without hidden ones.

    Raises:
        InputError: the folder has no file, or cannot be read.
    """
    if not path.is_dir():
        return TextFiles(((path, ""),))
    try:
        found = sorted(each.relative_to(path) for each in path.rglob("*") if each.is_file())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    visible = [each for each in found if not any(part.startswith(".") for part in each.parts)]
    if not visible:
        raise InputError(f"{path}: a folder without files; give one with text files")
    return TextFiles(tuple((path / each, each.as_posix()) for each in visible))


def _lines(path: Path, name: str) -> Iterator[str]:
    """Lines without their ends, as lines_of divides a text."""
    rest, found_end = b"", False
    lines = position = 0  # lines and bytes before `rest`
    for block in _blocks(path, name):
        data = rest + block
        end = data.rfind(b"\n") + 1
        if end:
            text = _decoded(data[:end], path, name, lines, position)
            pieces = (text if found_end else text.removeprefix("\ufeff")).split("\n")[:-1]
            yield from (piece.removesuffix("\r") for piece in pieces)
            lines, position, found_end = lines + len(pieces), position + end, True
        rest = data[end:]
    text = _decoded(rest, path, name, lines, position)
    yield from [text.removesuffix("\r")] if found_end else lines_of(text.removeprefix("\ufeff"))


def _blocks(path: Path, name: str) -> Iterator[bytes]:
    with _readable(path, name):
        compression = _COMPRESSED.get(path.suffix.lower())
        with pa.input_stream(str(path), compression=compression) as stream:
            while block := stream.read(_BLOCK):
                yield block


@contextlib.contextmanager
def _readable(path: Path, name: str) -> Iterator[None]:
    """Within it, what cannot be read is an InputError.

    Args:
        name: of the file, for messages.
    """
    try:
        if path.is_char_device():  # /dev/zero, for example, has no end
            raise InputError(f"{name}: a device, not a file")
        yield
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise InputError(f"{name}: cannot be read ({reason})") from None
    except InputError:
        raise
    except ValueError:
        raise InputError(f"{shown(name)}: not a valid file name") from None


def _decoded(raw: bytes, path: Path, name: str, lines: int = 0, position: int = 0) -> str:
    """UTF-8 as text.

    Args:
        lines, position: lines and bytes of the file before it, for messages.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = lines + raw.count(b"\n", 0, error.start) + 1
        where = f"line {line} is not UTF-8 (byte {position + error.start} of the file)"
        raise InputError(f"{name}: {where}; {_advice(path, raw)}") from None
    nul = text.find("\0")
    if nul >= 0:
        line = lines + text.count("\n", 0, nul) + 1
        raise InputError(f"{name}: line {line} has a NUL byte; {_advice(path, raw)}")
    return text


def _advice(path: Path, raw: bytes) -> str:
    """What to do about bytes that are not UTF-8 text."""
    name, verb = wide_encoding(raw), "it is"
    if name is None and b"\0" not in raw:
        name, verb = likely_encoding(raw), "it looks like"
    if name is None:
        return (
            "most of the file is UTF-8, or it is not text: is it damaged, or another kind of file?"
        )
    file = shlex.quote(path.name)
    return f"{verb} {name}: convert it with iconv -f {name} -t UTF-8 {file} > NEW{path.suffix}"
