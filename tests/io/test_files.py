"""JSON is written entry by entry with the bytes that it has at once, and whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.io.files import JsonArray, JsonObject, replacing, write_json

texts = st.text(max_size=6)  # hypothesis draws no lone surrogates
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    plain
    | texts
    | st.just(())
    | st.tuples(plain, texts)
    | st.sampled_from(["\n", "a\nb", "\u2028", '"', "\\n", "{\n}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts | plain, inner, max_size=3)
    ),
    max_leaves=8,
)


def dumped(content: Any) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


@given(st.lists(values, max_size=4))
def test_an_array_has_the_bytes_of_a_list(
    tmp_path_factory: pytest.TempPathFactory, content: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "array.json"
    write_json(path, JsonArray(iter(content)))
    assert path.read_bytes() == dumped(content)
    write_json(path, content)
    assert path.read_bytes() == dumped(content)


@given(st.dictionaries(texts, values, max_size=4))
def test_an_object_has_the_bytes_of_a_dict(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "object.json"
    write_json(path, JsonObject(iter(content.items())))
    assert path.read_bytes() == dumped(content)
    write_json(path, content)
    assert path.read_bytes() == dumped(content)


def broken(error: BaseException) -> Iterator[int]:
    yield from range(100_000)
    raise error


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        (broken(RuntimeError("no more")), RuntimeError),
        (broken(KeyboardInterrupt()), KeyboardInterrupt),
        (iter([1.0, float("nan")]), ValueError),
        (iter(["a", "\udcff"]), UnicodeEncodeError),
    ],
)
def test_what_ends_in_the_middle_leaves_the_file_as_it_was(
    tmp_path: Path, entries: Iterator[Any], error: type[BaseException]
) -> None:
    path = tmp_path / "predictions.json"
    path.write_text("before")
    with pytest.raises(error):
        write_json(path, JsonArray(entries))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(path.name, "before")]


def test_until_it_is_whole_a_reader_sees_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with replacing(path) as file:
        file.write(b"after")
        file.flush()
        assert path.read_text() == "before"
    assert path.read_text() == "after"


def test_an_error_of_the_disk_names_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "file.json"
    with pytest.raises(OSError, match="No such file") as caught:
        write_json(path, JsonArray([]))
    assert caught.value.filename == str(path)
