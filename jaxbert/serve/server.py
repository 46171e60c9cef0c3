"""A server from its start to its end: the socket, the signals, and what it prints."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping

import uvicorn

from jaxbert.errors import InputError
from jaxbert.runtime.signal_listener import leave_now
from jaxbert.serve.app import make_app
from jaxbert.serve.batcher import Batcher
from jaxbert.serve.counters import Counters
from jaxbert.serve.guards import Limits
from jaxbert.serve.served_models import ServedModel


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for connections.

    Raises:
        InputError: the host is none of this machine, or the port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        number = error.errno or 0
        if number < 0 or number == errno.EADDRNOTAVAIL:  # below 0 they are getaddrinfo's
            raise InputError(f"--host {host}: no such address; give one of this machine") from None
        if number == errno.EADDRINUSE:
            raise InputError(
                f"--port {port} is in use; give another one, or --port 0 for any that is free"
            ) from None
        if number == errno.EACCES:
            raise InputError(f"--port {port}: not allowed; give one of 1024 or above") from None
        raise InputError(f"--host {host} --port {port}: {os.strerror(number)}") from None


class _Server(uvicorn.Server):
    """Signals are ours: uvicorn would raise them again when it has stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(
    models: Mapping[str, ServedModel],
    listening: socket.socket,
    limits: Limits,
    *,
    max_queue: int,
    max_batch: int,
) -> None:
    """Serve until SIGINT or SIGTERM; what was asked before is answered. A second one ends at once.

    Raises:
        InputError: the models cannot be computed.
    """
    counters = Counters()
    batcher = Batcher(models, max_queue=max_queue, max_batch=max_batch)
    config = uvicorn.Config(
        make_app(models, batcher, limits, counters),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(limits.seconds)),
    )
    server = _Server(config)
    try:
        asyncio.run(_run(server, batcher, models, listening, limits))
    finally:
        batcher.stop()
    if batcher.failure is not None:
        raise batcher.failure
    answered = counters.registry.get_sample_value(
        "jaxbert_requests_total", {"path": "/predict", "status": "200"}
    )
    print(f"stopped; {answered or 0:.0f} requests were answered", flush=True)


async def _run(
    server: _Server,
    batcher: Batcher,
    models: Mapping[str, ServedModel],
    listening: socket.socket,
    limits: Limits,
) -> None:
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        if server.should_exit:
            leave_now(128 + number)
        print(f"\n{signal.Signals(number).name}: answering what waits, and leaving", flush=True)
        batcher.status = "stopping" if batcher.status == "loading" else batcher.status
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    begun, shapes = time.monotonic(), sum(len(model.shapes) for model in models.values())
    print(f"compiling {shapes} shape{'s' * (shapes > 1)}", flush=True)
    print(_address(listening, limits), flush=True)

    def ready() -> None:
        print(f"ready after {time.monotonic() - begun:.0f} s; Ctrl-C ends it", flush=True)

    def failed() -> None:
        server.should_exit = True

    batcher.start(when_ready=ready, when_failed=failed)
    await server.serve(sockets=[listening])


def _address(listening: socket.socket, limits: Limits) -> str:
    """Where the page is, with the token."""
    port = listening.getsockname()[1]
    host = limits.host
    if host in ("0.0.0.0", "::"):  # every address of this machine
        host = socket.gethostname()
    if ":" in host:
        host = f"[{host}]"
    query = "" if limits.token is None else f"?token={limits.token}"
    return f"http://{host}:{port}/{query}"
