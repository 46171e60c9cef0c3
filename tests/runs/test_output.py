"""Which folder a run may write in, resume or take options from."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxbert.errors import InputError
from jaxbert.loaded.model import Compute, LoadedModel
from jaxbert.model.config import BertConfig
from jaxbert.options.fields import settings_of
from jaxbert.options.task_settings import QAOptions, QATrainOptions
from jaxbert.runs.folder import RunFolder, remove_run
from jaxbert.runs.place import LocalPlace
from jaxbert.runs.record import RunRecord
from jaxbert.runs.saved import digests_of_model, read_calibration, saved_options
from jaxbert.runtime import processes
from jaxbert.training.loop import Progress
from jaxbert.training.step import TrainState


def options_for(folder: Path, **changed: Any) -> QATrainOptions:
    return QATrainOptions(output_dir=str(folder), **changed)


def record(folder: Path, job: str | None = None) -> QATrainOptions:
    """A run in the folder, with a checkpoint."""
    (folder / "checkpoints" / "3").mkdir(parents=True, exist_ok=True)
    options = options_for(folder)
    RunRecord.of("qa", options, rows_per_step=8, job=job).write(folder)
    return options


def opened(options: QATrainOptions, *, writes: bool = True) -> RunFolder:
    folder = Path(options.output_dir or "")
    return RunFolder.open(folder, writes=writes, overwrite=options.overwrite_output_dir)


def found(
    options: QATrainOptions, *, job: str | None = None, teacher: str | None = None
) -> RunRecord | None:
    """The record of the run that is resumed with these options."""
    now = RunRecord.of("qa", options, rows_per_step=8, job=job)
    with opened(options) as run:
        return run.find(now, teachers=[teacher])


def test_what_a_run_left_that_died_before_its_first_checkpoint_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert found(options_for(tmp_path)) is None
    (tmp_path / "checkpoints" / "3").mkdir()
    with pytest.raises(InputError, match="there is a checkpoints, but no options"):
        found(options_for(tmp_path))


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
    remove_run(LocalPlace(tmp_path))
    assert removed == ["train_log.jsonl", "options.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_job_that_is_started_again_does_not_overwrite_itself(tmp_path: Path) -> None:
    record(tmp_path, "job-1")
    options = options_for(tmp_path, overwrite_output_dir=True)
    previous = found(options, job="job-1")
    assert previous is not None
    assert previous.job == "job-1"
    assert found(options, job="job-2") is None
    assert found(options) is None


def test_a_damaged_record_may_be_overwritten(tmp_path: Path) -> None:
    record(tmp_path)
    text = (tmp_path / "options.json").read_text()
    (tmp_path / "options.json").write_text(text[:40])
    with pytest.raises(InputError, match="is it a run of jaxbert"):
        found(options_for(tmp_path))
    assert found(options_for(tmp_path, overwrite_output_dir=True)) is None


def test_a_source_under_another_name_is_not_overwritten(tmp_path: Path) -> None:
    model = tmp_path / "model"
    record(model)
    (tmp_path / "link").symlink_to(model)
    (tmp_path / "x").mkdir()
    for other in (tmp_path / "link", tmp_path / "x" / ".." / "model"):
        given = options_for(other, model_name_or_path=str(model), overwrite_output_dir=True)
        with pytest.raises(InputError, match="is the --model_name_or_path too"):
            found(given)
        with pytest.raises(InputError, match="is the teacher too"):
            found(options_for(other), teacher=str(model))


def test_a_run_that_was_there_meanwhile_is_not_resumed_unseen(tmp_path: Path) -> None:
    options = options_for(tmp_path)
    now = RunRecord.of("qa", options, rows_per_step=8)
    with opened(options) as run:
        assert run.find(now) is None
        record(tmp_path)  # by another run, which has ended
        before = (tmp_path / "options.json").read_text()
        with pytest.raises(InputError, match="written there since"):
            run.begin(dataclasses.replace(now, job="mine"))
        assert (tmp_path / "options.json").read_text() == before
    with opened(options) as run:
        assert run.find(now) is not None
        run.begin(now)
    with opened(dataclasses.replace(options, overwrite_output_dir=True)) as run:
        assert run.find(now) is None
        record(tmp_path)
        run.begin(dataclasses.replace(now, job="mine"))
    assert not (tmp_path / "checkpoints" / "3").exists()
    assert json.loads((tmp_path / "options.json").read_text())["job"] == "mine"


def test_a_folder_is_locked_from_the_moment_that_a_run_is_found_in_it(tmp_path: Path) -> None:
    options = record(tmp_path)
    now = RunRecord.of("qa", options, rows_per_step=8)
    with opened(options) as one, opened(options) as other:
        assert one.find(now) is not None
        with pytest.raises(InputError, match="another run is writing there"):
            other.find(now)
    assert found(options) is not None


def test_a_new_run_writes_nothing_until_it_begins_and_its_record_first(tmp_path: Path) -> None:
    options = options_for(tmp_path / "run")
    now = RunRecord.of("qa", options)
    with opened(options) as run:
        assert run.find(now) is None
        run.check(now, user_loss=False)
        assert not (tmp_path / "run").exists()
        run.begin(dataclasses.replace(now, rows_per_step=8))
        assert RunRecord.read(tmp_path / "run") == dataclasses.replace(now, rows_per_step=8)
        state = TrainState(np.int32(0), {"w": np.zeros(2)}, ())
        assert run.restore(state) == (None, state, Progress())
    assert sorted(p.name for p in (tmp_path / "run").iterdir() if p.name != ".lock") == [
        "checkpoints",
        "options.json",
    ]


def test_a_process_that_is_not_the_first_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets what the first one found."""
    options = record(tmp_path)
    now = RunRecord.of("qa", options, rows_per_step=9)
    before = RunRecord.read(tmp_path)
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    said: list[Any] = [None, json.loads(json.dumps(before.to_json())), None, None]
    said.append((3, {"waited": 2}))
    monkeypatch.setattr(processes, "from_first", lambda make: said.pop(0))
    state = TrainState(np.int32(0), {"w": np.zeros(2)}, ())
    with opened(options, writes=False) as run:
        assert run.find(now) == before
        run.check(now, user_loss=False)
        run.begin(now)
        assert run.checkpoints is None
        assert run.restore(state) == (3, state, Progress(waited=2))
        run.update_record(now)
        with run.storage(0) as storage:
            storage.save(state, Progress())
            storage.log({"step": 1})
            storage.wait()
        run.close()
        run.save_model(LoadedModel(BertConfig(), {}, None, "qa", Compute()), {})
        run.write_results({"f1": 1.0}, {"predictions.json": []})
    assert not said
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == files


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
    names = {setting.name for setting in settings_of(QAOptions)}
    kept = {name: value for name, value in whole["options"].items() if name in names}
    assert saved_options(tmp_path, QAOptions) == kept
    whole["options"][name] = value
    path.write_text(json.dumps(whole))
    with pytest.raises(
        InputError, match=f"options.json: --{name} {re.escape(repr(value))}: it must be {takes}"
    ):
        saved_options(tmp_path, QAOptions)


def test_no_rows_a_step_are_no_record(tmp_path: Path) -> None:
    RunRecord.of("qa", options_for(tmp_path), rows_per_step=0).write(tmp_path)
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
    (tmp_path / "calibration.json").write_text(json.dumps(record | {"score_temperature": 0}))
    with pytest.raises(InputError, match=r"calibration.json: --score_temperature 0.0: it must be"):
        saved_options(tmp_path, QAOptions)
    model.write_bytes(b"two")
    assert read_calibration(tmp_path) == ({}, set())
    assert saved_options(tmp_path, QAOptions) == {}
    assert "calibration.json belongs to another model" in caplog.text
