"""Uploads to a small Hub on this machine: what is sent, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_server
import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import close_session
from scripts import refuses

from jaxbert.cli import main
from jaxbert.errors import InputError
from jaxbert.sharing.hub import UPLOADED

# huggingface_hub sends a file as its HTTP client no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    with hub_server.running() as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", hub.address, raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_ada")
        yield hub
        close_session()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a finished run has, for the Hub as good as a real one."""
    folder = tmp_path / "squad"
    (folder / "checkpoints" / "1").mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "train_log.jsonl"):
        (folder / name).write_text("{}")
    (folder / "checkpoints" / "1" / "model.safetensors").write_text("no")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 50)
    (folder / "metrics.json").write_text('{"f1": 0.5}')
    record: dict[str, Any] = {"task": "qa", "options": {"train_file": ["/secret/a.json"]}}
    record |= {"data": {}, "versions": {"jax": "1"}, "machine": {}, "loss": None, "job": None}
    record |= {"rows_per_step": 8, "row_length": 4}
    (folder / "options.json").write_text(json.dumps(record))
    return folder


def start(*words: str) -> int:
    return main.start(list(words))


def refusal(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        start(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_model_its_card_and_scores_are_uploaded_and_nothing_else(
    hub: hub_server.Hub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start("push", str(run), "ada/squad")
    files = hub.files["ada/squad"]
    assert files.keys() == set(UPLOADED)
    for name, content in files.items():
        assert content == (run / name).read_bytes()
    data = ModelCard(files["README.md"].decode()).data
    assert data.pipeline_tag == "question-answering"
    assert b"secret" not in b"".join(files.values())
    assert capsys.readouterr().out.strip() == f"{hub.address}/ada/squad/commit/{'1' * 40}"
    assert not hub.private["ada/squad"]
    start("push", str(run), "ada/squad")  # once more is a commit more


def test_a_readme_of_the_user_is_uploaded_as_it_is(hub: hub_server.Hub, run: Path) -> None:
    (run / "README.md").write_text("mine\n")
    start("push", str(run), "club/squad", "--hub_private_repo")
    assert hub.files["club/squad"]["README.md"] == b"mine\n"
    assert hub.private["club/squad"]


def test_what_the_hub_does_not_allow_is_told_in_a_line(
    hub: hub_server.Hub, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ada is not bob" in refusal("push", str(run), "bob/squad")
    assert "not a name of the Hub" in refusal("push", str(run), "ada/a/b")
    hub.refused.add("ada/locked")
    assert "may not write there" in refusal("push", str(run), "ada/locked")
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert "may read only" in refusal("push", str(run), "ada/squad")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the token is wrong or has expired" in refusal("push", str(run), "ada/squad")
    assert hub.files == {}
    (run / "model.safetensors").unlink()
    assert "an unfinished run has no model yet" in refusal("push", str(run), "ada/squad")


def test_no_hub_no_login_no_network(
    hub: hub_server.Hub, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refusal("push", str(run), "ada/squad")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "hf auth login" in refusal("push", str(run), "ada/squad")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal("push", str(run), "ada/squad")


def test_a_training_that_cannot_be_uploaded_does_not_begin(run: Path, tmp_path: Path) -> None:
    line = ["--train_file", "none.json", "--output_dir", str(tmp_path / "new")]
    assert "HF_HUB_OFFLINE" in refuses("train/qa.py", *line, "--push_to_hub")
    assert "give --push_to_hub too" in refuses("train/qa.py", *line, "--hub_model_id", "a/b")
    assert "give --push_to_hub too" in refuses("train/qa.py", *line, "--hub_private_repo")
    assert not (tmp_path / "new").exists()


@pytest.mark.integration
@pytest.mark.usefixtures("compilations")
def test_a_finished_training_is_uploaded(
    hub: hub_server.Hub, tiniest_folder: Path, tmp_path: Path
) -> None:
    demo = Path(main.__file__).parent.parent / "demo"
    line = f"train classification --model_name_or_path {tiniest_folder} --max_steps 1"
    line += f" --train_file {demo}/classification_train.tsv --max_seq_length 16"
    line += f" --validation_file {demo}/classification_dev.tsv --max_eval_samples 8"
    words = [*line.split(), "--output_dir", str(tmp_path / "run"), "--push_to_hub"]
    assert start(*words) == 0
    files = hub.files["ada/run"]
    assert files.keys() == set(UPLOADED)
    card = ModelCard(files["README.md"].decode())
    assert {r.metric_type for r in card.data.eval_results} >= {"accuracy"}
    metrics = json.loads(files["metrics.json"])
    for result in card.data.eval_results:
        assert result.metric_value == metrics[result.metric_type]
    hub.refused.add("ada/other")
    message = refusal(*words, "--hub_model_id", "ada/other")
    assert "may not write there" in message
