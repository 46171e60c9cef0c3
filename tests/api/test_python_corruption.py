"""A corruption that is a Python function: what it does to batches, its checks, and resume."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python_rows import OF_TASK, SMALL_RUN, rows_of

import jaxbert
from jaxbert.data.features import Features
from jaxbert.data.rows_of_windows import rows_of_windows
from jaxbert.data.sampling import make_batch
from jaxbert.data.user_corruption import UserCorruption, check_corruption
from jaxbert.errors import InputError
from jaxbert.options.user_function import user_function
from jaxbert.training.events import Event, Saved

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

MASK = 4


def train(task: str, model: Path, folder: Path, **more: Any) -> jaxbert.Run:
    given: dict[str, Any] = {"train_data": rows_of(task, "train"), "output_dir": folder}
    return jaxbert.train(task, model=model, **SMALL_RUN | OF_TASK.get(task, {}) | given | more)


def hide(row: Any, rng: Any, rate: float = 0.5) -> Any:
    hidden = (rng.random(len(row["input_ids"])) < rate) & ~row["special_tokens_mask"]
    row["input_ids"][hidden] = MASK
    return row


def predict(row: Any, rng: Any) -> Any:
    ids = row["input_ids"]
    hidden = (rng.random(len(ids)) < 0.5) & ~row["special_tokens_mask"]
    return {"input_ids": np.where(hidden, MASK, ids), "labels": np.where(hidden, ids, -100)}


def same(row: Any, rng: Any) -> Any:
    return row


def features() -> Features:
    lengths = np.array([5, 9, 7, 3])
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.full(bounds[-1], 10, np.int32) + np.arange(bounds[-1], dtype=np.int32)
    ids[bounds[:-1]] = 2
    word = np.where(ids == 2, -1, 0).astype(np.int32)
    tokens = {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "word": word}
    return Features(bounds, tokens, {}, np.arange(4, dtype=np.int32))


def corruption(function: Any, *, predicts: bool) -> UserCorruption:
    return UserCorruption(
        user_function(function, "corruption"),
        seed=1,
        of_tokens=("input_ids", "token_type_ids", "word"),
        of_rows=(),
        special_ids=(2,),
        vocab_size=50,
        predicts=predicts,
    )


@pytest.mark.parametrize(("function", "predicts"), [(hide, False), (predict, True)])
def test_a_row_is_the_same_in_any_batch_with_any_padding(function: Any, predicts: bool) -> None:
    change = corruption(function, predicts=predicts)
    plain = make_batch(features(), np.arange(4), 9, 4)
    whole, other = change(plain, 3), change(plain, 4)
    assert (whole["input_ids"] != other["input_ids"]).any()
    for order in itertools.permutations(range(4), 2):
        few = change(make_batch(features(), np.array(order), 12, 5), 3)
        for place, row in enumerate(order):
            n = features().lengths[row]
            assert (few["input_ids"][place, :n] == whole["input_ids"][row, :n]).all()
        assert (few["input_ids"][2:] == 0).all()
    hidden = whole["input_ids"] != plain["input_ids"]
    assert hidden.any()
    assert not hidden[plain["input_ids"] == 2].any()
    if predicts:
        assert "word" not in whole
        for row in range(4):
            (chosen,) = np.nonzero(hidden[row])
            assert whole["masked_positions"][row, : len(chosen)].tolist() == chosen.tolist()
            labels = whole["labels"][row]
            assert labels[: len(chosen)].tolist() == plain["input_ids"][row, chosen].tolist()
            assert (labels[len(chosen) :] == -100).all()


def test_the_windows_of_a_row_are_one_behind_the_other() -> None:
    """Of texts of 1, 1, 3 and 1 windows of 5 tokens a function gets the rows that they are."""
    parts = dataclasses.replace(
        features(),
        bounds=np.array([0, 5, 10, 15, 20, 22, 24]),
        rows={"weight": np.ones(6, np.float32)},
        example=np.array([0, 1, 2, 2, 2, 3], np.int32),
    )
    rows = rows_of_windows(parts, 5, 3)
    seen: list[tuple[int, ...]] = []

    def told(row: Any, rng: Any) -> Any:
        seen.append(row["input_ids"].shape)
        return hide(row, rng)

    change = dataclasses.replace(corruption(told, predicts=False), of_windows=True)
    check_corruption(change, rows)
    seen.clear()
    short, long = make_batch(rows, np.array([1]), 5, 1), make_batch(rows, np.arange(4), 15, 4)
    few, whole = change(short, 3)["input_ids"], change(long, 3)["input_ids"]
    assert seen == [(5,), (5,), (5,), (12,), (2,)]
    assert (few.shape, whole.shape) == ((1, 5), (4, 5, 3))
    assert (few[0] == whole[1, :, 0]).all()
    ids = rows.tokens["input_ids"][10:22]
    text = {"input_ids": ids.copy(), "special_tokens_mask": ids == 2}
    hidden = hide(text, np.random.default_rng([1, 3, 2]))["input_ids"]
    assert (hidden != ids).any()
    assert whole[2].T.reshape(-1).tolist() == [*hidden.tolist(), 0, 0, 0]


def test_one_that_changes_nothing_trains_as_none_does(tiniest_folder: Path, tmp_path: Path) -> None:
    weights = "model.safetensors"
    for task in ("classification", "multiple_choice"):
        plain = train(task, tiniest_folder, tmp_path / task / "plain").output_dir / weights
        run = train(task, tiniest_folder, tmp_path / task / "same", corruption=same)
        assert (run.output_dir / weights).read_bytes() == plain.read_bytes()
    run = train("classification", tiniest_folder, tmp_path / "hidden", corruption=hide)
    plain = tmp_path / "classification" / "plain" / weights
    assert (run.output_dir / weights).read_bytes() != plain.read_bytes()


@pytest.mark.parametrize("packing", [False, True])
def test_masked_tokens_are_learned(packing: bool, tiniest_folder: Path, tmp_path: Path) -> None:
    run = train(
        "mlm",
        tiniest_folder,
        tmp_path / "run",
        corruption=predict,
        validation_data=rows_of("mlm", "dev"),
        packing=packing,
    )
    losses = [record["loss"] for record in run.history if "loss" in record]
    assert all(5 < loss < 8 for loss in losses)  # about log(512)
    found = jaxbert.evaluate(
        "mlm", model=run.output_dir, data=rows_of("mlm", "dev"), max_eval_samples=4, quiet=True
    )
    assert found.scores == pytest.approx(run.scores)  # evaluations mask as always


def counting(row: Any, rng: Any) -> Any:
    rng.random(len(row))
    ids = row["input_ids"]
    return {"input_ids": np.where(np.random.random(len(ids)) < 0.5, MASK, ids)}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (7, "corruption (of type int): give a Python function"),
        (lambda row: row, "TypeError: "),
        (lambda row, rng: None, "it returned NoneType, not a dict of the row's arrays"),
        (lambda row, rng: {"inputs": 1}, "it returned 'inputs', which a row does not have"),
        (lambda row, rng: row | {"labels": 1 - row["labels"]}, "it changed labels; it can change"),
        (
            lambda row, rng: {"input_ids": row["input_ids"][1:]},
            ": a row keeps its number of tokens",
        ),
        (lambda row, rng: {"input_ids": row["input_ids"] * 1.0}, "are float64 ("),
        (lambda row, rng: {"input_ids": row["input_ids"] + 512}, "and the model has 512 tokens"),
        (lambda row, rng: {"input_ids": row["input_ids"] - 512}, "its input_ids have -"),
        (counting, "two calls with one row differ; draw from rng alone"),
    ],
)
def test_what_cannot_be_one_is_refused_before_the_first_step(
    function: Any, message: str, tiniest_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        train("classification", tiniest_folder, tmp_path / "run", corruption=function)
    assert str(error.value).startswith("corruption ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (hide, "corruption function hide: it returned no labels: the tokens to predict"),
        (
            lambda row, rng: {"labels": np.full_like(row["input_ids"], -100)},
            "no token of 32 rows is to be predicted",
        ),
    ],
)
def test_a_masked_language_model_needs_labels(
    function: Any, message: str, tiniest_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        train("mlm", tiniest_folder, tmp_path / "run", corruption=function, line_by_line=True)


def test_resume_needs_the_same_function(tiniest_folder: Path, tmp_path: Path) -> None:
    def make(rate: float) -> Any:
        return lambda row, rng: hide(row, rng, rate)

    def stop(event: Event) -> None:
        if isinstance(event, Saved) and event.step == 4:
            raise KeyboardInterrupt

    def call(folder: str, function: Any, **more: Any) -> jaxbert.Run:
        path = tmp_path / folder
        return train(
            "classification", tiniest_folder, path, corruption=function, save_steps=2, **more
        )

    def files() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}

    whole = call("whole", make(0.3))
    with pytest.raises(KeyboardInterrupt):
        call("run", make(0.3), callbacks=[stop])
    before = files()
    for function, message in [
        (make(0.4), "corruption: closure rate was 0.3 and is 0.4; give --allow_changed_options"),
        (hide, "corruption: the text is not the one that the run was started with"),
        (None, "corruption: the run has this Python function, and none was given now"),
    ]:
        with pytest.raises(InputError) as error:
            call("run", function)
        assert str(error.value).startswith(f"--output_dir {tmp_path / 'run'}: {message}")
        assert files() == before
    rest = call("run", make(0.3))
    weights = "model.safetensors"
    assert (rest.output_dir / weights).read_bytes() == (whole.output_dir / weights).read_bytes()
