"""Files to rows: CSV, TSV, JSON Lines and tables of datasets, and every fault with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbert.data.rows import (
    Row,
    where_of,
)
from jaxbert.data.sources import load_hub_rows, load_rows
from jaxbert.errors import InputError

# A busy machine is no fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


def refusal(path: str, **options: Any) -> str:
    """The message of the InputError behind the file's name; it is one line."""
    with pytest.raises(InputError) as caught:
        load_rows(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


def with_lines(rows: list[Row]) -> list[tuple[int, dict[str, Any]]]:
    return [(row.line, dict(row)) for row in rows]


# --- CSV and TSV ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_with_fields_of_several_lines(
    write: Callable[..., str], mark: str, newline: str, end: str
) -> None:
    lines = ["text, label", '"a ""b"", c",1', '"two', "", 'lines",0', ' x ,"1"', '"",last']
    rows = load_rows(write(mark + newline.join(lines) + end.replace("\n", newline), "a.csv"))
    assert with_lines(rows) == [
        (2, {"text": 'a "b", c', "label": "1"}),
        (3, {"text": f"two{newline}{newline}lines", "label": "0"}),
        (6, {"text": " x ", "label": "1"}),
        (7, {"text": "", "label": "last"}),
    ]


def test_a_quote_in_tsv_is_text_unless_asked(write: Callable[..., str]) -> None:
    text = 'text\tlabel\n"a"\t1\n"b, c\t0\nd"\te\\\n'
    assert with_lines(load_rows(write(text, "a.tsv"))) == [
        (2, {"text": '"a"', "label": "1"}),
        (3, {"text": '"b, c', "label": "0"}),
        (4, {"text": 'd"', "label": "e\\"}),
    ]
    assert with_lines(load_rows(write(text, "a.tsv"), quoted_tsv=True)) == [
        (2, {"text": "a", "label": "1"}),
        (3, {"text": "b, c\t0\nd", "label": "e\\"}),
    ]


def test_unusual_characters_are_no_line_ends(write: Callable[..., str]) -> None:
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g\xa0\ufeff"
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        rows = load_rows(write(f"text{delimiter}label\n{text}{delimiter}1", name))
        assert with_lines(rows) == [(2, {"text": text, "label": "1"})]


def test_a_field_longer_than_the_limit_of_python(write: Callable[..., str]) -> None:
    csv.field_size_limit(131072)
    long = "word " * 50_000
    assert load_rows(write(f"text,label\n{long},1\n", "a.csv"))[0]["text"] == long
    assert load_rows(write(f"text\tlabel\n{long}\t1\n", "a.TSV"))[0]["text"] == long


def test_one_column_and_no_rows(write: Callable[..., str]) -> None:
    assert load_rows(write("text,label\n", "a.csv")) == []
    rows = load_rows(write('text\nb\n""\n', "a.csv"))
    assert with_lines(rows) == [(2, {"text": "b"}), (3, {"text": ""})]


HEADER = "a header with a different name for each column"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 column, expected 2 as in the first line (a, b)"),
        ('a,b\n"1\n\n",2\n1,2,3\n', "line 5 has 3 columns, expected 2 as in the first line (a, b)"),
        ("a,b\n1,2\n\n\n3,4\n", "line 3 is blank, expected 2 as in the first line (a, b)"),
        ("a\n1\n\n3\n", "line 3 is blank, expected 1 as in the first line (a)"),
        ("a,b\n   \n", "line 2 has 1 column, expected 2 as in the first line (a, b)"),
        ("", "line 1: the file is empty, expected the names of the columns"),
        ("\ufeff", "line 1: the file is empty, expected the names of the columns"),
        ("\na,b\n", f"line 1: it is blank; expected {HEADER}"),
        ("a,,b\n1,2,3\n", f"line 1: column 2 has no name; expected {HEADER}"),
        ("a,b, \n1,2,3\n", f"line 1: column 3 has no name; expected {HEADER}"),
        ("a,b,a \n1,2,3\n", f"line 1: two columns are named a; expected {HEADER}"),
        ('a,b\n"1\n2",3\n"4,5\n6,7\n', "line 4: a quoted field begins here or later in the row"),
        ('a,b\n"1\n2",3\n"4" ,5\n', "line 4: not quoted as CSV"),
        ("a,b\r1,2\r", "line 1: a carriage return inside a line"),
        ("a,b\n1,2\n1\r,2\n", "line 3: a carriage return inside a line"),
        ("a,b\n1,2\n1\0,2\n", "line 3 has a NUL byte"),
        (b"a,b\n1,2\n\n\xff,2\n", "line 4 is not UTF-8 (byte 9 of the file)"),
        (b"\xef\xbb\xbfa,b\n\xff", "line 2 is not UTF-8 (byte 7 of the file)"),
        ("a,b\n".encode("utf-16"), "line 1 is not UTF-8 (byte 0 of the file)"),
        ("a,b\n".encode("utf-16-le"), "line 1 has a NUL byte"),
    ],
)
def test_faults_are_named_with_their_line(
    write: Callable[..., str], text: str | bytes, message: str
) -> None:
    assert refusal(write(text, "a.csv")).startswith(message)
    if isinstance(text, str) and '"' not in text:
        assert refusal(write(text.replace(",", "\t"), "a.tsv")).startswith(message)


def test_tsv_that_may_be_quoted(write: Callable[..., str]) -> None:
    path = write('a\tb\n"1\t2"\t3\n', "a.tsv")
    assert "has 3 columns" in refusal(path)
    assert refusal(path).endswith("give --quoted_tsv")
    assert load_rows(path, quoted_tsv=True) == [{"a": "1\t2", "b": "3"}]
    assert "--quoted_tsv" not in refusal(write("a\tb\n1\n", "b.tsv"))
    assert "--quoted_tsv" not in refusal(write('a,b\n"1"\n', "b.csv"))


def test_missing_files(tmp_path: Path) -> None:
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        assert refusal(str(tmp_path / name)) == "no such file"
    (tmp_path / "a").write_text("a,b\n")
    assert refusal(str(tmp_path / "a" / "b.csv")).startswith("cannot be read")


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
CELLS |= st.text('",\t\n\r ab\u2028', max_size=5)


@unhurried
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), max_size=6),
    newline=st.sampled_from(["\n", "\r\n"]),
    tabs=st.booleans(),
)
def test_what_csv_writes_is_read(
    folder: Path, rows: list[tuple[str, str]], newline: str, tabs: bool
) -> None:
    text = io.StringIO()
    # All are quoted: else Python's writer leaves a carriage return bare.
    options: dict[str, Any] = {"lineterminator": newline, "quoting": csv.QUOTE_ALL}
    writer = csv.writer(text, delimiter="\t" if tabs else ",", **options)
    writer.writerow(["a", "b"])
    lines = []
    for row in rows:
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    path = folder / ("any.tsv" if tabs else "any.csv")
    path.write_bytes(text.getvalue().encode())
    found = load_rows(str(path), quoted_tsv=True)
    assert [(row["a"], row["b"]) for row in found] == rows
    assert [row.line for row in found] == lines


PLAIN = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\t\r\n"), min_size=1, max_size=9
)


@unhurried
@given(rows=st.lists(st.tuples(PLAIN, PLAIN), max_size=6))
def test_tsv_is_split_at_tabs_and_line_ends_only(folder: Path, rows: list[tuple[str, str]]) -> None:
    path = folder / "plain.tsv"
    path.write_bytes("\n".join(["a\tb", *map("\t".join, rows)]).encode())
    found = load_rows(str(path))
    assert [(row.line, row["a"], row["b"]) for row in found] == [
        (number, *row) for number, row in enumerate(rows, 2)
    ]


def sound(rows: list[Row], lines: int) -> bool:
    """Every row has the same columns, all str, and is at a line of the file."""
    return all(
        row.keys() == rows[0].keys()
        and all(isinstance(cell, str) for cell in row.values())
        and 1 < row.line <= lines
        for row in rows
    )


@unhurried
@given(
    content=st.binary(max_size=40) | st.text('a,"\t\n\r\0', max_size=20).map(str.encode),
    name=st.sampled_from(["bytes.csv", "bytes.tsv"]),
    quoted=st.booleans(),
)
def test_any_bytes_give_rows_or_one_line(
    folder: Path, content: bytes, name: str, quoted: bool
) -> None:
    path = folder / name
    path.write_bytes(content)
    try:
        rows = load_rows(str(path), quoted_tsv=quoted)
    except InputError as error:
        message = str(error)
    else:
        assert sound(rows, content.count(b"\n") + 1)
        return
    assert message.startswith(f"{path}: line ")
    assert len(message.splitlines()) == 1


def test_a_table_without_rows(tmp_path: Path) -> None:
    """datasets does not read it, and logs a line of its own."""
    import pyarrow
    import pyarrow.parquet

    path = str(tmp_path / "a.parquet")
    for columns in ({}, {"text": pyarrow.array([], pyarrow.string())}):
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        assert load_rows(path) == []
    Path(path).write_bytes(b"")
    assert refusal(path) == "the file is empty"


# --- JSON Lines and tables of datasets --------------------------------------------------------


def test_rows_of_json_lines_know_their_line(write: Callable[..., str]) -> None:
    rows = load_rows(write('\ufeff{"a": 1}\r\n\r\n{"a": "\u2028"}\n[2]\n', "a.jsonl"))
    assert rows == [{"a": 1}, {"a": "\u2028"}, [2]]
    assert [where_of("a.jsonl", n, row) for n, row in enumerate(rows)] == [
        "a.jsonl: line 1",
        "a.jsonl: line 3",
        "a.jsonl: row 2",
    ]
    rows = load_rows(write('[{"a": 1}]', "a.json"))
    assert where_of("a.json", 0, rows[0]) == "a.json: row 0"


def test_class_labels_are_names(tmp_path: Path) -> None:
    import datasets

    classes = datasets.ClassLabel(names=["no", "yes"])
    table = datasets.Dataset.from_dict(
        {
            "text": ["a", "b", "c"],
            "label": [1, -1, None],
            "tags": [[0, 1], [-1], None],
            "number": [1, -1, None],
        },
        features=datasets.Features(
            {
                "text": datasets.Value("string"),
                "label": classes,
                "tags": datasets.List(classes),
                "number": datasets.Value("int32"),
            }
        ),
    )
    expected = [
        {"text": "a", "label": "yes", "tags": ["no", "yes"], "number": 1},
        {"text": "b", "label": None, "tags": [None], "number": -1},
        {"text": "c", "label": None, "tags": None, "number": None},
    ]
    table.to_parquet(str(tmp_path / "a.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": table}).save_to_disk(str(tmp_path / "splits"))
    assert load_rows(str(tmp_path / "a.parquet")) == expected
    assert load_rows(str(tmp_path / "saved")) == expected
    assert load_hub_rows(str(tmp_path / "splits"), None, "train") == expected
    assert "a folder of the splits train; give it as --dataset_name" in refusal(
        str(tmp_path / "splits")
    )
