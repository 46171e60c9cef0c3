"""The model card: its metadata, its words, and whose README.md it is."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from jaxbert.cli import command_line
from jaxbert.sharing.card import CARD, is_ours, make_card, write_card
from jaxbert.tasks.registry import TASKS
from jaxbert.tasks.task_commands import TASK_COMMANDS

VERSIONS = {"jaxbert": "0.1.0", "jax": "0.10.2"}
USED = {
    "model_name_or_path": "google-bert/bert-base-uncased",
    "dataset_name": "rajpurkar/squad",
    "learning_rate": 3e-5,
    "max_seq_length": 384,
    "max_eval_samples": 100,
    "output_dir": "/home/ada/secret/runs/squad",
    "cache_dir": "/home/ada/secret/cache",
    "packing": True,
    "freeze": ["embeddings", "layer_0"],
}
SCORES = {"f1": 88.5, "exact_match": 81.25, "eval_loss": 1.0, "HasAns_f1": 1.5}


def card(task: str = "qa", **changed: object) -> str:
    return make_card("squad", TASKS[task], {**USED, **changed}, SCORES, VERSIONS)


def test_the_hub_can_show_the_scores() -> None:
    data = ModelCard(card()).data
    assert data.base_model == "google-bert/bert-base-uncased"
    assert data.datasets == ["rajpurkar/squad"]
    assert data.pipeline_tag == "question-answering"
    assert data.library_name == "transformers"
    found = {r.metric_type: r for r in data.eval_results}
    assert {n: r.metric_value for n, r in found.items()} == {"f1": 88.5, "exact_match": 81.25}
    assert found["f1"].dataset_type == "rajpurkar/squad"
    assert found["f1"].dataset_split == "validation"
    assert found["f1"].task_type == "question-answering"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_card_without_scores_too(task: str) -> None:
    text = make_card("m", TASKS[task], {"train_file": ["a.json"]}, {}, VERSIONS)
    data = ModelCard(text).data
    assert data.pipeline_tag == TASKS[task].pipeline_tag
    assert data.eval_results is None
    assert "no validation data" in text
    assert "Nobody has measured it" in text


def commands_of(text: str) -> list[list[str]]:
    blocks = text.split("```sh\n")[1:]
    return [shlex.split(block.partition("```")[0].replace("\\\n", " ")) for block in blocks]


def test_its_commands_parse_to_what_was_used() -> None:
    train, evaluate = commands_of(card())
    assert train[:3] == ["jaxbert", "train", "qa"]
    assert evaluate[:3] == ["jaxbert", "eval", "qa"]
    options = command_line.parse(TASK_COMMANDS["qa"].training, train[3:])
    for name in ("learning_rate", "max_seq_length", "packing", "freeze", "dataset_name"):
        assert getattr(options, name) == USED[name]
    scored = command_line.parse(TASK_COMMANDS["qa"].evaluation, evaluate[3:])
    assert (scored.max_eval_samples, scored.max_seq_length) == (100, 384)
    assert scored.model_name_or_path == "."


def test_it_has_names_and_no_paths_of_this_machine(tmp_path: Path) -> None:
    model = tmp_path / "secret" / "base"
    model.mkdir(parents=True)
    text = card(
        model_name_or_path=str(model),
        dataset_name=None,
        train_file=["/home/ada/secret/train.json", "gs://secret/b.json"],
        validation_file=["secret/dev.json"],
        loss="/home/ada/secret/my.py:mine",
        loss_args='{"teacher": "/home/ada/secret/big"}',
        tokenizer_name="../secret/words",
    )
    assert "secret" not in text
    for name in ("train.json", "b.json", "dev.json", "my.py:mine", "big", "words", "`base`"):
        assert name in text
    assert ModelCard(text).data.base_model is None
    assert ModelCard(text).data.eval_results[0].dataset_name == "dev.json"


def test_names_that_would_break_markdown_or_yaml_do_not(tmp_path: Path) -> None:
    odd = "a: [`b`] |\n- c.json"
    text = make_card(odd, TASKS["qa"], {**USED, "validation_file": [odd]}, SCORES, VERSIONS)
    data = ModelCard(text).data
    assert data.model_name == odd
    assert "`b`" not in text.partition("---\n\n")[2]


def test_a_readme_of_the_user_stays(tmp_path: Path) -> None:
    path = tmp_path / CARD
    assert write_card(tmp_path, card())
    assert is_ours(path)
    assert write_card(tmp_path, card(learning_rate=1e-5))
    assert "--learning_rate 1e-05" in path.read_text()
    path.write_text(path.read_text().replace("## Limits", "## Known limits"))
    changed = path.read_bytes()
    assert not write_card(tmp_path, card())
    assert path.read_bytes() == changed
    for content in (b"mine", b"\xff\xfe", b""):
        path.write_bytes(content)
        assert not write_card(tmp_path, card())
        assert path.read_bytes() == content
