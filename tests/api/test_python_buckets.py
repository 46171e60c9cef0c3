"""Training, evaluation and prediction from Python with everything in a bucket."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket_servers import Server, running
from conftest import DEMO
from scripts import passed, process

import jaxbert
from jaxbert.errors import InputError
from jaxbert.io.bucket import Bucket
from jaxbert.options.source_settings import Source
from jaxbert.runs.inputs import read_examples
from jaxbert.tasks.registry import TASKS

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tiniest_folder: Path) -> Iterator[Server]:
    with running("s3") as server:
        server.make_bucket("all")
        bucket = Bucket("s3://all")
        for path in tiniest_folder.iterdir():
            bucket.upload(path, f"model/{path.name}")
        for name in ("classification_train.tsv", "classification_dev.tsv"):
            bucket.upload(DEMO / name, f"data/{name}")
        yield server


@pytest.mark.usefixtures("server")
def test_everything_in_a_bucket() -> None:
    run = jaxbert.train(
        "classification",
        model="s3://all/model",
        train_data="s3://all/data/classification_train.tsv",
        validation_data="s3://all/data/classification_dev.tsv",
        output_dir="s3://all/runs/one",
        num_train_epochs=1,
        per_device_train_batch_size=16,
        report_to="tensorboard",
        quiet=True,
    )
    assert run.done
    assert run.output_dir == "s3://all/runs/one"
    assert len(run.history) == 3
    text = {"sentence": "a good film"}
    predicted = run.predict([text])
    classifier = run.predictor()
    assert isinstance(classifier, jaxbert.TextClassifier)
    again = jaxbert.evaluate(
        "classification", model="s3://all/runs/one", data=str(DEMO / "classification_dev.tsv")
    )
    assert again.scores["accuracy"] == run.scores["accuracy"]
    assert len(predicted) == 1
    names = Bucket("s3://all/runs/one").names()
    assert any(name.startswith("tensorboard/events") for name in names)
    assert "report.html" in names
    with pytest.raises(InputError, match=r"s3://all/data/none.tsv: no such file"):
        jaxbert.train(
            "classification",
            model="s3://all/model",
            train_data="s3://all/data/none.tsv",
            output_dir="s3://all/runs/two",
        )
    with pytest.raises(InputError, match="s3://all/none: there is nothing"):
        jaxbert.TextClassifier.from_pretrained("s3://all/none")


@pytest.mark.usefixtures("server")
def test_several_tasks_have_their_folders_in_a_bucket() -> None:
    texts = [{"text": "a good film", "label": "yes"}, {"text": "a bad film", "label": "no"}]
    own = {"task": "classification", "train_data": texts * 4, "validation_data": texts}

    def train(names: str, **more: bool) -> jaxbert.TogetherRun:
        return jaxbert.train_together(
            {name: {**own, "max_seq_length": 8} for name in names},
            model="s3://all/model",
            output_dir="s3://all/runs/both",
            max_steps=2,
            quiet=True,
            **more,
        )

    run = train("ab")
    assert run.tasks["b"].output_dir == "s3://all/runs/both/b"
    found = jaxbert.evaluate("classification", model="s3://all/runs/both/b", data=texts)
    assert found.scores == run.tasks["b"].scores
    bucket = Bucket("s3://all/runs/both")
    assert {"metrics.json", "a/model.safetensors", "a/README.md", "b/options.json"} <= {
        *bucket.names()
    }
    bucket.write("b/notes.txt", b"mine")
    with pytest.raises(
        InputError, match=r"--tasks: \['a=classification:1', 'b=classification:1'\]"
    ):
        train("ac")
    assert train("ac", overwrite_output_dir=True).done
    there = {name for name in bucket.names() if name[:2] in ("a/", "b/", "c/")}
    assert {"a/model.safetensors", "c/model.safetensors", "b/notes.txt"} <= there
    assert not [name for name in there if name.startswith("b/")][1:]


@pytest.mark.usefixtures("server")
def test_keys_of_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of ~/.aws, by boto3."""
    file = tmp_path / "credentials"
    file.write_text("[mine]\naws_access_key_id = a\naws_secret_access_key = b\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    bucket = Bucket("s3://all/profile")
    bucket.write("x", b"1")
    assert bucket.read("x") == b"1"


@pytest.mark.faults
def test_two_processes_write_as_one(server: Server, tmp_path: Path) -> None:
    """The first alone reaches the bucket."""
    words = ["train", "classification", "--model_name_or_path", "s3://all/model"]
    words += ["--train_file", str(DEMO / "classification_train.tsv"), "--max_steps", "3"]
    words += ["--per_device_train_batch_size", "8", "--save_steps", "1"]
    command = (sys.executable, "-m", "jaxbert", "launch", "-n", "2", "--", *words)
    passed(process(*command, "--output_dir", "s3://all/runs/pair"))
    pair = Bucket("s3://all/runs/pair")
    sealed = [name for name in pair.names() if name.endswith("manifest.json")]
    assert sorted(sealed) == ["checkpoints/2/manifest.json", "checkpoints/3/manifest.json"]
    assert pair.read(".lock") is None
    model = pair.read("model.safetensors")
    assert model is not None
    passed(process(*command, "--output_dir", str(tmp_path / "pair")))
    assert (tmp_path / "pair" / "model.safetensors").read_bytes() == model


@pytest.mark.usefixtures("server")
def test_an_object_of_the_same_version_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, task = Bucket("s3://all"), TASKS["classification"]
    source = Source(True, ["s3://all/data/kept.tsv"], None, None, None, None)
    fetched = []
    download = Bucket.download

    def counted(self: Bucket, name: str, path: Path) -> None:
        fetched.append(name)
        download(self, name, path)

    monkeypatch.setattr(Bucket, "download", counted)

    def first_text() -> str:
        data = read_examples(task(task.settings_cls()), source, cache_dir=str(tmp_path / "cache"))
        assert data is not None
        return data.examples[0].text

    for content, reads in (("one", 1), ("two", 2)):  # as long as each other
        bucket.write("data/kept.tsv", f"sentence\tlabel\n{content}\ta\nx\tb\n".encode())
        assert [first_text(), first_text()] == [content] * 2
        assert fetched == ["kept.tsv"] * reads
