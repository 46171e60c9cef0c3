"""Launchers of several hosts that run one job: who is there, and which processes each starts.

They meet at the address HOST:PORT of `--meet`. The launcher on the machine that has this address
leads: it says which processes each launcher starts, hears how they end, and begins again with the
hosts that are there. The others know nothing but that; each starts its own command line. They talk
by lines of JSON, and one that says nothing for half a minute counts as lost.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import enum
import errno
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.runtime import preemption
from jaxbert.runtime.signal_listener import EXIT_STOPPED

EXIT_WRONG_INPUT = 2

# How the processes of a host ended: the status for the launcher to exit with, in words why they are
# to be started again, or None: they were killed, since others had failed.
Outcome = int | str | None

_POLL = 0.1  # seconds between two looks
_BEAT = 5.0  # seconds between two signs of life
_SILENCE = 30.0  # seconds without one, after which a host is lost; JAX's service has the same
_AFTERMATH = 1.0  # seconds for others to say how they ended, once one has failed
_LONGEST = 65536  # bytes of a line
_MOST = 65536  # processes of a host


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


def meet(
    place: tuple[str, int],
    n: int,
    job: str,
    terms: Terms,
    signals: Sequence[str],
    say: Callable[[str], None],
) -> Meeting:
    """Lead, if this machine has the address and no launcher leads there; else follow.

    Args:
        place: host and port.
        n: processes of this host.
        signals: names of those that have come; it is read again and again.

    Raises:
        InputError: the host's name is not known.
    """
    host, port = place
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
        # On all interfaces: to the machine itself its name may mean 127.0.1.1.
        server = socket.create_server(("", port))
    except socket.gaierror as error:
        raise InputError(f"--meet {host}: {error.strerror}; give the first host's name") from None
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
            raise InputError(f"--meet {host}:{port}: {error.strerror}") from None
        return _Follower(place, n, terms, signals, say)
    return _Leader(server, host, n, job, terms, signals, say)


class _Peer:
    """A connection to another launcher.

    Attributes:
        known: it has said something that launchers say.
        lost: it is gone, silent, or no launcher.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection, self._buffer = connection, b""
        self._heard = self._told = time.monotonic()
        self.known = self.lost = False

    def send(self, message: Mapping[str, Json]) -> None:
        """Send a line; one that cannot be sent loses the peer."""
        self._told = time.monotonic()
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.lost = True

    def receive(self) -> Iterator[Mapping[str, Json]]:
        """What has come since the last time; signs of life are sent and left out."""
        now = time.monotonic()
        if not self.lost and now - self._told > _BEAT:
            self.send({})
        try:
            while part := self._connection.recv(_LONGEST):
                self._buffer, self._heard = self._buffer + part, now
                if len(self._buffer) > _LONGEST:
                    break
            self.lost = True  # its end, or a line that is too long
        except BlockingIOError:
            self.lost |= now - self._heard > _SILENCE
        except OSError:
            self.lost = True
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            try:
                message: Json = json.loads(line)
            except (ValueError, RecursionError):
                message = None
            if not isinstance(message, Mapping):  # no launcher
                self.lost = True
                return
            self.known = True
            if message:
                yield message

    def close(self) -> None:
        self._connection.close()


@dataclasses.dataclass(eq=False)
class _Member:
    """A host, as the leader knows it.

    Attributes:
        peer: None for the leader itself.
        processes: that it can start; 0 until it has said so.
        runs: its processes do.
    """

    peer: _Peer | None
    name: str = ""
    processes: int = 0
    runs: bool = False

    def tell(self, message: Mapping[str, Json]) -> None:
        if self.peer is not None:
            self.peer.send(message)


class _Ended(NamedTuple):
    """How the processes of a host ended, in the present start."""

    name: str
    outcome: Outcome
    leaves: bool


class _Leader(Meeting):
    def __init__(
        self,
        server: socket.socket,
        host: str,
        n: int,
        job: str,
        terms: Terms,
        signals: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        server.setblocking(False)
        self._server, self._host, self._job = server, host, job
        self._terms, self._signals, self._say = terms, signals, say
        self._me = _Member(None, "this host", n)
        self._members = [self._me]  # in the order in which they came
        self._changed = time.monotonic()  # when one came or was lost
        self._restarts = 0
        # Of the present start:
        self._size = 0  # hosts
        self._ended: list[_Ended] = []
        self._lost: list[str] = []
        self._grows = False
        self._until: float | None = None  # then those that still run are killed

    def order(self) -> Order:
        self._look()
        now = time.monotonic()
        failed = [e for e in self._ended if e.outcome not in (0, EXIT_STOPPED)]
        wait = None
        if failed or self._lost:
            wait = _AFTERMATH
        elif self._grows or any(e.outcome == EXIT_STOPPED for e in self._ended):
            wait = self._terms.grace + _AFTERMATH
        if wait is not None and (self._until is None or self._until > now + wait):
            self._until = now + wait
        if self._until is not None and now >= self._until:
            self._tell_running(Order.END)
            return Order.END
        if not self._grows and wait is None and self._can_grow(now):
            self._grows = True
            self._say("more hosts are there: the processes save, and begin again with them")
            self._tell_running(Order.SAVE)
        return Order.SAVE if self._grows else Order.GO_ON

    def _can_grow(self, now: float) -> bool:
        there = self._there()
        if not self._size < min(len(there), self._terms.most):
            return False
        return len(there) >= self._terms.most or now - self._changed >= self._terms.join

    def _tell_running(self, order: Order) -> None:
        for member in self._members:
            if member.runs:
                member.tell({"order": order.value})

    def next(self, outcome: Outcome) -> Share | int:
        if self._size:
            self._me.runs = False
            leaves = _leaves(outcome, self._signals)
            self._ended.append(_Ended(self._me.name, outcome, leaves))
            while any(member.runs for member in self._members):
                self.order()
                time.sleep(_POLL)
        status = self._verdict() if self._size else None
        if status is None:
            status = self._wait_for_hosts()
        if status is not None:
            for member in self._members:
                member.tell({"status": status})
            return status
        return self._begin()

    def _verdict(self) -> int | None:
        """The job's status after a start; None where there is to be another one."""
        outcomes = [e.outcome for e in self._ended]
        leaving = [e.name for e in self._ended if e.leaves]
        failures = [f"{e.name}: {e.outcome}" for e in self._ended if isinstance(e.outcome, str)]
        if not self._lost and all(o == 0 for o in outcomes):
            return 0
        if self._me.name in leaving:
            self._say(f"{' '.join(self._signals[:1]) or 'the cloud takes this host'}: all stop")
            return EXIT_STOPPED
        if self._lost or leaving:
            gone = [f"{name} is lost" for name in self._lost] + [f"{n} leaves" for n in leaving]
            self._say(f"{', '.join(gone)}; going on without")
            return None
        if EXIT_WRONG_INPUT in outcomes:
            return EXIT_WRONG_INPUT
        if self._grows:
            return None
        if EXIT_STOPPED in outcomes:
            return EXIT_STOPPED
        why, most = "; ".join(failures) or "the processes were killed", self._terms.max_restarts
        if self._restarts == most:
            self._say(f"{why}; given up (--max_restarts {most})")
            return 1
        self._restarts += 1
        self._say(f"{why}; starting again ({self._restarts} of {most})")
        return None

    def _wait_for_hosts(self) -> int | None:
        """Wait until a start can begin; or the status to give up with."""
        least, most, begun, told = self._terms.least, self._terms.most, time.monotonic(), -1
        while True:
            self._look()
            there, now = len(self._there()), time.monotonic()
            if self._signals:
                self._say(f"{self._signals[0]}: all stop")
                return EXIT_STOPPED
            if there >= most or (there >= least and now - self._changed >= self._terms.join):
                return None
            if there < least and now - begun >= self._terms.start:
                self._say(
                    f"only {there} of {least} hosts came in {self._terms.start:g} s; given up"
                )
                return 1
            if there != told:
                told = there
                self._say(f"{there} of {most} hosts are there")
            time.sleep(_POLL)

    def _begin(self) -> Share:
        """Tell everyone what to start."""
        chosen = self._there()[: self._terms.most]
        address = f"{self._host}:{free_port()}"
        count, first = sum(member.processes for member in chosen), 0
        self._size, self._ended, self._lost = len(chosen), [], []
        self._grows, self._until = False, None
        self._say(f"{_counted(len(chosen), 'host')}, {_counted(count, 'process', 'processes')}")
        for member in chosen:
            share = Share(address, count, first, self._job)
            first += member.processes
            member.runs = True
            member.tell({"share": share._asdict()})
        return Share(address, count, 0, self._job)

    def close(self) -> None:
        self._server.close()
        for member in self._members:
            if member.peer is not None:
                member.peer.close()

    def _there(self) -> list[_Member]:
        return [member for member in self._members if member.processes]

    def _look(self) -> None:
        """Hear what the others say, and who comes and goes."""
        with contextlib.suppress(OSError):  # nobody else comes
            while True:
                connection, (host, *_) = self._server.accept()
                self._members.append(_Member(_Peer(connection), str(host)))
        for member in list(self._members):
            if member.peer is None:
                continue
            for message in member.peer.receive():
                self._hear(member, member.peer, message)
            if member.peer.lost:
                self._members.remove(member)
                member.peer.close()
                if member.runs:
                    self._lost.append(member.name)
                if member.processes:
                    self._changed = time.monotonic()

    def _hear(self, member: _Member, peer: _Peer, message: Mapping[str, Json]) -> None:
        name, processes, ended = (message.get(x) for x in ("host", "processes", "ended"))
        if member.processes and "ended" in message and isinstance(ended, int | str | None):
            if member.runs:
                member.runs = False
                self._ended.append(_Ended(member.name, ended, message.get("leaves") is True))
        elif (
            not member.processes
            and isinstance(name, str)
            and isinstance(processes, int)
            and 1 <= processes <= _MOST
        ):
            member.name, member.processes = name, processes
            self._changed = time.monotonic()
        else:
            peer.lost = True


class _Follower(Meeting):
    def __init__(
        self,
        place: tuple[str, int],
        n: int,
        terms: Terms,
        signals: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        self._place, self._n, self._wait = place, n, terms.start
        self._signals, self._say = signals, say
        self._peer: _Peer | None = None
        self._order = Order.GO_ON

    def order(self) -> Order:
        if self._peer is not None:
            for message in self._peer.receive():
                with contextlib.suppress(ValueError):
                    self._order = Order(message.get("order"))
        if self._peer is None or self._peer.lost:
            self._order = Order.END
        return self._order

    def next(self, outcome: Outcome) -> Share | int:
        self._order = Order.GO_ON
        leaves = _leaves(outcome, self._signals)
        if self._peer is not None:
            self._peer.send({"ended": outcome, "leaves": leaves})
        until = time.monotonic() + self._wait
        while not (leaves or self._signals):
            if self._peer is None or self._peer.lost:
                if time.monotonic() >= until:
                    self._say(f"no launcher answers at {':'.join(map(str, self._place))}; given up")
                    return 1
                self._connect()
            else:
                for message in self._peer.receive():
                    if (told := _read(message)) is not None:
                        return told
                if self._peer.known:
                    until = time.monotonic() + self._wait
            time.sleep(_POLL)
        return outcome if isinstance(outcome, int) else EXIT_STOPPED

    def _connect(self) -> None:
        """Go to the leader, if it is there."""
        if self._peer is not None:
            if self._peer.known:
                self._say("the first host is lost; waiting for it")
            self.close()
        with contextlib.suppress(OSError):
            self._peer = _Peer(socket.create_connection(self._place, timeout=_BEAT))
            self._peer.send({"host": socket.gethostname(), "processes": self._n})

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None


def _counted(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def _leaves(outcome: Outcome, signals: Sequence[str]) -> bool:
    """Whether this host is to be without processes from now on. Of a cloud's notice they hear
    themselves, and then end as by a signal."""
    return bool(signals) or (outcome == EXIT_STOPPED and preemption.is_announced())


def _read(message: Mapping[str, Json]) -> Share | int | None:
    """What a leader says to a launcher that waits."""
    status, share = message.get("status"), message.get("share")
    if isinstance(status, int):
        return status
    if not isinstance(share, Mapping):
        return None
    address, count, first, job = (share.get(name) for name in Share._fields)
    if not (isinstance(address, str) and isinstance(job, str)):
        return None
    if not (isinstance(count, int) and isinstance(first, int)):
        return None
    return Share(address, count, first, job)
