"""A file that leaves a trace when it is unpickled: proof that something hostile was run, or not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def pickled(path: Path) -> bytes:
    """A pickle that makes this file when it is read."""
    return pickle.dumps(_Canary(path))
