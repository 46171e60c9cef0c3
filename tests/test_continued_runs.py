"""Resumed runs of other tasks than question answering: after a kill, packed, to another task.

Most run in this process, on its eight devices. Compilations would be most of the time: so they are
quick ones, and kept for this file, since many runs compile the same.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import transformers
from conftest import DEMO, REPOSITORY
from safetensors.numpy import load_file
from scripts import (
    call,
    copy_before_its_end,
    passed,
    process,
    read,
    refuses,
    script,
    steps_of,
    weights,
)
from task_runs import (
    LENGTH,
    STEPS,
    Runs,
    command_line,
    train_once,
    write_rows,
    write_vocabulary,
)

from jaxbert import BertConfig
from jaxbert.model.config import load_config

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def from_scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "v")


@pytest.fixture(scope="module")
def words_of(from_scratch: Path, data: Path) -> Callable[..., list[str]]:
    return functools.partial(command_line, from_scratch, data)


@pytest.fixture(scope="module")
def trained(words_of: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return train_once(words_of, tmp_path_factory.mktemp("runs"))


# --- stop and resume ---------------------------------------------------------------------------

# Runs a script that kills itself when it logs step 5: the save of step 4 is begun or done.
KILLED = """
import os, runpy, signal, sys
from jaxbert.training.train_log import TrainLog
write = TrainLog.write
def last_words(self, record):
    write(self, record)
    if record["step"] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
TrainLog.write = last_words
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("task", [pytest.param("classification", marks=pytest.mark.faults), "mlm"])
def test_killed_and_resumed_the_parameters_are_equal_bit_for_bit(
    task: str,
    words_of: Callable[..., list[str]],
    trained: Runs,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "run"
    words = words_of(task, folder)
    command = [sys.executable, "-c", KILLED, f"train/{task}.py", *words]
    child = process(*command, devices=8, cwd=REPOSITORY)
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert not (folder / "model.safetensors").exists()
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call(f"train/{task}.py", *words) == 0
    found = re.search(rf"resuming from step (\d) of {STEPS}", caplog.text)
    assert found is not None
    assert found[1] in "34"
    assert weights(folder) == weights(trained(task))
    assert steps_of(folder) == steps_of(trained(task))
    assert read(folder / "metrics.json") == read(trained(task) / "metrics.json")


def test_a_packed_run_is_resumed_to_equal_bits(
    words_of: Callable[..., list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    packed = ["--packing", "--length_bucket", "8"]
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call("train/tagging.py", *words_of("tagging", whole), *packed) == 0
    rows = re.search(r"rows of (\d+) tokens with [0-9.]+ windows on average", caplog.text)
    assert rows
    assert int(rows[1]) < LENGTH
    assert int(rows[1]) % 8 == 0
    assert read(whole / "options.json")["row_length"] == int(rows[1])
    copy_before_its_end(whole, parted)
    (parted / "model.safetensors").unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call("train/tagging.py", *words_of("tagging", parted), *packed) == 0
    assert re.search(r"resuming from step \d", caplog.text)
    assert weights(parted) == weights(whole)
    assert steps_of(parted) == steps_of(whole)
    # Rows that are not packed are another run.
    message = refuses("train/tagging.py", *words_of("tagging", parted))
    assert "--packing: True -> False" in message


@pytest.mark.faults
def test_corruption_is_the_same_on_any_number_of_devices(
    words_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Other masks would be other losses by far more than a sum in another order is."""
    losses = []
    for devices in (1, 2, 4):
        folder = tmp_path / str(devices)
        rows = ["--per_device_train_batch_size", str(8 // devices)]
        passed(script("train/mlm.py", *words_of("mlm", folder), *rows, devices=devices))
        lines = (folder / "train_log.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert len(losses[0]) == STEPS
    for others in losses[1:]:
        assert others == pytest.approx(losses[0], abs=1e-5)


# --- from one task to the next ----------------------------------------------------------------


def test_vocabulary_writes_what_the_run_took(from_scratch: Path, trained: Runs) -> None:
    names = {p.name for p in from_scratch.iterdir()}
    assert names == {"vocab.txt", "config.json", "tokenizer.json", "tokenizer_config.json"}
    cfg = load_config(from_scratch)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    assert cfg == BertConfig(vocab_size=512, num_hidden_layers=1, initializer_range=0.3, **sizes)
    assert load_config(trained("mlm")) == cfg
    vocabulary = (from_scratch / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(vocabulary) == 512
    saved = transformers.AutoTokenizer.from_pretrained(trained("mlm"))
    assert saved.convert_ids_to_tokens(range(512)) == vocabulary
    words = ["--train_file", str(DEMO / "mlm_train.txt"), "--output_dir", str(from_scratch)]
    assert "has a config.json already" in refuses("train/vocabulary.py", *words)


def test_a_masked_language_model_becomes_a_classifier(
    trained: Runs,
    words_of: Callable[..., list[str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "o"
    words = words_of("classification", folder)
    at = words.index("--config_name")
    words[at : at + 2] = ["--model_name_or_path", str(trained("mlm"))]
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call("train/classification.py", *words) == 0
    for drawn in ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight"):
        assert f"+ {drawn}  newly initialized" in caplog.text
    assert "- cls.predictions.bias  left out" in caplog.text
    # Six steps of at most 1e-3 from the language model's encoder.
    then, now = (load_file(f / "model.safetensors") for f in (trained("mlm"), folder))
    encoder = [name for name in now if name.startswith("bert.") and "pooler" not in name]
    assert len(encoder) == 5 + 16
    for name in encoder:
        np.testing.assert_allclose(now[name], then[name], rtol=0, atol=7e-3)
        assert not np.array_equal(now[name], then[name])
    # Another weighting than this run's is refused, and so is another task.
    weighting = read(folder / "options.json")["options"]["class_weights"]
    assert len(weighting) == 2
    message = refuses("train/classification.py", *words, "--class_weights", "negative=2")
    assert f"--class_weights: {weighting} -> ['negative=2']" in message
    assert "holds a run of the task classification" in refuses(
        "train/regression.py", *words_of("regression", folder)
    )
