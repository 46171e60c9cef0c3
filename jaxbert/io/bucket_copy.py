"""A folder on this machine, and its copy in a bucket."""

from __future__ import annotations

from pathlib import Path

from jaxbert.io.bucket import Bucket


class BucketCopy:
    """Copies to a bucket what has changed in a folder on this machine.

    Args:
        folder: names that begin with a dot are left out.
    """

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self._bucket, self._folder = bucket, folder
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
        """Copy what is new or has changed since it was copied, and remove what is here no more.

        Raises:
            BucketError: the bucket does not take it; what was not copied is copied next time.
        """
        files: dict[str, Path] = {}
        for path in sorted(self._folder.rglob("*")):
            parts = path.relative_to(self._folder).parts
            if path.is_file() and not any(part.startswith(".") for part in parts):
                files["/".join(parts)] = path
        for name, path in files.items():
            state = _state(path)
            if self._copied.get(name) != state:
                self._bucket.upload(path, name)
                self._copied[name] = state
        for name in set(self._copied) - set(files):
            self._bucket.remove([name])
            del self._copied[name]


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
