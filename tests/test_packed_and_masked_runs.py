"""Runs of other tasks than question answering: packed ones resumed, masks on other devices.

Most run in this process, on its eight devices. Compilations would be most of the time: so they are
quick ones, and kept for this file, since many runs compile the same.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import (
    call,
    copy_before_its_end,
    passed,
    read,
    refuses,
    script,
    steps_of,
    weights,
)
from task_runs import (
    LENGTH,
    STEPS,
    command_line,
    write_rows,
    write_vocabulary,
)

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


# --- resumed, and the same masks ---------------------------------------------------------------


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
