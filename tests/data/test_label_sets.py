"""Any number of labels a row: lists of names or numbers, and columns of 0 and 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
from multi_label import LABELS, texts, write_columns, write_lists

from jaxbert.data.rows import Data
from jaxbert.data.sources import load_rows
from jaxbert.data.texts import TextExample, read_texts
from jaxbert.errors import InputError


def read(content: Any, *columns: str, strict: bool = False, name: str = "f") -> Data[TextExample]:
    return read_texts(
        [(name, content)],
        text_columns=None,
        label_column=columns[0] if len(columns) == 1 else None,
        numeric=False,
        strict=strict,
        indicator_columns=columns if len(columns) > 1 else (),
    )


def labels_of(data: Data[TextExample]) -> list[Any]:
    return [e.label for e in data.examples]


def test_lists_and_columns_are_the_same_data(tmp_path: Path) -> None:
    rows = texts(30)
    wanted = [labels for _, labels in rows]
    assert () in wanted
    lists = load_rows(str(write_lists(tmp_path / "x.jsonl", rows)))
    columns = load_rows(str(write_columns(tmp_path / "x.csv", rows)))
    assert labels_of(read(lists)) == wanted  # "labels" is known
    found = read(columns, *LABELS)
    assert labels_of(found) == wanted
    assert found.classes == LABELS
    turned = read(columns, *LABELS[::-1])
    assert turned.classes == LABELS[::-1]


def test_class_labels_and_numbers_have_their_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "labels": datasets.Sequence(datasets.ClassLabel(names=["red", "green", "blue"])),
        }
    )
    rows = {"text": ["a", "b", "c"], "labels": [[0, 2], [], [1]]}
    table = datasets.Dataset.from_dict(rows, features=features)
    table.save_to_disk(str(tmp_path / "x"))
    table.to_parquet(tmp_path / "x.parquet")
    for path in ("x", "x.parquet"):
        found = read(load_rows(str(tmp_path / path)))
        assert labels_of(found) == [("red", "blue"), (), ("green",)]
        assert found.classes == ("red", "green", "blue")
    bare = [{"text": "a", "label": [1, 12]}, {"text": "b", "label": []}]
    assert labels_of(read(bare)) == [("1", "12"), ()]


def test_cells_of_0_and_1_in_all_their_forms() -> None:
    rows: list[Any] = [
        {"text": "a", "x": 1, "y": False},
        {"text": "b", "x": "0", "y": " True "},
        {"text": "c", "x": 1.0, "y": 0.0},
        {"text": "d", "x": "1.0", "y": "0.0"},  # a CSV file that pandas wrote
        {"text": "e", "x": None, "y": ""},  # says nothing of any: it has no labels
        {"text": "f", "x": float("nan"), "y": float("nan")},
    ]
    found = read(rows, "x", "y")
    assert labels_of(found) == [("x",), ("y",), ("x",), ("x",)]
    assert [p.what for p in found.problems] == [
        "no label, but other rows have one; it is left out"
    ] * 2


@pytest.mark.parametrize("value", [None, "", "2", 0.5, "yes", [1]])
def test_other_cells_are_named(value: Any) -> None:
    rows = [{"text": "a", "x": 1, "y": 0}, {"text": "b", "x": 1, "y": value}]
    with pytest.raises(InputError, match=r'f: row 1: label column "y" is .*, expected 0 or 1'):
        read(rows, "x", "y", strict=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("red", "wrong type: str, expected a list of labels, as in other rows"),
        (["red", "red"], "names red twice"),
        (
            [0, 0, 1],
            "names 0 twice; for a 0 or 1 per label, give --label_column_name one column per label",
        ),
        (["red", " "], 'a label of column "labels" is empty'),
        (["red", None], 'a label of column "labels" is empty'),
        ([["red"]], "wrong type: list, expected the name"),
    ],
)
def test_other_lists_are_named(value: Any, message: str) -> None:
    rows = [{"text": "a", "labels": ["red"]}, {"text": "b", "labels": value}]
    with pytest.raises(InputError, match=f"f: row 1: .*{message}"):
        read(rows, strict=True)
    assert labels_of(read(rows)) == [("red",)]


def test_columns_that_are_not_there() -> None:
    rows = [{"text": "a", "x": 1, "y": 0}]
    with pytest.raises(InputError, match='f: no column "z"; it has text, x, y'):
        read(rows, "x", "z")
    with pytest.raises(InputError, match="names a column twice"):
        read(rows, "x", "x")
    assert labels_of(read(rows, "v?", "w?")) == [None]  # data to predict need not have them
    with pytest.raises(InputError, match='f: no column "w" of label w'):
        read(rows, "x?", "w?")


def test_surrogates_in_labels_are_replaced() -> None:
    rows = [{"text": "a", "labels": ["\ud800", "b"]}]
    assert labels_of(read(rows)) == [("\ufffd", "b")]
