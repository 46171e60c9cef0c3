"""train_log.jsonl: what stays of it on resume, and what becomes of lines on a full disk."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path

import pytest

from jaxbert.errors import InputError
from jaxbert.training.train_log import TrainLog


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_up_to_the_checkpoint_stay(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        b'{"step": 1}\n[1]\n3\n\xff\xfe{\n{"step": "x"}\n{"step": 2}\n{"step": 3}\n{"ste'
    )
    with TrainLog(path, 2) as log:
        log.write({"step": 3, "loss": None})
    assert steps(path) == [1, 2, 3]


class Full:
    """A file that takes some bytes, and then none until there is room again."""

    def __init__(self, file: io.FileIO, room: int) -> None:
        self.file, self.room = file, room

    def write(self, text: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(text[: self.room]) or 0
        self.room -= written
        return written

    def close(self) -> None:
        self.file.close()


def test_lines_wait_for_room_when_that_was_chosen(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with TrainLog(path, 0, retry_on_error=True) as log:
        log._file = full = Full(log._file, 20)  # type: ignore[assignment]
        for step in range(1, 6):
            if step == 5:
                full.room = 1000
            log.write({"step": step})
    assert steps(path) == [1, 2, 3, 4, 5]


def write_into_too_little_room(path: Path, retry_on_error: bool) -> None:
    with TrainLog(path, 0, retry_on_error=retry_on_error) as log:
        log._file = Full(log._file, 20)  # type: ignore[assignment]
        for step in range(1, 6):
            log.write({"step": step})


@pytest.mark.parametrize("retry_on_error", [False, True])
def test_lines_that_never_found_room_are_told(tmp_path: Path, retry_on_error: bool) -> None:
    with pytest.raises(InputError, match=r"log: could not be written \(No space left on device"):
        write_into_too_little_room(tmp_path / "log", retry_on_error)
