"""JSON and JSON Lines, told apart by what is in the file, and every fault at its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbert.data.rows import Row
from jaxbert.data.sources import load_rows
from jaxbert.errors import InputError

SUFFIXES = pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.JSON"])
ROWS = [{"text": "a\u2028b", "label": 1}, {"text": "c", "label": 0}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json")


def lines_of(rows: Any) -> list[int]:
    assert all(isinstance(row, Row) for row in rows)
    return [row.line for row in rows]


def refusal(path: str) -> str:
    with pytest.raises(InputError) as caught:
        load_rows(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


@SUFFIXES
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_json_lines_of_any_suffix(write: Callable[..., str], name: str, newline: str) -> None:
    first, second = (json.dumps(row, ensure_ascii=False) for row in ROWS)
    text = newline.join(["\ufeff" + first, "", second, "", ""])
    rows = load_rows(write(text, name))
    assert (rows, lines_of(rows)) == (ROWS, [1, 3])


@SUFFIXES
def test_one_line_is_a_row_a_list_or_a_container(write: Callable[..., str], name: str) -> None:
    for end in ("", "\n", "\n\n"):
        rows = load_rows(write("\n" + json.dumps(ROWS[0]) + end, name))
        assert (rows, lines_of(rows)) == (ROWS[:1], [2])
        assert load_rows(write(json.dumps(ROWS) + end, name)) == ROWS
        container = {"version": "1.1", "data": ROWS}
        assert load_rows(write(json.dumps(container) + end, name)) == container


@SUFFIXES
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_json_stays_json_however_it_is_written(
    write: Callable[..., str], name: str, indent: int | None
) -> None:
    for content in (ROWS, {"data": ROWS}, {"version": "2.0", "data": [{"paragraphs": []}]}, []):
        assert load_rows(write(json.dumps(content, indent=indent), name)) == content
    rows = ",\n".join(map(json.dumps, ROWS))  # an object a line, and still a list
    assert load_rows(write(f"[\n{rows}\n]\n", name)) == ROWS
    assert load_rows(write(f'{{"data": [\n{rows}\n]}}\n', name)) == {"data": ROWS}


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text("ab"))


@settings(deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text("abc", min_size=1), VALUES, min_size=1), min_size=1),
    ascii_=st.booleans(),
    blank=st.integers(0, 2),
)
def test_what_is_written_is_read(
    folder: Path, rows: list[dict[str, Any]], ascii_: bool, blank: int
) -> None:
    for suffix in ("json", "jsonl"):
        path = folder / f"any.{suffix}"
        parts = [json.dumps(row, ensure_ascii=ascii_) for row in rows]
        path.write_bytes(("\n" * (blank + 1)).join(parts).encode("utf-8", "surrogatepass"))
        found = load_rows(str(path))
        assert found == rows
        assert lines_of(found) == [1 + n * (blank + 1) for n in range(len(rows))]


@SUFFIXES
@pytest.mark.parametrize("damaged", [0, 1, 2, 3])
@pytest.mark.parametrize("fault", ["cut", "quote", "comma"])
def test_a_damaged_line_is_named_by_its_number(
    write: Callable[..., str], name: str, damaged: int, fault: str
) -> None:
    parts = [json.dumps({"text": f"word {n}", "label": n, "list": [1, {}]}) for n in range(4)]
    whole = parts[damaged]
    parts[damaged] = {
        "cut": whole[:-8],
        "quote": whole.replace('"label"', 'label"'),
        "comma": whole + ",",
    }[fault]
    message = refusal(write("\n\n".join(parts), name))
    assert message.startswith(f"not JSON at line {1 + 2 * damaged}, column ")
    assert message.endswith("the file is JSON Lines, one row per line: fix that line or remove it")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not JSON at line 1, column 1 (it is empty)"),
        (" \n", "not JSON at line 1, column 1 (it is empty)"),
        ('[\n{"a": 1},\n{"a": 2}', "not JSON at line 3, column 9 (Expecting ',' delimiter); is "),
        ('[\n{"a": 1}\n{"a": 2}\n]', "not JSON at line 3, column 1 (Expecting ',' delimiter); is"),
        ('{"data": [\n{"a": 1},\n{"a" 2}\n]}', "not JSON at line 3, column 6"),
        ('{\n "a": 1\n}\n{\n "a": 2\n}', "not JSON at line 4, column 1 (Extra data); objects fo"),
        ('{"a": 1}{"a": 2}', "not JSON at line 1, column 9 (Extra data); objects follow each ot"),
        ('[{"a": 1}]\n[{"a": 2}]\n', "not JSON at line 2, column 1 (Extra data); expected one l"),
        (
            "text,label\na,1\n",
            "not JSON at line 1, column 1 (Expecting value); is the file complete?",
        ),
    ],
)
def test_faults_of_json(write: Callable[..., str], text: str, expected: str) -> None:
    assert refusal(write(text, "a.json")).startswith(expected)


def test_a_list_in_a_jsonl_file_that_is_damaged(write: Callable[..., str]) -> None:
    message = refusal(write('[\n{"a": 1},\n{"a" 2}\n]', "a.jsonl"))
    assert (
        message == "not JSON at line 3, column 6 (Expecting ':' delimiter); is the file complete?"
    )
    assert load_rows(write("\n \n", "a.jsonl")) == []
