"""Short runs of every task but question answering, each trained once for a file of tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from conftest import DEMO
from scripts import (
    call,
    read,
)

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
        """The first `count` examples of the demo, and the header where there is one."""
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


def write_rows(folder: Path) -> Path:
    """TASK_train and TASK_dev: a few rows of the demos."""
    for name, case in CASES.items():
        for split, count in (("train", 24 if name != "mlm" else 20), ("dev", 8)):
            path = folder / f"{name}_{split}.{case.suffix}"
            path.write_text(case.rows(split, count), encoding="utf-8")
    return folder


def write_vocabulary(folder: Path) -> Path:
    """What train/vocabulary.py writes: a vocabulary, and the config of a tiny BERT."""
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


def command_line(from_scratch: Path, data: Path, task: str, folder: Path) -> list[str]:
    """The command line of a task's run."""
    case = CASES[task]
    files = [str(data / f"{task}_{split}.{case.suffix}") for split in ("train", "dev")]
    return [
        *("--train_file", files[0], "--validation_file", files[1]),
        *("--config_name", str(from_scratch)),
        *("--output_dir", str(folder)),
        *RECIPE,
        *case.words,
    ]


def train_once(words_of: Callable[..., list[str]], runs: Path) -> Runs:
    """The output of a task's whole run, made when it is first asked for."""

    made: dict[str, Path] = {}

    def run(task: str) -> Path:
        if task not in made:
            folder = runs / task
            assert call(f"train/{task}.py", *words_of(task, folder)) == 0
            made[task] = folder
        return made[task]

    return run
