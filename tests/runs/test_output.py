"""Which folder a run may write in, go on in or take options from."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from jaxbert.errors import InputError
from jaxbert.options.settings import QAOptions, QATrainOptions
from jaxbert.runs.folder import (
    check_output,
    digests_of_model,
    lock_of,
    read_calibration,
    remove_run,
    saved_options,
    take,
    write_record,
)


def options_for(folder: Path, **changed: Any) -> QATrainOptions:
    return QATrainOptions(output_dir=str(folder), **changed)


def record(folder: Path, job: str | None = None) -> QATrainOptions:
    """A run in the folder, with a checkpoint."""
    (folder / "checkpoints" / "3").mkdir(parents=True, exist_ok=True)
    options = options_for(folder)
    write_record(folder, "qa", options, 8, {}, "", job)
    return options


def test_what_a_run_left_that_died_before_its_first_checkpoint_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert check_output(tmp_path, "qa", options_for(tmp_path)) is None
    (tmp_path / "checkpoints" / "3").mkdir()
    with pytest.raises(InputError, match="there is a checkpoints, but no options"):
        check_output(tmp_path, "qa", options_for(tmp_path))


def test_the_record_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path)
    (tmp_path / "train_log.jsonl").write_text("{}\n")
    (tmp_path / "mine.txt").write_text("")
    unlink, removed = Path.unlink, []

    def noted(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            removed.append(path.name)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    remove_run(tmp_path)
    assert removed == ["train_log.jsonl", "options.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_job_that_is_started_again_does_not_overwrite_itself(tmp_path: Path) -> None:
    record(tmp_path, "job-1")
    options = options_for(tmp_path, overwrite_output_dir=True)
    found = check_output(tmp_path, "qa", options, job="job-1")
    assert found is not None
    assert found["job"] == "job-1"
    assert check_output(tmp_path, "qa", options, job="job-2") is None
    assert check_output(tmp_path, "qa", options) is None


def test_a_damaged_record_may_be_overwritten(tmp_path: Path) -> None:
    record(tmp_path)
    text = (tmp_path / "options.json").read_text()
    (tmp_path / "options.json").write_text(text[:40])
    with pytest.raises(InputError, match="is it a run of jaxbert"):
        check_output(tmp_path, "qa", options_for(tmp_path))
    options = options_for(tmp_path, overwrite_output_dir=True)
    assert check_output(tmp_path, "qa", options) is None


def test_a_source_under_another_name_is_not_overwritten(tmp_path: Path) -> None:
    model = tmp_path / "model"
    record(model)
    (tmp_path / "link").symlink_to(model)
    (tmp_path / "x").mkdir()
    for other in (tmp_path / "link", tmp_path / "x" / ".." / "model"):
        given = options_for(other, model_name_or_path=str(model), overwrite_output_dir=True)
        with pytest.raises(InputError, match="is the --model_name_or_path too"):
            check_output(other, "qa", given)
        with pytest.raises(InputError, match="is the teacher too"):
            check_output(other, "qa", options_for(other), teacher=str(model))


def test_a_run_that_was_there_meanwhile_is_not_gone_on_with_unseen(tmp_path: Path) -> None:
    options = options_for(tmp_path)
    found = check_output(tmp_path, "qa", options)
    record(tmp_path)  # by another run, which has ended
    for seen in (found, {"task": "qa"}):
        lock = lock_of(tmp_path)
        with pytest.raises(InputError, match="written there since"):
            take(lock, tmp_path, seen, options)
        lock.release()
    lock = lock_of(tmp_path)
    take(lock, tmp_path, check_output(tmp_path, "qa", options), options)
    lock.release()
    take(lock, tmp_path, None, dataclasses.replace(options, overwrite_output_dir=True))
    lock.release()


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("max_seq_length", "384", "a whole number from 1"),
        ("max_seq_length", True, "a whole number from 1"),
        ("max_seq_length", [384], "a whole number from 1"),
        ("max_seq_length", None, "a whole number from 1"),
        ("max_seq_length", 0, "from 1"),
        ("stride_mode", "sideways", "one of overlap, step"),
        ("metric", 3, "one of auto, squad"),
        ("version_2_with_negative", "yes", "True or False"),
    ],
)
def test_options_of_another_type_are_refused(
    tmp_path: Path, name: str, value: Any, takes: str
) -> None:
    record(tmp_path)
    path = tmp_path / "options.json"
    whole = json.loads(path.read_text())
    assert saved_options(tmp_path, QAOptions) == whole["options"]
    whole["options"][name] = value
    path.write_text(json.dumps(whole))
    with pytest.raises(
        InputError, match=f"options.json: --{name} {re.escape(repr(value))}: it must be {takes}"
    ):
        saved_options(tmp_path, QAOptions)


def test_no_rows_a_step_are_no_record(tmp_path: Path) -> None:
    write_record(tmp_path, "qa", options_for(tmp_path), 0, {}, "")
    with pytest.raises(InputError, match="not the record of a run"):
        saved_options(tmp_path, QAOptions)


def test_a_calibration_is_used_with_its_model_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"one")
    fitted = {"null_score_diff_threshold": 1.5, "score_temperature": 2}
    fitted["version_2_with_negative"] = True
    record = fitted | {"model": digests_of_model(tmp_path), "fitted_to": ["a"]}
    (tmp_path / "calibration.json").write_text(json.dumps(record))
    assert read_calibration(tmp_path) == (fitted, {"a"})
    assert saved_options(tmp_path, QAOptions) == fitted
    assert not caplog.text
    model.write_bytes(b"two")
    assert read_calibration(tmp_path) == ({}, set())
    assert saved_options(tmp_path, QAOptions) == {}
    assert "calibration.json is of another model" in caplog.text
