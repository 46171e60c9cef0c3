"""The commands of transformers' own example tests, word for word, on small files of the same form.

They are those of examples/pytorch/test_pytorch_examples.py at commit 01abe7d and of
examples/flax/test_flax_examples.py at commit 033522b of huggingface/transformers (version 4),
for the tasks that are jaxbert's: none of these is left out. A local BERT folder stands for the
model.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import DEMO
from every_task import OPTIONS
from scripts import call, refuses

from jaxbert.cli import command_line

pytestmark = pytest.mark.integration

SAMPLES = "tests/fixtures/tests_samples"


class Command(NamedTuple):
    """A test's arguments, the task that it is, and where its data lie."""

    task: str
    words: str
    model: str


PYTORCH = {
    "run_glue": Command(
        "classification",
        """
            --model_name_or_path distilbert/distilbert-base-uncased
            --output_dir {tmp_dir}
            --overwrite_output_dir
            --train_file ./tests/fixtures/tests_samples/MRPC/train.csv
            --validation_file ./tests/fixtures/tests_samples/MRPC/dev.csv
            --do_train
            --do_eval
            --per_device_train_batch_size=2
            --per_device_eval_batch_size=1
            --learning_rate=1e-4
            --max_steps=10
            --warmup_steps=2
            --seed=42
            --max_seq_length=128
        """,
        "distilbert/distilbert-base-uncased",
    ),
    "run_mlm": Command(
        "mlm",
        """
            --model_name_or_path distilbert/distilroberta-base
            --train_file ./tests/fixtures/sample_text.txt
            --validation_file ./tests/fixtures/sample_text.txt
            --output_dir {tmp_dir}
            --overwrite_output_dir
            --do_train
            --do_eval
            --prediction_loss_only
            --num_train_epochs=1
            --use_cpu
        """,
        "distilbert/distilroberta-base",
    ),
    "run_ner": Command(
        "tagging",
        """
            --model_name_or_path google-bert/bert-base-uncased
            --train_file tests/fixtures/tests_samples/conll/sample.json
            --validation_file tests/fixtures/tests_samples/conll/sample.json
            --output_dir {tmp_dir}
            --overwrite_output_dir
            --do_train
            --do_eval
            --warmup_steps=2
            --learning_rate=2e-4
            --per_device_train_batch_size=2
            --per_device_eval_batch_size=2
            --num_train_epochs=2
            --seed 7
            --use_cpu
        """,
        "google-bert/bert-base-uncased",
    ),
    "run_squad": Command(
        "qa",
        """
            --model_name_or_path google-bert/bert-base-uncased
            --version_2_with_negative
            --train_file tests/fixtures/tests_samples/SQUAD/sample.json
            --validation_file tests/fixtures/tests_samples/SQUAD/sample.json
            --output_dir {tmp_dir}
            --overwrite_output_dir
            --max_steps=10
            --warmup_steps=2
            --do_train
            --do_eval
            --learning_rate=2e-4
            --per_device_train_batch_size=2
            --per_device_eval_batch_size=1
        """,
        "google-bert/bert-base-uncased",
    ),
    "run_swag": Command(
        "multiple_choice",
        """
            --model_name_or_path google-bert/bert-base-uncased
            --train_file tests/fixtures/tests_samples/swag/sample.json
            --validation_file tests/fixtures/tests_samples/swag/sample.json
            --output_dir {tmp_dir}
            --overwrite_output_dir
            --max_steps=20
            --warmup_steps=2
            --do_train
            --do_eval
            --learning_rate=2e-4
            --per_device_train_batch_size=2
            --per_device_eval_batch_size=1
        """,
        "google-bert/bert-base-uncased",
    ),
}

FLAX = {
    "run_flax_glue": Command(
        "classification",
        """
            --model_name_or_path distilbert/distilbert-base-uncased
            --output_dir {tmp_dir}
            --train_file ./tests/fixtures/tests_samples/MRPC/train.csv
            --validation_file ./tests/fixtures/tests_samples/MRPC/dev.csv
            --per_device_train_batch_size=2
            --per_device_eval_batch_size=1
            --learning_rate=1e-4
            --eval_steps=2
            --warmup_steps=2
            --seed=42
            --max_seq_length=128
        """,
        "distilbert/distilbert-base-uncased",
    ),
    "run_mlm_flax": Command(
        "mlm",
        """
            --model_name_or_path distilbert/distilroberta-base
            --train_file ./tests/fixtures/sample_text.txt
            --validation_file ./tests/fixtures/sample_text.txt
            --output_dir {tmp_dir}
            --overwrite_output_dir
            --max_seq_length 128
            --per_device_train_batch_size 4
            --per_device_eval_batch_size 4
            --logging_steps 2 --eval_steps 2
            --do_train
            --do_eval
            --num_train_epochs=1
        """,
        "distilbert/distilroberta-base",
    ),
    "run_flax_ner": Command(
        "tagging",
        """
            --model_name_or_path google-bert/bert-base-uncased
            --train_file tests/fixtures/tests_samples/conll/sample.json
            --validation_file tests/fixtures/tests_samples/conll/sample.json
            --output_dir {tmp_dir}
            --overwrite_output_dir
            --do_train
            --do_eval
            --warmup_steps=2
            --learning_rate=2e-4
            --logging_steps 2 --eval_steps 2
            --per_device_train_batch_size=2
            --per_device_eval_batch_size=2
            --num_train_epochs=2
            --seed 7
        """,
        "google-bert/bert-base-uncased",
    ),
    "run_qa (Flax)": Command(
        "qa",
        """
            --model_name_or_path google-bert/bert-base-uncased
            --version_2_with_negative
            --train_file tests/fixtures/tests_samples/SQUAD/sample.json
            --validation_file tests/fixtures/tests_samples/SQUAD/sample.json
            --output_dir {tmp_dir}
            --overwrite_output_dir
            --num_train_epochs=3
            --warmup_steps=2
            --do_train
            --do_eval
            --logging_steps 2 --eval_steps 2
            --learning_rate=2e-4
            --per_device_train_batch_size=2
            --per_device_eval_batch_size=1
        """,
        "google-bert/bert-base-uncased",
    ),
}
COMMANDS = PYTORCH | FLAX

# --- files of the form of the fixtures, of the demo's own texts ----------------------------------


def _pairs(count: int, skip: int) -> str:
    rows = (DEMO / "pairs_train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    lines = ["label,sentence1,sentence2"]
    for row in rows[skip : skip + count]:
        first, second, label = row.split("\t")
        lines.append(f'{int(label == "entailment")},"{first}","{second}"')
    return "\n".join(lines) + "\n"


def _words() -> str:
    text = (DEMO / "tagging_train.conll").read_text(encoding="utf-8").strip()
    rows = []
    for sentence in text.split("\n\n")[:12]:
        words, tags = zip(*(line.split("\t") for line in sentence.split("\n")), strict=True)
        rows.append(json.dumps({"words": words, "ner": tags}))
    return "\n".join(rows) + "\n"


def _questions() -> str:
    article = json.loads((DEMO / "qa_en_train.json").read_text(encoding="utf-8"))["data"][0]
    rows = []
    for paragraph in article["paragraphs"][:4]:
        for number, qa in enumerate(paragraph["qas"][:3]):
            answers = qa["answers"][:1] * (number != 2)  # some have none
            rows.append(
                {
                    "id": qa["id"],
                    "title": "a title",
                    "context": paragraph["context"],
                    "question": qa["question"],
                    "answers": {
                        "text": [a["text"] for a in answers],
                        "answer_start": [a["answer_start"] for a in answers],
                    },
                }
            )
    return json.dumps({"version": "0.1.0", "data": rows})


def _choices() -> str:
    lines = (DEMO / "multiple_choice_train.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    extra = {"video-id": "a", "fold-ind": "1", "startphrase": "s", "gold-source": "gold"}
    return "\n".join(json.dumps({**json.loads(line), **extra}) for line in lines) + "\n"


def _lines() -> str:
    return "\n".join((DEMO / "mlm_train.txt").read_text(encoding="utf-8").splitlines()[:20]) + "\n"


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files under the names of the fixtures."""
    files: dict[str, Callable[[], str]] = {
        f"{SAMPLES}/MRPC/train.csv": lambda: _pairs(24, 0),
        f"{SAMPLES}/MRPC/dev.csv": lambda: _pairs(8, 24),
        f"{SAMPLES}/conll/sample.json": _words,
        f"{SAMPLES}/SQUAD/sample.json": _questions,
        f"{SAMPLES}/swag/sample.json": _choices,
        "tests/fixtures/sample_text.txt": _lines,
    }
    for name, make in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(make(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words_of(command: Command, model: Path | str | None = None) -> list[str]:
    words = command.words.replace("{tmp_dir}", "out").split()
    if model is not None:
        words[words.index(command.model)] = str(model)
    return words


# --- the tests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = COMMANDS[name]
    found: Any = command_line.parse(OPTIONS[command.task], words_of(command))
    assert found.model_name_or_path == command.model
    assert found.output_dir == "out"
    assert found.train_file[0] in command.words
    assert found.warmup_steps == (0 if "mlm" in name else 2)
    assert found.per_device_train_batch_size == {"run_mlm": 8, "run_mlm_flax": 4}.get(name, 2)


# What takes seconds, one of them in every run of the tests.
RUN = [
    name if name == "run_squad" else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS
]


@pytest.mark.parametrize("name", RUN)
def test_the_command_trains_and_evaluates(name: str, samples: Path, tiniest_folder: Path) -> None:
    command = COMMANDS[name]
    assert call(f"train/{command.task}.py", *words_of(command, tiniest_folder)) == 0
    wanted = {
        "classification": "accuracy",
        "mlm": "perplexity",
        "tagging": "accuracy",
        "qa": "f1",
        "multiple_choice": "accuracy",
    }
    scores = json.loads((samples / "out" / "metrics.json").read_text())
    assert wanted[command.task] in scores
    assert (samples / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_with_the_original_model_there_is_one_line(name: str, samples: Path) -> None:
    command = COMMANDS[name]
    try:
        message = refuses(f"train/{command.task}.py", *words_of(command))
    finally:
        written = (samples / "out").exists()
    assert message.startswith(f"{command.model}: no such folder, and the Hub did not give it")
    assert not written


@pytest.mark.parametrize("kind", ["xlnet", "modernbert"])
def test_a_model_of_another_type_is_one_line(kind: str, samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": 100}))
    message = refuses("train/qa.py", *words_of(COMMANDS["run_squad"], folder))
    assert kind in message
    assert "bert" in message
    assert not (samples / "out").exists()
