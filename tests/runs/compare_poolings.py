r"""How the windows of a text are pooled, side by side, for docs/tasks/classification.md. Not a
test:

python tests/runs/compare_poolings.py short SST2_TRAIN.tsv SST2_DEV.tsv FOLDER
python tests/runs/compare_poolings.py among SST2_TRAIN.tsv SST2_DEV.tsv FOLDER SQUAD.json

`short` has sentences with an opinion in windows of 16 tokens; `among` has each of them somewhere
between three sentences of an encyclopedia, in windows of 32: one window of several decides. Each
pooling is trained from MiniLM with three seeds, by about as many windows a step; differences are
paired by text.
"""

from __future__ import annotations

import csv
import json
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import jaxbert
from jaxbert.options.source_settings import Source
from jaxbert.runs.compared_examples import JudgedExamples
from jaxbert.tasks.classification import Classification

SEEDS = (0, 1, 2)
POOLINGS = ("mean", "attention", "max")
WINDOWS = 32  # a step


def sentences(path: str, least: int) -> list[dict[str, str]]:
    """Rows of a table with that many words."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row for row in rows if len(row["sentence"].split()) >= least]


def among(rows: Sequence[dict[str, str]], squad: str, rng: random.Random) -> list[dict[str, str]]:
    """Each sentence at some place between three others, of a paragraph about something."""
    data = json.loads(Path(squad).read_text(encoding="utf-8"))["data"]
    texts = [p["context"] for article in data for p in article["paragraphs"]]
    parted = [re.split(r"(?<=[.!?])\s+", text) for text in texts]
    long = [parts for parts in parted if len(parts) >= 3]
    found = []
    for row in rows:
        parts = list(rng.choice(long)[:3])
        parts.insert(rng.randrange(4), row["sentence"])
        found.append({**row, "sentence": " ".join(parts)})
    return found


def main(kind: str, train: str, dev: str, folder: str, *squad: str) -> None:
    rng, place = random.Random(0), Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    rows = rng.sample(sentences(train, 12), 800), sentences(dev, 1)
    length, stride, windows = (16, 4, 2.4) if kind == "short" else (32, 8, 5)  # of a text
    if kind == "among":
        rows = among(rows[0], squad[0], rng), among(rows[1], squad[0], rng)
    files = [place / f"{name}.jsonl" for name in ("train", "dev")]
    for file, some in zip(files, rows, strict=True):
        file.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    source = Source(False, [str(files[1])], None, None, None, None)
    judged = JudgedExamples(Classification(Classification.settings_cls()), source)
    runs: dict[str, list[Path]] = {}
    for name in POOLINGS:
        texts = round(WINDOWS / windows) if name == "attention" else WINDOWS
        runs[name], scores = [], []
        for seed in SEEDS:
            run = jaxbert.train(
                "classification",
                model="minilm-l6",
                train_data=str(files[0]),
                validation_data=str(files[1]),
                output_dir=place / f"{name}-{seed}",
                max_seq_length=length,
                long_texts="windows",
                doc_stride=stride,
                per_device_train_batch_size=texts,
                eval_steps=10_000,  # at the end alone
                num_train_epochs=2 if kind == "among" else 4,
                learning_rate=5e-5,
                head_learning_rate=5e-4,
                warmup_ratio=0.1,
                seed=seed,
                quiet=True,
                window_pooling=name,
            )
            runs[name].append(Path(run.output_dir))
            scores.append(run.scores)
        mean = {n: np.mean([s[n] for s in scores]) for n in ("accuracy", "eval_loss")}
        line = f"{name}: accuracy {mean['accuracy']:.4f}, loss {mean['eval_loss']:.4f}"
        apart = judged.intervals(runs[name], runs["mean"])["accuracy"]
        print(f"{line}; minus the mean's {apart}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
