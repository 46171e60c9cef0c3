"""SIGTERM and Ctrl-C in a training: noted at once, whatever the main thread computes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any

from jaxbert import processes


class StopSignals:
    """Within it, SIGTERM and Ctrl-C are noted, to be asked for; a second one leaves at once.

    An exception raised by the handler would leave JAX in the middle of whatever it does, and end
    the process by a segmentation fault; so everything long asks.

    Attributes:
        caught: a signal has come.
    """

    def __init__(self) -> None:
        self.caught = False
        self._before: dict[int, Any] = {}
        self._written = (-1, -1)  # where the numbers of signals go, and where they went before

    def _listen(self, source: int) -> None:
        """Read the numbers of signals, until their writer closes."""
        with open(source, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] in self._before:
                    self._note(number[0])

    def _note(self, number: int) -> None:
        if self.caught and processes.launched():
            return  # whoever stops a job may signal each process and the launcher, which kills
        if self.caught:
            os._exit(processes.EXIT_STOPPED)
        self.caught = True
        # Not by sys.stderr: its lock may be held by whoever waits for its reader.
        with contextlib.suppress(OSError):
            os.write(2, f"\n{signal.Signals(number).name}: saving and leaving\n".encode())

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():
            return self  # signals are somebody else's
        # A handler in Python would wait until XLA, which may compile for minutes, gives the main
        # thread back, and would then be called once for two signals.
        source, target = os.pipe()
        os.set_blocking(target, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, lambda *_: None)
        self._written = target, signal.set_wakeup_fd(target, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(source,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._before:
            return
        target, before = self._written
        signal.set_wakeup_fd(before)
        os.close(target)
        for number, handler in self._before.items():
            signal.signal(number, handler)
