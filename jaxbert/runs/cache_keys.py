"""What kept examples and features depend on beside their data: settings, code and packages."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
from pathlib import Path

import jaxbert.data
import jaxbert.tasks
from jaxbert.io.files import Json, digest_of
from jaxbert.options.fields import Value
from jaxbert.tasks.registry import AnyTask


def facts_of(task: AnyTask) -> dict[str, Json]:
    """What a task does with text, as facts that are equal where it does the same."""
    settings = dataclasses.asdict(task.settings)
    return {
        "task": task.name,
        "settings": settings,
        "variant": task.variant,
        "files": [digest_of(Path(x).expanduser()) for x in settings.values() if _is_file(x)],
        "code": _code(),
        "packages": [_version(name) for name in ("tokenizers", "numpy", "jieba")],
    }


def _is_file(value: Value) -> bool:
    """Whether a setting names a file, such as one of words."""
    try:
        return isinstance(value, str) and Path(value).expanduser().is_file()
    except OSError:  # too long for a name
        return False


@functools.cache
def _code() -> str:
    """A hash of all that turns text into arrays."""
    digest = hashlib.sha256()
    for room in (jaxbert.data, jaxbert.tasks):
        for path in sorted(Path(room.__path__[0]).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
