"""Features as files in a folder, read by memory map.

about.json       lines of the log, which file is which column, the fingerprint, the files' seals
NAME.npy         a column

NumPy's files, not Arrow's: a column that grows part by part is one array in the end, and never in
memory; Arrow would have it in one array only if it were written at once.
"""

from __future__ import annotations

import contextlib
import json
import mmap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypedDict

import numpy as np
from numpy.lib import format as npy

from jaxbert.data.feature_parts import Growing
from jaxbert.data.features import Features, Line
from jaxbert.data.whole_folder import check_seals, seals_of, whole_folder

_ABOUT = "about.json"
_TOKENS, _HOST, _ROWS, _WINDOWS = "tokens", "host", "rows", "windows"  # kinds of columns
_BOUNDS, _EXAMPLE, _LEARNABLE = "bounds", "example", "learnable"  # those of windows

Finish = Callable[[Features], Features]


def spilled(parts: Iterable[Features], finish: Finish, folder: Path) -> Features:
    """The features of at least one part, whose token columns never are in memory together.

    They lie in files of the folder, which may be removed: what is mapped stays.

    Args:
        finish: makes the features of all parts, without token columns, what they are to be.

    Raises:
        OSError: the folder cannot be written.
    """
    return _loaded(folder, _write(parts, finish, folder))


def save_features(parts: Iterable[Features], finish: Finish, folder: Path) -> None:
    """Write a folder of features, whole or not at all; where one is there it stays.

    Args:
        parts, finish: as for `spilled`.

    Raises:
        OSError: it cannot be written.
    """
    with whole_folder(folder) as partial:
        about = _write(parts, finish, partial)
        fingerprint = _loaded(partial, about).fingerprint()
        kept = {**about, "fingerprint": fingerprint, "seals": seals_of(partial)}
        (partial / _ABOUT).write_text(json.dumps(kept), encoding="utf-8")


def load_features(folder: Path) -> Features:
    """The features of a folder, which stay on the disk until they are read.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is damaged.
    """
    text = (folder / _ABOUT).read_text(encoding="utf-8")
    try:
        about = json.loads(text)
        check_seals(folder, about["seals"])
        return _loaded(folder, about).known_as(about["fingerprint"])
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"it cannot be read ({error})") from None


# --- files ------------------------------------------------------------------------------------


class _Column:
    """A file of one array, to which entries are added."""

    def __init__(self, file: BinaryIO, like: np.ndarray) -> None:
        self._file, self._like, self._entries = file, like[:0], 0
        self._header()

    def _header(self) -> None:
        # NumPy leaves room in it for a longer first axis.
        shape = (self._entries, *self._like.shape[1:])
        descr = npy.dtype_to_descr(self._like.dtype)
        self._file.seek(0)
        npy.write_array_header_1_0(
            self._file, {"descr": descr, "fortran_order": False, "shape": shape}
        )

    def add(self, entries: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(entries, self._like.dtype).reshape(-1).data)
        self._entries += len(entries)

    def close(self) -> None:
        """Write how long it has become."""
        self._header()


class _About(TypedDict):
    """What tells columns apart, and the log's lines.

    Attributes:
        columns: kind -> name -> file.
    """

    columns: dict[str, dict[str, str]]
    lines: Sequence[Line]
    sums: Mapping[str, int]


def _write(parts: Iterable[Features], finish: Finish, folder: Path) -> _About:
    """Write all columns; returns what tells them apart, and the lines of the log."""
    growing = Growing()
    names: dict[str, dict[str, str]] = {kind: {} for kind in (_TOKENS, _HOST, _ROWS, _WINDOWS)}
    columns: dict[str, _Column] = {}
    with contextlib.ExitStack() as stack:

        def add(kind: str, name: str, entries: np.ndarray) -> None:
            if name not in names[kind]:
                # Not the column's own name, which may be anything.
                names[kind][name] = path = f"{kind}-{len(names[kind])}.npy"
                file = stack.enter_context((folder / path).open("wb"))
                columns[path] = stack.enter_context(contextlib.closing(_Column(file, entries)))
            columns[names[kind][name]].add(entries)

        for part in parts:
            growing.add(part)
            for kind, of_part in ((_TOKENS, part.tokens), (_HOST, part.host)):
                for name, column in of_part.items():
                    add(kind, name, column)
        features = finish(growing.features({}, {}))
        for name, column in features.rows.items():
            add(_ROWS, name, column)
        add(_WINDOWS, _BOUNDS, features.bounds)
        add(_WINDOWS, _EXAMPLE, features.example)
        if features.learnable is not None:
            add(_WINDOWS, _LEARNABLE, features.learnable)
    return {"columns": names, "lines": features.lines, "sums": features.sums}


def _loaded(folder: Path, about: _About) -> Features:
    maps: list[mmap.mmap] = []
    found = {
        kind: {name: _mapped(folder / path, maps) for name, path in paths.items()}
        for kind, paths in about["columns"].items()
    }
    windows = found[_WINDOWS]
    return Features(
        bounds=windows[_BOUNDS],
        tokens=found[_TOKENS],
        rows=found[_ROWS],
        example=windows[_EXAMPLE],
        host=found[_HOST],
        learnable=windows.get(_LEARNABLE),
        lines=tuple(
            Line(text, shown_for, mean and (mean[0], mean[1]), left_out)
            for text, shown_for, mean, left_out in about["lines"]
        ),
        sums=about["sums"],
        maps=tuple(maps),
    )


def _mapped(path: Path, maps: list[mmap.mmap]) -> np.ndarray:
    """The array of a file as a view of its memory map, which is added to `maps`."""
    with path.open("rb") as file:
        npy.read_magic(file)
        shape, _, dtype = npy.read_array_header_1_0(file)
        maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        count = int(np.prod(shape, dtype=int))
        return np.frombuffer(maps[-1], dtype, count, file.tell()).reshape(shape)
