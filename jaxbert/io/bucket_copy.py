"""A folder on this machine, and its copy in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from jaxbert.io.bucket import Bucket


class BucketCopy:
    """Copies to a bucket what has changed in a folder on this machine.

    What is missing here is not removed there: something else may have cleaned this disk.

    Args:
        names: of the files and folders that are copied; what else lies in the folder stays here.
        check: called before each file is copied: raises where that may not be.
    """

    def __init__(
        self, bucket: Bucket, folder: Path, names: Collection[str], check: Callable[[], None]
    ) -> None:
        self._bucket, self._folder, self._names, self._check = bucket, folder, names, check
        self._copied: dict[str, tuple[int, int]] = {}  # name -> size and time of what is there

    def pull(self, name: str) -> None:
        """Have a file of the bucket here too, if it is there."""
        path = self._folder / name
        try:
            self._bucket.download(name, path)
        except FileNotFoundError:
            return
        self._copied[name] = _state(path)

    def push(self) -> None:
        """Copy what is new or has changed since it was copied.

        Raises:
            BucketError: the bucket does not take it; what was not copied is copied next time.
        """
        for top in sorted(self._names):
            place = self._folder / top
            for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
                name = path.relative_to(self._folder).as_posix()
                try:
                    state = _state(path)
                except FileNotFoundError:
                    continue
                if path.is_file() and self._copied.get(name) != state:
                    self._check()
                    self._bucket.upload(path, name)
                    self._copied[name] = state

    def remove(self, names: Sequence[str]) -> None:
        """Remove files and folders from the bucket, in this order."""
        for name in names:
            self._check()
            there = [n for n in self._bucket.names(name) if n == name or n.startswith(f"{name}/")]
            self._bucket.remove([*there, name])
            self._copied = {n: s for n, s in self._copied.items() if n not in (name, *there)}


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
