"""A run begun from Python is resumed by the command, with the same rows in a file, and back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from python_rows import SMALL_RUN, rows_of

import jaxbert
from jaxbert.cli.commands import train_command
from jaxbert.errors import InputError
from jaxbert.training.events import Event, Logged

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]


def interrupt(event: Event) -> None:
    if isinstance(event, Logged) and event.step == 2:
        os.kill(os.getpid(), signal.SIGINT)


def first_logit(outputs: Any, batch: Any) -> Any:
    return outputs["logits"][:, 0] * (batch["labels"] + 1)


def test_rows_and_a_file_of_them_resume_each_other(tiniest_folder: Path, tmp_path: Path) -> None:
    rows = rows_of("classification", "train")
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = {**SMALL_RUN, "model": tiniest_folder}
    whole = jaxbert.train("classification", **run, train_data=rows, output_dir=tmp_path / "whole")
    weights = (whole.output_dir / "model.safetensors").read_bytes()

    folder = tmp_path / "begun_in_python"
    call: dict[str, Any] = {**run, "output_dir": folder, "callbacks": [interrupt]}
    assert not jaxbert.train("classification", **call, train_data=rows).done
    words = [str(folder / "options.json"), "--train_file", str(file)]
    assert train_command("classification", words) == 0
    assert (folder / "model.safetensors").read_bytes() == weights

    folder = tmp_path / "begun_with_a_file"
    call = {**run, "output_dir": folder}
    assert not jaxbert.train("classification", **call, train_data=file, callbacks=[interrupt]).done
    assert jaxbert.train("classification", **call, train_data=rows).done
    assert (folder / "model.safetensors").read_bytes() == weights


def test_a_function_as_loss_resumes_from_python_alone(tiniest_folder: Path, tmp_path: Path) -> None:
    rows = rows_of("classification", "train")
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    call = {**SMALL_RUN, "model": tiniest_folder, "output_dir": tmp_path / "run"}
    part = jaxbert.train(
        "classification", **call, train_data=rows, loss=first_logit, callbacks=[interrupt]
    )
    assert not part.done
    words = [str(tmp_path / "run" / "options.json"), "--train_file", str(file)]
    message = "--loss function first_logit: a function of a Python program; resume the run there"
    with pytest.raises(InputError, match=message):
        train_command("classification", words)
    message = r"functions of a Python program \(loss first_logit\); repeat it from Python"
    with pytest.raises(InputError, match=message):
        train_command("classification", [*words, "--output_dir", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()
