"""What is kept of each window of a prediction: arrays, the large ones in files."""

from __future__ import annotations

import math
import mmap
import os
import tempfile

import numpy as np

from jaxbert.errors import InputError
from jaxbert.io.fetched import scratch

_IN_MEMORY = 1 << 24  # bytes of an array; a larger one lies in a file


class WindowArrays(dict[str, np.ndarray]):
    """name -> (M, ...), a row for each window, that come in any order.

    A large array is the memory map of a file in TMPDIR without a name: its memory is the system's
    to take back, and nothing is left of it however the process ends.
    """

    def __init__(self, windows: int) -> None:
        self._windows = windows
        self._maps: list[mmap.mmap] = []

    def put(self, windows: np.ndarray, outputs: dict[str, np.ndarray]) -> None:
        """The rows of some windows: of each output as many, and perhaps some of padding.

        Raises:
            InputError: there is no room for the files.
        """
        for name, rows in outputs.items():
            if name not in self:
                self[name] = self._zeros((self._windows, *rows.shape[1:]), rows.dtype)
            self[name][windows] = rows[: len(windows)]

    def _zeros(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        size = math.prod(shape) * dtype.itemsize
        if size <= _IN_MEMORY:
            return np.zeros(shape, dtype)
        folder = scratch()
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                if hasattr(os, "posix_fallocate"):  # else a full disk would be a fault of memory
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                self._maps.append(mmap.mmap(file.fileno(), size))
        except OSError as error:
            raise InputError(
                f"{folder}: there is no room for {size / 2**30:.1f} GiB of predictions "
                f"({error.strerror}); set TMPDIR to a folder on a larger disk"
            ) from None
        return np.ndarray(shape, dtype, self._maps[-1])

    def part(self, first: int, last: int) -> dict[str, np.ndarray]:
        """The rows of the windows from first up to last."""
        return {name: rows[first:last] for name, rows in self.items()}

    def forget(self) -> None:
        """Give back the memory of what lies in files; it stays there."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            for each in self._maps:
                each.madvise(mmap.MADV_DONTNEED)
