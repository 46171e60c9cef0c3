"""calibrate with all in a bucket; compare and search with inputs there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket_servers import Server, running
from conftest import DEMO
from scripts import call, refuses

from jaxbert.io.bucket import Bucket
from jaxbert.io.fetched import versions_at
from jaxbert.model.folders import folder_of
from jaxbert.runs.saved import read_calibration

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=["s3", pytest.param("gs", marks=pytest.mark.faults)])
def server(request: pytest.FixtureRequest, tiniest_folder: Path) -> Iterator[Server]:
    with running(request.param) as server:
        server.make_bucket("all")
        bucket = Bucket(f"{request.param}://all")
        for path in tiniest_folder.iterdir():
            bucket.upload(path, f"model/{path.name}")
        for name in ("classification_train.tsv", "classification_dev.tsv", "qa_en_dev.json"):
            bucket.upload(DEMO / name, f"data/{name}")
        yield server


@pytest.fixture
def bucket(server: Server) -> str:
    return f"{server.scheme}://all"


def test_a_calibration_is_kept_beside_its_model(
    bucket: str, tiniest_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "run"
    words = ["--train_file", str(DEMO / "qa_en_dev.json"), "--max_steps", "1"]
    words += [
        "--model_name_or_path",
        str(tiniest_folder),
        "--max_seq_length",
        "64",
        "--doc_stride",
        "16",
    ]
    assert call("train/qa.py", *words, "--output_dir", str(model)) == 0
    there = Bucket(f"{bucket}/runs/qa")
    for path in model.iterdir():
        if path.is_file() and path.name != ".lock":
            there.upload(path, path.name)

    def calibrate(place: str, data: str) -> None:
        call("eval/calibrate.py", "--model_name_or_path", place, "--validation_file", data)

    with caplog.at_level("INFO", "jaxbert"):
        calibrate(there.address, f"{bucket}/data/qa_en_dev.json")
    assert f"{there.address}/calibration.json is used by" in caplog.text
    calibrate(str(model), str(DEMO / "qa_en_dev.json"))
    assert there.read("calibration.json") == (model / "calibration.json").read_bytes()
    assert there.stat("reliability.png") is not None
    fitted, ids = read_calibration(folder_of(there.address))
    assert (fitted, ids) == read_calibration(model)
    assert ids
    words = ["--model_name_or_path", f"{bucket}/none", "--validation_file", "x.json"]
    assert f"{bucket}/none: there is nothing" in refuses("eval/calibrate.py", *words)


@pytest.mark.faults
def test_runs_are_compared_on_data_in_a_bucket(
    bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is there is not trained again, until an object is another one."""
    data = Bucket(f"{bucket}/data")
    words = ["classification", "--model_name_or_path", f"{bucket}/model", "--losses"]
    words += ["cross_entropy", "focal", "--seeds", "1", "--max_steps", "1"]
    words += ["--train_file", f"{data.address}/classification_train.tsv", "--validation_file"]
    words += [f"{data.address}/classification_dev.tsv", "--output_dir"]
    assert call("train/compare.py", *words, str(tmp_path / "runs")) == 0
    table = json.loads((tmp_path / "runs" / "comparison.json").read_text())
    assert {row["loss"] for row in table["rows"]} == {"cross_entropy", "focal"}
    with caplog.at_level("INFO", "jaxbert"):
        assert call("train/compare.py", *words, str(tmp_path / "runs")) == 0
    assert caplog.text.count("done before") == 2
    data.write("classification_train.tsv", (DEMO / "classification_dev.tsv").read_bytes())
    message = refuses("train/compare.py", *words, str(tmp_path / "runs"))
    assert "has a run of another" in message
    message = refuses("train/compare.py", *words, f"{bucket}/runs/compared")
    assert message.endswith("writes to a folder of this machine alone; copy it there yourself")


def test_versions_of_objects(bucket: str) -> None:
    one = f"{bucket}/model/config.json"
    assert versions_at(one) == versions_at(one)
    assert one in versions_at(f"{bucket}/model")
    assert versions_at(f"{bucket}/none") == {}
    assert len(versions_at(f"{bucket}/model/")) == len(Bucket(f"{bucket}/model").names())
