"""Trainings that read long texts in windows: packed, split, stopped, evaluated, asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python_rows import SMALL_RUN, rows_of
from safetensors.numpy import load_file
from scripts import refuses
from test_resume_by_command import interrupt

import jaxbert
from jaxbert import TextClassifier

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

LONG: dict[str, Any] = {
    **SMALL_RUN,
    "max_seq_length": 24,
    "long_texts": "windows",
    "doc_stride": 4,
    "window_pooling": "max",
    "weight_column": "importance",
    "extra_columns": ["importance"],
}


def rows(part: str) -> list[dict[str, Any]]:
    """Every second text twice, so that some need more windows than others."""
    found = rows_of("classification", part)[:16]
    for n, row in enumerate(found):
        row["sentence"] = " ".join([row["sentence"]] * (1 + n % 3))
        row["importance"] = 1 + n % 2
    return found


def train(folder: Path, model: Path, **more: Any) -> jaxbert.Run:
    data = {"train_data": rows("train"), "validation_data": rows("dev")}
    given = {**LONG, "model": model, "output_dir": folder, **data, **more}
    return jaxbert.train("classification", **given)


@pytest.fixture(scope="module")
def whole(tiniest_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> jaxbert.Run:
    return train(tmp_path_factory.mktemp("long") / "whole", tiniest_folder)


def test_a_resumed_run_is_the_same_to_the_bit(
    whole: jaxbert.Run, tiniest_folder: Path, tmp_path: Path
) -> None:
    assert not train(tmp_path / "part", tiniest_folder, callbacks=[interrupt]).done
    resumed = train(tmp_path / "part", tiniest_folder)
    for name in ("model.safetensors", "predictions.json"):
        one, other = (Path(run.output_dir, name).read_bytes() for run in (whole, resumed))
        assert one == other
    assert resumed.scores == whole.scores


def test_micro_batches_learn_the_same_and_windows_are_packed(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    """Sixteen windows a step on eight devices. A text counts once wherever its windows are."""

    def weights(name: str, **more: Any) -> dict[str, np.ndarray]:
        steps = {"max_steps": 2, "eval_steps": 2, "validation_data": None}
        run = train(tmp_path / name, tiniest_folder, **steps, **more)
        return load_file(Path(run.output_dir, "model.safetensors"))

    at_once = weights("at_once", per_device_train_batch_size=2)
    accumulated = weights("accumulated", gradient_accumulation_steps=2)
    for name, x in at_once.items():
        np.testing.assert_allclose(accumulated[name], x, atol=2e-6)
    packed = train(tmp_path / "packed", tiniest_folder, packing=True)
    assert set(packed.scores) >= {"accuracy", "eval_loss"}


def test_what_is_evaluated_and_asked_counts_texts(whole: jaxbert.Run, tmp_path: Path) -> None:
    """A prediction a row, whose classes are the predictor's, and a page that shows all rows."""
    held_out = rows("dev")[: SMALL_RUN["max_eval_samples"]]
    folder = Path(whole.output_dir)
    saved = json.loads((folder / "predictions.json").read_text())
    assert len(saved) == len(held_out)
    again = jaxbert.evaluate("classification", model=folder, data=held_out, quiet=True)
    loss = again.scores.pop("eval_loss")  # of larger batches, which are rounded otherwise
    assert again.scores == {n: x for n, x in whole.scores.items() if n != "eval_loss"}
    assert loss == pytest.approx(whole.scores["eval_loss"], rel=1e-6)
    ask = TextClassifier.from_pretrained(folder)
    assert ask.reads_windows
    for row, text in zip(saved, held_out, strict=True):
        (best,) = ask(text["sentence"])  # type: ignore[misc]
        assert isinstance(best, dict)
        assert best["label"] == row["label"]
        assert best["score"] == pytest.approx(row["scores"][row["label"]], rel=1e-5)
    cut = jaxbert.evaluate(
        "classification", model=folder, data=held_out, quiet=True, long_texts="truncate"
    )
    assert [p["scores"] for p in cut.predictions] != [p["scores"] for p in again.predictions]
    shortened = ask([row["sentence"] for row in held_out], truncation=True, max_length=24)
    for one, row in zip(shortened, cut.predictions, strict=True):
        assert one["label"] == row["label"]  # type: ignore[index]
    assert "in windows, whose outputs are pooled" in (folder / "README.md").read_text()


def test_a_served_model_leaves_no_end_out(whole: jaxbert.Run) -> None:
    pytest.importorskip("fastapi", reason='needs pip install "jaxbert[serve]"')
    from jaxbert.serve.served_models import open_models
    from jaxbert.serve.wire import Ask, Classes

    (model,) = open_models([str(whole.output_dir)], 2).values()
    text = rows("dev")[2]["sentence"]
    (answer,) = model.answer([Ask(text=text)])
    assert isinstance(answer, Classes)
    assert not answer.cut
    ((best,),) = [TextClassifier.from_pretrained(whole.output_dir)(text)]
    assert answer.answers[0].score == pytest.approx(best["score"], rel=1e-5)  # type: ignore[index]


def test_a_text_that_fits_is_read_as_if_it_were_cut(whole: jaxbert.Run) -> None:
    short = [{**row, "sentence": "It was fine."} for row in rows("dev")]
    call: dict[str, Any] = {"model": whole.output_dir, "data": short, "quiet": True}
    one = jaxbert.evaluate("classification", **call)
    other = jaxbert.evaluate("classification", **call, long_texts="truncate")
    assert one.predictions == other.predictions  # to the bit
    assert one.scores == other.scores


def test_a_pair_of_two_long_texts_is_refused_before_anything_is_written(
    whole: jaxbert.Run, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.jsonl"
    row = {"sentence1": "the " * 12, "sentence2": "of " * 30, "label": "positive"}
    file.write_text(json.dumps(row) + "\n")
    files = ["--model_name_or_path", str(whole.output_dir), "--validation_file", str(file)]
    columns = ["--text_column_name", "sentence1", "sentence2"]
    said = refuses("eval/classification.py", *files, *columns, "--output_dir", str(tmp_path / "no"))
    assert "line 1: the shorter text of the pair has 12 tokens" in said
    assert not (tmp_path / "no").exists()
