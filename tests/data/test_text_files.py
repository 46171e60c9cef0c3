"""Lines read block by block are those of the whole text, and so are their faults."""

from __future__ import annotations

import bz2
import gzip
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbert.data import stored_lines, text_files
from jaxbert.data.lines import load_lines, read_lines
from jaxbert.data.stored_lines import LineExample, StoredLines, stored
from jaxbert.data.text_files import lines_of, read_text
from jaxbert.errors import InputError
from jaxbert.io.fetched import scratch


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text") / "a.txt"


PIECES = ["a", "b c", "\n", "\r\n", "\r", "\u4e2d", "\ufeff", "\u2028", "\0", b"\xff", b"\xe4\xb8"]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12), block=st.integers(1, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_in_any_blocks(
    pieces: list[Any], block: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b"".join(p if isinstance(p, bytes) else p.encode() for p in pieces)
    path.write_bytes(raw)
    expected: Any
    try:
        expected = [(f"x: line {n}", line) for n, line in enumerate(lines_of(read_text(path)), 1)]
    except InputError as error:
        expected = str(error)
    with monkeypatch.context() as patch:
        patch.setattr(text_files, "_BLOCK", block)
        try:
            found: Any = list(text_files.text_files(path).lines("x"))
        except InputError as error:
            found = str(error)
    if isinstance(expected, list):
        assert found == expected
    else:  # of several faults the first in the file
        assert isinstance(found, str)
        assert found.startswith("x: line ")
        assert "is not UTF-8 (byte" in found or "has a NUL byte" in found
        if raw.count(b"\0") + raw.count(b"\xff") + raw.count(b"\xe4\xb8") == 1:
            place = expected.removeprefix(f"{path}: ").partition(";")[0]
            assert found.removeprefix("x: ").partition(";")[0] == place


def packed(suffix: str, raw: bytes) -> bytes:
    if suffix == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(raw)
        return sink.getvalue().to_pybytes()
    return {".gz": gzip.compress, ".bz2": bz2.compress}[suffix](raw)


def texts(path: str) -> list[tuple[str, str]]:
    data = read_lines([(path, load_lines(path))], text_column=None, strict=False)
    return [(e.where, e.text) for e in data.examples]


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
def test_compressed_files(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.txt{suffix}"
    raw = packed(suffix, "one\r\n\n\u4e2d three".encode())
    path.write_bytes(raw)
    assert texts(str(path)) == [(f"{path}: line 1", "one"), (f"{path}: line 3", "\u4e2d three")]
    for damaged in (b"no archive", raw[: len(raw) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            texts(str(path))
        assert str(caught.value).startswith(f"{path}: ")
        assert len(str(caught.value).splitlines()) == 1


def test_a_folder_of_text(tmp_path: Path) -> None:
    for name, text in (
        ("b/2.txt", "two"),
        ("a.txt", "one\n\nmore"),
        (".hidden", "no"),
        ("b/.x/y", "no"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "b/3.txt.gz").write_bytes(gzip.compress(b"three"))
    assert texts(str(tmp_path)) == [
        (f"{tmp_path}/a.txt: line 1", "one"),
        (f"{tmp_path}/a.txt: line 3", "more"),
        (f"{tmp_path}/b/2.txt: line 1", "two"),
        (f"{tmp_path}/b/3.txt.gz: line 1", "three"),
    ]
    (tmp_path / "b/4.txt").write_bytes(b"ok\n\xff")
    with pytest.raises(InputError, match=r"b/4\.txt: line 2 is not UTF-8 \(byte 3 of the file\)"):
        texts(str(tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="a folder without files"):
        texts(str(empty))


@given(
    lines=st.lists(st.tuples(st.text(max_size=4), st.text(max_size=9)), min_size=1, max_size=30),
    read=st.integers(1, 60),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_stored_lines_are_a_sequence(
    lines: list[tuple[str, str]], read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [LineExample(where.replace("\0", ""), text) for where, text in lines]
    with monkeypatch.context() as patch:
        patch.setattr(stored_lines, "_IN_MEMORY", -1)
        patch.setattr(stored_lines, "_READ", read)
        found = stored(iter(examples))
        assert isinstance(found, StoredLines)
        assert len(found) == len(examples)
        assert list(found) == list(found) == examples
    assert [found[n] for n in range(-len(examples), len(examples))] == examples * 2
    assert found[1:-1:2] == examples[1:-1:2]
    with pytest.raises(IndexError):
        found[len(examples)]
    assert not list(scratch().glob("lines-*"))


def test_no_room_for_the_lines_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored_lines, "_IN_MEMORY", -1)
    monkeypatch.setattr(os, "open", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); set TMP"):
        stored(iter([LineExample("a", "b")]))


def test_a_large_text_is_read_in_little_memory(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "_BLOCK", 1 << 14)
    monkeypatch.setattr(stored_lines, "_READ", 1 << 14)
    monkeypatch.setattr(stored_lines, "_IN_MEMORY", 1 << 14)
    line = "the of and in to " * 70
    path = write((line + "\n") * 6000, "large.txt")
    tracemalloc.start()
    data = read_lines([(path, load_lines(path))], text_column=None, strict=False)
    characters = sum(len(e.text) for e in data.examples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert characters == 6000 * len(line)
    assert peak < characters / 10  # where each line begins, and a few blocks
