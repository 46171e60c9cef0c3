"""Step folders in a bucket, each written and read through a folder on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from jaxbert.io.bucket import Bucket, BucketError, ChangedError, joined
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

    @property
    def place(self) -> str:
        return joined(self._bucket.address, self._name)

    def _objects(self, step: int) -> list[str]:
        return sorted(self._bucket.names(f"{self._name}/{step}"))

    def _manifest(self, step: int) -> str:
        return f"{self._name}/{step}/{MANIFEST}"

    def numbers(self) -> list[int]:
        inside = [name[len(self._name) + 1 :] for name in self._bucket.names(self._name)]
        return step_numbers([name.split("/")[0] for name in inside if "/" in name])

    def is_sealed(self, step: int) -> bool:
        return self._bucket.stat(self._manifest(step)) is not None

    def prepare(self, step: int) -> Path:
        self.remove(step)
        self._forget()
        folder = self._scratch / str(step)
        folder.mkdir(parents=True)
        return folder

    def publish(self, step: int) -> None:
        folder = self._scratch / str(step)
        seal(folder)
        sizes: dict[str, int] = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            if path == folder / MANIFEST:
                continue
            name = f"{self._name}/{step}/{path.relative_to(folder).as_posix()}"
            sizes[name] = path.stat().st_size
            self._check()
            self._bucket.upload(path, name)
        there = self._bucket.names(f"{self._name}/{step}")
        for name, size in sizes.items():
            if name not in there or there[name].size != size:
                raise BucketError(
                    f"{joined(self._bucket.address, name)}: it is not there whole after it was "
                    "written"
                )
        self._before_manifest()
        self._check()
        # None may be there: `prepare` has removed what was, and another run's would not be this.
        content = (folder / MANIFEST).read_bytes()
        try:
            self._bucket.write(self._manifest(step), content, instead_of="")
        except ChangedError:
            if self._bucket.read(self._manifest(step)) != content:  # else an answer was lost
                raise
        self._forget()

    def abandon(self, step: int) -> None:
        clear(self._scratch / str(step))

    def fetch(self, step: int) -> Path:
        folder = self._scratch / str(step)
        if (folder / MANIFEST).exists():  # of this step, a moment ago
            return folder
        self._forget()
        folder.mkdir(parents=True)
        if self.is_sealed(step):  # the manifest comes last here too
            inside = f"{self._name}/{step}/"
            names = [name for name in self._objects(step) if len(name) > len(inside)]
            for name in sorted(names, key=lambda name: name == self._manifest(step)):
                self._bucket.download(name, folder / name[len(inside) :])
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
        shutil.rmtree(self._scratch, ignore_errors=True)
