"""Files that a stranger may have made: what is read of a model folder, and what is shown of it."""

from __future__ import annotations

import builtins
import json
import types
import typing
from pathlib import Path
from typing import Any

from jaxbert.errors import InputError

# The largest config.json, index or tokenizer_config.json: twenty thousand classes need 3 MB.
# Parsed, a file takes up to twenty times its size in memory.
_MOST = 8 << 20
_SHOWN = 120  # characters of a stranger's text that a message holds


def check_file(path: Path, most: int | None) -> None:
    """Hold that a file of a model folder is a regular file in it, and not too large.

    The links of the Hub's own cache, from a snapshot to the blobs of the same model, may leave the
    folder; others would carry foreign files into a saved model.

    Args:
        most: bytes, or None for files that are not read whole.

    Raises:
        FileNotFoundError: nothing is there.
        InputError: it is a link out of the folder, no regular file, or too large.
    """
    try:
        file = path.resolve(strict=True)
        regular, size = file.is_file(), file.stat().st_size
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError) as error:  # links in a circle, or no permission
        raise InputError(f"{path}: cannot be read ({shown(error)})") from None
    folder = path.parent.resolve()
    homes = [folder]
    if folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--"):
        homes.append(folder.parents[1] / "blobs")
    if not any(file.is_relative_to(home) for home in homes):
        raise InputError(f"{path}: a link that leads out of the folder; put the file itself there")
    if not regular:
        raise InputError(f"{path}: not a file")
    if most is not None and size > most:
        raise InputError(f"{path}: it has {size} bytes, and at most {most} are read of such a file")


def read_object(path: Path, most: int = _MOST) -> dict[str, Any]:
    """The JSON object in a file of a model folder.

    Raises:
        FileNotFoundError: nothing is there.
        InputError: see check_file; or it is not JSON, or something else than an object.
    """
    check_file(path, most)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({shown(error)})") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: cannot be read: expected an object, found {type(raw).__name__}")
    return raw


def shown(text: Any) -> str:
    """A stranger's text for a message: one line, without control characters, not long.

    >>> shown("a" * 200) == "a" * 117 + "..."
    True
    """
    text = str(text)
    if not text.isprintable():
        text = ascii(text)[1:-1]
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def is_of(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON is of a field's type; an int is a float too."""
    if hint is Any:
        return True
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Union | types.UnionType:
            return any(is_of(value, each) for each in arguments)
        case builtins.list:
            return isinstance(value, list) and all(is_of(each, arguments[0]) for each in value)
        case builtins.dict:
            return isinstance(value, dict) and all(is_of(x, arguments[1]) for x in value.values())
    return type(value) is hint or (hint is float and type(value) is int)
