"""What launchers of several hosts that run one job agree on, and the launcher of one host alone.

They meet at the address HOST:PORT of `--meet`. The launcher on the machine that has this address
leads (leader.py): it says which processes each launcher starts, hears how they end, and begins
again with the hosts that are there. The others (follower.py) know nothing but that; each starts its
own command line.
"""

from __future__ import annotations

import abc
import enum
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxbert.runtime import preemption
from jaxbert.runtime.signal_listener import EXIT_STOPPED

EXIT_WRONG_INPUT = 2

# How the processes of a host ended: the status for the launcher to exit with, in words why they are
# to be started again, or None: they were killed, since others had failed.
Outcome = int | str | None

POLL = 0.1  # seconds between two looks


class Share(NamedTuple):
    """The processes that one host starts.

    Attributes:
        address: where JAX's processes meet.
        processes: of all hosts.
        first: the number of this host's first.
        job: the name of the job, the same at all its starts.
    """

    address: str
    processes: int
    first: int
    job: str


class Order(enum.Enum):
    """What is to be done with the processes that run."""

    GO_ON = "go on"
    SAVE = "save"  # and end; they begin again on more hosts
    END = "end"  # at once: others have failed


class Terms(NamedTuple):
    """What launchers agree on.

    Attributes:
        least, most: hosts that the job runs on.
        join: seconds that are waited for more hosts, once the least are there.
        start: seconds that are waited for the least.
        grace: seconds to save and end in.
        max_restarts: times that all are started again after a failure.
    """

    least: int
    most: int
    join: float
    start: float
    grace: float
    max_restarts: int


class Meeting(abc.ABC):
    """What a launcher asks: which processes to start, and whether they may go on."""

    @abc.abstractmethod
    def next(self, outcome: Outcome) -> Share | int:
        """Wait for the next start; or the job's status, when it is over.

        Args:
            outcome: of the last start; None before the first.
        """

    def order(self) -> Order:
        """What is to be done with the processes that run."""
        return Order.GO_ON

    @abc.abstractmethod
    def close(self) -> None:
        """Leave."""


class Alone(Meeting):
    """One host: the launcher decides itself."""

    def __init__(
        self,
        n: int,
        job: str,
        max_restarts: int,
        signals: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        """n: processes. signals: names of those that have come."""
        self._n, self._job, self._left, self._max = n, job, max_restarts, max_restarts
        self._signals, self._say, self._started = signals, say, False

    def next(self, outcome: Outcome) -> Share | int:
        if isinstance(outcome, int):
            return outcome
        if self._started:
            if self._signals:  # one came while the processes were being killed
                self._say(f"{outcome}; {self._signals[0]}: not started again")
                return EXIT_STOPPED
            if not self._left:
                self._say(f"{outcome}; given up (--max_restarts {self._max})")
                return 1
            self._left -= 1
            self._say(f"{outcome}; starting again ({self._max - self._left} of {self._max})")
        self._started = True
        return Share(f"127.0.0.1:{free_port()}", self._n, 0, self._job)

    def close(self) -> None:
        pass


def free_port() -> int:
    """A port that is free on every interface: JAX listens on all of them."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


def leaves_job(outcome: Outcome, signals: Sequence[str]) -> bool:
    """Whether this host is to be without processes from now on. Of a cloud's notice they hear
    themselves, and then end as by a signal."""
    return bool(signals) or (outcome == EXIT_STOPPED and preemption.is_announced())
