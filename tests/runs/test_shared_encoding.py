"""Hosts that see one --cache_dir divide the tokenizing: the same features, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from scripts import environment
from test_feature_cache import assert_equal, made

from jaxbert.data.features import Features
from jaxbert.data.shared_parts import SharedWork, encode_together, parts_of
from jaxbert.errors import InputError
from jaxbert.runs import encoding
from jaxbert.runs.encoding import encode_examples
from jaxbert.runtime import processes
from jaxbert.tasks.registry import TASKS

HERE = Path(__file__).parent


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_EXAMPLES", 9)
    monkeypatch.setattr(processes, "hosts", lambda: 2)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in ("mlm", "qa") else pytest.mark.faults) for n in TASKS],
)
def test_every_task_by_threads_as_hosts(name: str, tiniest_folder: Path, tmp_path: Path) -> None:
    task, examples, tokenizer, cfg = made(name, tiniest_folder)
    cache = str(tmp_path / "cache")
    found: list[Features] = []
    names = threading.local()

    def host(number: int) -> None:
        names.own = f"host {number}"
        found.append(encode_examples(task, examples, tokenizer, cfg, cache_dir=cache))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "host_name", lambda: names.own)
        hosts = [threading.Thread(target=host, args=(n,)) for n in range(3)]
        for thread in hosts:
            thread.start()
        for thread in hosts:
            thread.join()
    alone = encode_examples(task, examples, tokenizer, cfg)
    assert len(found) == 3
    for features in found:
        assert_equal(features, alone)
    (kept,) = [path for path in Path(cache).iterdir() if not path.name.startswith(".")]
    assert not kept.with_name(f".{kept.name}.parts").exists()


def parts_on(task: Any, parts: list[Any], tokenizer: Any, seen: list[int]) -> SharedWork[Any]:
    """Work whose encoded parts are counted."""

    def encode(divided: Iterable[Sequence[Any]]) -> Iterator[Features]:
        for part in divided:
            seen.append(parts.index(part))
            yield task.encode_part(part, tokenizer, None)

    return SharedWork(lambda: iter(parts), encode, lambda encoded: iter(encoded))


def test_each_part_is_encoded_once_and_what_is_there_is_used(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    task, examples, tokenizer, _ = made("qa", tiniest_folder)
    parts = [list(examples[n : n + 4]) for n in range(0, 20, 4)]
    folder, seen = tmp_path / "parts", list[int]()
    work = parts_on(task, parts, tokenizer, seen)
    hosts = [
        threading.Thread(target=encode_together, args=(folder, work, lambda: False))
        for _ in range(3)
    ]
    for thread in hosts:
        thread.start()
    for thread in hosts:
        thread.join()
    assert sorted(seen) == [0, 1, 2, 3, 4]
    seen.clear()
    (folder / "2").rename(tmp_path / "gone")  # as if its host had been killed
    assert encode_together(folder, work, lambda: False) == 5
    assert seen == [2]
    for part, found in zip(parts, parts_of(folder, 5), strict=True):
        assert_equal(found, task.encode_part(part, tokenizer, None))
        assert not found.maps
    assert encode_together(folder, work, lambda: True) == 0


def test_a_damaged_part_is_removed(tiniest_folder: Path, tmp_path: Path) -> None:
    task, examples, tokenizer, _ = made("qa", tiniest_folder)
    work = parts_on(task, [list(examples[:4])], tokenizer, [])
    assert encode_together(tmp_path, work, lambda: False) == 1
    (tmp_path / "0" / "tokens-0.npy").write_bytes(b"")
    with pytest.raises(OSError, match="part 0 is damaged"):
        list(parts_of(tmp_path, 1))
    assert not (tmp_path / "0").exists()


@pytest.mark.usefixtures("small_parts")
def test_an_example_that_cannot_be_encoded_says_so_itself(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as something that is wrong with the folder; and nothing is left in it but locks."""
    task, examples, tokenizer, cfg = made("qa", tiniest_folder)

    def refuse(*_: object) -> None:
        raise InputError("questions.json: row 7 is wrong")

    monkeypatch.setattr(type(task), "encode_part", refuse)
    cache = tmp_path / "cache"
    for hosts in (1, 2):
        monkeypatch.setattr(processes, "hosts", lambda hosts=hosts: hosts)
        with pytest.raises(InputError, match=r"^questions.json: row 7 is wrong$"):
            encode_examples(task, examples, tokenizer, cfg, cache_dir=str(cache))
    assert not [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"]


@pytest.mark.usefixtures("small_parts")
def test_without_locks_each_host_makes_everything(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("jaxbert.data.whole_folder.FileLock.acquire", refuse)
    test_every_task_by_threads_as_hosts("tagging", tiniest_folder, tmp_path)


HOST = """
import sys, time
sys.path[:0] = sys.argv[4:]
from pathlib import Path
from test_feature_cache import made
from jaxbert.runs import encoding
from jaxbert.runtime import processes
encoding._EXAMPLES = 3
processes.hosts, processes.host_name = lambda: 2, lambda: sys.argv[1]
task, examples, tokenizer, cfg = made("qa", Path(sys.argv[2]))
encode = type(task).encode_part
def slow(*given):
    print("encodes", flush=True)
    time.sleep(0.2)
    return encode(*given)
type(task).encode_part = slow
examples = examples[:24]
features = encoding.encode_examples(task, examples, tokenizer, cfg, cache_dir=sys.argv[3])
print(features.fingerprint())
"""


@pytest.mark.faults
def test_a_host_that_is_killed_while_it_encodes(tiniest_folder: Path, tmp_path: Path) -> None:
    """Others take the part that it had; a second process of its host takes its place."""
    task, examples, tokenizer, cfg = made("qa", tiniest_folder)
    paths = [str(HERE), str(HERE.parent)]

    def start(name: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", HOST, name, str(tiniest_folder), str(tmp_path / "c"), *paths]
        return subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True)

    killed, *others = [start(name) for name in ("a", "a", "b")]
    try:
        assert killed.stdout is not None
        deadline = time.monotonic() + 60
        for line in killed.stdout:
            if line == "encodes\n" or time.monotonic() > deadline:
                break
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
        said = [child.communicate(timeout=60)[0].splitlines() for child in others]
    finally:
        for child in (killed, *others):
            child.kill()
            child.wait()
    expected = encode_examples(task, examples[:24], tokenizer, cfg).fingerprint()
    assert [lines[-1] for lines in said] == [expected, expected]
    assert "encodes" in said[1]
