"""Buckets on servers that run here: conditional writes, faults between, and errors in one line."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket_servers import SCHEMES, Server, free_port, running

from jaxbert.errors import InputError
from jaxbert.io.bucket import Bucket, BucketError, ChangedError, is_address
from jaxbert.io.bucket_copy import BucketCopy
from jaxbert.io.bucket_lock import BucketLock, LockLostError
from jaxbert.io.fetched import fetched_file, fetched_folder, with_addresses

pytestmark = pytest.mark.integration

_NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=SCHEMES)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param) as server:
        server.make_bucket("bucket")
        yield server


@pytest.fixture
def address(server: Server) -> Iterator[str]:
    """A folder of its own for each test; the proxy makes no fault before it and after it."""
    server.proxy.make("")
    yield f"{server.scheme}://bucket/{next(_NUMBERS)}"
    server.proxy.make("")


def test_what_is_written_comes_back(address: str, tmp_path: Path) -> None:
    bucket = Bucket(address)
    assert bucket.read("a/b.txt") is None
    assert bucket.stat("a/b.txt") is None
    bucket.write("a/b.txt", b"one")
    bucket.write("a/c d+\u4e2d.txt", b"two")
    bucket.write("ab.txt", b"three")
    assert bucket.read("a/b.txt") == b"one"
    assert {n: s.size for n, s in bucket.names("a").items()} == {
        "a/b.txt": 3,
        "a/c d+\u4e2d.txt": 3,
    }
    large = tmp_path / "large"
    large.write_bytes(os.urandom(13 << 20))  # in parts
    bucket.upload(large, "large")
    bucket.download("large", tmp_path / "back" / "large")
    assert (tmp_path / "back" / "large").read_bytes() == large.read_bytes()
    bucket.remove(["a/b.txt", "not there", "large"])
    assert sorted(bucket.names()) == ["a/c d+\u4e2d.txt", "ab.txt"]
    with pytest.raises(FileNotFoundError):
        bucket.download("large", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_write_asks_which_version_is_there(address: str) -> None:
    bucket = Bucket(address)
    first = bucket.write("x", b"1", instead_of="")
    with pytest.raises(ChangedError):
        bucket.write("x", b"2", instead_of="")
    second = bucket.write("x", b"3", instead_of=first)
    with pytest.raises(ChangedError):
        bucket.write("x", b"4", instead_of=first)
    assert bucket.read("x") == b"3"
    found = bucket.stat("x")
    assert found is not None
    assert found.version == second


def test_of_many_that_write_at_once_one_succeeds(address: str) -> None:
    won, lost = [], []

    def write(number: int) -> None:
        try:
            Bucket(address).write("x", str(number).encode(), instead_of="")
            won.append(number)
        except ChangedError:
            lost.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 11
    assert Bucket(address).read("x") == str(won[0]).encode()


@pytest.mark.parametrize("fault", ["503", "cut", "truncate"])
def test_faults_that_pass_are_tried_again(
    fault: str, server: Server, address: str, tmp_path: Path
) -> None:
    bucket = Bucket(address)
    file = tmp_path / "file"
    file.write_bytes(os.urandom(3 << 20))
    server.proxy.make(fault, "GET" if fault == "truncate" else "PUT", left=3)
    bucket.upload(file, "file")
    bucket.download("file", tmp_path / "back")
    assert server.proxy.made == 3
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


def test_a_write_with_a_condition_is_tried_again_too(server: Server, address: str) -> None:
    bucket = Bucket(address)
    server.proxy.make("cut", "PUT", left=3)
    version = bucket.write("x", b"1", instead_of="")
    server.proxy.make("cut", "PUT", left=3)
    bucket.write("x", b"2", instead_of=version)
    assert server.proxy.made == 3
    assert bucket.read("x") == b"2"


def test_what_is_truncated_each_time_is_no_file(
    server: Server, address: str, tmp_path: Path
) -> None:
    bucket = Bucket(address, seconds=2)
    bucket.write("file", bytes(1 << 20))
    server.proxy.make("truncate", "GET")
    with pytest.raises(BucketError):
        bucket.download("file", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("403", "no permission (403, AccessDenied); check that the keys"),
        ("503", "the server fails (503, SlowDown); start the same command again later"),
        ("cut", "no answer from the server"),
    ],
)
def test_faults_that_stay_are_one_line(fault: str, said: str, server: Server, address: str) -> None:
    server.proxy.make(fault)
    with pytest.raises(BucketError) as error:
        Bucket(address, "--output_dir", seconds=1).write("x", b"1")
    assert str(error.value).startswith(f"--output_dir {address}: {said}")
    assert "\n" not in str(error.value)


def test_a_bucket_that_is_not_there(server: Server) -> None:
    bucket = Bucket(f"{server.scheme}://no-such-bucket/run", "--flag")
    for ask in (lambda: bucket.read("x"), lambda: bucket.write("x", b""), bucket.names):
        with pytest.raises(BucketError, match=r"--flag .* there is no bucket no-such-bucket; make"):
            ask()


def test_no_server_is_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", nobody)
    with pytest.raises(BucketError, match=r"no answer from the server .*check the network"):
        Bucket(f"{server.scheme}://bucket/x", seconds=1).read("x")


@pytest.mark.parametrize(
    "place", ["s3://", "s3://b", "gs:///x", "s3://a b/x", "s3://bucket//x", "gs://B"]
)
def test_addresses_that_are_none(place: str) -> None:
    assert is_address(place)
    with pytest.raises(InputError, match=r"no address of a bucket; give gs://BUCKET/PREFIX"):
        Bucket(place)


def test_a_lock_has_one_owner(address: str) -> None:
    first = BucketLock(Bucket(address), f"--output_dir {address}", renewed=0.2, dead=5)
    second = BucketLock(Bucket(address), f"--output_dir {address}", renewed=0.2, dead=5)
    first.acquire()
    assert first.is_held
    with pytest.raises(BucketError, match=r"another run is writing there \(.*, process \d+\)"):
        second.acquire()
    assert not second.is_held
    first.check()
    first.release()
    second.acquire()
    second.release()
    assert Bucket(address).names() == {}


def test_a_dead_owner_s_lock_is_taken_over_and_it_notices(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    dead = BucketLock(Bucket(address), "--output_dir x", renewed=3, dead=2)  # too slow to live
    dead.acquire()
    other = BucketLock(Bucket(address), "--output_dir x", renewed=0.2, dead=1)
    other.acquire()
    thread = dead._thread
    assert thread is not None
    thread.join(30)
    with pytest.raises(BucketError, match="another run has taken it over"):
        dead.check()
    dead.release()
    other.check()
    other.release()
    assert "another run has taken it over" in caplog.text


def test_of_many_that_take_a_dead_owner_s_lock_one_gets_it(address: str) -> None:
    Bucket(address).write(".lock", b"{}")
    locks = [BucketLock(Bucket(address), "x", renewed=0.3, dead=1.5) for _ in range(6)]
    refused = []

    def acquire(lock: BucketLock) -> None:
        try:
            lock.acquire()
        except BucketError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=acquire, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [lock for lock in locks if lock.is_held]
    assert len(held) == 1
    assert len(refused) == 5
    held[0].check()
    held[0].release()


def test_an_owner_outlives_faults(server: Server, address: str) -> None:
    """Renewals that are not answered, though some were done, do not lose the lock."""
    lock = BucketLock(Bucket(address, seconds=0.5), "x", renewed=0.2, dead=30)
    lock.acquire()
    for fault in ("cut", "truncate", "503"):
        server.proxy.make(fault, left=3)
        until = 200
        while server.proxy.left and until:
            threading.Event().wait(0.05)
            until -= 1
    threading.Event().wait(1)
    lock.check()
    lock.release()
    assert Bucket(address).names() == {}


def test_what_is_not_known_neither_loses_the_lock_nor_renews_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(address)
    lock = BucketLock(bucket, "x", renewed=60, dead=1)
    lock.acquire()
    found = bucket.stat(".lock")
    assert found is not None
    content = bucket.read(".lock")
    assert content is not None
    # A write that was done and not answered: the object is ours, with another version.
    bucket.write(".lock", content + b" ", instead_of=found.version)
    threading.Event().wait(0.6)  # the lease is old
    read = Bucket.read

    def silent(self: Bucket, name: str) -> bytes | None:
        raise BucketError("no answer")

    monkeypatch.setattr(Bucket, "read", silent)
    for _ in range(2):
        with pytest.raises(BucketError, match="no answer") as error:
            lock.check()
        assert not isinstance(error.value, LockLostError)
    monkeypatch.setattr(Bucket, "read", read)
    lock.check()
    bucket.write(".lock", b"{}")  # another's
    threading.Event().wait(0.6)
    with pytest.raises(LockLostError):
        lock.check()
    lock.release()
    assert bucket.read(".lock") == b"{}"
    with pytest.raises(LockLostError, match="this run has ended"):
        lock.check()


def test_a_copy_has_what_changes(address: str, tmp_path: Path) -> None:
    bucket = Bucket(address)
    bucket.write("kept", b"not ours")
    checked: list[int] = []
    copy = BucketCopy(bucket, tmp_path, {"in", "b", "none"}, lambda: checked.append(1))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    (tmp_path / "other").write_text("another program's")
    copy.push()
    assert sorted(bucket.names()) == ["b", "in/a", "kept"]
    (tmp_path / "b").write_text("changed")
    (tmp_path / "in" / "a").unlink()  # what cleans old files does so
    copy.push()
    assert len(checked) == 3
    content = {n: bucket.read(n) for n in bucket.names()}
    assert content == {"b": b"changed", "in/a": b"a", "kept": b"not ours"}
    bucket.write("bc", b"not ours either")
    copy.remove(["b", "in"])
    assert sorted(bucket.names()) == ["bc", "kept"]
    copy.push()
    assert sorted(bucket.names()) == ["b", "bc", "kept"]


def test_files_and_folders_are_fetched(address: str) -> None:
    bucket = Bucket(address)
    bucket.write("config.json", b"{}")
    bucket.write("other.bin", b"1")
    bucket.write("checkpoints/1/config.json", b"{}")
    folder = fetched_folder(address, ["*.json"])
    assert sorted(p.name for p in folder.iterdir()) == ["checkpoints", "config.json"]
    assert with_addresses(f"{folder}/config.json: wrong") == f"{address}/config.json: wrong"
    assert fetched_folder(address, ["*.json"]) == folder
    bucket.write("config.json", b"[]")
    again = fetched_folder(address, ["*.json"])
    assert (again / "config.json").read_text() == "[]"
    with fetched_file(f"{address}/other.bin") as path:
        assert Path(path).read_bytes() == b"1"
    assert not Path(path).exists()
    with pytest.raises(InputError, match=f"{address}/none.json: no such file"):
        fetched_file(f"{address}/none.json").__enter__()
    with pytest.raises(InputError, match=r"--train_file .*://bucket: a bucket; give a file in it"):
        fetched_file(address.rpartition("/")[0], "--train_file").__enter__()
    with pytest.raises(InputError, match="there is nothing"):
        fetched_folder(f"{address}/nothing", ["*.json"])
