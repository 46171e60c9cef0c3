"""What --report_to writes, read back: TensorBoard's event files, W&B offline, MLflow's store."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxbert.callbacks.reports import check_reports, make_reports
from jaxbert.errors import InputError
from jaxbert.training.events import Evaluated, Event, Finished, Logged, Saved, Started


def events_of(folder: Path, first: int = 0) -> list[Event]:
    return [
        Started(first, 3),
        *(Logged(n, {"step": n, "loss": 1 / n, "grad_norm": None}) for n in range(first + 1, 4)),
        Saved(3, folder / "checkpoints"),
        Evaluated(3, {"f1": 80.5, "eval_loss": 0.25, "positive_label": "yes"}),
        Finished(3, {"f1": 80.5}, True),
    ]


def send(name: str, folder: Path, events: list[Event]) -> None:
    (writer,) = make_reports([name], folder)
    folder.mkdir(exist_ok=True)
    record = {"task": "qa", "options": {"learning_rate": 3e-5, "freeze": None}}
    (folder / "options.json").write_text(json.dumps(record))
    for event in events:
        writer(event)


def records(path: Path) -> Iterator[bytes]:
    """TensorFlow's record files: a length of 8 bytes, 4 of checksum, content, 4 of checksum."""
    raw = path.read_bytes()
    while raw:
        (length,) = struct.unpack("<Q", raw[:8])
        yield raw[12 : 12 + length]
        raw = raw[16 + length :]


def test_tensorboard_reads_the_values_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    from tensorboardX.proto.event_pb2 import Event as Proto

    send("tensorboard", tmp_path, events_of(tmp_path))
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = [Proto.FromString(record) for record in records(path)]
    points = {(e.step, v.tag): v.simple_value for e in found for v in e.summary.value}
    assert points == pytest.approx(
        {
            (1, "train/loss"): 1.0,
            (2, "train/loss"): 1 / 2,
            (3, "train/loss"): 1 / 3,
            (3, "eval/f1"): 80.5,
            (3, "eval/loss"): 0.25,
        }
    )


def test_a_resumed_run_hides_what_is_behind_its_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    from tensorboardX.proto.event_pb2 import Event as Proto

    send("tensorboard", tmp_path, events_of(tmp_path, first=2))
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = [Proto.FromString(record) for record in records(path)]
    assert [e.step for e in found if e.HasField("session_log")] == [3]


def test_mlflow_has_the_values_in_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    send("mlflow", tmp_path / "run", events_of(tmp_path))
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params == {"learning_rate": "3e-05"}
    assert run.data.metrics == pytest.approx(
        {"train/loss": 1 / 3, "eval/f1": 80.5, "eval/loss": 0.25}
    )
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert {m.step: m.value for m in losses} == pytest.approx({1: 1.0, 2: 1 / 2, 3: 1 / 3})


def test_names_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    check_reports(["none"])
    with pytest.raises(InputError, match="--report_to comet: there are tensorboard, wandb, mlflow"):
        check_reports(["comet"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"wandb is not installed; pip install 'jaxbert\[wandb\]'"):
        check_reports(["wandb"])
