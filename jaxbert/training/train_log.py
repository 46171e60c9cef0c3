"""TrainLog: train_log.jsonl, a line for each logged step."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from jaxbert.errors import InputError
from jaxbert.io.files import write_text

logger = logging.getLogger("jaxbert")


class TrainLog:
    """train_log.jsonl: one JSON line a logged step, a run's lines in order of the steps.

    Args:
        first_step: lines of later steps are left out; they will be written again.
        retry_on_error: lines that cannot be written are kept, and tried again with the next one.
    """

    def __init__(self, path: Path, first_step: int, *, retry_on_error: bool = False) -> None:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        kept = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # torn, or not ours
                if json.loads(line)["step"] <= first_step:
                    kept.append(line + "\n")
        write_text(path, "".join(kept))
        self._path, self._retry_on_error = path, retry_on_error
        self._waiting = b""
        # Without a buffer: what a failed write has written is known.
        self._file = path.open("ab", buffering=0)

    def write(self, record: Mapping[str, float | None]) -> None:
        """Append a line, at once in the file for whoever follows it.

        Raises:
            InputError: it cannot be written, and errors are not retried.
        """
        before = bool(self._waiting)
        self._waiting += json.dumps(dict(record), allow_nan=False).encode() + b"\n"
        error = self._flush()
        if error and not self._retry_on_error:
            raise error
        if error and not before:
            logger.warning("%s; it is tried again with every line", error)

    def _flush(self) -> InputError | None:
        try:
            while self._waiting:
                self._waiting = self._waiting[self._file.write(self._waiting) :]
        except OSError as error:
            return InputError(f"{self._path}: could not be written ({error.strerror})")
        return None

    def __enter__(self) -> TrainLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        left = self._flush()
        self._file.close()
        if left and kind is None:
            raise left
