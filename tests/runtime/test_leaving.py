"""A signal before the first step and after the last one, and a cloud's notice: status 75."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scripts import environment

pytestmark = pytest.mark.integration

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tiniest_folder: Path, tmp_path: Path) -> Iterator[Start]:
    """A function that starts a training; its data come through a pipe, when a test opens that."""
    children: list[subprocess.Popen[str]] = []
    os.mkfifo(tmp_path / "data.tsv")

    def start(**more: str) -> subprocess.Popen[str]:
        words = ["train", "classification", "--model_name_or_path", str(tiniest_folder)]
        words += ["--train_file", str(tmp_path / "data.tsv"), "--output_dir", str(tmp_path / "run")]
        words += ["--num_train_epochs", "1", "--per_device_train_batch_size", "64"]
        child = subprocess.Popen(
            [sys.executable, "-m", "jaxbert", *words],
            env={**environment(), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def listens(child: subprocess.Popen[str]) -> bool:
    """Whether it has a handler of SIGTERM, which Python itself has not."""
    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0, 6])
def test_before_the_first_step(
    number: signal.Signals, seconds: float, start: Start, tmp_path: Path
) -> None:
    """While it imports, and while it waits for its data."""
    child = start()
    while not listens(child):
        time.sleep(0.01)
    time.sleep(seconds)
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 75, (out, err)
    assert err.splitlines() == [
        "",
        f"{number.name}: leaving between steps; the same command, given again, resumes",
    ]
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


class Cloud(BaseHTTPRequestHandler):
    """The metadata of a machine, which is taken when `taken` is set."""

    taken = threading.Event()
    kind = "google"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer(200, "token")

    def do_GET(self) -> None:
        if self.path == "/latest/meta-data/spot/instance-action":
            assert self.headers["X-aws-ec2-metadata-token"] == "token"
            if self.taken.is_set():
                return self._answer(200, '{"action": "terminate"}')
            return self._answer(404, "")
        assert self.headers["Metadata-Flavor"] == "Google"
        preempted = self.path == "/computeMetadata/v1/instance/preempted"
        if preempted and self.kind == "preempted":
            return self._answer(200, "TRUE" if self.taken.is_set() else "FALSE")
        if not preempted and self.kind == "maintenance" and self.taken.is_set():
            return self._answer(200, "TERMINATE_ON_HOST_MAINTENANCE")
        return self._answer(200, "FALSE" if preempted else "MIGRATE_ON_HOST_MAINTENANCE")


@pytest.fixture
def cloud() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cloud)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Cloud.taken.clear()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["preempted", "maintenance", "spot"])
def test_a_cloud_s_notice_saves_and_ends_the_run(
    kind: str, start: Start, cloud: ThreadingHTTPServer, tmp_path: Path
) -> None:
    Cloud.kind = kind
    host = f"127.0.0.1:{cloud.server_port}"
    variables = {"GCE_METADATA_HOST": host}
    if kind == "spot":
        variables = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{host}/"}
    child = start(**variables)
    time.sleep(1)
    assert child.poll() is None  # a machine that is not taken, or is moved while it runs
    Cloud.taken.set()
    _, err = child.communicate(timeout=60)
    assert child.returncode == 75, err
    assert "the cloud takes this machine: " in err
    assert "SIGTERM: leaving between steps" in err
