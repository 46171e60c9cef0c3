"""A connection between two launchers: lines of JSON, and silence that counts as lost."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping

from jaxbert.io.files import Json

BEAT = 5.0  # seconds between two signs of life
_SILENCE = 30.0  # seconds without one, after which a host is lost; JAX's service has the same
_LONGEST = 65536  # bytes of a line


class Peer:
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
        if not self.lost and now - self._told > BEAT:
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
