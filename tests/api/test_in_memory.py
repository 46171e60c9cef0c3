"""Rows in memory train the very model that the same rows in a file train."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest
from python_rows import FILES, OF_TASK, SMALL_RUN, file_of, rows_of

import jaxbert
from jaxbert.data.in_memory import rows_in_memory
from jaxbert.errors import DataError, InputError

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]


def trained(task: str, model: Path, folder: Path, data: Any, held_out: Any, **more: Any) -> Any:
    """What a run computed: the fingerprints of its data, its log without times, its scores."""
    run = jaxbert.train(
        task,
        model=model,
        train_data=data,
        validation_data=held_out,
        output_dir=folder,
        **{**SMALL_RUN, **OF_TASK.get(task, {}), **more},
    )
    assert run.done
    record = json.loads((folder / "options.json").read_text())
    log = [{n: x for n, x in line.items() if "per_second" not in n} for line in run.history]
    return record["data"], log, run.scores


@pytest.mark.parametrize("task", FILES)
def test_rows_train_as_a_file_does(task: str, tiniest_folder: Path, tmp_path: Path) -> None:
    rows, held_out = rows_of(task, "train"), rows_of(task, "dev")
    before = copy.deepcopy((rows, held_out))
    files = (file_of(task, "train"), [str(file_of(task, "dev"))])
    wanted = trained(task, tiniest_folder, tmp_path / "files", *files)
    assert trained(task, tiniest_folder, tmp_path / "rows", rows, held_out) == wanted
    assert (rows, held_out) == before


def test_every_form_of_rows_is_read_alike(tiniest_folder: Path, tmp_path: Path) -> None:
    rows, held_out = rows_of("classification", "train"), rows_of("classification", "dev")
    names = datasets.ClassLabel(names=["negative", "positive"])
    numbered = [{**row, "label": names.str2int(row["label"])} for row in rows]
    features = datasets.Features({"sentence": datasets.Value("string"), "label": names})
    forms = {
        "list": rows,
        "tuple": tuple(rows),
        "frame": pandas.DataFrame(rows),
        "dataset": datasets.Dataset.from_list(numbered, features=features),
        "formatted": datasets.Dataset.from_list(rows).with_format("numpy"),
        "data": {"version": 1, "data": rows},
    }
    found = {
        name: trained("classification", tiniest_folder, tmp_path / name, form, held_out)
        for name, form in forms.items()
    }
    assert all(each == found["list"] for each in found.values())
    assert forms["frame"].equals(pandas.DataFrame(rows))
    assert forms["dataset"][0]["label"] == numbered[0]["label"]
    assert forms["formatted"].format["type"] == "numpy"


def test_cells_of_numpy_and_pandas_are_those_of_json() -> None:
    rows = [{"tokens": np.array(["a", "b"]), "tags": ("x", np.str_("y")), "n": np.float64(2)}]
    (found,) = rows_in_memory(rows, "data").content
    assert repr(found) == "{'tokens': ['a', 'b'], 'tags': ['x', 'y'], 'n': 2.0}"
    frame = pandas.DataFrame({"text": ["a", None], "n": pandas.array([1, None], "Int64")})
    first, second = rows_in_memory(frame, "data").content
    assert repr(first) == "{'text': 'a', 'n': 1}"
    assert second["n"] is None


def test_a_faulty_row_is_named_as_one_of_a_file(tiniest_folder: Path, tmp_path: Path) -> None:
    rows = rows_of("classification", "train")
    rows[3]["sentence"] = ""
    run = {"model": tiniest_folder, "train_data": rows, "output_dir": tmp_path / "run"}
    message = 'train_data: row 3: the text of column "sentence" is empty'
    with pytest.raises(DataError, match=message):
        jaxbert.train("classification", **run, **SMALL_RUN, strict=True)
    assert not (tmp_path / "run").exists()


_CIRCLE: dict[str, Any] = {"sentence": []}
_CIRCLE["sentence"].append(_CIRCLE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "train_data has the wrong type: int; give paths, a list of dicts"),
        ([{"sentence": "a"}, 7], "train_data: row 1: expected a dict, found int"),
        ([{0: "a"}], "train_data: row 0: the column name 0 is int, expected str"),
        (iter([{}]), "train_data: a list_iterator can be read only once; give a list"),
        ([], "train_data: no example in it"),
        (datasets.DatasetDict(), "train_data: a DatasetDict of the splits"),
        ("missing.tsv", "train_data: missing.tsv: no such file; give paths of files, or rows as"),
        (["a sentence"], "train_data: a sentence: no such file; give paths of files, or rows as"),
        (["long " * 99], "train_data: long long"),
        (("a", "b"), "train_data: a: no such file; give paths of files, or rows as a list of"),
        (
            {"sentence": "hi"},
            'train_data: a dict without "data", as of one row; give a list of dicts, one per row',
        ),
        ({}, 'train_data: a dict without "data", as of one row; give a list of dicts'),
        *(
            (
                columns,
                "train_data: a dict of lists; give one row as a list of this dict, or convert "
                "columns with pandas.DataFrame",
            )
            for columns in (
                {"sentence": ["a"]},
                {"tokens": ["Ada", "left"], "ner_tags": ["B-PER", "O"]},  # a row of tagging
                {"sentence": np.array(["a"]), "label": (1,)},
                {"sentence": pandas.Series(["a"])},
            )
        ),
        (datasets.Dataset.from_dict({"a": ["b"]})["a"], "train_data: row 0: expected a dict"),
        ("", "--train_file '': an empty path; give a file or a folder"),
        ([{"label": 10**5000}], "train_data: row 0: an integer with more digits than Python"),
        ([_CIRCLE], "train_data: its values are nested too deeply or contain themselves"),
        (
            pandas.DataFrame([["a", "b", "c"]], columns=["sentence", "label", "sentence"]),
            "train_data: two columns are named sentence; rename one",
        ),
    ],
)
def test_what_is_no_data_is_refused(
    data: Any, message: str, tiniest_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        jaxbert.train(
            "classification", model=tiniest_folder, train_data=data, output_dir=tmp_path / "run"
        )
    assert str(error.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_data_are_given_once(tiniest_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train_data and dataset_name both name data"):
        jaxbert.train("qa", model=tiniest_folder, train_data=[{}], dataset_name="squad")
    with pytest.raises(InputError, match="model and model_name_or_path are the same"):
        jaxbert.train("qa", model=tiniest_folder, model_name_or_path="x")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"per_gpu_train_batch_size": 4},
            "per_gpu_train_batch_size is not a setting; give --per_device_train_batch_size 4",
        ),
        ({"fp16": True}, "fp16 is not a setting; give --dtype float16"),
        ({"learning_rat": 1.0}, "--learning_rat is not an option; did you mean --learning_rate?"),
    ],
)
def test_keywords_of_other_scripts_have_the_command_lines_advice(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        jaxbert.train("qa", **settings)
    assert str(error.value) == message
