"""SIGTERM and Ctrl-C in a training: noted at once, whatever the main thread computes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

from jaxbert.runtime import processes

# What stops a process may signal it twice at once: timeout(1) the process, and then its group.
_ONE = 1.0  # second
_Handler = Callable[[int, FrameType | None], None] | int | signal.Handlers | None


class StopSignals:
    """Within it, SIGTERM and Ctrl-C are noted, to be asked for; a second one, a second later or
    more, leaves at once. In a notebook or an interpreter a second Ctrl-C does nothing.

    An exception raised by the handler would leave JAX in the middle of whatever it does, and end
    the process by a segmentation fault; so everything long asks.

    Attributes:
        caught: a signal has come.
    """

    def __init__(self) -> None:
        self.caught = False
        self._caught_at = 0.0
        self._before: dict[int, _Handler] = {}
        self._written = (-1, -1)  # where the numbers of signals go, and where they went before

    def _listen(self, source: int) -> None:
        """Read the numbers of signals, until their writer closes."""
        with open(source, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] in (signal.SIGTERM, signal.SIGINT):
                    self._note(number[0])

    def _note(self, number: int) -> None:
        if not self.caught:
            self.caught, self._caught_at = True, time.monotonic()
            threading.Thread(target=_say, args=(number,), daemon=True).start()
        # A notebook's kernel has more than this run, and is restarted by other means.
        elif number == signal.SIGINT and hasattr(sys, "ps1"):
            return
        # Whoever stops a job may signal each process and the launcher, which kills.
        elif time.monotonic() - self._caught_at > _ONE and not processes.launched():
            os._exit(processes.EXIT_STOPPED)

    def __enter__(self) -> StopSignals:
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


def _say(number: int) -> None:
    # In a thread of its own: the reader of stderr may have paused. And not by sys.stderr, whose
    # lock whoever waits for that reader holds.
    with contextlib.suppress(OSError):
        os.write(2, f"\n{signal.Signals(number).name}: saving and leaving\n".encode())
