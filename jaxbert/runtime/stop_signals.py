"""SIGTERM and Ctrl-C in a training: noted at once, whatever the main thread computes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

from jaxbert.runtime import processes
from jaxbert.runtime.signal_listener import EXIT_STOPPED, SignalListener, is_interactive

# What stops a process may signal it twice at once: timeout(1) the process, and then its group.
_ONE = 1.0  # second


class StopSignals(SignalListener):
    """Within it, SIGTERM and Ctrl-C are noted, to be asked for; a second one, a second later or
    more, leaves at once. In a notebook or an interpreter a second Ctrl-C does nothing.

    Attributes:
        caught: a signal has come.
    """

    def __init__(self) -> None:
        super().__init__()
        self.caught = False
        self._caught_at = 0.0

    def _note(self, number: int) -> None:
        if not self.caught:
            self.caught, self._caught_at = True, time.monotonic()
            threading.Thread(target=_say, args=(number,), daemon=True).start()
        # A notebook's kernel has more than this run, and is restarted by other means.
        elif number == signal.SIGINT and is_interactive():
            return
        # Whoever stops a job may signal each process and the launcher, which kills.
        elif time.monotonic() - self._caught_at > _ONE and not processes.launched():
            os._exit(EXIT_STOPPED)


def _say(number: int) -> None:
    # In a thread of its own: the reader of stderr may have paused. And not by sys.stderr, whose
    # lock whoever waits for that reader holds.
    with contextlib.suppress(OSError):
        os.write(2, f"\n{signal.Signals(number).name}: saving and leaving\n".encode())
