"""--cache_dir: features that are kept are those that are made, to the bit."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.feature_files import load_features, save_features
from jaxbert.data.features import Features, Line
from jaxbert.errors import InputError
from jaxbert.model.config import load_config
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.runs.feature_cache import kept, key_of
from jaxbert.tasks.registry import TASKS, AnyTask
from jaxbert.tasks.task_commands import TASK_COMMANDS


def assert_equal(a: Features, b: Features) -> None:
    assert (a.notes, a.left_out) == (b.notes, b.left_out)
    for one, other in ((a.tokens, b.tokens), (a.rows, b.rows), (a.host, b.host)):
        assert list(one) == list(other)
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])
    for x, y in ((a.bounds, b.bounds), (a.example, b.example), (a.learnable, b.learnable)):
        assert (x is None) == (y is None)
        if x is not None and y is not None:
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
    assert a.fingerprint() == b.fingerprint()


@given(
    lengths=st.lists(st.integers(0, 5), max_size=6),
    learnable=st.booleans(),
    width=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_any_features_come_back(
    lengths: list[int],
    learnable: bool,
    width: int,
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = np.random.default_rng(seed)
    total, count = sum(lengths), len(lengths)
    features = Features(
        bounds=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        tokens={
            "input_ids": rng.integers(0, 9, total, np.int32),
            "context_mask": rng.random(total) < 0.5,
            "labels": rng.random((total, width)).astype(np.float32),
        },
        rows={"answer_starts": rng.integers(0, 9, (count, width), np.int32)},
        example=np.arange(count, dtype=np.int32),
        host={"offsets": rng.integers(0, 9, (total, 2), np.int32)} if seed % 2 else {},
        learnable=rng.random(count) < 0.5 if learnable else None,
        lines=(
            Line("{seed} of {mean:.1f} \u4e2d", mean=("seed", "total")),
            Line("{seed} {are} left out", "seed", left_out=True),
        ),
        sums={"seed": seed, "total": total},
    )
    folder = tmp_path_factory.mktemp("features") / "f"
    save_features([features], lambda x: x, folder)
    save_features([features], lambda x: x, folder)  # another process with the same
    assert_equal(load_features(folder), features)
    assert [path.name for path in folder.parent.iterdir()] == ["f"]


def made(name: str, folder: Path) -> tuple[AnyTask, Any, Any, Any]:
    """A task with the demo's examples, a tokenizer and a config."""
    cls = TASKS[name]
    task = cls(cls.settings_cls())
    files = TASK_COMMANDS[name].recipe["train_file"]
    assert isinstance(files, list)
    data = task.read([(path, task.load(path)) for path in files])
    task = task.fit_to(data.examples, None)
    cfg = load_config(folder)
    classes = tuple(data.classes or task.labels(data.examples)) if task.has_classes else ()
    cfg = dataclasses.replace(cfg, id2label=classes)
    cfg = dataclasses.replace(cfg, problem_type=task.problem_type(cfg))
    return task, data.examples, load_tokenizer(folder, vocab_size=cfg.vocab_size), cfg


@pytest.mark.parametrize("name", TASKS)
def test_every_task(name: str, tiniest_folder: Path, tmp_path: Path) -> None:
    task, examples, tokenizer, cfg = made(name, tiniest_folder)
    cache = str(tmp_path / "cache")

    def make() -> Iterator[Features]:
        yield task.encode(examples, tokenizer, cfg)

    first = kept(cache, task, examples, tokenizer, cfg, make, to_learn=False)
    second = kept(cache, task, examples, tokenizer, cfg, nothing, to_learn=False)
    for features in (first, second):
        assert_equal(features, next(make()))
        assert not features.tokens["input_ids"].flags.owndata  # a view of the memory map
        features.forget()
        assert_equal(features, next(make()))
    if features.learnable is not None:
        assert_equal(features.to_learn(), next(make()).to_learn())


def nothing() -> Iterator[Features]:
    pytest.fail("it was made again")


def test_the_key_is_of_all_that_decides(tiniest_folder: Path, tmp_path: Path) -> None:
    task, examples, tokenizer, cfg = made("mlm", tiniest_folder)
    words = tmp_path / "words.txt"
    words.write_text("one\n")

    def with_settings(**more: Any) -> AnyTask:
        return type(task)(dataclasses.replace(task.settings, **more))

    def key(task: AnyTask = task, examples: Any = examples, cfg: Any = cfg) -> str:
        return key_of(task, examples, tokenizer, cfg, to_learn=False)

    keys = [
        key(),
        key_of(task, examples, tokenizer, cfg, to_learn=True),
        key(examples=examples[:-1]),
        key(with_settings(max_seq_length=32)),
        key(with_settings(words=str(words))),
        key(cfg=dataclasses.replace(cfg, vocab_size=1000)),
        key(TASKS["regression"](TASKS["regression"].settings_cls()), ()),
    ]
    words.write_text("two\n")
    keys.append(key(with_settings(words=str(words))))
    tokenizer.backend_tokenizer.add_tokens(["other"])
    keys.append(key())
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["tokens-1", "host-0", "rows-0", "windows-1"])
@pytest.mark.parametrize("harm", ["flip", "cut", "delete", "about"])
def test_what_is_damaged_is_made_again(
    harm: str, name: str, tiniest_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task, examples, tokenizer, cfg = made("qa", tiniest_folder)

    def make() -> Iterator[Features]:
        yield task.encode(examples, tokenizer, cfg)

    cache = str(tmp_path / "cache")
    kept(cache, task, examples, tokenizer, cfg, make, to_learn=False)
    (folder,) = Path(cache).glob("qa-*")
    file = folder / ("about.json" if harm == "about" else f"{name}.npy")
    content = bytearray(file.read_bytes())
    if harm == "delete":
        file.unlink()
    elif harm == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING, "jaxbert"):
        again = kept(cache, task, examples, tokenizer, cfg, make, to_learn=False)
        assert_equal(again, next(make()))
    assert "it is made again" in caplog.text
    assert_equal(load_features(folder), next(make()))


@pytest.mark.skipif(os.geteuid() != 0, reason="a file in a folder's place serves all users")
def test_a_folder_that_cannot_be_written(tiniest_folder: Path, tmp_path: Path) -> None:
    task, examples, tokenizer, cfg = made("qa", tiniest_folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--cache_dir .*file: the features cannot be kept there"):
        kept(
            str(tmp_path / "file"),
            task,
            examples,
            tokenizer,
            cfg,
            lambda: iter([task.encode(examples, tokenizer, cfg)]),
            to_learn=False,
        )
