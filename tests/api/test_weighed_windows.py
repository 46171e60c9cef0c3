"""Trainings that learn how much each window of a text counts: stopped, split, evaluated, asked,
refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from python_rows import rows_of
from safetensors.numpy import load_file, save_file
from scripts import refuses
from test_long_text_runs import LONG, rows
from test_resume_by_command import interrupt

import jaxbert
from jaxbert import TextClassifier, TextRegressor
from jaxbert.errors import InputError
from jaxbert.runs.opened_task import open_task
from jaxbert.training.optim import adamw, make_schedule
from jaxbert.training.step import init_state

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]

WEIGHED: dict[str, Any] = {
    **LONG,
    "window_pooling": "attention",
    "windows_per_row": 3,
    "head_learning_rate": 0.05,
}
QUERY = "window_attention.weight"


def train(folder: Path, model: Path, **more: Any) -> jaxbert.Run:
    data = {"train_data": rows("train"), "validation_data": rows("dev")}
    given = {**WEIGHED, "model": model, "output_dir": folder, **data, **more}
    given = {name: value for name, value in given.items() if value is not None}
    return jaxbert.train("classification", **given)


def weights_of(run: jaxbert.Run) -> dict[str, np.ndarray]:
    return load_file(Path(run.output_dir, "model.safetensors"))


@pytest.fixture(scope="module")
def whole(tiniest_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> jaxbert.Run:
    return train(tmp_path_factory.mktemp("weighed") / "whole", tiniest_folder)


def test_it_is_learned_and_resumed_to_the_bit(
    whole: jaxbert.Run, tiniest_folder: Path, tmp_path: Path
) -> None:
    assert np.abs(weights_of(whole)[QUERY]).min() > 0
    assert not train(tmp_path / "part", tiniest_folder, callbacks=[interrupt]).done
    resumed = train(tmp_path / "part", tiniest_folder)
    for name in ("model.safetensors", "predictions.json"):
        one, other = (Path(run.output_dir, name).read_bytes() for run in (whole, resumed))
        assert one == other
    assert resumed.scores == whole.scores


def test_micro_batches_and_a_process_of_jit_learn_the_same(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    """Sixteen rows a step on eight devices, by one backend and by the other."""

    def weights(name: str, **more: Any) -> dict[str, np.ndarray]:
        steps = {"max_steps": 2, "eval_steps": 2, "validation_data": None}
        return weights_of(train(tmp_path / name, tiniest_folder, **steps, **more))

    at_once = weights("at_once", per_device_train_batch_size=2)
    others = {
        "accumulated": weights("accumulated", gradient_accumulation_steps=2),
        "jit": weights("jit", per_device_train_batch_size=2, parallel="jit"),
    }
    assert np.abs(at_once[QUERY]).max() > 0.01
    for found in others.values():
        for name, x in at_once.items():
            np.testing.assert_allclose(found[name], x, atol=2e-6)


def test_the_loss_of_an_evaluation_is_one_of_texts(whole: jaxbert.Run) -> None:
    held_out = rows("dev")[: LONG["max_eval_samples"]]
    folder = Path(whole.output_dir)
    saved = json.loads((folder / "predictions.json").read_text())
    right = [p["scores"][row["label"]] for p, row in zip(saved, held_out, strict=True)]
    assert whole.scores["eval_loss"] == pytest.approx(-np.log(right).mean(), rel=1e-5)
    card = (folder / "README.md").read_text()
    assert "whose outputs are pooled; how much each counts is learned" in card
    assert json.loads((folder / "config.json").read_text())["window_attention"] is True


@pytest.fixture
def sharp(whole: jaxbert.Run, tmp_path: Path) -> Path:
    """The same model with another opinion of each window, and of how much it counts."""
    folder = shutil.copytree(whole.output_dir, tmp_path / "sharp")
    weights = {n: 12 * x if x.ndim == 2 else x for n, x in weights_of(whole).items()}
    weights[QUERY] *= 10
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_what_is_evaluated_and_asked_weighs_windows(sharp: Path) -> None:
    held_out = rows("dev")[: LONG["max_eval_samples"]]
    call: dict[str, Any] = {"model": sharp, "data": held_out, "quiet": True}
    found = jaxbert.evaluate("classification", **call).predictions
    mean = jaxbert.evaluate("classification", **call, window_pooling="mean").predictions
    ask = TextClassifier.from_pretrained(sharp)
    several = 0
    for one, other, row in zip(found, mean, held_out, strict=True):
        (best,) = ask(row["sentence"])  # type: ignore[misc]
        assert isinstance(best, dict)
        assert best["score"] == pytest.approx(one["scores"][best["label"]], rel=1e-4)
        several += abs(best["score"] - other["scores"][best["label"]]) > 1e-3
    assert several >= 2


def test_a_run_goes_on_from_it_with_the_query_or_without(
    whole: jaxbert.Run, tmp_path: Path
) -> None:
    folder = Path(whole.output_dir)
    small = {"max_steps": 1, "eval_steps": 1, "learning_rate": 1e-9, "head_learning_rate": 1e-9}
    kept = train(tmp_path / "kept", folder, **small)
    np.testing.assert_allclose(weights_of(kept)[QUERY], weights_of(whole)[QUERY], atol=1e-6)
    plain = train(tmp_path / "plain", folder, **small, window_pooling="mean", windows_per_row=None)
    assert QUERY not in weights_of(plain)
    assert "window_attention" not in json.loads(Path(plain.output_dir, "config.json").read_text())


def test_numbers_in_a_scale_of_their_own(tiniest_folder: Path, tmp_path: Path) -> None:
    def long(part: str) -> list[dict[str, Any]]:
        found = rows_of("regression", part)[:8]
        for n, row in enumerate(found):
            row["sentence1"] = " ".join([row["sentence1"]] * (1 + n % 4))
            row["sentence2"] = "It is."
        return found

    given = {n: x for n, x in WEIGHED.items() if n not in ("weight_column", "extra_columns")}
    run = jaxbert.train(
        "regression",
        **{**given, "max_seq_length": 32, "target_scaling": ["standard"], "doc_stride": 3},
        model=tiniest_folder,
        output_dir=tmp_path / "run",
        train_data=long("train"),
        validation_data=long("dev"),
    )
    held_out = long("dev")[: LONG["max_eval_samples"]]
    saved = json.loads(Path(run.output_dir, "predictions.json").read_text())
    gold = np.array([float(row["score"]) for row in held_out])
    assert run.scores["eval_loss"] == pytest.approx(np.mean((saved - gold) ** 2), rel=1e-4)
    assert run.scores["mse"] == pytest.approx(run.scores["eval_loss"], rel=1e-4)
    ask = TextRegressor.from_pretrained(run.output_dir)
    for score, row in zip(saved, held_out, strict=True):
        found = ask({"text": row["sentence1"], "text_pair": row["sentence2"]})
        assert found["score"] == pytest.approx(score, rel=1e-4)  # type: ignore[call-overload, index]


def test_a_loss_sees_how_much_windows_count(tiniest_folder: Path, tmp_path: Path) -> None:
    """It is tried on rows of several windows, and what it cannot read there is told at once."""
    own = tmp_path / "own.py"
    own.write_text(
        "import jax, jax.numpy as jnp\n"
        "from jaxbert.losses.label_losses import label_cross_entropy\n\n\n"
        "def sure(outputs, batch):\n"
        "    loss_sum, weight_sum = label_cross_entropy(outputs, batch)\n"
        '    p = jax.nn.softmax(outputs["window_scores"])\n'
        "    entropy = -jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.maximum(p, 1e-9)), 0), -1)\n"
        '    return loss_sum + 0.1 * jnp.sum(entropy * batch["weight"]), weight_sum\n\n\n'
        "def first(outputs, batch):\n"
        '    cls = outputs["last_hidden_state"][:, 0]\n'
        '    return jnp.sum(jnp.sum(cls, -1) * batch["weight"]), jnp.sum(batch["weight"])\n\n\n'
        "def several(outputs, batch):\n"
        '    batch["input_ids"][:, :, 0]\n'
        "    return label_cross_entropy(outputs, batch)\n"
    )
    assert train(tmp_path / "sure", tiniest_folder, loss=f"{own}:sure").done
    with pytest.raises(InputError, match=r"--loss .*own.py:first"):
        train(tmp_path / "first", tiniest_folder, loss=f"{own}:first")
    short = [{**row, "sentence": "It is."} for row in rows("train")]
    with pytest.raises(InputError, match=r"--loss .*own.py:several"):  # many have one window
        train(
            tmp_path / "several",
            tiniest_folder,
            loss=f"{own}:several",
            train_data=rows("train") + short,
            max_train_samples=None,
        )
    with pytest.raises(InputError, match=r"a text has several \[CLS\] vectors"):
        train(tmp_path / "contrast", tiniest_folder, loss="supervised_contrastive")
    assert not (tmp_path / "first" / "options.json").exists()


def test_other_tasks_share_its_encoder_and_a_loop_of_ones_own_has_its_batches(
    tiniest_folder: Path, tmp_path: Path
) -> None:
    names = ("max_seq_length", "long_texts", "doc_stride", "window_pooling", "windows_per_row")
    own = {name: WEIGHED[name] for name in names}
    tags = {"share": 1, "train_data": rows_of("tagging", "train")[:8], "max_seq_length": 24}
    run = jaxbert.train_together(
        {"classification": {"share": 1, "train_data": rows("train"), **own}, "tagging": tags},
        model=tiniest_folder,
        output_dir=tmp_path / "together",
        max_steps=2,
        per_device_train_batch_size=1,
        quiet=True,
    )
    ask = TextClassifier.from_pretrained(run.tasks["classification"].output_dir)
    assert ask.reads_windows
    assert ask("the " * 80)
    opened = open_task("classification", tiniest_folder, rows("train"), 8, length_bucket=0, **own)
    shapes = {opened.source.batch(n)["input_ids"].shape for n in range(4)}
    assert shapes <= {(1, 8, 24, 2), (1, 8, 24, 3), (1, 8, 24)}
    tx = adamw(make_schedule(1e-3, steps=1))
    step, parallel = opened.make_step(tx), opened.model.compute.parallel
    state = parallel.replicate(init_state(opened.model.params, tx))
    _, metrics = step(state, opened.batch(0), jax.random.key(0))
    assert np.isfinite(float(parallel.gather(metrics)["loss"].reshape(-1)[0]))


def test_adapters_are_trained_with_the_query(tiniest_folder: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "lora", tiniest_folder, lora_rank=2)
    adapter = load_file(Path(run.output_dir, "adapter", "adapter_model.safetensors"))
    assert f"base_model.model.{QUERY}" not in adapter  # transformers' class has no such module
    assert np.abs(weights_of(run)[QUERY]).min() > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"packing": True}, "--packing is not for --window_pooling attention"),
        ({"long_texts": "truncate", "doc_stride": None}, "goes with --long_texts windows"),
        ({"window_pooling": "mean"}, "--windows_per_row 3 goes with --window_pooling attention"),
        (
            {"loss": "distillation", "loss_args": {"teacher": "none"}},
            "not with --window_pooling attention; a teacher reads window by window",
        ),
        ({"view_column": "sentence"}, "--view_column sentence goes with --long_texts truncate"),
    ],
)
def test_what_cannot_be_is_refused(
    tiniest_folder: Path, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        train(tmp_path / "no", tiniest_folder, **more)
    assert not (tmp_path / "no" / "options.json").exists()


def test_tokens_are_hidden_by_a_function_of_the_whole_row(
    whole: jaxbert.Run, tiniest_folder: Path, tmp_path: Path
) -> None:
    lengths: list[int] = []

    def seen(row: Any, rng: Any) -> Any:
        assert row["input_ids"].shape == row["special_tokens_mask"].shape
        lengths.append(len(row["input_ids"]))
        return row

    found = train(tmp_path / "same", tiniest_folder, corruption=seen)
    for name, x in weights_of(whole).items():
        assert (weights_of(found)[name] == x).all()
    assert max(lengths) > WEIGHED["max_seq_length"]


def test_a_model_that_has_not_learned_it_is_told(tiniest_folder: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "mean", tiniest_folder, window_pooling="mean", windows_per_row=None)
    file = tmp_path / "dev.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows("dev")))
    said = refuses(
        "eval/classification.py",
        *("--model_name_or_path", str(run.output_dir), "--validation_file", str(file)),
        *("--window_pooling", "attention", "--output_dir", str(tmp_path / "no")),
    )
    assert "the model has not learned how much each window counts; give mean or max" in said
    with pytest.raises(InputError, match="attention has parameters of its own"):
        train(tmp_path / "mean", tiniest_folder, allow_changed_options=["window_pooling"])
    # One that has no parameters may follow another.
    other = {"window_pooling": "max", "windows_per_row": None}
    with pytest.raises(InputError, match="--allow_changed_options window_pooling to resume"):
        train(tmp_path / "mean", tiniest_folder, **other)
    train(tmp_path / "mean", tiniest_folder, **other, allow_changed_options=["window_pooling"])
