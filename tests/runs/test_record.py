"""options.json: its form, which never changes for the same run, and what other versions wrote."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from jaxbert.options.task_settings import ClassificationTrainOptions, QATrainOptions
from jaxbert.runs.record import Request, RunRecord
from jaxbert.runtime import host

BEGUN = Path(__file__).parent / "begun_run" / "run"


@dataclasses.dataclass(frozen=True)
class Options:
    """In the place of a task's."""

    train_file: tuple[str, ...] | None = ("字.json",)
    learning_rate: float = 5e-05
    strict: bool = False
    freeze: list[str] | None = None


# As the first version with this record wrote it.
WRITTEN = """{
  "task": "qa",
  "options": {
    "train_file": [
      "字.json"
    ],
    "learning_rate": 5e-05,
    "strict": false,
    "freeze": null
  },
  "rows_per_step": 8,
  "row_length": 128,
  "data": {
    "train": "12ab",
    "model": "34cd"
  },
  "loss": "def loss():\\n    return \\"x\\"\\n",
  "job": null,
  "versions": {
    "jaxbert": "1.0",
    "jax": "1.0",
    "jaxlib": "1.0",
    "flax": "1.0",
    "optax": "1.0",
    "orbax-checkpoint": "1.0",
    "tokenizers": "1.0",
    "numpy": "1.0",
    "ml_dtypes": "1.0"
  },
  "machine": {
    "platform": "cpu",
    "devices": 1
  }
}
"""


def test_the_form_of_the_file(tmp_path: Path) -> None:
    record = RunRecord.of("qa", Options(), loss='def loss():\n    return "x"\n')
    assert record.versions == {name: importlib.metadata.version(name) for name in record.versions}
    assert record.machine == host.describe()
    record = dataclasses.replace(
        record,
        rows_per_step=8,
        row_length=128,
        data={"train": "12ab", "model": "34cd"},
        versions=dict.fromkeys(record.versions, "1.0"),  # in their order
        machine={"platform": "cpu", "devices": 1},
    )
    record.write(tmp_path / "run")
    assert (tmp_path / "run" / "options.json").read_text(encoding="utf-8") == WRITTEN
    again = RunRecord.read(tmp_path / "run")
    assert again is not None
    assert again.to_json() == json.loads(WRITTEN)


def test_a_record_of_a_former_version_is_written_as_it_was(tmp_path: Path) -> None:
    record = RunRecord.read(BEGUN)
    assert record is not None
    record.write(tmp_path)
    assert (tmp_path / "options.json").read_bytes() == (BEGUN / "options.json").read_bytes()


def test_what_a_comparison_asks_for_is_kept(tmp_path: Path) -> None:
    request = Request({"learning_rate": 1e-5, "freeze": ["bert"]}, {"a.json": "12ab"})
    record = RunRecord.of("qa", QATrainOptions(), rows_per_step=1, request=request)
    for void in (False, True):
        dataclasses.replace(record, void=void).write(tmp_path)
        again = RunRecord.read(tmp_path)
        assert again is not None
        assert (again.request, again.void) == (request, void)


def test_a_record_that_lacks_what_came_later_is_read(tmp_path: Path) -> None:
    raw = {"task": "qa", "options": {"seed": 3}, "rows_per_step": 8, "data": {"train": "1"}}
    (tmp_path / "options.json").write_text(json.dumps(raw))
    record = RunRecord.read(tmp_path)
    assert record is not None
    assert (record.loss, record.job, record.row_length, record.request) == (None,) * 4
    now = RunRecord.of("qa", QATrainOptions(seed=3), loss="text", rows_per_step=8)
    found = record.differences(now)
    assert (list(found.options), found.data, found.loss, list(found.environment)) == (
        [],
        frozenset(),  # none is known of `now`
        False,
        [],
    )


@pytest.mark.parametrize(
    ("task", "before", "now"),
    [("classification", "stars", ["stars"]), ("classification", None, None), ("qa", "x", "x")],
)
def test_one_column_of_labels_was_a_text(tmp_path: Path, task: str, before: Any, now: Any) -> None:
    options = {"label_column_name": before}
    raw = {"task": task, "options": options, "rows_per_step": 8, "data": {}}
    (tmp_path / "options.json").write_text(json.dumps(raw))
    record = RunRecord.read(tmp_path)
    assert record is not None
    assert record.options == {"label_column_name": now}
    if task == "classification":
        options_now = ClassificationTrainOptions(label_column_name=now)
        after = RunRecord.of(task, options_now)
        assert not record.differences(after).options


def test_the_differences_of_two_runs() -> None:
    options = QATrainOptions(learning_rate=1e-5)
    before = RunRecord.of("qa", options, loss="a", rows_per_step=8)
    machine = dict(before.machine) | {"cores": 96, "devices": before.machine["devices"]}
    before = dataclasses.replace(
        before,
        data={"train": "1", "model": "2", "validation": "3"},
        versions=dict(before.versions) | {"numpy": "1.0"},
        machine=machine,
    )
    changed = dataclasses.replace(options, learning_rate=2e-5, output_dir="elsewhere")
    now = RunRecord.of("qa", changed, loss="b", rows_per_step=8)
    now = dataclasses.replace(now, data={"train": "1", "model": "4", "teacher": "5"})
    found = before.differences(now)
    assert [str(o) for o in found.options] == ["--learning_rate: 1e-05 -> 2e-05"]
    assert found.data == {"model", "validation", "teacher"}
    assert found.loss
    assert [c.name for c in found.environment] == ["numpy", "cores"]
    assert str(found.environment[1]) == f"cores 96, now {host.cores()}"
    allowed = dataclasses.replace(changed, allow_changed_options=["learning_rate"])
    assert not before.differences(dataclasses.replace(now, settings=allowed)).options
