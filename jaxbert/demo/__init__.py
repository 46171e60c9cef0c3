"""Demos: small data sets of our own (CC0 1.0), and a recipe for so few examples of each task."""

from __future__ import annotations

from pathlib import Path

from jaxbert.options.fields import Value

_HERE = Path(__file__).parent


def path_of(name: str) -> str:
    """The path of a file of the demos."""
    return str(_HERE / name)


def _recipe(name: str, suffix: str, **changed: Value) -> dict[str, Value]:
    """The options of a demo: its files, MiniLM-L6, and what suits so few examples."""
    return {
        "model_name_or_path": "minilm-l6",
        "train_file": [path_of(f"{name}_train.{suffix}")],
        "validation_file": [path_of(f"{name}_dev.{suffix}")],
        "output_dir": f"runs/{name.removesuffix('_en')}_demo",
        "num_train_epochs": 5.0,
        "per_device_train_batch_size": 8,
        "learning_rate": 2e-4,
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        **changed,
    }


QA = _recipe(
    "qa_en",
    "json",
    train_file=[path_of("qa_en_train.json"), path_of("qa_en_train_more.json")],
    learning_rate=3e-4,
    freeze=["embeddings"],
)
CLASSIFICATION = _recipe("classification", "tsv", max_seq_length=64)
REGRESSION = _recipe("regression", "tsv", max_seq_length=64, num_train_epochs=6.0)
TAGGING = _recipe("tagging", "conll", max_seq_length=64)
MULTIPLE_CHOICE = _recipe("multiple_choice", "jsonl", max_seq_length=64, num_train_epochs=4.0)
MLM = _recipe("mlm", "txt", max_seq_length=64, num_train_epochs=6.0)
