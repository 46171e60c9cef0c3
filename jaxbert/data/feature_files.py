"""Features as files in a folder, read by memory map.

Features that are kept are Arrow files:

about.json       lines of the log, shapes and dtypes, the SHA-256 of each file
NAME.arrow       the columns of one length: tokens, host, windows (one entry a window), bounds
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import mmap
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypedDict

import numpy as np
import pyarrow as pa

from jaxbert.data.feature_parts import Growing
from jaxbert.data.features import Features, Line
from jaxbert.io.files import digest_of, sync
from jaxbert.runtime.signal_listener import when_leaving

_ABOUT = "about.json"
_ROWS, _EXAMPLE, _LEARNABLE = "row ", "example", "learnable"


class _Column(TypedDict):
    """Of a column: its dtype, and its shape without the first axis."""

    dtype: str
    shape: list[int]


def save_features(features: Features, folder: Path) -> None:
    """Write a folder of features, whole or not at all; where one is there it stays.

    Raises:
        OSError: it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    when_leaving(functools.partial(shutil.rmtree, partial, ignore_errors=True))
    try:
        windows = {f"{_ROWS}{name}": column for name, column in features.rows.items()}
        windows[_EXAMPLE] = features.example
        if features.learnable is not None:
            windows[_LEARNABLE] = features.learnable
        about: dict[str, dict[str, _Column]] = {}
        for name, columns in (
            ("bounds", {"bounds": features.bounds}),
            ("tokens", features.tokens),
            ("host", features.host),
            ("windows", windows),
        ):
            about[name] = _write(partial / f"{name}.arrow", columns)
        text = json.dumps(
            {
                "columns": about,
                "lines": features.lines,
                "sums": features.sums,
                "sha256": _digests(partial, about),
            }
        )
        (partial / _ABOUT).write_text(text, encoding="utf-8")
        for path in partial.iterdir():
            sync(path)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same
                raise
        sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(path: Path, columns: Mapping[str, np.ndarray]) -> dict[str, _Column]:
    """A file with columns of one length; returns what tells their dtypes and shapes."""
    about: dict[str, _Column] = {}
    fields, flats = [], []
    for name, column in columns.items():
        width = int(np.prod(column.shape[1:], dtype=int))
        # As bytes: Arrow would pack bools into bits, which no array of NumPy's can be a view of.
        flat = np.zeros((len(column), 1), np.uint8)  # of entries without any values
        if width:
            flat = np.ascontiguousarray(column).reshape(len(column), width).view(np.uint8)
        about[name] = {"dtype": column.dtype.str, "shape": list(column.shape[1:])}
        fields.append(pa.field(name, pa.binary(max(1, width * column.dtype.itemsize))))
        flats.append(flat)
    schema = pa.schema(fields)
    arrays = [
        pa.Array.from_buffers(field.type, len(flat), [None, pa.py_buffer(flat)])
        for flat, field in zip(flats, schema, strict=True)
    ]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        if arrays:
            # One batch: its columns are views of the memory map, however large they are.
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return about


def load_features(folder: Path) -> Features:
    """The features of a folder, which stay on the disk until they are read.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is damaged.
    """
    text = (folder / _ABOUT).read_text(encoding="utf-8")
    try:
        about = json.loads(text)
        for name, digest in _digests(folder, about["columns"]).items():
            if digest != about["sha256"][name]:
                raise ValueError(f"{name}.arrow has changed")
        maps: list[mmap.mmap] = []
        found = {
            name: _read(folder / f"{name}.arrow", columns, maps)
            for name, columns in about["columns"].items()
        }
        windows = found["windows"]
        return Features(
            bounds=found["bounds"]["bounds"],
            tokens=found["tokens"],
            rows={n[len(_ROWS) :]: x for n, x in windows.items() if n.startswith(_ROWS)},
            example=windows[_EXAMPLE],
            host=found["host"],
            learnable=windows.get(_LEARNABLE),
            lines=tuple(
                Line(text, shown_for, mean and (mean[0], mean[1]), left_out)
                for text, shown_for, mean, left_out in about["lines"]
            ),
            sums=about["sums"],
            maps=tuple(maps),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError, pa.ArrowException) as error:
        raise ValueError(f"it cannot be read ({error})") from None


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of the files, each computed by a thread."""
    names = list(names)
    with ThreadPoolExecutor() as threads:
        found = threads.map(digest_of, [folder / f"{name}.arrow" for name in names])
        return dict(zip(names, found, strict=True))


def _read(
    path: Path, columns: Mapping[str, _Column], maps: list[mmap.mmap]
) -> dict[str, np.ndarray]:
    """The columns of a file as views of its memory map, which is added to `maps`."""
    if not columns:
        return {}
    maps.append(_mapped(path))
    with pa.ipc.open_file(pa.BufferReader(pa.py_buffer(maps[-1]))) as reader:
        batch = reader.get_batch(0)
    found: dict[str, np.ndarray] = {}
    for index, (name, column) in enumerate(columns.items()):
        dtype, shape = np.dtype(column["dtype"]), tuple(column["shape"])
        count = len(batch) * int(np.prod(shape, dtype=int))
        flat = np.frombuffer(batch.column(index).buffers()[1], dtype, count)
        found[name] = flat.reshape(len(batch), *shape)
    return found


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def spilled(parts: Iterable[Features], folder: Path) -> Features:
    """The features of at least one part, whose token columns never are in memory together.

    They lie in files of the folder, which may be removed: what is mapped stays.

    Raises:
        OSError: the folder cannot be written.
    """
    growing = Growing()
    files: dict[str, BinaryIO] = {}
    dtypes: dict[str, np.ndarray] = {}  # of each column: an array without entries
    with contextlib.ExitStack() as stack:
        for part in parts:
            growing.add(part)
            for kind, columns in (("tokens", part.tokens), ("host", part.host)):
                for name, column in columns.items():
                    path = f"{kind}.{name}"
                    if path not in files:
                        files[path] = stack.enter_context((folder / path).open("wb"))
                        dtypes[path] = column[:0]
                    column.tofile(files[path])
    maps: list[mmap.mmap] = []
    columns = {path: _column(folder / path, dtypes[path], maps) for path in files}
    tokens, host = (
        {n.removeprefix(kind): x for n, x in columns.items() if n.startswith(kind)}
        for kind in ("tokens.", "host.")
    )
    return dataclasses.replace(growing.features(tokens, host), maps=tuple(maps))


def _column(path: Path, like: np.ndarray, maps: list[mmap.mmap]) -> np.ndarray:
    """A file of entries as those of `like`, as a view of its memory map."""
    if not path.stat().st_size:
        return like
    maps.append(_mapped(path))
    return np.frombuffer(maps[-1], like.dtype).reshape(-1, *like.shape[1:])
