"""Predictions are the same however they are divided, and wherever they are kept."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peak import peak

from jaxbert.data import record_blocks
from jaxbert.data.features import Features
from jaxbert.data.questions import QAExample
from jaxbert.data.record_blocks import Blocks
from jaxbert.decoding.answers import Candidate, Prediction
from jaxbert.errors import InputError
from jaxbert.io.fetched import scratch
from jaxbert.io.files import JsonArray, write_json
from jaxbert.model.config import BertConfig
from jaxbert.options.task_settings import MLMOptions, QAOptions
from jaxbert.runs import collected_predictions as module
from jaxbert.runs.collected_predictions import collected
from jaxbert.tasks import mlm, task
from jaxbert.tasks.classification import Classified, MultiClassified
from jaxbert.tasks.mlm import MLM, MaskedWindow
from jaxbert.tasks.multiple_choice import Chosen
from jaxbert.tasks.qa import QA
from jaxbert.tasks.shown_masks import MaskedWord, ShownWindow
from jaxbert.tasks.tagging import Tagged
from jaxbert.training.window_arrays import WindowArrays

WORDS = [f"w{n}" for n in range(12)]
CONTEXT = " ".join(WORDS)
STARTS = np.cumsum([0, *(len(w) + 1 for w in WORDS[:-1])])
OFFSETS = np.stack([STARTS, STARTS + [len(w) for w in WORDS]], 1).astype(np.int32)


def windows_of(example: np.ndarray) -> Features:
    """Features whose windows have all words each."""
    return Features(
        bounds=np.arange(len(example) + 1) * len(WORDS),
        tokens={"input_ids": np.tile(np.arange(12, dtype=np.int32), len(example))},
        rows={},
        example=example.astype(np.int32),
        host={"offsets": np.tile(OFFSETS, (len(example), 1))},
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_questions_whose_windows_lie_in_several_parts(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "DECODED", size)
    rng = np.random.default_rng(size)
    counts = [3, 0, 1, 1, 5, 2, 0, 0, 1, 4, 0]  # some have no window, the last one among them
    features = windows_of(np.repeat(np.arange(len(counts)), counts))
    start = rng.integers(0, 10, (len(features), 4)).astype(np.int32)
    arrays = WindowArrays(len(features))
    arrays.put(
        np.arange(len(features)),
        {
            "start": start,
            "end": start + rng.integers(0, 2, start.shape).astype(np.int32),
            "score": rng.normal(size=start.shape).astype(np.float32),
            "null_score": rng.normal(size=len(features)).astype(np.float32),
        },
    )
    examples = [QAExample(str(n), "?", CONTEXT) for n in range(len(counts))]
    qa = QA(QAOptions(metric="squad", version_2_with_negative=True))
    whole = qa.decode(examples, features, arrays, BertConfig())
    parts = [*qa.decode_parts(examples, features, arrays, BertConfig())]
    assert [p for part in parts for p in part] == whole
    assert len(parts) > 1 or size > len(features)
    assert [*qa.decode_parts([], windows_of(np.zeros(0)), WindowArrays(0), BertConfig())] == []


@pytest.mark.parametrize("size", [1, 7, 2000])
def test_masked_windows_that_are_shown_are_spread_over_all(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlm, "DECODED", size)
    windows, rng = 1200, np.random.default_rng(0)
    features = windows_of(np.zeros(windows))
    arrays = WindowArrays(windows)
    sums = {n: rng.random(windows).astype(np.float32) for n in ("loss", "right", "count")}
    words = {n: rng.integers(0, 12, (windows, 4)) for n in ("place", "token", "seen")}
    best = {"guesses": rng.integers(0, 12, (windows, 4, 5)), "scores": rng.random((windows, 4, 5))}
    arrays.put(np.arange(windows), {**sums, **words, **best, "score": rng.random((windows, 4))})
    lm = MLM(MLMOptions())
    whole = lm.decode([], features, arrays, BertConfig())
    found = [p for part in lm.decode_parts([], features, arrays, BertConfig()) for p in part]
    assert found == whole
    shown = [n for n, p in enumerate(whole) if p.shown is not None]
    assert shown == np.linspace(0, windows - 1, 500).astype(int).tolist()


EACH: list[Any] = [
    Prediction((Candidate("é", 3, 4, -1.25, 0.1), Candidate("", 0, 0, 2.0, 1e-300)), 1e6,
               Candidate("", 0, 0, 2.0, 1e-300)),
    Prediction((Candidate("a", 0, 1, float("inf"), 1.0),), None,
               Candidate("a", 0, 1, float("inf"), 1.0)),
    Classified("yes", {"no": 0.25, "yes": 0.75}),
    MultiClassified(("a", "b"), {"a": 0.75, "b": 0.5, "c": 0.1}),
    MultiClassified((), {"a": 0.1}),
    Chosen(1, (0.25, 0.75)),
    Tagged(["O", "B-PER"], [0.5, 0.75]),
    MaskedWindow(1.5, 0.0, 2.0),
    MaskedWindow(1.5, 1.0, 2.0, ShownWindow(7, [1, 2], (MaskedWord(1, 2, 3, [4], [0.5], 0.1),))),
    -0.0,
    7,
]  # fmt: skip


@pytest.mark.parametrize("prediction", EACH, ids=repr)
@pytest.mark.parametrize("most", [0, 3, 10, 11])
def test_predictions_of_every_task_come_back(
    prediction: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IN_MEMORY", most)
    monkeypatch.setattr(record_blocks, "_BLOCK", 4)
    kept = collected(iter([[prediction] * 3, [], [prediction] * 5, [prediction] * 3]))
    assert isinstance(kept, Blocks) == (most < 11)
    assert len(kept) == 11
    assert [*kept] == [prediction] * 11 == [*kept]
    assert [type(p) for p in kept] == [type(prediction)] * 11
    assert repr(kept[10]) == repr(prediction) == repr(kept[-1])
    assert not [*scratch().glob("predictions-*")]


def test_without_room_it_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_IN_MEMORY", 0)
    monkeypatch.setattr(module, "write_blocks", full)
    with pytest.raises(InputError, match=r"predictions cannot be written \(No space .*set TMPDIR"):
        collected([[1.0]])
    assert not [*scratch().glob("predictions-*")]


def test_memory_does_not_grow_with_the_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From their making to their file."""
    monkeypatch.setattr(module, "_IN_MEMORY", 1000)
    nbest = 20

    def parts(count: int) -> Iterator[list[Prediction]]:
        for first in range(0, count, 1000):
            found = []
            for n in range(first, min(first + 1000, count)):
                of = [Candidate(f"{n} {k}", n, n + k, n / (k + 1), k / 7) for k in range(nbest)]
                found.append(Prediction(tuple(of), None, of[0]))
            yield found

    def most(count: int) -> int:
        kept = collected(parts(count))
        entries = ([c._asdict() for c in p.nbest] for p in kept)
        write_json(tmp_path / "nbest.json", JsonArray(entries))
        return peak()

    peak()
    few = most(3_000)
    assert most(15_000) - few < 15 << 20  # a list of the others takes 60 MB
    written = json.loads((tmp_path / "nbest.json").read_text())
    assert len(written) == 15_000
    assert written[-1][19] == {
        "text": "14999 19", "start": 14_999, "end": 15_018, "score": 14_999 / 20,
        "probability": 19 / 7,
    }  # fmt: skip
