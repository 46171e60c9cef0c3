"""Files are recognised by size and time, and read where these differ."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from jaxbert.io import known_files
from jaxbert.io.files import digest_of
from jaxbert.io.known_files import known_digest


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    found: list[str] = []

    def digest(path: Path) -> str:
        found.append(path.name)
        return digest_of(path)

    monkeypatch.setattr(known_files, "digest_of", digest)
    return found


def old(path: Path, content: str, seconds: float = 60) -> None:
    path.write_text(content)
    at = time.time() - seconds
    os.utime(path, (at, at))


def test_what_has_not_changed_is_not_read(tmp_path: Path, read: list[str]) -> None:
    file, notes = tmp_path / "a.txt", tmp_path / "notes"
    old(file, "one")
    first = known_digest(file, notes)
    assert (known_digest(file, notes), read) == (first, ["a.txt"])
    old(file, "two", 30)  # as long, at another time
    second = known_digest(file, notes)
    assert second != first
    assert read == ["a.txt"] * 2
    old(file, "two", 20)  # touched
    assert (known_digest(file, notes), len(read)) == (second, 3)
    assert (known_digest(file, notes), len(read)) == (second, 3)


def test_a_file_of_this_moment_is_read_again(tmp_path: Path, read: list[str]) -> None:
    """It could change in the same tick of the clock, and be as long."""
    file, notes = tmp_path / "a.txt", tmp_path / "notes"
    file.write_text("one")
    known_digest(file, notes)
    known_digest(file, notes)
    assert len(read) == 2


def test_a_folder_is_its_files_and_their_names(tmp_path: Path, read: list[str]) -> None:
    folder, notes = tmp_path / "corpus", tmp_path / "notes"
    (folder / "below").mkdir(parents=True)
    old(folder / "a.txt", "one")
    old(folder / "below" / "b.txt", "two")
    first = known_digest(folder, notes)
    assert (known_digest(folder, notes), len(read)) == (first, 2)
    (folder / "a.txt").rename(folder / "c.txt")
    assert known_digest(folder, notes) != first


def test_notes_that_cannot_be_read_or_written(tmp_path: Path, read: list[str]) -> None:
    file, notes = tmp_path / "a.txt", tmp_path / "notes"
    old(file, "one")
    first = known_digest(file, notes)
    (note,) = notes.iterdir()
    for damaged in ("", "[]", "{", '{"size": 3}'):
        note.write_text(damaged)
        assert known_digest(file, notes) == first
    assert known_digest(file, file / "below") == first
    with pytest.raises(FileNotFoundError):
        known_digest(tmp_path / "none", notes)
