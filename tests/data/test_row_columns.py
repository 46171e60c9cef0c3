"""Columns of the user's own: every number in its place, in any batch, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st

from jaxbert.data.features import Features, with_view
from jaxbert.data.packing import PackedSampler
from jaxbert.data.row_columns import CellCollector, LocatedRow, RowColumns, watched
from jaxbert.data.sampling import BucketSampler, make_batch
from jaxbert.errors import InputError
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.source_settings import OwnColumns
from jaxbert.tasks.registry import TASKS


def columns_of(
    rows: list[dict[str, Any]], *extra: str, words: list[int] | None = None, **names: Any
) -> RowColumns:
    collector = CellCollector(OwnColumns(extra, **names))
    located = [LocatedRow(str(n), f"f: row {n}", row) for n, row in enumerate(rows)]
    collector.take("f", located)
    return collector.columns([row.key for row in located], words)


def features_of(lengths: np.ndarray) -> Features:
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    tokens = {n: np.ones(bounds[-1], np.int32) for n in ("input_ids", "token_type_ids")}
    return Features(bounds, tokens, {}, np.arange(len(lengths), dtype=np.int32))


@given(st.lists(st.integers(2, 12), min_size=1, max_size=30), st.integers(0, 99), st.booleans())
def test_each_number_stays_with_its_row(lengths: list[int], seed: int, packing: bool) -> None:
    """In the batches of an epoch, packed or not, each row is with its own numbers once, and what
    is padding has none and weighs nothing."""
    rng = np.random.default_rng(seed)
    rows = [
        {"score": float(np.float32(rng.normal())), "group": n, "vector": [n, n / 2], "w": n % 3}
        for n in range(1, len(lengths) + 1)
    ]
    found = columns_of(rows, "score", "group", "vector", weight="w")
    features = found.added_to(features_of(np.array(lengths)))
    sampler: Any = BucketSampler(features.lengths, 4, seed, (8, 12))
    if packing:
        sampler = PackedSampler(features.lengths, 4, seed, 16)
    seen = []
    for step in range(sampler.steps_per_epoch):
        windows, length = sampler.batch(step)
        batch = sampler.finish(make_batch(features, windows, length, sampler.size))
        for slot, row in enumerate(batch["row"].tolist()):
            wanted = rows[row] if row >= 0 else {"score": 0, "group": 0, "vector": [0, 0], "w": 0}
            for name in ("score", "group", "vector"):
                assert batch[name][slot].tolist() == wanted[name]
            assert batch["weight"][slot] == wanted["w"]
        seen += batch["row"][batch["row"] >= 0].tolist()
    assert sorted(seen) == list(range(len(rows)))
    assert (batch["score"].dtype, batch["group"].dtype) == (np.float32, np.int32)
    others = columns_of([{**row, "score": 9.0} for row in rows], "score", "group", "vector")
    assert others.added_to(features).fingerprint() != features.fingerprint()


def test_numbers_of_a_table_of_text_are_numbers() -> None:
    rows = [{"a": "1", "b": "2.5", "c": "[1, 2]"}, {"a": "-3", "b": "1", "c": "[3, 4.5]"}]
    found = columns_of(rows, "a", "b", "c").rows
    assert found["a"].tolist() == [1, -3]
    assert found["a"].dtype == np.int32
    assert found["b"].tolist() == [2.5, 1.0]
    assert found["c"].tolist() == [[1, 2], [3, 4.5]]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1, "much"], "f: row 1: column \"x\" (--extra_columns) is 'much', expected a finite num"),
        ([1, None], 'f: row 1: column "x" (--extra_columns) is empty, expected a finite number'),
        ([float("nan"), 1], 'f: row 0: column "x" (--extra_columns) is empty, expected a finite'),
        ([1, "inf"], "f: row 1: column \"x\" (--extra_columns) is 'inf', expected a finite number"),
        (
            [1, [2]],
            'row 1: column "x" (--extra_columns) is a list of numbers, and a number in',
        ),
        ([[1, 2], [2]], "has 1 numbers, and 2 in f: row 0; give lists of one length"),
        ([[1], [[2]]], "row 1: column \"x\" (--extra_columns) is '[2]', expected a finite number"),
        ([1, 1e39], 'row 1: column "x" (--extra_columns) is 1e+39, which no float32 can hold'),
        ([{"a": 1}, 2], "is \"{'a': 1}\", expected a finite number"),
    ],
)
def test_a_faulty_cell_is_refused_in_one_line(cells: list[Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        columns_of([{"x": cell} for cell in cells], "x")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1, -0.5], 'f: row 1: column "w" (--weight_column) is -0.5, expected 0 or more'),
        ([0, 0], 'f: row 0: column "w" (--weight_column) is 0 there and in all other rows'),
        ([[1], [2]], 'f: row 0: column "w" (--weight_column) is a list, expected a number'),
    ],
)
def test_a_weight_is_a_number_from_0_on(cells: list[Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        columns_of([{"w": cell} for cell in cells], weight="w")
    assert str(caught.value) == message


def test_names_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="--extra_columns input_ids: the batch has something else"):
        CellCollector(OwnColumns(["input_ids"]))
    with pytest.raises(InputError, match="names a column twice"):
        CellCollector(OwnColumns(["a", "a"]))
    with pytest.raises(InputError, match=r'f: no column "b" \(--extra_columns\); it has a'):
        columns_of([{"a": 1}], "b")
    with pytest.raises(InputError, match=r'row 0: column "v" \(--view_column\) holds no text'):
        columns_of([{"v": 1}], view="v")


def test_of_words_each_number_is_at_the_token_of_its_word(tiny_folder: Path) -> None:
    """Also where a sentence has several windows, and a word several tokens."""
    tokenizer = load_tokenizer(tiny_folder, vocab_size=TINY.vocab_size)
    rows = [
        {"tokens": ["the", "zoo", "of", "and", "in", "what"], "ner_tags": ["O"] * 6},
        {"tokens": ["who", "is"], "ner_tags": ["B", "O"]},
    ]
    for start, row in zip((1, 7), rows, strict=True):
        row |= {"sure": [start + n for n in range(len(row["tokens"]))], "group": start}
    settings = TASKS["tagging"].settings_cls(max_seq_length=6, doc_stride=1)
    task = TASKS["tagging"](settings)
    collector = CellCollector(OwnColumns(["sure", "group"]))
    examples = task.read(watched([("f", rows)], collector, task.rows_of)).examples
    counts = [task.word_count(e) or 0 for e in examples]
    found = collector.columns([task.row_of(e) for e in examples], counts)
    features = task.encode(examples, tokenizer, TINY.__class__(id2label=("B", "O")))
    features = found.added_to(features)
    word = features.host["word"]
    example = np.repeat(features.example, features.lengths)
    assert len(features) > 2
    for n, value in enumerate(features.tokens["sure"]):
        wanted = 0 if word[n] < 0 else (1, 7)[example[n]] + word[n]
        assert value == wanted
    assert sorted(features.tokens["sure"][word >= 0]) == list(range(1, 9))
    assert features.rows["group"].tolist() == [(1, 7)[n] for n in features.example]
    with pytest.raises(InputError, match="lists of one length, or one number for each word"):
        columns_of([{"a": [1, 2]}, {"a": [1]}], "a", words=[2, 2])


def test_questions_have_columns_in_every_form() -> None:
    """Beside a question, wherever it stands; of two with one id the first one counts."""
    answers = [{"text": "dry", "answer_start": 0}]
    qas = [{"id": "a", "question": "?", "answers": answers, "hard": 1}]
    qas += [{"id": "a", "question": "??", "answers": answers, "hard": 5}]
    squad = {"data": [{"paragraphs": [{"context": "dry soil", "qas": qas}]}]}
    flat = [{"id": "b", "question": "?", "context": "dry", "answers": answers, "hard": 2}]
    task = TASKS["qa"](TASKS["qa"].settings_cls())
    collector = CellCollector(OwnColumns(["hard"]))
    data = task.read(watched([("s", squad), ("f", flat)], collector, task.rows_of))
    found = collector.columns([task.row_of(e) for e in data.examples], None)
    assert found.rows["hard"].tolist() == [1, 2]
    with pytest.raises(InputError, match="are not for mlm, whose windows are cut from lines"):
        TASKS["mlm"](TASKS["mlm"].settings_cls()).rows_of("f", json.dumps("text"))


def test_two_texts_of_a_row_have_masks_of_their_own() -> None:
    one, two = features_of(np.array([3, 5])), features_of(np.array([4, 2]))
    two.tokens["input_ids"] *= 7
    both = with_view(one, two)
    batch = make_batch(both, np.arange(2), 6, 3)
    assert both.lengths.tolist() == [4, 5]
    assert batch["attention_mask"].sum(1).tolist() == [3, 5, 0]
    assert batch["view_attention_mask"].sum(1).tolist() == [4, 2, 0]
    assert (batch["view_input_ids"] == 7 * batch["view_attention_mask"]).all()
    assert (batch["input_ids"] == batch["attention_mask"]).all()
