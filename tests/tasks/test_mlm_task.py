"""Masked language modelling: masks by step, and the scores of masked tokens."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from family_folders import tokenizer_of

from jaxbert.data.features import Features
from jaxbert.data.sampling import NumpyBatch, make_batch
from jaxbert.data.stored_lines import LineExample
from jaxbert.metrics.scores import Metric
from jaxbert.model.config import BertConfig
from jaxbert.model.tokenizer import load_tokenizer
from jaxbert.options.task_settings import MLMOptions
from jaxbert.tasks.mlm import MLM, MaskedWindow
from jaxbert.tasks.shown_masks import MaskedWord, ShownWindow, masks_shown
from jaxbert.tasks.task import EVALUATION

CFG = BertConfig()
TASK = MLM(MLMOptions())
LINES = ["the what and of who", "is was to at the and of", "in which the"] * 4


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(tiny_folder, vocab_size=512)


def encoded(tokenizer: Any) -> Features:
    lines = [LineExample(f"f: line {n}", text) for n, text in enumerate(LINES, 1)]
    return MLM(MLMOptions(max_seq_length=16, line_by_line=True)).encode(lines, tokenizer, CFG)


def masked(
    tokenizer: Any, batch: NumpyBatch, draw: int, seed: int = 42, **settings: Any
) -> NumpyBatch:
    task = MLM(MLMOptions(**{"mlm_probability": 0.4, **settings}))
    return task.corrupt(tokenizer, CFG, seed=seed)(batch, draw)


def equal(a: NumpyBatch, b: NumpyBatch) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


def test_masks_are_a_pure_function_of_the_batch_and_the_draw(tokenizer: Any) -> None:
    features = encoded(tokenizer)
    batch = make_batch(features, np.arange(12), 16, 12)
    before = {name: x.copy() for name, x in batch.items()}
    once = masked(tokenizer, batch, 7)
    assert equal(batch, before)
    assert not np.array_equal(once["input_ids"], batch["input_ids"])
    masked(tokenizer, batch, 8)
    assert equal(masked(tokenizer, batch, 7), once)
    assert "word" not in once


def test_every_step_and_every_seed_has_other_masks(tokenizer: Any) -> None:
    batch = make_batch(encoded(tokenizer), np.arange(12), 16, 12)
    drawn = [masked(tokenizer, batch, step)["masked_positions"] for step in range(4)]
    drawn += [masked(tokenizer, batch, step, seed=1)["masked_positions"] for step in range(4)]
    assert len({x.tobytes() for x in drawn}) == 8


def test_an_evaluation_has_the_same_masks_whatever_the_seed(tokenizer: Any) -> None:
    batch = make_batch(encoded(tokenizer), np.arange(12), 16, 12)
    first = masked(tokenizer, batch, EVALUATION)
    for seed in (0, 1, 42):
        assert equal(masked(tokenizer, batch, EVALUATION, seed=seed), first)


def test_a_row_has_its_masks_in_any_batch(tokenizer: Any) -> None:
    features = encoded(tokenizer)
    whole = masked(tokenizer, make_batch(features, np.arange(12), 16, 12), EVALUATION)
    part = masked(tokenizer, make_batch(features, np.array([9, 4]), 16, 8), EVALUATION)
    for place, row in enumerate((9, 4)):
        for name in ("input_ids", "masked_positions", "labels"):
            np.testing.assert_array_equal(part[name][place], whole[name][row])


def test_the_options_are_those_of_the_masks(tokenizer: Any) -> None:
    batch = make_batch(encoded(tokenizer), np.arange(12), 16, 12)
    words = ((batch["word"] >= 0) & (batch["attention_mask"] == 1)).sum()
    for probability in (0.2, 0.6):
        given = {"mlm_probability": probability, "whole_word_mask": False}
        count = (masked(tokenizer, batch, 0, **given)["labels"] >= 0).sum()
        assert count / words == pytest.approx(probability, abs=0.08)


def test_a_row_is_reduced_to_sums_over_its_masked_tokens() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4, 9)).astype(np.float32)
    labels = np.array([[1, 8, -100, -100], [0, -100, -100, -100], [-100] * 4], np.int32)
    logits[0, 1, 8] = 99
    batch: Any = {
        "labels": labels,
        "masked_positions": np.array([[2, 5, 0, 0], [1, 0, 0, 0], [0] * 4], np.int32),
        "input_ids": np.arange(18, dtype=np.int32).reshape(3, 6),
        "weight": np.array([1, 1, 0], np.float32),
    }
    reduced = TASK.reduce()({"logits": logits}, batch)  # type: ignore[dict-item]
    assert np.asarray(reduced["count"]).tolist() == [2, 1, 0]
    log_p = np.asarray(jax.nn.log_softmax(logits, axis=-1))
    losses = [-log_p[0, 0, 1] - log_p[0, 1, 8], -log_p[1, 0, 0], 0]
    np.testing.assert_allclose(reduced["loss"], losses, rtol=1e-5)
    best = logits.argmax(-1)
    right = [int(best[0, 0] == 1) + 1, int(best[1, 0] == 0), 0]
    assert np.asarray(reduced["right"]).tolist() == right


def test_the_scores_are_of_all_masked_tokens_in_any_order() -> None:
    rng = random.Random(0)
    rows = [(rng.random() * 10.0 ** rng.randrange(8), 1.0, 3.0) for _ in range(50)]
    predictions = [MaskedWindow(*row) for row in rows]
    scores = TASK.score([], predictions, CFG)
    assert scores["accuracy"] == pytest.approx(1 / 3)
    for _ in range(5):
        rng.shuffle(predictions)
        assert TASK.score([], predictions, CFG) == scores
    assert TASK.artifacts([], predictions, CFG) == {}


def test_what_a_report_shows_are_masked_words_with_the_best_fillings(tokenizer: Any) -> None:
    features = encoded(tokenizer)
    batch = masked(tokenizer, make_batch(features, np.arange(12), 16, 12), EVALUATION)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(*batch["labels"].shape, 512)).astype(np.float32)
    logits[0, 0, batch["labels"][0, 0]] = 99  # the one that is right
    reduced = TASK.reduce()({"logits": logits}, batch)  # type: ignore[dict-item]
    arrays = {name: np.asarray(x) for name, x in reduced.items()}
    predictions = TASK.decode([], features, arrays, CFG)
    assert TASK.findings([], predictions, CFG) is None  # tokens are numbers without a tokenizer
    found = TASK.with_vocabulary(tokenizer).findings([], predictions, CFG)
    assert found is not None
    count = np.minimum((batch["labels"] >= 0).sum(1), 4)
    assert len(found.shown) == count.sum()
    p = np.asarray(jax.nn.softmax(logits, axis=-1))
    for number, row in enumerate(predictions):
        assert row.shown is not None
        for mask in row.shown.masks:
            slot = batch["masked_positions"][number].tolist().index(mask.place)
            best = np.argsort(-p[number, slot], kind="stable")[:5]
            assert mask.guesses == best.tolist()
            np.testing.assert_allclose(mask.scores, p[number, slot, best], rtol=1e-4)
            assert mask.token == batch["labels"][number, slot]
            assert mask.score == pytest.approx(p[number, slot, mask.token], rel=1e-4)
            assert mask.seen == batch["input_ids"][number, mask.place]
            assert row.shown.ids[mask.place] == mask.token
    first = next(iter(found.shown))
    assert first.right
    assert first.name.startswith("window 1, token ")
    [passage] = first.passages
    assert passage.text == "the what and of who"
    [mark] = passage.marks
    assert passage.text[mark.start : mark.end] == first.gold == first.choices[0].text
    assert sum(int(row[1]) for row in found.tables[0].rows) == len(found.shown)
    assert len(found.confidences) == len(found.shown)


@pytest.mark.parametrize("family", ["electra", "roberta", "albert"])
def test_a_masked_word_is_marked_in_its_text_whatever_the_tokenizer(family: str) -> None:
    tokenizer = tokenizer_of(family)
    text = "she doesn't like the café, near 北京!"
    ids = list(tokenizer(text).input_ids)
    masks = [
        MaskedWord(n, ids[n], int(tokenizer.mask_token_id), [ids[1]], [0.5], 0.1)
        for n in range(1, len(ids) - 1)
    ]
    found = masks_shown([ShownWindow(0, ids, tuple(masks))], 1, tokenizer)
    marked = 0
    for mask, shown in zip(masks, found.shown, strict=True):
        [passage] = shown.passages
        for mark in passage.marks:  # none at a byte of a letter, or at a space
            word = str(tokenizer.decode([mask.token])).strip().removeprefix("##")
            assert passage.text[mark.start : mark.end] == word
            marked += 1
    assert marked > len(masks) / 2
    assert found.tables[0].rows[0][:2] == (tokenizer.mask_token, str(len(masks)))


def test_a_lower_perplexity_is_better() -> None:
    assert MLM.metrics == (Metric("perplexity", lower_is_better=True), Metric("accuracy"))
