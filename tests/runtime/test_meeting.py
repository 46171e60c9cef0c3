"""Launchers of several hosts, with tiny scripts in the place of trainings."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

from jaxbert.runtime import launcher
from jaxbert.runtime.meeting import free_port

pytestmark = pytest.mark.integration

# Each process tells its number and how many there are, and waits for its status to end with.
SCRIPT = """
import os, pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
_, _, _, count, _, rank = sys.argv[-6:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print(f"{rank} of {count}", flush=True)
while True:
    for name in (f"once-{rank}", f"end-{rank}", "end"):
        if (here / name).exists():
            status = int((here / name).read_text() or -1)
            if status >= 0 and name.startswith("once"):
                (here / name).unlink()
            if status >= 0:
                sys.exit(status)
    time.sleep(0.02)
"""


class Hosts:
    """Launchers, each as if on a host of its own, that run SCRIPT; the first one leads."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self.port = folder, options, free_port()
        (folder / "train.py").write_text(SCRIPT)
        self.all: list[subprocess.Popen[str]] = []

    def start(self, hosts: str, *, join: float = 60, n: int = 1, **variables: str) -> int:
        """One more; returns its number."""
        number = len(self.all)
        words = ["-n", str(n), "--hosts", hosts, "--meet", f"127.0.0.1:{self.port}"]
        words += ["--join_timeout", str(join), *self.options, "--", str(self.folder / "train.py")]
        with (self.folder / f"said-{number}").open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "jaxbert.launch", *words],
                cwd=REPOSITORY,
                env=os.environ | variables,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.all.append(process)
        if number == 0:  # so that it leads
            self.wait_for(0, "hosts are there")
        return number

    def said(self, number: int) -> str:
        return (self.folder / f"said-{number}").read_text()

    def wait_for(self, number: int, text: str) -> None:
        """Until a launcher has said it."""
        end = time.monotonic() + 60
        while re.search(text, self.said(number)) is None:
            assert time.monotonic() < end, [self.said(n) for n in range(len(self.all))]
            time.sleep(0.02)

    def statuses(self) -> list[int]:
        return [process.wait(60) for process in self.all]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Callable[..., Hosts]]:
    made: list[Hosts] = []

    def make(*options: str) -> Hosts:
        made.append(Hosts(tmp_path, *options))
        return made[-1]

    yield make
    for process in (process for some in made for process in some.all):
        process.kill()
        process.wait()


def test_a_job_goes_on_without_lost_hosts_and_takes_in_new_ones(
    hosts: Callable[..., Hosts], tmp_path: Path
) -> None:
    some = hosts()
    leader = some.start("2:4", join=0.5, n=2)
    for _ in range(3):
        some.start("2:4")
    some.wait_for(leader, r"4 hosts, 5 processes\n(.*\n)*\[1\] 1 of 5")
    for number in (1, 2):
        some.all[number].kill()
    some.wait_for(leader, r"is lost.*; going on without\n(.*\n)*.*2 hosts, 3 processes")
    some.wait_for(3, r"\[2\] 2 of 3")
    new = some.start("2:4")
    some.wait_for(leader, r"more hosts are there.*\n(.*\n)*launch: 3 hosts, 4 processes")
    some.wait_for(new, r"\[3\] 3 of 4")
    assert "killed" not in some.said(leader)
    (tmp_path / "end").write_text("0")
    assert some.statuses() == [0, -9, -9, 0, 0]


def test_a_host_with_a_signal_leaves_and_the_first_one_ends_all(
    hosts: Callable[..., Hosts], tmp_path: Path
) -> None:
    some = hosts()
    leader = some.start("1:3", join=0.2)
    some.wait_for(leader, "1 host, 1 process")
    others = [some.start("1:3"), some.start("1:3")]
    some.wait_for(others[0], r"\d of 3")
    some.wait_for(others[1], r"\d of 3")
    # JAX's processes all stop at the same step; these end by themselves.
    (tmp_path / "end-0").write_text("75")
    some.all[others[1]].send_signal(signal.SIGTERM)
    assert some.all[others[1]].wait(60) == 75
    assert "leaves; going on without" not in some.said(others[1])
    (tmp_path / "end").write_text("75")
    some.wait_for(leader, "leaves; going on without")
    (tmp_path / "end").unlink()
    (tmp_path / "end-0").unlink()
    some.wait_for(leader, r"launch: 2 hosts, 2 processes")
    some.all[leader].send_signal(signal.SIGTERM)
    (tmp_path / "end").write_text("75")
    assert some.statuses() == [75, 75, 75]


def test_a_host_that_its_cloud_takes_leaves(hosts: Callable[..., Hosts], tmp_path: Path) -> None:
    """Its processes hear of it themselves, and so all have saved and ended."""

    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"TRUE" if self.path.endswith("/preempted") else b"NONE")

        def log_message(self, *_: str) -> None:
            pass

    some = hosts()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        leader = some.start("1:2", join=1)
        taken = some.start("1:2", GCE_METADATA_HOST=f"127.0.0.1:{server.server_port}")
        some.wait_for(leader, "launch: 2 hosts, 2 processes")
        some.wait_for(taken, "1 of 2")
        for rank in (0, 1):
            (tmp_path / f"once-{rank}").write_text("75")
        assert some.all[taken].wait(60) == 75
        server.shutdown()
    some.wait_for(leader, r"leaves; going on without\n(.*\n)*launch: 1 host, 1 process")
    (tmp_path / "end").write_text("0")
    assert some.all[leader].wait(60) == 0


@pytest.mark.parametrize(
    ("end", "status", "line"),
    [
        ("2", 2, "ended with status 2, as for wrong input"),
        ("75", 75, "stopped; the others have 60 s"),
        ("1", 1, r"ended with status 1; given up \(--max_restarts 1\)"),
    ],
)
def test_how_one_ends_is_how_all_end(
    end: str, status: int, line: str, hosts: Callable[..., Hosts], tmp_path: Path
) -> None:
    some = hosts("--max_restarts", "1")
    (tmp_path / "end-1").write_text(end)
    if end == "75":  # the others hear of it from JAX
        (tmp_path / "end-0").write_text(end)
    leader, other = some.start("2", n=1), some.start("2", n=1)
    assert some.statuses() == [status, status]
    assert re.search(line, some.said(leader) + some.said(other))
    begun = some.said(leader).count("2 hosts, 2 processes")
    assert begun == (2 if end == "1" else 1)


def test_a_failure_once_is_started_again_on_all(
    hosts: Callable[..., Hosts], tmp_path: Path
) -> None:
    some = hosts()
    (tmp_path / "once-1").write_text("1")
    leader = some.start("2")
    some.start("2")
    some.wait_for(leader, r"ended with status 1; starting again \(1 of 3\)")
    (tmp_path / "end").write_text("0")
    assert some.statuses() == [0, 0]


def test_hosts_that_do_not_come_are_named(hosts: Callable[..., Hosts]) -> None:
    some = hosts("--start_timeout", "1")
    leader = some.start("2:3")
    assert some.statuses() == [1]
    assert "only 1 of 2 hosts came in 1 s; given up" in some.said(leader)


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\n",
        b"[1]\n",
        b'{"host": "x", "processes": -1}\n',
        b'{"host": "x", "processes": 1e9}\n',
        b"{" * 70000,
        b"[" * 60000 + b"\n",
    ],
    ids=range(7),
)
def test_what_is_no_launcher_is_sent_away(
    junk: bytes, hosts: Callable[..., Hosts], tmp_path: Path
) -> None:
    some = hosts()
    leader = some.start("1:2", join=0.5)
    stranger = socket.create_connection(("127.0.0.1", some.port), timeout=20)
    with stranger, contextlib.suppress(ConnectionError):
        stranger.sendall(junk)
        assert stranger.recv(1000) == b""
    some.wait_for(leader, "1 host, 1 process")
    (tmp_path / "end").write_text("0")
    assert some.statuses() == [0]
    assert "Traceback" not in some.said(leader)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hosts", "2"], "--hosts and --meet go together"),
        (["--meet", "here:1"], "--hosts and --meet go together"),
        (["--hosts", "0:2", "--meet", "here:1"], "--hosts 0:2: give MIN:MAX"),
        (["--hosts", "4:2", "--meet", "here:1"], "--hosts 4:2: give MIN:MAX"),
        (["--hosts", "2:", "--meet", "here"], "--meet here: give HOST:PORT"),
        (["--hosts", "2", "--meet", "here:99999"], "--meet here:99999: give HOST:PORT"),
        (["--hosts", "2", "--meet", "no.such.host.invalid:80"], "--meet no.such.host.invalid: "),
    ],
)
def test_wrong_flags_are_one_line(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launcher.main(["-n", "1", *words, "--", "sh"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", err)
    assert said in err
