"""Masks: the rates of the paper, whole words, and rows that do not depend on their batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxbert.data.features import Features
from jaxbert.data.masking import draws_of, mask_batch
from jaxbert.data.sampling import NumpyBatch, make_batch

PAD, UNK, CLS, SEP, MASK = 0, 100, 101, 102, 103
SPECIAL = [PAD, UNK, CLS, SEP, MASK]
VOCABULARY = 30522


def make_features(words: Sequence[Sequence[int]], seed: int = 0) -> Features:
    """A window for each list of word lengths, with random tokens: [CLS] words [SEP]."""
    rng = np.random.default_rng(seed)
    numbers = [[-1, *np.repeat(np.arange(len(w)), w).tolist(), -1] for w in words]
    bounds = np.concatenate([[0], np.cumsum([len(n) for n in numbers])])
    word = np.concatenate(numbers).astype(np.int32)
    ids = rng.integers(1000, VOCABULARY, len(word)).astype(np.int32)
    ids[bounds[:-1]], ids[bounds[1:] - 1] = CLS, SEP
    columns = {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "word": word}
    return Features(bounds, columns, {}, np.zeros(len(words), np.int32))


def mask(batch: NumpyBatch, **more: Any) -> NumpyBatch:
    options = {
        "seed": 1,
        "draw": 0,
        "probability": 0.15,
        "whole_words": True,
        "mask_id": MASK,
        "vocab_size": VOCABULARY,
        "special_ids": SPECIAL,
    }
    return mask_batch(batch, **{**options, **more})  # type: ignore[arg-type]


def batch_of(features: Features, length: int | None = None, size: int | None = None) -> NumpyBatch:
    windows = np.arange(len(features))
    return make_batch(
        features, windows, length or int(features.lengths.max()), size or len(windows)
    )


def chosen(masked: NumpyBatch, row: int) -> list[int]:
    return masked["masked_positions"][row][masked["labels"][row] >= 0].tolist()


def lengths(count: int, seed: int = 3) -> list[list[int]]:
    """Word lengths of windows of some 120 tokens, most of one token, as in English."""
    rng = np.random.default_rng(seed)
    return rng.choice([1, 2, 3, 5], size=(count, 75), p=[0.7, 0.17, 0.08, 0.05]).tolist()


def rates(rows: int, draws: int) -> tuple[int, np.ndarray]:
    """Of all chosen tokens: how many there are, and which part is [MASK], another, the same."""
    batch = batch_of(make_features([[1] * 510] * rows))
    total, parts = 0, np.zeros(3)
    for draw in range(draws):
        masked = mask(batch, draw=draw, whole_words=False, seed=5)
        labels = masked["labels"]
        now = np.take_along_axis(masked["input_ids"], masked["masked_positions"], 1)[labels >= 0]
        before = labels[labels >= 0]
        assert not np.isin(now[now != MASK], SPECIAL).any()
        parts += [(now == MASK).sum(), ((now != MASK) & (now != before)).sum(), 0]
        total += len(now)
    parts[2] = total - parts.sum()
    return total, parts / total


def test_80_10_10() -> None:
    total, parts = rates(256, 52)
    assert total > 1_000_000
    # A random token is the same one in one of 30,517 cases: 0.0003 % of the chosen ones.
    assert np.abs(parts - [0.8, 0.1, 0.1]).max() < 0.002


def test_random_tokens_are_of_the_whole_vocabulary() -> None:
    """All but special tokens, each as likely: 0 to 11 without 0, 4, 5 and 11."""
    batch = batch_of(make_features([[1] * 510] * 64))
    batch["input_ids"] = np.where(batch["input_ids"] > 103, 2, 5)
    masked = mask(batch, vocab_size=12, special_ids=[11, 4, 0, 5, 40], mask_id=4, probability=1.0)
    drawn = masked["input_ids"][batch["word"] >= 0]
    counts = np.bincount(drawn[drawn != 4], minlength=12)
    others = [1, 3, 6, 7, 8, 9, 10]
    assert (np.delete(counts, [2, *others]) == 0).all()
    expected = 0.1 * drawn.size / 8
    assert np.abs(counts[others] - expected).max() < 5 * math.sqrt(expected)
    assert counts[2] > 0.1 * drawn.size


@pytest.mark.parametrize("whole_words", [False, True])
@pytest.mark.parametrize("probability", [0.15, 0.4])
def test_so_many_are_chosen(whole_words: bool, probability: float) -> None:
    features = make_features(lengths(500))
    masked = mask(batch_of(features), probability=probability, whole_words=whole_words)
    counts = (masked["labels"] >= 0).sum(1)
    budgets = [round(probability * (int(n) - 2)) for n in features.lengths]
    # Words that are passed over leave room for others of one token, of which there are many.
    assert counts.tolist() == budgets
    assert abs(counts.sum() / (features.tokens["word"] >= 0).sum() - probability) < 0.002


def test_words_of_one_length_are_chosen_as_often() -> None:
    sizes = [1, 2, 1, 3, 1, 1, 2, 1, 1, 2, 3, 1, 1]
    masked = mask(batch_of(make_features([sizes] * 2000)))
    times = np.bincount([k for row in range(2000) for k in chosen(masked, row)], minlength=22)
    part = times[1:-1] / 2000
    size = np.repeat(sizes, sizes)
    for number in (1, 2, 3):
        assert np.ptp(part[size == number]) < 0.05
    # 3 of 20 tokens; a long word fits less often than a short one.
    assert part.mean() == pytest.approx(0.15)
    assert 0 < part[size == 3].mean() < part[size == 2].mean() < part[size == 1].mean()


@pytest.mark.parametrize("length", [1, 5])
def test_a_lone_long_word(length: int) -> None:
    """Nothing fits: the first tokens of a word, as many as are to be chosen, at least one."""
    masked = mask(batch_of(make_features([[length]])), probability=0.2)
    assert chosen(masked, 0) == [1]
    masked = mask(batch_of(make_features([[20, 20]] * 50)), probability=0.2)
    found = {tuple(chosen(masked, row)) for row in range(50)}
    assert found == {tuple(range(1, 9)), tuple(range(21, 29))}


def test_special_and_unknown_tokens_never() -> None:
    features = make_features([[2, 1, 2, 3, 1]] * 40)
    ids = features.tokens["input_ids"].reshape(40, 11)
    ids[:, 3], ids[:, 5], ids[:, 9] = MASK, UNK, SEP
    batch = batch_of(features)
    masked = mask(batch, probability=1.0)
    assert all(chosen(masked, row) == [1, 2, 4, 6, 7, 8] for row in range(40))
    few = mask(batch, probability=0.34)  # 2 of 6; of the words of 2 and 3 one has 1 left, or 3
    assert {tuple(chosen(few, row)) for row in range(40)} == {(1, 2), (4,)}
    only_special = mask({**batch, "input_ids": np.full_like(batch["input_ids"], UNK)})
    assert (only_special["labels"] == -100).all()
    assert (only_special["masked_positions"] == 0).all()


def test_padding_rows_have_no_mask_and_nothing_else_changes() -> None:
    batch = batch_of(make_features(lengths(3)), length=300, size=5)
    kept = {name: column.copy() for name, column in batch.items()}
    masked = mask(batch)
    assert set(masked) == set(batch) - {"word"} | {"masked_positions", "labels"}
    for name, column in kept.items():
        np.testing.assert_array_equal(batch[name], column)
        if name not in ("word", "input_ids"):
            assert masked[name] is batch[name]
    assert (masked["labels"][3:] == -100).all()
    assert not masked["input_ids"][3:].any()
    assert {masked[n].dtype.name for n in ("input_ids", "masked_positions", "labels")} == {"int32"}
    assert masked["labels"].shape == masked["masked_positions"].shape == (5, 45)


def test_another_draw_or_seed_gives_other_masks_and_the_same_gives_the_same() -> None:
    batch = batch_of(make_features(lengths(8)))
    first = mask(batch)
    for name, column in mask(batch).items():
        np.testing.assert_array_equal(column, first[name])
    for change in ({"draw": 1}, {"seed": 2}):
        other = mask(batch, **change)
        for row in range(8):
            assert chosen(other, row) != chosen(first, row)
    assert chosen(first, 0) != chosen(first, 1)


def test_the_masks_are_these() -> None:
    """Golden: a resumed run must draw the masks that it would have drawn."""
    batch = batch_of(make_features([[1, 2, 1, 3, 1, 2, 1, 1, 1, 2, 1]]))
    masked = mask(batch, draw=7)
    assert chosen(masked, 0) == [9, 10]
    assert chosen(mask(batch, draw=7, whole_words=False), 0) == [3, 10]


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROWS = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=12), min_size=1, max_size=5)


@unhurried
@given(
    ROWS,
    st.sampled_from([0.01, 0.15, 0.5, 1.0]),
    st.booleans(),
    st.integers(0, 9),
    st.integers(0, 3),
    st.data(),
)
def test_properties(
    words: list[list[int]], probability: float, whole: bool, pad: int, empty: int, data: Any
) -> None:
    features = make_features(words)
    longest = int(features.lengths.max())
    options = {"probability": probability, "whole_words": whole, "draw": data.draw(st.integers(0))}
    batch = batch_of(features)
    masked = mask(batch, **options)
    slots = max(1, math.ceil(probability * longest))
    assert masked["labels"].shape == (len(words), slots)
    restored = masked["input_ids"].copy()
    for row, sizes in enumerate(words):
        total = sum(sizes)
        budget = max(1, round(probability * total))
        places = chosen(masked, row)
        count = len(places)
        assert 1 <= count <= budget
        assert places == sorted(set(places))
        assert set(places) <= set(range(1, total + 1))
        # The used slots come first.
        assert (masked["labels"][row, count:] == -100).all()
        assert (masked["masked_positions"][row, count:] == 0).all()
        restored[row, places] = masked["labels"][row, :count]
        if not whole or probability == 1:
            assert count == budget
        else:
            hit = batch["word"][row, places].tolist()
            parts = [w for w in hit if hit.count(w) < sizes[w]]
            left = [size for w, size in enumerate(sizes) if w not in hit]
            if min(sizes) <= budget:
                assert not parts  # words are whole, and no other would have fit
                assert all(count + size > budget for size in left)
            else:
                assert len(set(hit)) == 1
                assert count == budget
    # What is not chosen is as it was, and so is what is chosen, by its label.
    np.testing.assert_array_equal(restored, batch["input_ids"])

    # The same rows in another order, each other alone, in a longer and larger batch.
    order = np.array(data.draw(st.permutations(range(len(words)))))
    part = order[: data.draw(st.integers(1, len(words)))]
    again = mask(make_batch(features, part, longest + pad, len(part) + empty), **options)
    for place, row in enumerate(part.tolist()):
        assert chosen(again, place) == chosen(masked, row)
        length = int(features.lengths[row])
        np.testing.assert_array_equal(
            again["input_ids"][place, :length], masked["input_ids"][row, :length]
        )
        assert not again["input_ids"][place, length:].any()


@given(seed=st.integers(0, 2**33), draw=st.integers(0, 2**70), row=st.integers(0, 2**31 - 1))
def test_a_key_draws_as_a_list_of_its_numbers(seed: int, draw: int, row: int) -> None:
    key = draws_of(seed, draw)
    key[-1] = row
    found, wanted = np.random.default_rng(key), np.random.default_rng([seed, draw, row])
    np.testing.assert_array_equal(found.random(4), wanted.random(4))
