"""SIGTERM and Ctrl-C in a training: noted at once, whatever the main thread computes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import TracebackType

from jaxbert.runtime import processes
from jaxbert.runtime.signal_listener import (
    EXIT_STOPPED,
    SignalListener,
    is_interactive,
    leave_now,
    taken,
)

# What stops a process may signal it twice at once: timeout(1) the process, and then its group.
_ONE = 1.0  # second


class StopSignals(SignalListener):
    """Within it, SIGTERM and Ctrl-C are noted, to be asked for; a second one, a second later or
    more, leaves at once. In a notebook or an interpreter a second Ctrl-C does nothing.

    Attributes:
        caught: a signal has come.
        goes_on: what it was noted for is done, and more follows: at the end a signal is passed on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.caught, self.goes_on = False, False
        self._caught_at, self._number = 0.0, 0

    def _note(self, number: int) -> None:
        if not self.caught:
            self.caught, self._caught_at, self._number = True, time.monotonic(), number
            threading.Thread(target=_say, args=(number,), daemon=True).start()
            return
        # A notebook's kernel has more than this run, and is restarted by other means.
        left_alone = number == signal.SIGINT and is_interactive()
        # A machine that is taken is told so several times, while the last step is saved.
        left_alone |= number == signal.SIGTERM and taken.is_set()
        # Whoever stops a job may signal each process and the launcher, which kills.
        left_alone |= processes.launched()
        if not left_alone and time.monotonic() - self._caught_at > _ONE:
            leave_now(EXIT_STOPPED)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if self.caught and self.goes_on and error is None:
            self.pass_on(self._number)


def _say(number: int) -> None:
    # In a thread of its own: the reader of stderr may have paused. And not by sys.stderr, whose
    # lock whoever waits for that reader holds.
    with contextlib.suppress(OSError):
        os.write(2, f"\n{signal.Signals(number).name}: saving and leaving\n".encode())
