"""SIGTERM and Ctrl-C, heard by a thread of their own, whatever the main thread computes.

Nothing here imports JAX: a run listens before that is imported.
"""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from jaxbert.io import fetched

EXIT_STOPPED = 75  # EX_TEMPFAIL: start the same command again to resume
_Handler = Callable[[int, FrameType | None], None] | int | signal.Handlers | None


class SignalListener(abc.ABC):
    """Within it, SIGTERM and Ctrl-C are heard; one within another hears in its place.

    An exception raised by the handler would leave JAX in the middle of whatever it does, and end
    the process by a segmentation fault.
    """

    def __init__(self) -> None:
        self._before: dict[int, _Handler] = {}
        self._written = (-1, -1)  # where the numbers of signals go, and where they went before

    @abc.abstractmethod
    def _note(self, number: int) -> None:
        """Do what the signal asks, in a thread that is not the main one."""

    def _listen(self, source: int) -> None:
        """Read the numbers of signals, until their writer closes."""
        with open(source, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] in (signal.SIGTERM, signal.SIGINT):
                    self._note(number[0])

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # signals are somebody else's
        # A handler in Python would wait until XLA, which may compile for minutes, gives the main
        # thread back, and would then be called once for two signals.
        source, target = os.pipe()
        os.set_blocking(target, False)
        self._written = target, signal.set_wakeup_fd(target, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, lambda *_: None)
        threading.Thread(target=self._listen, args=(source,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        target, before = self._written
        signal.set_wakeup_fd(before)
        os.close(target)


_at_leaving: list[Callable[[], None]] = []


def when_leaving(leave: Callable[[], None]) -> None:
    """Have a function called when a signal ends the process, before any other that was given."""
    _at_leaving.insert(0, leave)


class LeaveAtOnce(SignalListener):
    """Within it, a signal ends the process with status 75.

    It is for what has no state to be saved: before a run's first step the same command begins
    again, and after its last one it writes the results again. Files are written whole or not.
    """

    def _note(self, number: int) -> None:
        # Not by sys.stderr, whose lock whoever waits for its reader holds.
        with contextlib.suppress(OSError):
            os.write(
                2,
                f"\n{signal.Signals(number).name}: leaving between steps; the same command, "
                "given again, resumes\n".encode(),
            )
        # What does not answer does not hold the process: a bucket's server, for example.
        cleaning = threading.Thread(target=_clean, daemon=True)
        cleaning.start()
        cleaning.join(5)
        os._exit(EXIT_STOPPED)


def _clean() -> None:
    for leave in _at_leaving:
        with contextlib.suppress(Exception):
            leave()
    fetched.remove_scratch()


def is_interactive() -> bool:
    """Whether a notebook or an interpreter runs this process, which has more than this run."""
    return hasattr(sys, "ps1")
