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
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import ClassVar, Self

from jaxbert.io import fetched

EXIT_STOPPED = 75  # EX_TEMPFAIL: start the same command again to resume
_Handler = Callable[[int, FrameType | None], None] | int | signal.Handlers | None


class SignalListener(abc.ABC):
    """Within it, SIGTERM and Ctrl-C are heard; one within another hears in its place.

    An exception raised by the handler would leave JAX in the middle of whatever it does, and end
    the process by a segmentation fault.
    """

    _hears: ClassVar[SignalListener | None] = None

    def __init__(self) -> None:
        self._before: dict[int, _Handler] = {}
        self._written = (-1, -1)  # where the numbers of signals go, and where they went before
        self._around: SignalListener | None = None

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
        self._around = SignalListener._hears
        SignalListener._hears = self
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
        SignalListener._hears = self._around

    def pass_on(self, number: int) -> None:
        """Have the listener around this one, if there is one, do what it does for a signal."""
        if self._around is not None:
            self._around._note(number)


_at_leaving: list[Callable[[], None]] = []
_leaving = threading.Event()
# A cloud has told that it takes the machine: that is a signal already, and the system sends others.
taken = threading.Event()
_CLEANING = 5.0  # seconds; a bucket's server may not answer


def when_leaving(leave: Callable[[], None]) -> None:
    """Have a function called before the process ends by `leave_now`."""
    _at_leaving.append(leave)


def leave_now(status: int) -> None:
    """End the process, whatever its other threads do; locks are given back, and copies removed."""
    _leaving.set()
    threads = [threading.Thread(target=leave, daemon=True) for leave in _at_leaving]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _CLEANING
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    fetched.remove_scratch()
    os._exit(status)


def wait_if_leaving() -> None:
    """Where another thread ends the process, let it: what fails meanwhile is of no interest."""
    while _leaving.is_set():
        time.sleep(1)


class LeaveAtOnce(SignalListener):
    """Within it, a signal ends the process with status 75.

    It is for what has no state to be saved: before a run's first step the same command begins
    again, and after its last one it writes the results again. Files are written whole or not.
    """

    def _note(self, number: int) -> None:
        # Not by sys.stderr, whose lock whoever waits for its reader holds.
        said = f"\n{signal.Signals(number).name}: leaving between steps; the same command, given "
        saying = threading.Thread(target=_write, args=(f"{said}again, resumes\n",), daemon=True)
        saying.start()
        saying.join(1)
        leave_now(EXIT_STOPPED)


def _write(text: str) -> None:
    with contextlib.suppress(OSError):  # its reader may have gone; or paused, so in a thread
        os.write(2, text.encode())


def is_interactive() -> bool:
    """Whether a notebook or an interpreter runs this process, which has more than this run."""
    return hasattr(sys, "ps1")
