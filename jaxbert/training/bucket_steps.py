"""Step folders in a bucket, each written and read through a folder on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from jaxbert.errors import InputError
from jaxbert.io.bucket import Bucket, joined
from jaxbert.training.step_folders import MANIFEST, clear, seal, step_numbers


class BucketSteps:
    """Step folders that are sealed on this machine, and then copied, the manifest last.

    What is in the bucket is verified by the same hashes, made before it left this machine.

    Args:
        bucket: of the run.
        name: of the folder of all steps in it.
        scratch: a folder on this machine, for one step at a time.
        check: called before anything is written or removed: raises where that may not be.
        before_manifest: called when all but the manifest is there.
    """

    def __init__(
        self,
        bucket: Bucket,
        name: str,
        scratch: Path,
        check: Callable[[], None],
        before_manifest: Callable[[], None],
    ) -> None:
        self._bucket, self._name, self._scratch = bucket, name, scratch
        self._check, self._before_manifest = check, before_manifest
        scratch.mkdir(parents=True, exist_ok=True)

    @property
    def place(self) -> str:
        return joined(self._bucket.address, self._name)

    def _objects(self, step: int) -> list[str]:
        return sorted(self._bucket.names(f"{self._name}/{step}"))

    def _manifest(self, step: int) -> str:
        return f"{self._name}/{step}/{MANIFEST}"

    def numbers(self) -> list[int]:
        depth = self._name.count("/") + 1
        return step_numbers([name.split("/")[depth] for name in self._bucket.names(self._name)])

    def is_sealed(self, step: int) -> bool:
        return self._bucket.stat(self._manifest(step)) is not None

    def prepare(self, step: int) -> Path:
        self.remove(step)
        self._forget()
        folder = self._scratch / str(step)
        folder.mkdir()
        return folder

    def publish(self, step: int) -> None:
        folder = self._scratch / str(step)
        seal(folder)
        self._check()
        sizes: dict[str, int] = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = f"{self._name}/{step}/{path.relative_to(folder).as_posix()}"
            sizes[name] = path.stat().st_size
            if name != self._manifest(step):
                self._bucket.upload(path, name)
        self._before_manifest()
        self._check()
        self._bucket.upload(folder / MANIFEST, self._manifest(step))
        there = self._bucket.names(f"{self._name}/{step}")
        for name, size in sizes.items():
            if name not in there or there[name].size != size:
                self._bucket.remove([self._manifest(step)])
                raise InputError(
                    f"{joined(self._bucket.address, name)}: it is not there whole after it was "
                    "written"
                )
        self._forget()

    def abandon(self, step: int) -> None:
        clear(self._scratch / str(step))

    def fetch(self, step: int) -> Path:
        folder = self._scratch / str(step)
        if (folder / MANIFEST).exists():  # of this step, a moment ago
            return folder
        self._forget()
        folder.mkdir()
        if self.is_sealed(step):  # the manifest comes last here too
            names = [name for name in self._objects(step) if name != self._manifest(step)]
            for name in [*names, self._manifest(step)]:
                path = folder.joinpath(*name.split("/")[self._name.count("/") + 2 :])
                self._bucket.download(name, path)
        return folder

    def remove(self, step: int) -> None:
        self._check()
        # Without its manifest first of all: a step that is removed in part counts for nothing.
        self._bucket.remove([self._manifest(step)])
        self._bucket.remove(self._objects(step))

    def close(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Remove the steps on this machine."""
        for path in self._scratch.iterdir():
            shutil.rmtree(path, ignore_errors=True)
