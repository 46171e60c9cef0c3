"""A server process of `jaxbert serve`, for tests and for measuring."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx


@dataclass
class Server:
    """A process that serves.

    Attributes:
        url: of its page, without a token.
        lines: what it has printed.
    """

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it; returns its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        self.lines += out.splitlines()
        return self.process.returncode


@contextlib.contextmanager
def server(*words: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    """A server that takes requests; it is stopped at the end."""
    command = [sys.executable, "-m", "jaxbert", "serve", *words, "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )
    made = Server(process)
    assert process.stdout is not None
    try:
        while not made.url and (line := process.stdout.readline()):
            made.lines.append(line.rstrip("\n"))
            if found := re.match(r"http://[^/]+:(\d+)/", line):
                made.url = f"http://127.0.0.1:{found[1]}/"
        assert made.url, made.lines
        until = time.monotonic() + 600
        while httpx.get(made.url + "health").status_code != 200:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
        yield made
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
