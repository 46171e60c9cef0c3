"""Rows to examples: columns, labels, and the report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbert.data.rows import (
    Data,
    Problem,
    Report,
    Row,
    Sheet,
    Table,
    find_column,
    names_of,
    read_labelled,
    replace_surrogates,
    replace_surrogates_in,
    table_of,
)
from jaxbert.data.sources import load_rows
from jaxbert.data.texts import read_texts
from jaxbert.errors import DataError, InputError

# A busy machine is no fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_table_of() -> None:
    rows = [{"a": 1}, Row({"b": 2, "a": 3}, 9)]
    placed = [("x: row 0", {"a": 1}), ("x: line 9", {"b": 2, "a": 3})]
    expected = Sheet("x", ["a", "b"], placed, {})
    assert table_of("x", rows) == expected
    assert table_of("x", {"data": rows, "version": 1}) == expected
    assert table_of("x", []) == Sheet("x", [], [], {})
    table = Table([{"a": "yes"}])
    table.classes["a"] = ("no", "yes")
    published = Sheet("x", ["a"], [("x: row 0", {"a": "yes"})], {"a": ("no", "yes")})
    assert table_of("x", table) == published


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "x: expected a list of rows, found NoneType"),
        ("text", "x: expected a list of rows, found str"),
        ({"rows": []}, 'x: no field "data"; it has rows'),
        ({"data": {}}, 'x: field "data" is dict, expected list'),
        ([{}, [1]], "x: row 1: expected an object, found list"),
    ],
)
def test_content_that_is_no_table(content: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        table_of("x", content)
    assert str(caught.value) == message


def test_find_column() -> None:
    assert find_column("x", ["a", "b"], None, ["c", "b", "a"]) == "b"
    assert find_column("x", ["a", "b"], None, ["c"]) is None
    assert find_column("x", ["a", "b"], "a", ["b"]) == "a"
    with pytest.raises(InputError, match=r'^x: no column "c"; it has a, b$'):
        find_column("x", ["a", "b"], "c", ["b"])


@dataclasses.dataclass(frozen=True)
class Example:
    where: str
    label: Any


def examples_of(sheet: Sheet, report: Report) -> tuple[list[Example], tuple[str, ...]]:
    return [Example(where, row["y"]) for where, row in sheet.rows], sheet.classes.get("y", ())


def labelled(*tables: list[dict[str, Any]], strict: bool = False) -> Data[Example]:
    named = [(f"t{number}", table) for number, table in enumerate(tables)]
    return read_labelled(named, examples_of, lambda e: e.label, strict=strict)


def of(*labels: Any) -> list[dict[str, Any]]:
    return [{"y": label} for label in labels]


def test_rows_without_labels_are_left_out_beside_others() -> None:
    assert [e.label for e in labelled(of("a", 0)).examples] == ["a", 0]
    assert [e.label for e in labelled(of(None), [], of(None)).examples] == [None, None]
    data = labelled(of("", None, 0), of(None))
    assert [e.where for e in data.examples] == ["t0: row 0", "t0: row 2"]
    what = "no label, but other rows have one; it is left out"
    assert data.problems == (Problem("t0: row 1", what), Problem("t1: row 0", what))
    with pytest.raises(InputError, match=r"^t0: row 1: no label, .* \(--strict\)$"):
        labelled(of("", None, 0), strict=True)
    with pytest.raises(InputError, match=r"^t0, t1: no example in it$"):
        labelled([], [])


def test_classes_are_those_that_data_declare() -> None:
    table = Table(of("", None, 0))
    table.classes["y"] = ("a", "b")
    assert labelled(table).classes == ("a", "b")


def test_each_leaves_out_what_is_not_of_its_form() -> None:
    def make(row: int) -> int | None:
        if row > 2:
            raise DataError(f"x: row {row}", "too large")
        return row if row > 1 else None

    report = Report(strict=False)
    assert list(report.each([0, 1, 2, 3, 4], make)) == [2]
    what = "too large; it is left out"
    assert report.problems == [Problem(f"x: row {n}", what, malformed=True) for n in (3, 4)]
    assert str(report.nothing("nothing")) == "x: row 3: too large"
    assert str(Report(strict=False).nothing("nothing")) == "nothing"
    with pytest.raises(InputError, match=r"^x: row 3: too large$"):
        list(Report(strict=True).each([2, 3], make))


def test_a_path_with_a_colon_stays_in_the_place_of_a_problem(tmp_path: Path) -> None:
    folder = tmp_path / "run: 2"
    folder.mkdir()
    (folder / "a.tsv").write_text("text\tlabel\nfine\t1\n \t0\nfine too\t0\n", encoding="utf-8")
    path = str(folder / "a.tsv")
    data = read_texts(
        [(path, load_rows(path))], text_columns=None, label_column=None, numeric=False, strict=False
    )
    left_out = 'the text of column "text" is empty; it is left out'
    assert data.problems == (Problem(f"{path}: line 3", left_out, malformed=True),)


@unhurried
@given(st.text(st.characters() | st.characters(categories=["Cs"]), max_size=20))
def test_whole_text(text: str) -> None:
    """Pairs of surrogates become their character, those alone U+FFFD, and nothing else changes."""
    whole = replace_surrogates(text)
    whole.encode()
    assert whole == json.loads(json.dumps(text)).encode("utf-16-le", "surrogatepass").decode(
        "utf-16-le", "replace"
    )
    report = Report(strict=False)
    assert replace_surrogates_in(["a", text], "x", report) == ["a", whole]
    assert len(report.problems) == (whole != text)
    if whole != text:
        with pytest.raises(InputError, match=r"^x: lone surrogates .* \(--strict\)$"):
            replace_surrogates_in([text], "x", Report(strict=True))


def test_names_of_is_one_line() -> None:
    assert names_of(["a\nb", "c"]) == "a b, c"
    assert names_of("abcdefghij") == "a, b, c, d, e, f, g, h, ..."
