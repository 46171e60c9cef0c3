"""Features are the same however the examples are divided, and whichever process encodes them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_feature_cache import assert_equal, made

from jaxbert.data.feature_parts import merged
from jaxbert.data.questions import Answer, QAExample
from jaxbert.data.stored_lines import LineExample
from jaxbert.errors import InputError
from jaxbert.io.fetched import scratch
from jaxbert.model.config import load_config
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import MLMOptions, QAOptions
from jaxbert.runs import encoding
from jaxbert.runs.encoding import encode_examples, encode_to_learn
from jaxbert.tasks.mlm import MLM
from jaxbert.tasks.qa import QA
from jaxbert.tasks.registry import TASKS

WORDS = ["the", "of", "and", "in", "to", "was", "is", "\u4e2d", "", "[SEP]", "\u2603"]


@pytest.fixture(scope="module")
def tokenizer(tiniest_folder: Path) -> Any:
    return load_tokenizer(tiniest_folder, vocab_size=load_config(tiniest_folder).vocab_size)


def in_parts(task: Any, examples: Any, tokenizer: Any, cfg: Any, cuts: list[int]) -> Any:
    places = sorted({min(c, len(examples)) for c in cuts} | {0, len(examples)})
    parts = [task.encode_part(examples[a:b], tokenizer, cfg) for a, b in itertools.pairwise(places)]
    return task.finish(merged(task.join_parts(parts, examples, tokenizer)))


@pytest.mark.parametrize("name", TASKS)
def test_every_task_in_parts_in_files_and_by_processes(
    name: str, tiniest_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, examples, tokenizer, cfg = made(name, tiniest_folder)
    whole = task.encode(examples, tokenizer, cfg)
    for cuts in ([1], [7, 8, 30], list(range(0, len(examples), 5))):
        assert_equal(in_parts(task, examples, tokenizer, cfg, cuts), whole)
    in_memory = encode_examples(task, examples, tokenizer, cfg)
    monkeypatch.setattr(encoding, "_EXAMPLES", 3)
    monkeypatch.setattr(encoding, "_IN_MEMORY", 100)
    in_files = encode_examples(task, examples, tokenizer, cfg)
    assert_equal(in_files, in_memory)
    assert in_files.maps
    assert not in_memory.maps
    assert not list(scratch().glob("features-*"))  # removed, and still read
    in_files.forget()
    assert_equal(in_files, in_memory)
    learned = encode_to_learn(task, examples, tokenizer, cfg, "x")
    assert_equal(learned, in_memory.to_learn())


@given(
    lines=st.lists(st.lists(st.sampled_from(WORDS), max_size=9), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    line_by_line=st.booleans(),
    length=st.integers(3, 9),
)
def test_lines_in_any_parts(
    lines: list[list[str]], cuts: list[int], line_by_line: bool, length: int, tokenizer: Any
) -> None:
    task = MLM(MLMOptions(max_seq_length=length, line_by_line=line_by_line, words="characters"))
    examples = [LineExample(f"line {n}", " ".join(words)) for n, words in enumerate(lines)]

    def of(parts: list[int]) -> Any:
        try:
            return in_parts(task, examples, tokenizer, None, parts)
        except InputError as error:
            return str(error)

    whole, divided = of([]), of(cuts)
    if isinstance(whole, str):
        assert divided == whole == f"line 0: no token in {len(lines)} lines"
    else:
        assert_equal(divided, whole)


@given(
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 6), max_size=3),
    length=st.integers(9, 20),
)
def test_questions_with_any_number_of_answers_in_any_parts(
    counts: list[int], cuts: list[int], length: int, tokenizer: Any
) -> None:
    context = "the of and in to was is the of and"
    starts = [0, 4, 7, 11]
    examples = [
        QAExample(
            str(n),
            "who",
            context,
            tuple(Answer(context[s : s + 2], s) for s in starts[:count])
            or ((Answer("absent", None),) if n % 2 else ()),
        )
        for n, count in enumerate(counts)
    ]
    task = QA(QAOptions(max_seq_length=length, doc_stride=2))
    whole = in_parts(task, examples, tokenizer, None, [])
    assert ("answer_starts" in whole.rows) == (max(counts) > 1)
    assert_equal(in_parts(task, examples, tokenizer, None, cuts), whole)


@pytest.mark.integration
def test_processes_encode_the_same(
    tiniest_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_EXAMPLES", 5)
    for name in ("qa", "mlm"):
        task, examples, tokenizer, cfg = made(name, tiniest_folder)
        alone = encode_examples(task, examples, tokenizer, cfg)
        assert_equal(encode_examples(task, examples, tokenizer, cfg, workers=2), alone)
    # A label of no class of the model is an error of the part, told as it is by this process.
    task, examples, tokenizer, cfg = made("classification", tiniest_folder)
    cfg = dataclasses.replace(cfg, id2label=("other", "classes"))
    for workers in (None, 2):
        with pytest.raises(
            InputError, match=r": label '.*' is none of the model's: other, classes"
        ):
            encode_examples(task, examples, tokenizer, cfg, workers=workers)


def test_a_process_that_ends_is_one_line(tiniest_folder: Path) -> None:
    task, examples, tokenizer, cfg = made("qa", tiniest_folder)
    pool = encoding._Processes(1, task, tokenizer, cfg)
    with contextlib.closing(pool):
        pool._pool.submit(os._exit, 3)
        with pytest.raises(InputError, match="--preprocessing_num_workers 1: a process ended"):
            list(pool.encode([examples[:2]] * 9))


def test_no_room_for_the_files_is_one_line(
    tiniest_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    task, examples, tokenizer, cfg = made("qa", tiniest_folder)
    monkeypatch.setattr(encoding, "_IN_MEMORY", 0)
    monkeypatch.setattr(encoding, "spilled", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); give --"):
        encode_examples(task, examples, tokenizer, cfg)
    assert not list(scratch().glob("features-*"))


def test_the_share_of_unknown_tokens_is_of_all_parts(
    tokenizer: Any, tiniest_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task, _, _, cfg = made("mlm", tiniest_folder)
    lines = [LineExample("a", "the of and"), LineExample("b", "\u2603 \u2603 \u2603 \u2603 \u2603")]
    with caplog.at_level(logging.INFO, "jaxbert"):
        features = encode_examples(task, lines, tokenizer, cfg)
    share = np.mean(features.tokens["input_ids"] == tokenizer.unk_token_id)
    assert f"{100 * share:.0f} % of the tokens are [UNK]" in caplog.text
