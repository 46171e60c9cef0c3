"""Own data with any number of labels a row: the words of a text say which it has."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

LABELS = ("food", "money", "travel")
_WORDS = {
    "food": ("soup", "bread", "tea"),
    "money": ("rent", "bank", "tax"),
    "travel": ("train", "coast", "map"),
}
_OTHER = ("today", "we", "saw", "it", "again", "and", "so")


def texts(count: int, seed: int = 0) -> list[tuple[str, tuple[str, ...]]]:
    """Texts with their labels, which some have none of and some all."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        labels = tuple(label for label in LABELS if rng.random() < 0.4)
        words = [rng.choice(_WORDS[label]) for label in labels] + rng.sample(_OTHER, 3)
        rng.shuffle(words)
        rows.append((" ".join(words), labels))
    return rows


def write_lists(path: Path, rows: list[tuple[str, tuple[str, ...]]]) -> Path:
    """JSON Lines with a list of names a row."""
    lines = [json.dumps({"text": text, "labels": labels}) for text, labels in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_columns(path: Path, rows: list[tuple[str, tuple[str, ...]]]) -> Path:
    """CSV with a column of 0 and 1 for each label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *LABELS])
        for text, labels in rows:
            writer.writerow([text, *(int(label in labels) for label in LABELS)])
    return path


def write_vocabulary(folder: Path) -> Path:
    """A folder to start from random weights with: a tiny config and the words of the texts."""
    words = [word for group in _WORDS.values() for word in group]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *_OTHER]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    config = {
        "model_type": "bert",
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 16,
        "initializer_range": 0.1,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
