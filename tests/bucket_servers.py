"""Servers of buckets that run here, as processes of their own, and a proxy that makes faults."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from jaxbert.io.bucket import Bucket

SCHEMES = ("s3", "gs")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Proxy:
    """Between a run and a server: passes all on, or makes a fault of one kind.

    Attributes:
        fault: "" passes all on. "503" and "403" answer so, "cut" closes in the middle of what is
            sent to the server, "truncate" closes in the middle of the answer to a GET, "silent"
            never answers, "hold" passes a request on when it is released.
        where: the faults are made at requests whose line this expression is found in.
        left: how many more requests fail; -1 for all.
        made: how many faults there have been.
    """

    def __init__(self, server_port: int) -> None:
        self.fault, self.where, self.left, self.made = "", re.compile(""), 0, 0
        self._released = threading.Event()
        self._server = server_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def make(self, fault: str, where: str = "", left: int = -1) -> None:
        """Begin to make faults."""
        self.fault, self.where, self.left, self.made = fault, re.compile(where), left, 0
        self._released.clear()

    def release(self) -> None:
        """Pass on what is held."""
        self._released.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, client.makefile("rb") as reader:
            while (head := _head(reader)) is not None:
                if not self._pass(client, reader, head):
                    return

    def _pass(self, client: socket.socket, reader: BinaryIO, head: bytes) -> bool:
        """One request; false ends the connection."""
        line = head.split(b"\r\n", 1)[0].decode()
        fault = self.fault if self.left and self.where.search(line) else ""
        if fault:
            self.left -= 1
            self.made += 1
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(found[1]) if found else 0
        if fault == "silent":
            time.sleep(3600)
        if fault == "hold":
            self._released.wait(600)
        if fault in ("503", "403"):
            _read(reader, size)
            code = {"503": "SlowDown", "403": "AccessDenied"}[fault]
            body = f"<Error><Code>{code}</Code></Error>".encode()
            client.sendall(
                b"HTTP/1.1 %s X\r\nContent-Length: %d\r\n\r\n" % (fault.encode(), len(body))
            )
            client.sendall(body)
            return True
        with socket.create_connection(("127.0.0.1", self._server)) as server:
            once = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", head)
            server.sendall(once.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            if fault == "cut":
                server.sendall(_read(reader, size // 2))
                return False
            left = size
            while left:
                part = _read(reader, min(left, 1 << 16))
                server.sendall(part)
                left -= len(part)
            answer = b"".join(iter(lambda: server.recv(1 << 16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        head = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", head) + b"\r\n\r\n"
        if fault == "truncate":
            client.sendall(head + body[: len(body) // 2])
            return False
        client.sendall(head + body)
        return True


def _head(reader: BinaryIO) -> bytes | None:
    lines = []
    while line := reader.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return None


def _read(reader: BinaryIO, size: int) -> bytes:
    content: bytes = reader.read(size)
    if len(content) < size:
        raise OSError("the client is gone")
    return content


class Server:
    """A server of one kind, and the proxy before it.

    Attributes:
        scheme: "s3" or "gs".
        variables: of a process that is to reach it through the proxy.
    """

    def __init__(self, scheme: str) -> None:
        self.scheme, port = scheme, free_port()
        command = ["-m", "moto.server", "-p", str(port)]
        if scheme == "gs":
            command = [str(Path(__file__).with_name("gcs_server.py")), str(port)]
        self._process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._port = port
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < until, "the server did not start"
                time.sleep(0.05)
        self.proxy = Proxy(port)
        url = f"http://127.0.0.1:{self.proxy.port}"
        self.variables = {"STORAGE_EMULATOR_HOST": url}
        if scheme == "s3":
            keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
            self.variables = {"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", **keys}

    def make_bucket(self, name: str) -> str:
        """Make a bucket; returns its address."""
        url = f"http://127.0.0.1:{self._port}/{name}"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10).close()
        return f"{self.scheme}://{name}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.proxy.close()


@contextlib.contextmanager
def running(scheme: str) -> Iterator[Server]:
    """A server; the test is skipped where its package is missing."""
    if importlib.util.find_spec("obstore") is None:
        pytest.skip("obstore is not installed")
    if scheme == "s3" and importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed")
    server = Server(scheme)
    before = dict(os.environ)
    os.environ.update(server.variables)
    try:
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.close()


def copied(address: str, folder: Path) -> Path:
    """All objects under an address as files."""
    bucket = Bucket(address)
    for name in bucket.names():
        bucket.download(name, folder / name)
    return folder
