"""`jaxbert serve` as a process: its start, many requests at once, signals, and its refusals."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from scripts import environment, refuses
from tiny_models import tiny_run

pytest.importorskip("fastapi", reason='needs pip install "jaxbert[serve]"')

import httpx
from serving import Server, server

from jaxbert import QuestionAnswerer

pytestmark = pytest.mark.integration

WORDS = ["Ada", "was", "at", "the", "STATION", "in", "北京", "with", "Zoe", "and", "Tom"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("qa"), "qa")


@pytest.fixture
def served(run: Path) -> Iterator[Server]:
    with server(str(run), "--max_batch", "8", "--timeout", "120", env=environment()) as made:
        yield made


def send_all(url: str, asks: Sequence[Mapping[str, str]]) -> list[httpx.Response]:
    """The replies to requests that are sent at once."""

    async def send() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=len(asks))
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            return await asyncio.gather(*(client.post(url + "predict", json=ask) for ask in asks))

    return asyncio.run(send())


def test_two_hundred_at_once_each_get_their_own(served: Server, run: Path) -> None:
    asks = [
        {
            "question": f"who {n}?",
            "context": " ".join([*WORDS[n % 7 :], str(n), *WORDS[: n % 7]]),
        }
        for n in range(200)
    ]
    replies = send_all(served.url, asks)
    assert {reply.status_code for reply in replies} == {200}
    own = QuestionAnswerer.from_pretrained(run)
    expected = own([dict(ask) for ask in asks], calibrated=True)
    for reply, ask, answer in zip(replies, asks, expected, strict=True):
        first = reply.json()["answers"][0]
        assert first == {**answer, "score": pytest.approx(answer["score"], abs=1e-5)}
        assert first["answer"] == ask["context"][first["start"] : first["end"]]
    assert served.stop(signal.SIGTERM) == 0
    assert served.lines[0] == f"{run.name} (qa): {run}"
    assert served.lines[-1] == "stopped; 200 requests were answered"


def test_what_was_asked_before_a_signal_is_answered(served: Server) -> None:
    """Texts of many windows: while the first is computed, the others wait."""
    asks = [{"question": f"who {n}?", "context": "Ada was at " * 8000} for n in range(5)]

    def stop_when_they_wait() -> None:
        queue = "jaxbert_queue_requests 4.0"
        until = time.monotonic() + 30
        while queue not in httpx.get(served.url + "metrics").text and time.monotonic() < until:
            time.sleep(0.02)
        served.process.send_signal(signal.SIGINT)

    stopping = threading.Thread(target=stop_when_they_wait)
    stopping.start()
    replies = send_all(served.url, asks)
    stopping.join()
    assert [reply.status_code for reply in replies] == [200] * 5
    assert all(len(reply.json()["windows"]) > 1000 for reply in replies)
    assert served.process.wait(60) == 0
    assert served.stop() == 0
    assert "SIGINT: answering what waits, and leaving" in served.lines
    assert served.lines[-1] == "stopped; 5 requests were answered"
    assert "Traceback" not in "\n".join(served.lines)


def test_a_token_is_made_for_other_machines(run: Path) -> None:
    with server(str(run), "--host", "0.0.0.0", "--max_batch", "1", env=environment()) as made:
        (line,) = [line for line in made.lines if line.startswith("http://")]
        token = line.partition("?token=")[2]
        assert len(token) == 32
        assert httpx.get(made.url + "models").status_code == 401
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.get(made.url + "models", headers=headers).status_code == 200
        assert made.stop() == 0


def test_a_client_that_says_nothing_does_not_hold_the_end(served: Server) -> None:
    url = httpx.URL(served.url)
    with socket.create_connection((url.host, url.port or 0)) as silent:
        silent.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\n")
        time.sleep(0.2)
        begun = time.monotonic()
        assert served.stop() == 0
    assert time.monotonic() - begun < 40


def test_what_cannot_be_served_is_refused_in_a_line(run: Path, tmp_path: Path) -> None:
    assert refuses("eval/serve.py").startswith("give the folder of a fine-tuned model: jaxbert se")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refuses("eval/serve.py", str(run), "--port", port)
    assert said == f"--port {port} is in use; give another one, or --port 0 for any that is free"
    assert "no such folder" in refuses("eval/serve.py", str(tmp_path / "x"), "--port", "0")
    assert "config.json" in refuses("eval/serve.py", str(tmp_path), "--port", "0")
    assert "give 16 or more letters" in refuses("eval/serve.py", str(run), "--token", "short")
    said = refuses("eval/serve.py", str(run), "--host", "300.1.1.1")
    assert said == "--host 300.1.1.1: no such address; give one of this machine"
    assert "it must be from 1 to" in refuses("eval/serve.py", str(run), "--max_batch", "0")


def test_the_extra_that_is_missing_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    said = refuses("eval/serve.py", str(run))
    assert said == 'uvicorn is not installed; pip install "jaxbert[serve]"'
