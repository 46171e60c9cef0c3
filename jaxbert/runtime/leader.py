"""The launcher that leads: it says which processes each host starts, and hears how they end."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from jaxbert.io.files import Json
from jaxbert.runtime.launcher_peer import Peer
from jaxbert.runtime.meeting import (
    EXIT_WRONG_INPUT,
    POLL,
    Meeting,
    Order,
    Outcome,
    Share,
    Terms,
    free_port,
    leaves_job,
)
from jaxbert.runtime.signal_listener import EXIT_STOPPED

_AFTERMATH = 1.0  # seconds for others to say how they ended, once one has failed
_MOST = 65536  # processes of a host


@dataclasses.dataclass(eq=False)
class _Member:
    """A host, as the leader knows it.

    Attributes:
        peer: None for the leader itself.
        processes: that it can start; 0 until it has said so.
        runs: its processes do.
    """

    peer: Peer | None
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


class Leader(Meeting):
    """The meeting as the launcher sees it to which all others go."""

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
            leaves = leaves_job(outcome, self._signals)
            self._ended.append(_Ended(self._me.name, outcome, leaves))
            while any(member.runs for member in self._members):
                self.order()
                time.sleep(POLL)
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
            time.sleep(POLL)

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
                self._members.append(_Member(Peer(connection), str(host)))
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

    def _hear(self, member: _Member, peer: Peer, message: Mapping[str, Json]) -> None:
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


def _counted(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"
