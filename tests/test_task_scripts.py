"""The scripts of every task but question answering, from training to resuming and the next task.

Most run in this process, on its eight devices. Compilations would be most of the time: so they are
quick ones, and kept for this file, since many runs compile the same.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from conftest import DEMO, REPOSITORY
from every_task import OPTIONS
from safetensors.numpy import load_file
from scripts import call, check_written, process, read, refuses, steps_of, weights
from task_runs import (
    CASES,
    LENGTH,
    STEPS,
    Runs,
    command_line,
    train_once,
    write_rows,
    write_vocabulary,
)

from jaxbert import BertConfig, load_pretrained, make_apply
from jaxbert.model.config import load_config
from jaxbert.model.families import FAMILIES
from jaxbert.options.keywords import check_saved
from jaxbert.runs.compared_examples import JudgedExamples
from jaxbert.tasks.registry import TASKS

# Files without any label: the same texts.
UNLABELLED = {
    "classification": lambda text: re.sub(r"\t.*", "", text),
    "regression": lambda text: re.sub(r"\t[^\t]*$", "", text, flags=re.MULTILINE),
    "tagging": lambda text: re.sub(r"\t.*", "", text),
    "multiple_choice": lambda text: re.sub(r', "label": \d+', "", text),
}


pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("compilations")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def from_scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("vocabulary") / "v")


@pytest.fixture(scope="module")
def words_of(from_scratch: Path, data: Path) -> Callable[..., list[str]]:
    return functools.partial(command_line, from_scratch, data)


@pytest.fixture(scope="module")
def trained(words_of: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return train_once(words_of, tmp_path_factory.mktemp("runs"))


def dev_file(data: Path, task: str) -> Path:
    return data / f"{task}_dev.{CASES[task].suffix}"


def unlabelled(data: Path, task: str, folder: Path) -> Path:
    """The held-out file without its labels."""
    text = dev_file(data, task).read_text(encoding="utf-8")
    path = folder / f"bare.{CASES[task].suffix}"
    path.write_text(UNLABELLED[task](text), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text
    return path


def evaluate(task: str, model: Path, validation_file: Path, output: Path) -> None:
    words = ["--model_name_or_path", str(model), "--output_dir", str(output)]
    call(f"eval/{task}.py", *words, "--validation_file", str(validation_file))


@pytest.mark.parametrize("task", CASES)
def test_a_run_writes_all_that_is_promised(task: str, trained: Runs) -> None:
    folder = trained(task)
    files = {"predictions.json"} if task != "mlm" else set()
    files |= {"entity_report.json"} if task == "tagging" else set()
    check_written(folder, STEPS, files, {"accuracy"} if task != "regression" else set())
    metrics = read(folder / "metrics.json")
    assert list(metrics) == CASES[task].scores.split()
    if task == "classification":
        assert metrics.pop("positive_label") == "positive"
    for name, value in metrics.items():
        least, most = {
            "perplexity": (1, 1e9),
            "mse": (0, 25),
            "eval_loss": (0, 25),
            "pearson": (-1, 1),
            "spearmanr": (-1, 1),
            "matthews_correlation": (-1, 1),
        }.get(name, (0, 1))
        assert least <= value <= most, name
    record = read(folder / "options.json")
    assert record["task"] == task
    assert record["options"]["max_seq_length"] == LENGTH
    saved = read(folder / "checkpoints" / str(STEPS) / "progress.json")
    # A step is saved before it is evaluated, so of the two evaluations it knows the first.
    [evaluation] = saved["evaluations"]
    assert list(evaluation) == ["step", *CASES[task].scores.split()]
    assert evaluation["step"] == 3


def test_the_classes_are_named_in_the_config(trained: Runs) -> None:
    chunks = [f"{place}-{kind}" for place in "BI" for kind in ("LOC", "ORG", "PER")]
    wanted = {
        "classification": ["negative", "positive"],
        "regression": ["score"],
        "tagging": [*chunks, "O"],
    }
    for task, names in wanted.items():
        config = read(trained(task) / "config.json")
        assert config["id2label"] == {str(number): name for number, name in enumerate(names)}
        assert config["architectures"] == [FAMILIES["bert"].classes[task]]
    assert "id2label" not in read(trained("multiple_choice") / "config.json")


# --- what transformers makes of the folders ---------------------------------------------------


def opened(kind: Any, folder: Path) -> tuple[Any, Any]:
    """transformers' model and tokenizer of a folder, in which nothing is missing."""
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


def logits_of(model: Any, inputs: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(**inputs).logits


def table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]


PADDED = {"truncation": True, "max_length": LENGTH, "padding": True, "return_tensors": "pt"}


def encoded_texts(tokenizer: Any, path: Path) -> dict[str, torch.Tensor]:
    return dict(tokenizer([text for text, _ in table(path)], **PADDED))


def encoded_choices(tokenizer: Any, path: Path) -> dict[str, torch.Tensor]:
    """A row of four choices an example."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [(r["sent1"], f"{r['sent2']} {r[f'ending{n}']}") for r in rows for n in range(4)]
    inputs = tokenizer([a for a, _ in pairs], [b for _, b in pairs], **PADDED)
    return {name: x.reshape(len(rows), 4, -1) for name, x in inputs.items()}


@pytest.mark.parametrize(
    ("task", "kind", "encoded"),
    [
        ("classification", transformers.AutoModelForSequenceClassification, encoded_texts),
        ("multiple_choice", transformers.AutoModelForMultipleChoice, encoded_choices),
    ],
    ids=["classification", "multiple_choice"],
)
def test_transformers_gives_the_same_probabilities(
    task: str, kind: Any, encoded: Callable[..., Any], trained: Runs, data: Path
) -> None:
    model, tokenizer = opened(kind, trained(task))
    inputs = encoded(tokenizer, dev_file(data, task))
    theirs = logits_of(model, inputs).softmax(-1).numpy()
    found = read(trained(task) / "predictions.json")
    named = task == "classification"
    ours = [list(entry["scores"].values()) if named else entry["scores"] for entry in found]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    best = theirs.argmax(-1).tolist()
    labels = [model.config.id2label[number] for number in best] if named else best
    assert [entry["label"] for entry in found] == labels


def test_transformers_gives_the_numbers_in_the_scale_of_the_targets(
    trained: Runs, data: Path
) -> None:
    folder = trained("regression")
    model, tokenizer = opened(transformers.AutoModelForSequenceClassification, folder)
    rows = table(dev_file(data, "regression"))
    inputs = tokenizer([row[0] for row in rows], [row[1] for row in rows], **PADDED)
    theirs = logits_of(model, inputs)[:, 0].numpy()
    np.testing.assert_allclose(read(folder / "predictions.json"), theirs, rtol=0, atol=1e-5)
    mean, scale = map(float, read(folder / "options.json")["options"]["target_scaling"])
    targets = [float(row[2]) for row in table(data / "regression_train.tsv")]
    np.testing.assert_allclose([mean, scale], [np.mean(targets), np.std(targets)], rtol=1e-6)
    assert abs(theirs.mean() - mean) < 2 * scale  # six steps do not lead far from the mean


def test_transformers_tags_alike(trained: Runs, data: Path) -> None:
    folder = trained("tagging")
    model, tokenizer = opened(transformers.AutoModelForTokenClassification, folder)
    found = read(folder / "predictions.json")
    sentences = dev_file(data, "tagging").read_text(encoding="utf-8").strip().split("\n\n")
    gold = [[line.split("\t")[0] for line in sentence.split("\n")] for sentence in sentences]
    assert [entry["words"] for entry in found] == gold
    inputs = tokenizer(gold, is_split_into_words=True, **PADDED)
    theirs = logits_of(model, inputs).softmax(-1).numpy()
    whole = 0
    for number, entry in enumerate(found):
        words = inputs.word_ids(number)
        firsts = [words.index(w) for w in range(len(entry["words"])) if w in words]
        if len(firsts) < len(entry["words"]):
            continue  # a sentence of two windows
        whole += 1
        best = theirs[number, firsts]
        np.testing.assert_allclose(entry["scores"], best.max(-1), rtol=0, atol=1e-5)
        assert entry["tags"] == [model.config.id2label[n] for n in best.argmax(-1)]
    assert whole >= 4


def test_transformers_fills_masks_alike(trained: Runs, data: Path) -> None:
    folder = trained("mlm")
    model, tokenizer = opened(transformers.AutoModelForMaskedLM, folder)
    texts = dev_file(data, "mlm").read_text(encoding="utf-8").splitlines()
    inputs = tokenizer(texts, **PADDED)
    cfg, params = load_pretrained(folder, "mlm", draw_head=False)
    batch = {name: x.numpy().astype(np.int32) for name, x in inputs.items()}
    ours = jax.jit(make_apply(cfg, "mlm"))(params, batch)["logits"]
    np.testing.assert_allclose(ours, logits_of(model, inputs).numpy(), rtol=0, atol=1e-5)


# --- evaluate and score -----------------------------------------------------------------------


@pytest.mark.parametrize("task", CASES)
def test_an_evaluation_gives_the_scores_of_the_training(
    task: str, trained: Runs, data: Path, tmp_path: Path
) -> None:
    evaluate(task, trained(task), dev_file(data, task), tmp_path)
    now, then = (read(folder / "metrics.json") for folder in (tmp_path, trained(task)))
    if task == "regression":  # its scaling is in the saved model's last layer
        assert now == pytest.approx(then, abs=1e-6)
        found, before = (read(f / "predictions.json") for f in (tmp_path, trained(task)))
        np.testing.assert_allclose(found, before, rtol=0, atol=1e-5)
        return
    # The training had its arrays over the devices in another way.
    assert now.pop("eval_loss") == pytest.approx(then.pop("eval_loss"), rel=1e-6)
    assert now == then
    for path in tmp_path.iterdir():
        if path.name not in ("metrics.json", "report.html"):
            assert read(path) == read(trained(task) / path.name)
    assert (tmp_path / "predictions.json").exists() == (task != "mlm")


@pytest.mark.parametrize("task", UNLABELLED)
def test_without_labels_there_are_predictions_and_no_scores(
    task: str, trained: Runs, data: Path, tmp_path: Path
) -> None:
    path = unlabelled(data, task, tmp_path)
    evaluate(task, trained(task), path, tmp_path / "o")
    assert {p.name for p in (tmp_path / "o").iterdir()} == {
        *("metrics.json", "predictions.json", "report.html")
    }
    assert read(tmp_path / "o" / "metrics.json") == {}
    found, before = (read(f / "predictions.json") for f in (tmp_path / "o", trained(task)))
    if task == "regression":
        np.testing.assert_allclose(found, before, rtol=0, atol=1e-5)
    else:
        assert found == before


@pytest.mark.parametrize("task", UNLABELLED)
def test_a_run_is_not_judged_by_data_without_labels(
    task: str, words_of: Callable[..., list[str]], data: Path, tmp_path: Path
) -> None:
    path = unlabelled(data, task, tmp_path)
    words = words_of(task, tmp_path / "o")
    for flag, split in (("--validation_file", "validation"), ("--train_file", "training")):
        message = refuses(f"train/{task}.py", *words, flag, str(path))
        assert message.startswith(f"{path}: ")
        assert f"the {split} data has no labels; name them with --label_column_name" in message
        assert "; the columns are " in message
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("task", UNLABELLED)
def test_score_gives_the_scores_of_the_training(
    task: str, trained: Runs, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, references = trained(task) / "predictions.json", dev_file(data, task)
    words = ["--metric", task, "--references", str(references), "--predictions"]
    capsys.readouterr()
    call("eval/score.py", *words, str(found))
    scores = read(trained(task) / "metrics.json")
    del scores["eval_loss"]  # predictions do not tell it
    assert json.loads(capsys.readouterr().out) == scores

    # The predictions alone, as another program may write them.
    name = {"tagging": "tags", "classification": "label", "multiple_choice": "label"}.get(task)
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps([entry[name] if name else entry for entry in read(found)]))
    call("eval/score.py", *words, str(bare))
    assert json.loads(capsys.readouterr().out) == scores

    bare.write_text(json.dumps(read(found)[1:]))
    assert refuses("eval/score.py", *words, str(bare)) == (
        f"{bare}: 7 entries, and {references} has 8 rows"
    )
    bare.write_text(json.dumps([None, *read(found)[1:]]))
    message = refuses("eval/score.py", *words, str(bare))
    assert message.startswith(f"{bare}: entry 0 is None, expected ")


@pytest.mark.parametrize("task", [task for task in CASES if task != "mlm"])
def test_a_comparison_has_the_scores_of_the_training(
    task: str, trained: Runs, words_of: Callable[..., list[str]]
) -> None:
    """From the predictions that the run keeps, of the examples once each."""
    cls = TASKS[task]
    options = OPTIONS[task](
        **check_saved(OPTIONS[task], read(trained(task) / "options.json")["options"], Path())
    )
    judged = JudgedExamples(cls(options.part(cls.settings_cls)), options.validation_source())
    found = judged.resampled(trained(task))(np.ones((1, 8), int))
    scores = read(trained(task) / "metrics.json")
    assert set(found) >= {m.name for m in cls.metrics} & set(scores)
    for name, (value,) in found.items():
        assert value == pytest.approx(scores[name]), name


def test_a_sentence_of_3000_words_has_3000_predictions(trained: Runs, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = rng.choice(
        ["the", "of", "and", "internationalisation", "x\u0308", "\u5317\u4eac"], 3000
    )
    path = tmp_path / "long.conll"
    lines = [f"{word} {'B-LOC' if number % 3 else 'O'}" for number, word in enumerate(words)]
    path.write_text("\n".join([*lines, "", "the O", ""]), encoding="utf-8")
    evaluate("tagging", trained("tagging"), path, tmp_path / "o")
    long, short = read(tmp_path / "o" / "predictions.json")
    assert long["words"] == words.tolist()
    assert len(long["tags"]) == len(long["scores"]) == 3000
    assert min(long["scores"]) > 1 / 7  # the best of seven classes, for every word
    assert len(short["tags"]) == 1
    assert set(read(tmp_path / "o" / "metrics.json")) == {*CASES["tagging"].scores.split()}


def test_a_wrong_row_is_left_out_and_strictly_ends_an_evaluation(
    trained: Runs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(
        "sentence1\tsentence2\tscore\na\tb\t1\nc\td\t2.5\ne\tf\tinf\n", encoding="utf-8"
    )
    words = ["--model_name_or_path", str(trained("regression")), "--validation_file", str(path)]
    words += ["--output_dir", str(tmp_path / "o")]
    message = refuses("eval/regression.py", *words, "--strict")
    assert "x.tsv: line 4" in message
    assert "'inf'" in message
    assert not (tmp_path / "o").exists()
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call("eval/regression.py", *words) == 0
    assert "x.tsv: line 4" in caplog.text
    assert len(read(tmp_path / "o" / "predictions.json")) == 2


# --- stop and resume ---------------------------------------------------------------------------

# Runs a script that kills itself when it logs step 5: the save of step 4 is begun or done.
KILLED = """
import os, runpy, signal, sys
from jaxbert.training.train_log import TrainLog
write = TrainLog.write
def last_words(self, record):
    write(self, record)
    if record["step"] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
TrainLog.write = last_words
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("task", [pytest.param("classification", marks=pytest.mark.faults), "mlm"])
def test_killed_and_resumed_the_parameters_are_equal_bit_for_bit(
    task: str,
    words_of: Callable[..., list[str]],
    trained: Runs,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "run"
    words = words_of(task, folder)
    command = [sys.executable, "-c", KILLED, f"train/{task}.py", *words]
    child = process(*command, devices=8, cwd=REPOSITORY)
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert not (folder / "model.safetensors").exists()
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call(f"train/{task}.py", *words) == 0
    found = re.search(rf"resuming from step (\d) of {STEPS}", caplog.text)
    assert found is not None
    assert found[1] in "34"
    assert weights(folder) == weights(trained(task))
    assert steps_of(folder) == steps_of(trained(task))
    assert read(folder / "metrics.json") == read(trained(task) / "metrics.json")


# --- from one task to the next ----------------------------------------------------------------


def test_vocabulary_writes_what_the_run_took(from_scratch: Path, trained: Runs) -> None:
    names = {p.name for p in from_scratch.iterdir()}
    assert names == {"vocab.txt", "config.json", "tokenizer.json", "tokenizer_config.json"}
    cfg = load_config(from_scratch)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    assert cfg == BertConfig(vocab_size=512, num_hidden_layers=1, initializer_range=0.3, **sizes)
    assert load_config(trained("mlm")) == cfg
    vocabulary = (from_scratch / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(vocabulary) == 512
    saved = transformers.AutoTokenizer.from_pretrained(trained("mlm"))
    assert saved.convert_ids_to_tokens(range(512)) == vocabulary
    words = ["--train_file", str(DEMO / "mlm_train.txt"), "--output_dir", str(from_scratch)]
    assert "has a config.json already" in refuses("train/vocabulary.py", *words)


def test_a_masked_language_model_becomes_a_classifier(
    trained: Runs,
    words_of: Callable[..., list[str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "o"
    words = words_of("classification", folder)
    at = words.index("--config_name")
    words[at : at + 2] = ["--model_name_or_path", str(trained("mlm"))]
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call("train/classification.py", *words) == 0
    for drawn in ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight"):
        assert f"+ {drawn}  newly initialized" in caplog.text
    assert "- cls.predictions.bias  left out" in caplog.text
    # Six steps of at most 1e-3 from the language model's encoder.
    then, now = (load_file(f / "model.safetensors") for f in (trained("mlm"), folder))
    encoder = [name for name in now if name.startswith("bert.") and "pooler" not in name]
    assert len(encoder) == 5 + 16
    for name in encoder:
        np.testing.assert_allclose(now[name], then[name], rtol=0, atol=7e-3)
        assert not np.array_equal(now[name], then[name])
    # Another weighting than this run's is refused, and so is another task.
    weighting = read(folder / "options.json")["options"]["class_weights"]
    assert len(weighting) == 2
    message = refuses("train/classification.py", *words, "--class_weights", "negative=2")
    assert f"--class_weights: {weighting} -> ['negative=2']" in message
    assert "holds a run of the task classification" in refuses(
        "train/regression.py", *words_of("regression", folder)
    )
