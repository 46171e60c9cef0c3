"""The scripts of every task but question answering: train, go on, evaluate, score; wrong input.

Most run in this process, on its eight devices. Compilations would be most of the time: so they are
quick ones, and kept for this file, since many runs compile the same.
"""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import torch
import transformers
from conftest import DEMO, REPOSITORY
from safetensors.numpy import load_file
from scripts import (
    call,
    check_written,
    copy_before_its_end,
    process,
    read,
    refused,
    refuses,
    script,
    steps_of,
    weights,
)

from jaxbert import BertConfig, load_pretrained, make_apply
from jaxbert.model.config import load_config
from jaxbert.model.pretrained import ARCHITECTURES

Runs = Callable[[str], Path]

LENGTH = 64
STEPS = 6
# Three steps an epoch; what is evaluated at the ends of both is all in one batch.
RECIPE = [
    *("--max_seq_length", str(LENGTH), "--length_bucket", "0"),
    *("--per_device_train_batch_size", "1", "--learning_rate", "1e-3", "--seed", "3"),
    *("--max_steps", str(STEPS), "--save_steps", "2", "--parallel", "jit"),
]


class Case(NamedTuple):
    """A task: its demo's files, what is given beside the recipe, and the scores it has."""

    name: str
    suffix: str
    words: tuple[str, ...]
    scores: str

    def rows(self, split: str, count: int) -> str:
        """So many examples of the demo, and the header where there is one."""
        text = (DEMO / f"{self.name}_{split}.{self.suffix}").read_text(encoding="utf-8")
        if self.suffix == "conll":
            return "\n\n".join(text.split("\n\n")[:count]) + "\n"
        return "\n".join(text.split("\n")[: count + (self.suffix == "tsv")]) + "\n"


CASES = {
    case.name: case
    for case in (
        Case(
            "classification",
            "tsv",
            ("--class_weights", "balanced"),
            "accuracy f1 positive_label f1_macro f1_micro matthews_correlation eval_loss",
        ),
        Case(
            "regression", "tsv", ("--target_scaling", "standard"), "pearson spearmanr mse eval_loss"
        ),
        Case("tagging", "conll", ("--doc_stride", "8"), "precision recall f1 accuracy eval_loss"),
        Case("multiple_choice", "jsonl", (), "accuracy eval_loss"),
        Case("mlm", "txt", (), "perplexity accuracy eval_loss"),
    )
}
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
    """A folder with TASK_train and TASK_dev: a few rows of the demos."""
    folder = tmp_path_factory.mktemp("data")
    for name, case in CASES.items():
        for split, count in (("train", 24 if name != "mlm" else 20), ("dev", 8)):
            path = folder / f"{name}_{split}.{case.suffix}"
            path.write_text(case.rows(split, count), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def from_scratch(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What train/vocabulary.py writes: a vocabulary, and the config of a tiny BERT."""
    folder = tmp_path_factory.mktemp("vocabulary") / "v"
    words = ["--train_file", str(DEMO / "mlm_train.txt"), "--output_dir", str(folder)]
    sizes = ["--vocab_size", "512", "--hidden_size", "16", "--num_hidden_layers", "1"]
    call(
        *("train/vocabulary.py", *words, *sizes),
        *("--num_attention_heads", "2", "--intermediate_size", "32"),
    )
    # Larger weights than BERT's 0.02: from so few and so small ones all texts would look the same.
    config = read(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**config, "initializer_range": 0.3}))
    return folder


@pytest.fixture(scope="module")
def words_of(from_scratch: Path, data: Path) -> Callable[..., list[str]]:
    """The command line of a task's run."""

    def words(task: str, folder: Path) -> list[str]:
        case = CASES[task]
        files = [str(data / f"{task}_{split}.{case.suffix}") for split in ("train", "dev")]
        given = ["--train_file", files[0], "--validation_file", files[1]]
        return [
            *given,
            "--config_name",
            str(from_scratch),
            "--output_dir",
            str(folder),
            *RECIPE,
            *case.words,
        ]

    return words


@pytest.fixture(scope="module")
def trained(
    words_of: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The output of a task's whole run, made when it is first asked for."""
    made: dict[str, Path] = {}

    def run(task: str) -> Path:
        if task not in made:
            folder = tmp_path_factory.mktemp("runs") / task
            assert call(f"train/{task}.py", *words_of(task, folder)) == 0
            made[task] = folder
        return made[task]

    return run


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
        assert config["architectures"] == [ARCHITECTURES[task]]
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


# --- stop and go on ---------------------------------------------------------------------------

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
def test_killed_and_gone_on_with_the_parameters_are_equal_bit_for_bit(
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
    found = re.search(rf"going on from step (\d) of {STEPS}", caplog.text)
    assert found is not None
    assert found[1] in "34"
    assert weights(folder) == weights(trained(task))
    assert steps_of(folder) == steps_of(trained(task))
    assert read(folder / "metrics.json") == read(trained(task) / "metrics.json")


def test_a_packed_run_is_gone_on_with_to_equal_bits(
    words_of: Callable[..., list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    packed = ["--packing", "--length_bucket", "8"]
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call("train/tagging.py", *words_of("tagging", whole), *packed) == 0
    rows = re.search(r"rows of (\d+) tokens with [0-9.]+ windows on average", caplog.text)
    assert rows
    assert int(rows[1]) < LENGTH
    assert int(rows[1]) % 8 == 0
    assert read(whole / "options.json")["row_length"] == int(rows[1])
    copy_before_its_end(whole, parted)
    (parted / "model.safetensors").unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call("train/tagging.py", *words_of("tagging", parted), *packed) == 0
    assert re.search(r"going on from step \d", caplog.text)
    assert weights(parted) == weights(whole)
    assert steps_of(parted) == steps_of(whole)
    # Rows that are not packed are another run.
    message = refuses("train/tagging.py", *words_of("tagging", parted))
    assert "--packing: True -> False" in message


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
        assert path.name == "metrics.json" or read(path) == read(trained(task) / path.name)
    assert (tmp_path / "predictions.json").exists() == (task != "mlm")


@pytest.mark.parametrize("task", UNLABELLED)
def test_without_labels_there_are_predictions_and_no_scores(
    task: str, trained: Runs, data: Path, tmp_path: Path
) -> None:
    path = unlabelled(data, task, tmp_path)
    evaluate(task, trained(task), path, tmp_path / "o")
    assert {p.name for p in (tmp_path / "o").iterdir()} == {"metrics.json", "predictions.json"}
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


def test_a_masked_language_model_goes_on_as_a_classifier(
    trained: Runs,
    words_of: Callable[..., list[str]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = words_of("classification", tmp_path / "o")
    at = words.index("--config_name")
    words[at : at + 2] = ["--model_name_or_path", str(trained("mlm"))]
    with caplog.at_level(logging.INFO, logger="jaxbert"):
        assert call("train/classification.py", *words) == 0
    for drawn in ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight"):
        assert f"+ {drawn}  newly initialized" in caplog.text
    assert "- cls.predictions.bias  left out" in caplog.text
    # Six steps of at most 1e-3 from the language model's encoder.
    then, now = (load_file(f / "model.safetensors") for f in (trained("mlm"), tmp_path / "o"))
    encoder = [name for name in now if name.startswith("bert.") and "pooler" not in name]
    assert len(encoder) == 5 + 16
    for name in encoder:
        np.testing.assert_allclose(now[name], then[name], rtol=0, atol=7e-3)
        assert not np.array_equal(now[name], then[name])


def test_the_options_of_another_task_or_weighting_are_refused(
    trained: Runs, words_of: Callable[..., list[str]]
) -> None:
    folder = trained("classification")
    weighting = read(folder / "options.json")["options"]["class_weights"]
    assert len(weighting) == 2
    message = refuses(
        "train/classification.py",
        *words_of("classification", folder),
        *("--class_weights", "negative=2"),
    )
    assert f"--class_weights: {weighting} -> ['negative=2']" in message
    assert "holds a run of the task classification" in refuses(
        "train/regression.py", *words_of("regression", folder)
    )


def test_a_wrong_row_is_left_out_and_strictly_ends_an_evaluation(
    trained: Runs, tmp_path: Path
) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(
        "sentence1\tsentence2\tscore\na\tb\t1\nc\td\t2.5\ne\tf\tinf\n", encoding="utf-8"
    )
    words = ["--model_name_or_path", str(trained("regression")), "--validation_file", str(path)]
    strict = script("eval/regression.py", *words, "--output_dir", str(tmp_path / "o"), "--strict")
    refused(strict, "x.tsv: line 4", "'inf'")
    assert not (tmp_path / "o").exists()
    result = script("eval/regression.py", *words, "--output_dir", str(tmp_path / "o"))
    assert result.returncode == 0, result.stderr[-2000:]
    assert "x.tsv: line 4" in result.stdout
    assert len(read(tmp_path / "o" / "predictions.json")) == 2
