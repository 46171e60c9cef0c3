"""Runs in buckets: kills, cut connections, servers that fail, damaged objects, two runs.

Each start finds an empty disk, as on another machine: all that a run knows comes from its bucket.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from bucket_servers import Server, copied, running
from faults.runs import (
    EVERY_STEP,
    STEPS,
    often,
    result,
    said,
    send,
    start,
    stopped,
    trained,
    until,
    wait,
    whole,
)
from scripts import WRITTEN

from jaxbert.io.bucket import Bucket
from jaxbert.io.bucket_lock import BucketLock
from jaxbert.training.step_folders import fault

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def unbroken(tiniest_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run on a disk that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return result(whole(tiniest_folder, folder, *EVERY_STEP))


@pytest.fixture(scope="module", params=["s3", pytest.param("gs", marks=pytest.mark.faults)])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param) as server:
        server.make_bucket("runs")
        yield server


class Run:
    """A run in a bucket, started as often as a test likes."""

    def __init__(self, server: Server, model: Path, folder: Path) -> None:
        self.server, self.model, self.folder = server, model, folder
        self.address = f"{server.scheme}://runs/{folder.parent.name}"

    def start(self, *words: str, name: str = "run", **about: Any) -> BaseProcess:
        about = {"HURRY": 4, **self.server.variables, **about}
        given = (*EVERY_STEP, *words)
        return start(
            self.model, self.folder, *given, name=name, place=self.address, devices=1, **about
        )

    def stopped_at(self, step: int, *words: str, **about: Any) -> BaseProcess:
        """Started, and stopped (SIGSTOP) when the step after `step` ones begins."""
        child = self.start(*words, STOP_AT=step, **about)
        until(lambda: stopped(child), [child])
        return child

    def error(self, name: str = "run") -> str:
        """The one line with which it ended."""
        text = said(self.folder, name=name).read_text()
        lines = [line for line in text.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, text[-3000:]
        assert "Traceback" not in text
        return lines[0]

    def ends_like(self, unbroken: dict[str, str]) -> None:
        """The same command again ends with the bits of a run that nothing has disturbed."""
        status = wait(self.start())
        assert status == 0, said(self.folder).read_text()[-3000:]
        assert self.result() == unbroken

    def result(self) -> dict[str, str]:
        if self.folder.exists():
            shutil.rmtree(self.folder)
        return result(copied(self.address, self.folder))

    def steps(self) -> list[int]:
        """The steps that are sealed."""
        names = Bucket(self.address).names("checkpoints")
        return sorted(int(n.split("/")[1]) for n in names if n.endswith("manifest.json"))


@pytest.fixture
def run(server: Server, tiniest_folder: Path, tmp_path: Path) -> Iterator[Run]:
    server.proxy.make("")
    yield Run(server, tiniest_folder, tmp_path / "run")
    server.proxy.make("")


def test_a_run_in_a_bucket_has_the_bits_of_one_on_a_disk(
    run: Run, unbroken: dict[str, str]
) -> None:
    run.ends_like(unbroken)
    assert {name.split("/")[0] for name in Bucket(run.address).names()} == WRITTEN - {".lock"}
    assert len(run.steps()) == 2
    for step in run.steps():  # no step was copied without all its files
        assert fault(run.folder / "checkpoints" / str(step)) is None
    run.ends_like(unbroken)  # it is done; once more changes nothing


@pytest.mark.parametrize("seed", often(1, 8, 60))
def test_sigkill(seed: int, run: Run, unbroken: dict[str, str]) -> None:
    """Twice, at moments drawn; the second start waits until the first is known to be dead."""
    rng = random.Random(seed)
    for step in sorted(rng.sample(range(STEPS - 1), 2)):
        child = run.stopped_at(step)
        if rng.random() < 0.5:  # else between two steps, as a rule while one is copied
            send([child], signal.SIGCONT)
            time.sleep(rng.uniform(0, 0.3))
        send([child], signal.SIGKILL)
        assert wait(child) in (-signal.SIGKILL, 0)
    run.ends_like(unbroken)


@pytest.mark.parametrize(
    "name",
    ["manifest", *(pytest.param(n, marks=pytest.mark.faults) for n in ("state", "progress"))],
)
def test_sigkill_while_a_step_is_copied(name: str, run: Run, unbroken: dict[str, str]) -> None:
    """The server is silent from some file of a step on; what is there of it is no step."""
    child = run.stopped_at(2)
    run.server.proxy.make("silent", rf"^(PUT|POST) .*checkpoints.*{name}")
    send([child], signal.SIGCONT)
    until(lambda: run.server.proxy.made > 0, [child])
    assert run.server.proxy.made
    sealed = run.steps()
    send([child], signal.SIGKILL)
    assert wait(child) == -signal.SIGKILL
    run.server.proxy.make("")
    assert run.steps() == sealed
    run.ends_like(unbroken)


@pytest.mark.parametrize("kind", ["cut", pytest.param("503", marks=pytest.mark.faults), "truncate"])
def test_faults_that_pass_are_not_noticed(kind: str, run: Run, unbroken: dict[str, str]) -> None:
    child = run.stopped_at(3)
    run.server.proxy.make(kind, "^(GET|HEAD)" if kind == "truncate" else "", left=3)
    send([child], signal.SIGCONT)
    assert wait(child) == 0, said(run.folder).read_text()[-3000:]
    assert run.server.proxy.made == 3 or kind == "truncate"
    assert run.result() == unbroken


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        pytest.param("503", "the server fails", marks=pytest.mark.faults),
        pytest.param("403", "no permission (403, AccessDenied)", marks=pytest.mark.faults),
        pytest.param("cut", "no answer", marks=pytest.mark.faults),
    ],
)
def test_a_server_that_fails_for_long_ends_the_run_in_a_line(
    kind: str, why: str, run: Run, unbroken: dict[str, str]
) -> None:
    child = run.stopped_at(4)
    run.server.proxy.make(kind)
    send([child], signal.SIGCONT)
    assert wait(child) == 2
    run.server.proxy.make("")
    assert why in run.error()
    assert "checkpoint could not be written" in run.error()
    run.ends_like(unbroken)


def test_a_server_that_comes_back_is_used_when_that_was_chosen(
    run: Run, unbroken: dict[str, str]
) -> None:
    child = run.stopped_at(3, "--save_errors", "retry", HURRY=30)
    run.server.proxy.make("403", "checkpoints")
    send([child], signal.SIGCONT)
    until(lambda: "could not be written" in said(run.folder, "out").read_text(), [child])
    run.server.proxy.make("")
    assert wait(child) == 0, said(run.folder).read_text()[-3000:]
    assert run.result() == unbroken


@pytest.mark.parametrize("seed", often(1, 12, 100))
def test_damaged_objects_are_passed_over(seed: int, run: Run, unbroken: dict[str, str]) -> None:
    """A bit of the newest step is flipped, or an object cut or deleted: the older one is used."""
    rng = random.Random(seed)
    child = run.stopped_at(rng.randrange(4, STEPS - 1))
    until(lambda: len(run.steps()) >= 2, [child], 10)
    send([child], signal.SIGKILL)
    assert wait(child) == -signal.SIGKILL
    bucket = Bucket(run.address)
    newest = run.steps()[-1]
    names = {n: s for n, s in bucket.names(f"checkpoints/{newest}").items() if s.size}
    name = rng.choice(sorted(names))
    harm = ("flip", "cut", "delete")[seed % 3]
    content = bytearray(bucket.read(name) or b"")
    if harm == "delete":
        bucket.remove([name])
    elif harm == "cut":
        bucket.write(name, bytes(content[: rng.randrange(len(content))]))
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        bucket.write(name, bytes(content))
    run.ends_like(unbroken)
    assert f"checkpoint {newest} passed over" in said(run.folder, "out").read_text()


def test_two_runs_in_one_place(run: Run, unbroken: dict[str, str]) -> None:
    """The second is refused as soon as the first shows that it lives, and changes nothing."""
    assert wait(run.start("--max_steps", "3")) == 0
    before = {n: s.version for n, s in Bucket(run.address).names().items()}
    first = BucketLock(Bucket(run.address), "the first", renewed=0.5, dead=60)
    first.acquire()
    second = run.start("--allow_changed_options", "max_steps", name="second", HURRY=60)
    assert wait(second) == 2
    assert f"--output_dir {run.address}: another run is writing there (" in run.error("second")
    first.check()
    first.release()
    assert {n: s.version for n, s in Bucket(run.address).names().items()} == before


def test_a_run_that_was_taken_over_ends(run: Run, unbroken: dict[str, str]) -> None:
    """It was stopped for so long that it was dead to all others; it writes nothing more."""
    first = run.stopped_at(5)
    second = run.start(name="second")
    assert wait(second) == 0, said(run.folder, name="second").read_text()[-3000:]
    before = {n: s.version for n, s in Bucket(run.address).names().items()}
    send([first], signal.SIGCONT)
    assert wait(first) == 2
    assert "another run has taken it over" in run.error()
    assert {n: s.version for n, s in Bucket(run.address).names().items()} == before
    run.ends_like(unbroken)


@pytest.mark.faults
def test_a_run_that_was_taken_over_does_not_try_again(run: Run, unbroken: dict[str, str]) -> None:
    """Stopped while it copies a step, and with --save_errors retry."""
    first = run.stopped_at(5, "--save_errors", "retry")
    run.server.proxy.make("hold", "^PUT .*checkpoints.*progress", left=1)
    send([first], signal.SIGCONT)
    until(lambda: run.server.proxy.made > 0, [first])
    send([first], signal.SIGSTOP)
    second = run.start(name="second")
    assert wait(second) == 0, said(run.folder, name="second").read_text()[-3000:]
    before = {n: s.version for n, s in Bucket(run.address).names().items()}
    run.server.proxy.release()
    send([first], signal.SIGCONT)
    assert wait(first) == 2
    assert "another run has taken it over" in run.error()
    after = {n: s.version for n, s in Bucket(run.address).names().items()}
    # The request that was under way then may have been done.
    assert {n: v for n, v in after.items() if "progress" not in n} == {
        n: v for n, v in before.items() if "progress" not in n
    }
    run.ends_like(unbroken)


def test_sigterm_saves_and_resumes(run: Run, unbroken: dict[str, str]) -> None:
    child = run.stopped_at(6)
    send([child], signal.SIGTERM)
    send([child], signal.SIGCONT)
    assert wait(child) == 75
    assert f"saved in {run.address}; the same command resumes here" in (
        said(run.folder, "out").read_text()
    )
    with contextlib.suppress(FileNotFoundError):
        assert Bucket(run.address).read(".lock") is None
    before = trained(run.folder)
    run.ends_like(unbroken)
    assert trained(run.folder) == STEPS
    assert before < STEPS
