"""Features as Arrow files in a folder, read by memory map.

about.json       notes, shapes and dtypes, the SHA-256 of each file
NAME.arrow       the columns of one length: tokens, host, windows (one entry a window), bounds
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa

from jaxbert.data.features import Features
from jaxbert.io.files import digest_of, sync

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
                "notes": features.notes,
                "left_out": features.left_out,
                "sha256": {name: digest_of(partial / f"{name}.arrow") for name in about},
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
        for name in about["columns"]:
            if digest_of(folder / f"{name}.arrow") != about["sha256"][name]:
                raise ValueError(f"{name}.arrow has changed")
        found = {
            name: _read(folder / f"{name}.arrow", columns)
            for name, columns in about["columns"].items()
        }
        windows = found["windows"]
        return Features(
            bounds=found["bounds"]["bounds"],
            tokens=found["tokens"],
            rows={n[len(_ROWS) :]: x for n, x in windows.items() if n.startswith(_ROWS)},
            example=windows[_EXAMPLE],
            host=found["host"],
            notes=tuple(about["notes"]),
            learnable=windows.get(_LEARNABLE),
            left_out=tuple(about["left_out"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError, pa.ArrowException) as error:
        raise ValueError(f"it cannot be read ({error})") from None


def _read(path: Path, columns: Mapping[str, _Column]) -> dict[str, np.ndarray]:
    """The columns of a file as views of its memory map."""
    if not columns:
        return {}
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        batch = reader.get_batch(0)
    found: dict[str, np.ndarray] = {}
    for index, (name, column) in enumerate(columns.items()):
        dtype, shape = np.dtype(column["dtype"]), tuple(column["shape"])
        count = len(batch) * int(np.prod(shape, dtype=int))
        flat = np.frombuffer(batch.column(index).buffers()[1], dtype, count)
        found[name] = flat.reshape(len(batch), *shape)
    return found
