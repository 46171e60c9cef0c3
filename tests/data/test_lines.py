"""Files and rows to lines of text: what is a line, which column, and every fault named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import public_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbert.data import row_streams
from jaxbert.data.lines import load_lines, read_lines
from jaxbert.data.rows import Data
from jaxbert.data.sources import MissingSplitError
from jaxbert.data.stored_lines import LineExample
from jaxbert.errors import InputError
from jaxbert.options.task_settings import MLMOptions
from jaxbert.tasks.mlm import MLM

# A busy machine is no fault of the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


def read(path: str, column: str | None = None, **options: Any) -> Data[LineExample]:
    return read_lines([(path, load_lines(path, **options))], text_column=column, strict=False)


def rows(*rows: Any, column: str | None = None, strict: bool = False) -> Data[LineExample]:
    return read_lines([("x.json", list(rows))], text_column=column, strict=strict)


def plain(data: Data[LineExample]) -> list[str]:
    return [e.text for e in data.examples]


def refusal(read: Any, *args: Any, **options: Any) -> str:
    """The message of the InputError behind the origin; it is one line."""
    if read is rows:  # whose faults are reported by default
        options = {"strict": True, **options}
    with pytest.raises(InputError) as caught:
        read(*args, **options)
    message = str(caught.value)
    origin = args[0] if args and isinstance(args[0], str) else "x.json"
    assert message.startswith(f"{origin}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{origin}: ")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.text", "corpus"])
def test_lines_of_text(write: Callable[..., str], name: str, newline: str) -> None:
    text = '\ufeff\n one\t"two" \n\n \u3000\t\nthree\u2028four\x85five\n,\n'
    path = write(text.replace("\n", newline), name)
    data = read(path, "body")  # text has no columns
    assert data == Data(
        (
            LineExample(f"{path}: line 2", ' one\t"two" '),
            LineExample(f"{path}: line 5", "three\u2028four\x85five"),
            LineExample(f"{path}: line 6", ","),
        )
    )


LINES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=9
)


@unhurried
@given(lines=st.lists(LINES.filter(lambda line: bool(line.strip())), min_size=1, max_size=6))
def test_every_line_is_read_once(folder: Path, lines: list[str]) -> None:
    path = folder / "any.txt"
    path.write_bytes(("\ufeff" + "\n\n".join(lines)).encode())
    assert [(e.where, e.text) for e in read(str(path)).examples] == [
        (f"{path}: line {2 * n + 1}", line) for n, line in enumerate(lines)
    ]


@pytest.mark.parametrize("name", ["text", "sentence", "content", "context"])
def test_known_columns_are_found(name: str) -> None:
    data = rows({"id": 3, name: "a\nb"}, {name: " "}, {name: "c"})
    assert data.examples == (
        LineExample("x.json: row 0", "a\nb"),
        LineExample("x.json: row 2", "c"),
    )


def test_the_order_in_which_columns_are_looked_for() -> None:
    row = {"context": "a", "content": "b", "sentence": "c", "body": "d"}
    assert plain(rows(row)) == ["c"]
    assert plain(rows({**row, "text": "e"})) == ["e"]
    assert plain(rows(row, column="body")) == ["d"]
    assert refusal(rows, row, column="text").startswith('no column "text"; it has context, content')
    message = refusal(rows, {"body": "a", "title": "b"})
    assert message.startswith("no column is known to hold text; it has body, title; name it")
    data = rows({"id": "x1", "stars": "5", "body": "a"})  # the only one that can be meant
    assert plain(data) == ["a"]
    assert data.notes == ('x.json: text is in the column "body"',)


def test_rows_in_every_container(write: Callable[..., str], tmp_path: Path) -> None:
    import datasets

    table = datasets.Dataset.from_list([{"text": "one"}, {"text": "two"}])
    table.save_to_disk(str(tmp_path / "saved"))
    paths = {
        write("text\none\n\n".rstrip() + "\ntwo\n", "a.csv"): "line 2",
        write("text\tid\none\t1\ntwo\t2\n", "a.tsv"): "line 2",
        write(table.to_list(), "a.json"): "row 0",
        write({"data": table.to_list()}, "b.json"): "row 0",
        write('\n{"text": "one"}\n\n{"text": "two"}', "a.jsonl"): "line 2",
        str(tmp_path / "saved"): "row 0",
    }
    for path, place in paths.items():
        data = read(path)
        assert plain(data) == ["one", "two"]
        assert data.examples[0].where == f"{path}: {place}"
    path = write('text\n"one\ntwo"\n', "q.tsv")
    assert plain(read(path)) == ['"one', 'two"']
    assert plain(read(path, quoted_tsv=True)) == ["one\ntwo"]


def test_paragraphs_of_squad_once_each(write: Callable[..., str]) -> None:
    articles = [
        {"title": "t", "paragraphs": [{"context": "a", "qas": []}, {"context": "b", "qas": []}]},
        {"title": "u", "paragraphs": []},
        {"title": "v", "paragraphs": [{"context": "c"}, {"context": "a"}]},
    ]
    path = write({"version": "1.1", "data": articles}, "a.json")
    for column in (None, "context"):
        data = read(path, column)
        assert plain(data) == ["a", "b", "c"]
        assert data.examples[1].where == f"{path}: row 0, paragraph 1"
    assert plain(read(path, "title")) == ["t", "u", "v"]
    flat = [{"question": str(n), "context": "ab"[n // 2]} for n in range(4)]
    assert plain(rows(*flat)) == ["a", "b"]
    assert plain(rows(*flat, {"question": "3"} | flat[0], column="question")) == [*"0123", "0"]
    for paragraphs, message in [
        ("a", 'row 0: field "paragraphs" is str, expected list'),
        ([3], "row 0, paragraph 0: expected an object, found int"),
        ([{}], 'row 0, paragraph 0: no field "context"; it has none'),
    ]:
        assert refusal(rows, {"paragraphs": paragraphs}) == message


@pytest.mark.parametrize("value", [None, 3, 2.5, True, ["a"], {"a": 1}])
def test_cells_that_are_no_text(value: Any) -> None:
    message = refusal(rows, {"text": "a"}, {"text": value})
    assert message == f'row 1: field "text" is {type(value).__name__}, expected str'


def test_lone_surrogates() -> None:
    data = rows({"text": "a\ud83d"})
    assert plain(data) == ["a\ufffd"]
    assert [p.what for p in data.problems] == ["lone surrogates in the text; replaced by U+FFFD"]
    assert refusal(rows, {"text": "a\ud83d"}, strict=True).endswith("(--strict)")


def test_no_text(write: Callable[..., str], tmp_path: Path) -> None:
    for content in ("", "\ufeff", "\n \r\n\t\n"):
        assert refusal(read, write(content, "a.txt")) == "no text in it"
    assert refusal(rows) == "no text in it"
    assert refusal(rows, {"text": " "}) == "no text in it"
    assert refusal(rows, {"paragraphs": []}) == "no text in it"
    assert refusal(read, str(tmp_path / "none.txt")) == "no such file"
    assert refusal(read, write(b"a\n\xff", "a.txt")).startswith("line 2 is not UTF-8")
    assert refusal(read, write("a\n\0", "a.txt")).startswith("line 2 has a NUL byte")
    assert refusal(read, write("3", "a.json")) == "expected a list of rows, found int"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("squad_v1.1_train.json", 1572),
        ("squad_v1.1_dev.json", 301),
        ("squad_v2.0_train.json", 861),
        ("squad_v2.0_dev.json", 149),
        ("sst5_dev.tsv", 1101),
    ],
)
def test_public_data(name: str, count: int) -> None:
    path = public_data(name)
    assert len(read(str(path)).examples) == count


def test_parquet_is_read_batch_by_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(row_streams, "_BATCH", 2)
    path = str(tmp_path / "a.parquet")
    texts = ["one", " ", "three", None, "five"]
    pq.write_table(pa.table({"number": range(5), "body": texts}), path)
    data = read(path)
    assert [(e.where, e.text) for e in data.examples] == [
        (f"{path}: row 0", "one"),
        (f"{path}: row 2", "three"),
        (f"{path}: row 4", "five"),
    ]
    assert data.notes == (f'{path}: text is in the column "body"',)
    [problem] = data.problems
    assert str(problem).startswith(f'{path}: row 3: field "body" is NoneType, expected str')
    assert refusal(read, path, "other").startswith('no column "other"; it has number, body')


def test_a_data_set_as_a_stream(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "one", "n": 1}\n{"text": "two", "n": 2}\n')
    tasks = [MLM(MLMOptions(streaming=streaming)) for streaming in (False, True)]
    found = [
        task.read([("x", task.load_data_set(str(tmp_path), None, "train"))]).examples
        for task in tasks
    ]
    assert found[0] == found[1] == (LineExample("x: row 0", "one"), LineExample("x: row 1", "two"))
    for task in tasks:
        with pytest.raises(MissingSplitError, match="split validation"):
            task.load_data_set(str(tmp_path), None, "validation")
        with pytest.raises(InputError, match="the library datasets cannot read it"):
            task.load_data_set(str(tmp_path / "none"), None, "train")
