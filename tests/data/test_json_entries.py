"""The entries of a JSON file one by one are those of the file parsed as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.json_entries import Entries, entries_of
from jaxbert.data.questions import read_qa
from jaxbert.data.sources import load_entries, load_rows
from jaxbert.errors import InputError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "dat", '"data"', "]"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def fail() -> InputError:
    return InputError("it is damaged")


@given(
    entries=st.lists(JSON, max_size=4),
    before=st.dictionaries(st.sampled_from(["version", "a b", "\u4e2d"]), JSON, max_size=2),
    after=st.dictionaries(st.sampled_from(["x", "y"]), JSON, max_size=2),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
)
def test_any_object(
    entries: list[Any],
    before: dict[str, Any],
    after: dict[str, Any],
    indent: int | None,
    ascii_only: bool,
) -> None:
    text = json.dumps({**before, "data": entries, **after}, indent=indent, ensure_ascii=ascii_only)
    found = entries_of(f" {text}\n", fail)
    assert found is not None
    for _ in range(2):  # it can be read again
        assert json.dumps(list(found)) == json.dumps(entries)  # NaN is not equal to itself


@given(cut=st.integers(0, 80), change=st.sampled_from(["", "]", "}", ",", '"', "x", "[", " ", "0"]))
def test_a_damaged_text_is_refused_where_the_whole_is(cut: int, change: str) -> None:
    text = json.dumps({"v": [1, {"w": 2}], "data": [{"a": "]"}, [1, 2], "x"], "rest": {"u": []}})
    text = text[:cut] + change + text[cut + 1 :]
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    found = entries_of(text, fail)
    if found is None:
        return  # it is parsed as a whole
    if isinstance(whole, dict) and "data" in whole:
        assert list(found) == whole["data"]
    else:
        with pytest.raises(InputError, match="it is damaged"):
            list(found)


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        '{"a": 1}',
        '{"data": 3}',
        '{"data": [1], "data": [2]}',  # the last one counts
        '{"a": {"data": [1]}, "data": [2]}',
        '{"a": {"data": [1]}}',
        '{"data" [1]}',
        "",
        "{",
    ],
)
def test_what_is_parsed_as_a_whole(text: str) -> None:
    found = entries_of(text, fail)
    assert found is None or list(found) == json.loads(text)["data"]


@pytest.mark.parametrize("end", ["", "]", "]}}", ',{"a": ]}', "]} x", "] , }", "1]}"])
def test_a_message_is_that_of_the_whole(write: Callable[..., str], end: str) -> None:
    path = write(f'{{"version": "1",\n"data": [{{"paragraphs": []}}{end}'.encode())
    with pytest.raises(InputError) as whole:
        load_rows(path)
    for read in (lambda: list(load_entries(path)), lambda: read_qa([path])):  # type: ignore
        with pytest.raises(InputError) as caught:
            read()
        assert str(caught.value) == str(whole.value)


def test_squad_is_read_entry_by_entry(write: Callable[..., str], tmp_path: Path) -> None:
    answers = [{"text": "data", "answer_start": 0}]
    qas = [{"id": "1", "question": '"data"', "answers": answers}]
    path = write({"version": "1.1", "data": [{"paragraphs": [{"context": "data", "qas": qas}]}]})
    assert isinstance(load_entries(path), Entries)
    [example] = read_qa([path]).examples
    assert (example.question, example.context) == ('"data"', "data")
