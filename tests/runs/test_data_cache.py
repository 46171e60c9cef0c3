"""--cache_dir: examples that are kept are those that are read."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import DEMO

from jaxbert.data.kept_examples import KeptExamples
from jaxbert.data.row_columns import CellCollector, RowColumns
from jaxbert.data.rows import Data
from jaxbert.data.whole_folder import one_at_a_time
from jaxbert.errors import InputError
from jaxbert.options.source_settings import OwnColumns, Source
from jaxbert.options.task_settings import ClassificationTrainOptions
from jaxbert.runs.data_cache import kept_data
from jaxbert.runs.inputs import read_examples
from jaxbert.runs.record import fingerprint_of
from jaxbert.runs.train import train
from jaxbert.tasks.classification import Classification
from jaxbert.tasks.registry import TASKS, AnyTask
from jaxbert.tasks.task_commands import TASK_COMMANDS

SOURCE = Source(True, None, None, None, None, None)


def task_of(name: str, **settings: Any) -> AnyTask:
    cls = TASKS[name]
    return cls(dataclasses.replace(cls.settings_cls(), **settings))


def reading(task: AnyTask, file: str | Path, cache: Path | None, **more: Any) -> Data[Any]:
    source = dataclasses.replace(SOURCE, files=[str(file)], **more)
    data = read_examples(task, source, cache_dir=cache and str(cache))
    assert data is not None
    return data


def unread(*_: object) -> None:
    pytest.fail("it was read again")


@pytest.mark.parametrize("name", TASKS)
def test_every_task(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TASK_COMMANDS[name].recipe["train_file"]
    assert isinstance(files, list)
    task = task_of(name)
    without = reading(task, files[0], None)
    first = reading(task, files[0], tmp_path / "cache")
    monkeypatch.setattr(type(task), "read", unread)
    second = reading(task, files[0], tmp_path / "cache")
    for data in (first, second):
        assert isinstance(data.examples, KeptExamples)
        assert fingerprint_of(data.examples) == fingerprint_of(without.examples)
        whole = repr(tuple(without.examples))
        assert fingerprint_of(data.examples) == hashlib.sha256(whole.encode()).hexdigest()
        assert fingerprint_of(data.examples[:1]) == fingerprint_of(without.examples[:1])
        assert dataclasses.replace(data, examples=tuple(data.examples)) == dataclasses.replace(
            without, examples=tuple(without.examples)
        )
        assert (data.columns, data.notes, data.label_column) == (
            without.columns,
            without.notes,
            without.label_column,
        )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.tsv"
    rows = [f"text {n}\t{'yes' if n % 2 else 'no'}" for n in range(6)]
    path.write_text("\n".join(["sentence\tlabel", *rows, "\tyes", ""]))
    os.utime(path, (1e9, 1e9))
    return path


def test_what_was_odd_is_reported_each_time(
    table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = []
    for _ in range(3):
        caplog.clear()
        with caplog.at_level(logging.INFO, "jaxbert"):
            reading(task_of("classification"), table, tmp_path / "cache")
        lines.append([m for m in caplog.messages if str(tmp_path / "cache") not in m])
    assert lines[0] == lines[1] == lines[2]
    assert any("line 8" in line for line in lines[0])
    with pytest.raises(InputError, match=r"line 8: the text of column"):
        reading(task_of("classification", strict=True), table, tmp_path / "cache")


def test_a_file_that_changes_is_read_again(table: Path, tmp_path: Path) -> None:
    task, cache = task_of("classification"), tmp_path / "cache"
    assert reading(task, table, cache).examples[0].text == "text 0"
    stat = table.stat()
    table.write_text(table.read_text().replace("text 0", "text X"))
    assert stat.st_size == table.stat().st_size
    assert reading(task, table, cache).examples[0].text == "text X"
    table.unlink()
    with pytest.raises(InputError, match=r"rows\.tsv"):
        reading(task, table, cache)


def test_a_limit_takes_the_first(table: Path, tmp_path: Path) -> None:
    task, cache = task_of("classification"), tmp_path / "cache"
    for limit in (3, 6, 100):
        for _ in range(2):
            kept = reading(task, table, cache, limit=limit)
            assert tuple(kept.examples) == tuple(reading(task, table, None, limit=limit).examples)


def test_columns_of_the_users_own_are_read_with_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"sentence": "a", "label": "x", "w": 1}\n{"sentence": "b", "label": "y", "w": 2}'
    )
    source = dataclasses.replace(SOURCE, files=[str(path)])
    for _ in range(2):
        collector = CellCollector(OwnColumns(weight="w"))
        data = read_examples(
            task_of("classification"), source, collector=collector, cache_dir=str(tmp_path / "c")
        )
        assert data is not None
        columns = collector.columns([e.where for e in data.examples], None)
        assert columns != RowColumns()


@pytest.mark.parametrize("harm", ["about.json", "examples"])
def test_what_is_damaged_is_read_again(
    harm: str, table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task, cache = task_of("classification"), tmp_path / "cache"
    reading(task, table, cache)
    (file,) = cache.glob(f"classification-data-*/{harm}")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert len(reading(task, table, cache).examples) == 6
    assert "it is made again" in caplog.text
    assert file.read_bytes() == content or harm == "about.json"  # which has times


def test_a_name_that_is_no_text_is_read_each_time(table: Path, tmp_path: Path) -> None:
    path = table.rename(tmp_path / os.fsdecode(b"caf\xe9.tsv"))
    for _ in range(2):
        assert len(reading(task_of("classification"), path, tmp_path / "cache").examples) == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="a file in a folder's place serves all users")
def test_a_folder_that_cannot_be_written(table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--cache_dir .*file: the examples cannot be kept there"):
        reading(task_of("classification"), table, tmp_path / "file")


def test_one_of_several_processes_reads(table: Path, tmp_path: Path) -> None:
    """The others wait for it, and take what it has kept. Threads, as each has a lock of its own."""
    task, times, found = task_of("classification"), [], []
    source = dataclasses.replace(SOURCE, files=[str(table)])

    def read() -> Data[Any]:
        times.append(time.monotonic())
        time.sleep(0.2)
        return task.read([(str(table), task.load(str(table)))])

    def start() -> None:
        found.append(kept_data(str(tmp_path / "cache"), task, source, read))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 1
    assert len({tuple(data.examples) for data in found}) == 1


def test_a_folder_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("jaxbert.data.whole_folder.FileLock.acquire", refuse)
    with one_at_a_time(tmp_path / "folder"):
        pass


@pytest.mark.integration
def test_a_second_run_reads_nothing(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model(name: str, cache: str | None) -> bytes:
        options = ClassificationTrainOptions(
            model_name_or_path=str(tiniest_folder),
            train_file=[str(DEMO / "classification_train.tsv")],
            validation_file=[str(DEMO / "classification_dev.tsv")],
            output_dir=str(tmp_path / name),
            max_steps=2,
            cache_dir=cache,
        )
        train(Classification, options)
        return (tmp_path / name / "model.safetensors").read_bytes()

    without = model("without", None)
    assert model("first", str(tmp_path / "cache")) == without
    monkeypatch.setattr(Classification, "read", unread)
    monkeypatch.setattr(Classification, "encode_part", unread)
    assert model("second", str(tmp_path / "cache")) == without
