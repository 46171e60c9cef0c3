"""A launcher that starts what the leader says, and tells how it ended."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from jaxbert.io.files import Json
from jaxbert.runtime.launcher_peer import BEAT, Peer
from jaxbert.runtime.meeting import POLL, Meeting, Order, Outcome, Share, Terms, leaves_job
from jaxbert.runtime.signal_listener import EXIT_STOPPED


class Follower(Meeting):
    """The meeting as any other launcher sees it: a connection to the leader."""

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
        self._peer: Peer | None = None
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
        leaves = leaves_job(outcome, self._signals)
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
            time.sleep(POLL)
        return outcome if isinstance(outcome, int) else EXIT_STOPPED

    def _connect(self) -> None:
        """Go to the leader, if it is there."""
        if self._peer is not None:
            if self._peer.known:
                self._say("the first host is lost; waiting for it")
            self.close()
        with contextlib.suppress(OSError):
            self._peer = Peer(socket.create_connection(self._place, timeout=BEAT))
            self._peer.send({"host": socket.gethostname(), "processes": self._n})

    def close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None


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
